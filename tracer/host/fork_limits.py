"""Cheap signs that forks may be failing: so that the probe which taxes every system call is on only then.

    pressure = Pressure(); pressure.look() -> a sentence, or None

A fork that fails leaves no event of its own, but a control group counts how often its pids.max was hit, and the number
of tasks is known. RLIMIT_NPROC leaves no trace at all: -e fail is for that. Reads a few small files, as seldom as
every second; knows no probes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tracer.host.cgroups import Hierarchy, hierarchy

_MOST: Final = 500  # groups asked
_EVERY_S: Final = 2.0
_NEAR: Final = 0.9  # of the tasks that there can be


class Pressure:
    """Looks at the host below `root`."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._hierarchy: Hierarchy | None = hierarchy(root)
        self._hits: dict[str, int] = {}
        self._due = float("-inf")
        self._groups: list[str] = []
        self._groups_due = float("-inf")

    def look(self) -> str | None:
        """Why forks may be failing since the last look; None where nothing says so, or it is not time yet."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + _EVERY_S
        return self._hit(now) or self._full()

    def _hit(self, now: float) -> str | None:
        if self._hierarchy is None:
            return None
        if now >= self._groups_due:
            self._groups = self._find()
            self._groups_due = now + 10 * _EVERY_S
        found = None
        hits: dict[str, int] = {}
        for folder in self._groups:
            count = _hits(folder)
            if count is not None:
                hits[folder] = count
                if count > self._hits.get(folder, count):
                    path = "/" + os.path.relpath(folder, self._hierarchy.mount)
                    found = f"pids.max of {path} was hit {count - self._hits[folder]:,} times"
        self._hits = hits
        return found

    def _find(self) -> list[str]:
        """Groups that have a limit. In v2 a group's count has those below it in, in v1 it has its own only."""
        assert self._hierarchy is not None
        found: list[str] = []
        todo = [str(self._hierarchy.mount)]
        while todo and len(found) < _MOST:
            folder = todo.pop(0)
            try:
                with os.scandir(folder) as entries:
                    inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            found += inner
            if self._hierarchy.version == 1:
                todo += inner
        return found[:_MOST]

    def _full(self) -> str | None:
        """How near the host is to the number of tasks that it can have."""
        try:
            tasks = int((self._root / "proc/loadavg").read_text().split()[3].partition("/")[2])
            most = min(int((self._root / "proc/sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))
        except (OSError, ValueError, IndexError):
            return None
        return f"{tasks:,} tasks of {most:,} that there can be" if tasks > _NEAR * most else None


def _hits(folder: str) -> int | None:
    try:
        with open(f"{folder}/pids.events", "rb") as file:  # noqa: PTH123 - some hundreds of them, every two seconds
            for line in file.read().splitlines():
                name, _, value = line.partition(b" ")
                if name == b"max":
                    return int(value)
    except (OSError, ValueError):
        return None
    return None
