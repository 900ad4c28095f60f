"""What a just-in-time compiler says its code is: the perf-PID.map file that Python (-X perf) and Node
(--perf-basic-prof) write into /tmp, one line a function, `START SIZE NAME`, hexadecimal without 0x.

The format is linux/tools/perf/Documentation/jit-interface.txt's. Runs in the worker process (worker.py): a file in
/tmp is whatever somebody made it. Lines are kept as sorted columns, 32 bytes each, and names are read from the file
when they are asked for.
"""

from __future__ import annotations

import time
from typing import Any, Final

from tracer.symbols.elf import File

BYTES_MOST: Final = 16 << 20
"""Of a longer file the end is read: what it says of an address, nothing later replaces."""
SECONDS: Final = 0.06
"""CPU time, after which older lines are left out. 100,000 lines of Node's take two thirds of it."""
_PIECE: Final = 1 << 17
_UNTIMED: Final = 1 << 19  # bytes that any file may have; beyond, SECONDS counts
_DIGITS: Final = 16
_NESTED: Final = 8
_NAME_MOST: Final = 4096


class PerfMap:
    """`name(file, address)`. Later lines replace earlier ones: code moves, and its place is used again."""

    def __init__(self, file: File) -> None:
        self._starts, self._ends, self._at, self._until = _lines(file)

    @property
    def kept(self) -> int:
        """Of memory, roughly."""
        return 500 + 32 * len(self._starts)

    def name(self, file: File, address: int) -> str | None:
        """Of the function at `address`: of those that cover it, the last that was written."""
        if not len(self._starts) or not 0 <= address < 1 << 64:
            return None
        i = int(self._starts.searchsorted(self._starts.dtype.type(address), "right"))
        found = [j for j in range(max(0, i - _NESTED), i) if address < self._ends[j]]
        if not found:
            return None
        last = max(found, key=lambda j: int(self._at[j]))
        at = int(self._at[last])
        text = file.read(at, min(_NAME_MOST, int(self._until[last]) - at))
        return text.lstrip().rstrip(b"\r").decode("utf-8", "surrogateescape") or None


def _lines(file: File) -> tuple[Any, Any, Any, Any]:
    """starts, ends, and from where to where their names are; by start, of equal ones the last."""
    import numpy as np

    until = time.thread_time() + SECONDS
    first, end = max(0, file.size - BYTES_MOST), file.size
    pieces: list[Any] = []
    while end > first and (file.size - end < _UNTIMED or time.thread_time() < until):
        begin = max(first, end - _PIECE)
        raw = file.read(begin, end - begin)
        cut = raw.find(b"\n") + 1 if begin else 0  # the line before it belongs to the piece before
        if cut or not begin:
            pieces.append(_piece(np, raw[cut:], begin + cut))
        end = begin + cut if cut < len(raw) else begin  # without a line's end it is of no line that is read
    empty = np.zeros(0, "u8")
    pieces.reverse()
    starts, ends, names, untils = (np.concatenate([empty, *(piece[i] for piece in pieces)]) for i in range(4))
    by = np.argsort(starts, kind="stable")
    if len(by):
        by = by[np.append(starts[by][1:] != starts[by][:-1], True)]
    return starts[by], ends[by], names[by], untils[by]


def _piece(np: Any, raw: bytes, at: int) -> tuple[Any, Any, Any, Any]:
    """The lines of `raw`, which stands at `at` in the file; those that make no sense are left out."""
    text = np.frombuffer(raw + b"\n" * (2 * _DIGITS + 4), "u1")
    until = np.flatnonzero(text[: len(raw) + 1] == 10)
    begin = np.append(0, until[:-1] + 1)
    start, place, good = _number(np, text, begin)
    size, place, also = _number(np, text, place)
    good &= also & (place < until)
    start, size, place, until = start[good], size[good], place[good], until[good]
    end = np.where(size > np.uint64((1 << 64) - 1) - start, np.uint64((1 << 64) - 1), start + size)
    return start, end, (place + at).astype("u8"), (until + at).astype("u8")


def _number(np: Any, text: Any, place: Any) -> tuple[Any, Any, Any]:
    """Hexadecimal numbers at `place`, what stands behind the one blank after each, and which of them are numbers."""
    value, more = np.zeros(len(place), "u8"), np.ones(len(place), bool)
    length = np.zeros(len(place), np.int64)
    last = len(text) - 1
    for i in range(_DIGITS):
        byte = text[np.minimum(place + i, last)]
        low = byte | 32
        digit = np.where((byte >= 48) & (byte <= 57), byte - 48, np.where((low >= 97) & (low <= 102), low - 87, 255))
        more = more & (digit < 16)
        if not more.any():
            break
        value = np.where(more, value << np.uint64(4) | digit, value)
        length += more
    behind = np.minimum(place + length, last)
    return value, np.minimum(behind + 1, last), (length > 0) & (text[behind] == 32)
