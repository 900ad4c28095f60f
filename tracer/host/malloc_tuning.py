"""How the C library keeps what was given back. For the command alone: a library has no say in its caller's heap."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 64 << 20
_FROM_THE_HEAP: Final = 8 << 20


def keep_freed() -> None:
    """Blocks of up to 8 MiB come from the heap, of which up to 64 MiB are kept when free. Nothing where libc has none.

    By default a block beyond 128 KiB is a mapping of its own until glibc has learnt better, and what is free at the
    heap's end goes back to the kernel. Each batch of a storm makes two hundred arrays of half a MiB that live for a
    moment: to have their pages zeroed anew each time was a third of the cost of writing them.
    """
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # musl has no mallopt; no libc to be opened
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _FROM_THE_HEAP)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
