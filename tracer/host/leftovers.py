"""Folders in TMPDIR that another program must find by name, and what is removed of them after a kill.

    folder = make("forktrace-bcc")    /tmp/forktrace-bcc-PID-BORN-RANDOM, mode 0700

What needs no name has none (unlinked files, memory files). A folder that does is removed by its maker; `make` first
removes those whose makers have ended without doing so. Only real folders of our own user are removed, never through a
symbolic link, and only when the process of that pid and start time has gone and the folder is older than the seconds
that any of them is in use: it may be that of another pid namespace, where /proc here shows no process.
"""

from __future__ import annotations

import os
import re
import stat
import time

_NAME = re.compile(r"forktrace(?:-bcc)?-(\d+)-(\d+)-\w+")
OLD_S = 60.0


def make(stem: str, place: str) -> str:
    """A new folder in `place`, its name beginning with `stem`. Raises OSError."""
    sweep(place)
    pid = os.getpid()
    path = os.path.join(place, f"{stem}-{pid}-{_born(pid) or 0}-{time.monotonic_ns():x}")  # noqa: PTH118
    os.mkdir(path, 0o700)  # noqa: PTH102
    os.chmod(path, 0o700)  # noqa: PTH101  whatever the umask
    return path


def sweep(place: str) -> list[str]:
    """Remove what dead processes of our user have left in `place`; the names of that."""
    gone = []
    try:
        entries = list(os.scandir(place))
    except OSError:
        return []
    for entry in entries:
        found = _NAME.fullmatch(entry.name)
        if found is None:
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            continue
        if time.time() - status.st_mtime < OLD_S:
            continue
        if _born(int(found[1])) == int(found[2]):
            continue
        # By descriptors, below a folder that is ours alone (0700): nothing can be exchanged on the way.
        import shutil

        shutil.rmtree(entry.path, ignore_errors=True)
        gone.append(entry.name)
    return gone


def _born(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, ticks since boot; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as f:  # noqa: PTH123
            return int(f.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
