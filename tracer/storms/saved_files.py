"""Where storms are saved, and how much is kept of them: one bound over all files, the oldest removed first.

    files = StormFiles("/var/lib/forktrace", total=5 << 30); path = files.room_for(256 << 20)

In a folder the files of earlier runs count too, as a service that is started again must not fill the disk: regular
files of our own user, by the names that `room_for` gives. With a file's name given (`--save x.ftrace`) only those of
this run do. Nothing else is ever removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from tracer.capture.flight_recorder import fresh

TOTAL: Final = 5 << 30
_STEM: Final = "forktrace-storm"
_NAME: Final = re.compile(rf"{_STEM}-\d{{8}}-\d{{6}}(?:-\d+)?\.ftrace")


class StormFiles:
    """`as_caller`: a context in which files are removed as whoever writes them. `say` is given what was removed."""

    def __init__(
        self,
        where: str,
        total: int = TOTAL,
        *,
        as_caller: Callable[[], AbstractContextManager[Any]] = nullcontext,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.where = where
        self.total = total
        self._as_caller, self._say = as_caller, say
        self._own: list[str] = []

    def room_for(self, size: int, where: str | None = None) -> str:
        """A new name, after so much was removed that a file of `size` bytes keeps within the bound."""
        files = sorted(self._files())
        used = sum(bytes_ for _, _, bytes_ in files)
        gone = []
        for _, path, bytes_ in files:
            if used + size <= self.total:
                break
            with suppress(OSError), self._as_caller():
                path.unlink()
                used -= bytes_
                gone.append(path.name)
        if gone:
            self._say(f"removed {', '.join(gone)}, to keep within --save-total")
        name = self._name(where or self.where)
        self._own.append(name)
        return name

    def _files(self) -> Iterator[tuple[int, Path, int]]:
        """(time of the last change, path, bytes) of each that counts."""
        folder = Path(self.where)
        paths = {Path(path) for path in self._own}
        with suppress(OSError):
            paths |= {path for path in folder.iterdir() if _NAME.fullmatch(path.name)}
        with self._as_caller() as who:
            uid = who.uid if who is not None else os.geteuid()
        for path in paths:
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_uid == uid:
                    yield status.st_mtime_ns, path, status.st_blocks * 512

    def _name(self, where: str) -> str:
        if Path(where).is_dir():
            return fresh(where, _STEM)
        if not self._own:
            return where
        stem, dot, suffix = where.rpartition(".")
        n = len(self._own) + 1
        return f"{stem}-{n}.{suffix}" if dot and "/" not in suffix else f"{where}-{n}"
