"""A BPF ring buffer, read through its own memory: one slice takes all that is committed, with no call per record.

What the kernel wrote before it moved producer_pos, or cleared BUSY, is there for whoever reads these first and `_fence`
next; and our own consumer_pos must not be seen before our reads of what it gives back.

Layout (kernel/bpf/ringbuf.c): page 0 is consumer_pos, which we write; page 1 is producer_pos; then the data pages,
mapped twice so that no run of records is cut. A record is u32 length | BUSY << 31 | DISCARD << 30, u32 page offset,
the payload, padded to 8. Refuses to know what the payload is.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

BUSY: Final = 1 << 31
DISCARD: Final = 1 << 30
HEADER: Final = 8
_MANY: Final = 256  # records that are worth numpy's calls, where somebody has imported it


def _fence_by_lock() -> None:
    """What is before it stays before the giving back, and what is behind it stays behind the second taking."""
    lock = threading.Lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def _no_fence() -> None:
    """x86 keeps loads in order, and stores behind loads."""


_fence: Callable[[], None] = _no_fence if os.uname().machine in ("x86_64", "i686") else _fence_by_lock


class Ring:
    """`fd` is the map, `size` its bytes (a power of two)."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.fd = fd
        self.size = size
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # An aligned 8-byte load or store through these is one instruction.
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._data_map).cast("Q")
        self._data = memoryview(self._data_map)[page:]
        self._words = self._data.cast("I")

    def position(self) -> int:
        """Where the producer is: pass it to `take_fixed` to read no further."""
        return self._producer[0]

    def consumed(self) -> int:
        """Up to where it has been read."""
        return self._consumer[0]

    def used(self) -> int:
        """Bytes waiting."""
        return self._producer[0] - self._consumer[0]

    def take_fixed(self, length: int, until: int) -> bytes:
        """All committed records up to position `until`, headers included, where every payload is `length` bytes.

        Stops at the first record that is still being written. Discarded records are left out.
        Raises ValueError when a record of another length is met.
        """
        stride = HEADER + length
        consumer = self._consumer[0]
        _fence()  # behind the reading of `until`
        n = (until - consumer) // stride
        if n <= 0:
            return b""
        start = consumer & (self.size - 1)
        # Headers first, payloads after: the kernel clears BUSY behind our back, and memcpy() takes the end of a long
        # run before its beginning, so that in one copy a header could say "committed" of a payload copied too soon.
        numpy = sys.modules.get("numpy") if n >= _MANY else None
        if numpy is not None:
            # A copy, as the kernel goes on writing; of a storm's nearly all say the same, which is seen at once.
            said = numpy.array(self._words[start // 4 : (start + n * stride) // 4 : stride // 4])
            if (said == length).all():
                return self._taken(consumer, n * stride)
            headers = said.tolist()
        else:
            headers = self._words[start // 4 : (start + n * stride) // 4 : stride // 4].tolist()
        for i, header in enumerate(headers if headers.count(length) != n else ()):
            if header & BUSY:
                n = i
                break
            if header & ~DISCARD != length:
                raise ValueError(f"a record of {header & ~DISCARD} bytes in a ring of {length}")
        raw = self._taken(consumer, n * stride)
        if headers[:n].count(length) == n:
            return raw
        return b"".join(raw[i * stride : (i + 1) * stride] for i in range(n) if not headers[i] & DISCARD)

    def _taken(self, consumer: int, n: int) -> bytes:
        """The next `n` bytes, whose headers were seen to be committed; they are the kernel's to write over then."""
        start = consumer & (self.size - 1)
        _fence()
        raw = bytes(self._data[start : start + n])
        _fence()
        self._consumer[0] = consumer + n
        return raw

    def take_all(self) -> list[bytes]:
        """Payloads of all committed records, of any length."""
        consumer, producer = self._consumer[0], self._producer[0]
        _fence()
        at = consumer
        places = []
        while at < producer:
            place = at & (self.size - 1)
            header = self._words[place // 4]
            if header & BUSY:
                break
            length = header & ~DISCARD
            if not header & DISCARD:
                places.append((at - consumer + HEADER, length))
            at += (HEADER + length + 7) & ~7
        if at == consumer:
            return []
        raw = self._taken(consumer, at - consumer)
        return [raw[place : place + length] for place, length in places]

    def close(self) -> None:
        """Unmap. The descriptor stays the map's owner's."""
        for view in (self._consumer, self._producer, self._words, self._data):
            view.release()
        self._consumer_map.close()
        self._data_map.close()
