"""Where code lies in a process: the executable lines of /proc/PID/maps, and which file each part is of.

Only what is executable is kept, as only return addresses are looked up. Refuses to know: symbols, and whether the
file that goes by that name now is still the one that was mapped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

_DELETED: Final = " (deleted)"
_MOST: Final = 8192  # mappings kept of one process; the lowest


class Mapped(NamedTuple):
    """One executable mapping. `path` is "" for anonymous memory, "[vdso]" and the like for the kernel's own."""

    start: int
    end: int
    offset: int  # into the file, of `start`
    device: int  # as os.stat says it
    inode: int
    path: str
    deleted: bool


class Maps:
    """The executable mappings of one process at one moment."""

    def __init__(self, mappings: Iterable[Mapped]) -> None:
        self.mappings = tuple(sorted(mappings))
        self._starts = [m.start for m in self.mappings]

    @classmethod
    def parse(cls, text: bytes) -> Maps:
        """From /proc/PID/maps (Documentation/filesystems/proc.rst). Lines that make no sense are left out."""
        return cls(m for m in map(_line, executable(text).splitlines()[:_MOST]) if m is not None)

    def find(self, address: int) -> Mapped | None:
        """The mapping that `address` lies in."""
        i = bisect_right(self._starts, address) - 1
        return self.mappings[i] if i >= 0 and address < self.mappings[i].end else None


def executable(text: bytes) -> bytes:
    """The lines of a maps file that are executable; forks of one program have the same."""
    return b"\n".join(line for line in text.splitlines() if line[line.find(b" ") + 3 : line.find(b" ") + 4] == b"x")


def _line(line: bytes) -> Mapped | None:
    """`55d0c0a00000-55d0c0a21000 r-xp 00002000 fe:01 131586   /usr/bin/dash`; a newline in a name is \\012."""
    words = line.split(None, 5)
    if len(words) < 5:
        return None
    path = words[5].decode("utf-8", "surrogateescape").replace("\\012", "\n") if len(words) > 5 else ""
    deleted = path.endswith(_DELETED)
    try:
        start, end = (int(word, 16) for word in words[0].split(b"-"))
        major, minor = (int(word, 16) for word in words[3].split(b":"))
        offset, inode = int(words[2], 16), int(words[4])
    except ValueError:
        return None
    device = (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32  # makedev(3)
    return Mapped(start, end, offset, device, inode, path.removesuffix(_DELETED), deleted)
