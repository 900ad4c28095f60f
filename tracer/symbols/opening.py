"""Files that a traced user may have put where they are, opened for the worker without any effect of the opening.

A path is first opened as a mere place (O_PATH), which neither waits for the other end of a FIFO nor wakes a device,
and read by that descriptor if it is a regular file: what the path leads to a moment later does not matter.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple


class Opened(NamedTuple):
    """A regular file, open for reading, as it was at that moment."""

    fd: int
    size: int
    owner: int  # uid
    inode: int
    device: int
    changed_s: float  # ctime
    key: str
    """Names this content: device, inode, time of the last change, size."""

    @classmethod
    def of(cls, fd: int) -> Opened:
        """Takes the descriptor over."""
        said = os.fstat(fd)
        key = f"{said.st_dev}:{said.st_ino}:{said.st_mtime_ns}:{said.st_size}"
        return cls(fd, said.st_size, said.st_uid, said.st_ino, said.st_dev, said.st_ctime, key)

    def close(self) -> None:
        """Give the descriptor back; not to be called twice."""
        os.close(self.fd)


def open_regular(path: str, *, follow: bool = False) -> Opened | None:
    """None: not there, not for us, or not a regular file. `follow`: a symbolic link, as those of /proc/PID/map_files.

    O_NONBLOCK: a lease on the file (fcntl(2), F_SETLEASE) would hold us for 45 seconds.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        return Opened.of(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return None
    finally:
        os.close(place)
