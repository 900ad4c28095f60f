"""What a just-in-time compiler says its code is: the perf-PID.map file that Python (-X perf) and Node
(--perf-basic-prof) write into /tmp, one line a function, `START SIZE NAME`, hexadecimal without 0x.

The format is linux/tools/perf/Documentation/jit-interface.txt's. A file in /tmp may be anybody's, so the caller says
whose is believed. Refuses to know: which process an address is of.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Collection
from typing import Final

_MOST_BYTES: Final = 64 << 20
_NESTED: Final = 8


class PerfMap:
    """`name(address)`. Later lines replace earlier ones: code moves, and its place is used again."""

    def __init__(self, text: bytes) -> None:
        last: dict[int, tuple[int, int, bytes]] = {}
        for order, line in enumerate(text.splitlines()):
            words = line.split(None, 2)
            if len(words) < 3:
                continue
            try:
                start, size = int(words[0], 16), int(words[1], 16)
            except ValueError:
                continue
            last[start] = (start + size, order, words[2])
        self._starts = sorted(last)
        self._lines = [last[start] for start in self._starts]

    @classmethod
    def open(cls, path: str, owners: Collection[int]) -> PerfMap | None:
        """The file's, or None: it is not there, is no regular file, or is owned by none of `owners` (uids).

        Of a file beyond 64 MiB the beginning is read.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        said = os.fstat(fd)
        if not stat.S_ISREG(said.st_mode) or said.st_uid not in owners:
            os.close(fd)
            return None
        with os.fdopen(fd, "rb") as file:
            try:
                return cls(file.read(_MOST_BYTES))
            except OSError:
                return None

    def name(self, address: int) -> str | None:
        """Of the function at `address`: of those that cover it, the last that was written."""
        i = bisect_right(self._starts, address)
        found = [line for line in self._lines[max(0, i - _NESTED) : i] if address < line[0]]
        return max(found, key=lambda line: line[1])[2].decode("utf-8", "surrogateescape") if found else None
