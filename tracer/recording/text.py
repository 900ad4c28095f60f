"""Strings of any bytes inside UTF-8 columns, reversibly.

Arrow and Parquet strings must be valid UTF-8, while a comm, an argument or a path is any bytes at all: here
they are decoded with surrogateescape, and no Arrow reader takes a lone surrogate. So

    a byte 0xNN that is no UTF-8 (80..FF)                is stored as the character U+10FENN
    a real U+10FE80..U+10FEFF (private use, unheard of)  as its four bytes, each in that way

and everything else as it is. To other readers of the file such a byte is one odd character; forktrace gives
the bytes back exactly. A surrogate that no byte can have made (from a careless JSON reader) becomes U+FFFD.

Knows nothing of files or events.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final

_BASE: Final = 0x10FE00
_BYTES: Final[Mapping[int, int]] = {_BASE + byte: 0xDC00 + byte for byte in range(0x80, 0x100)}
_MARKS: Final = (b"\xf4\x8f\xba", b"\xf4\x8f\xbb")  # how U+10FE80..U+10FEFF begin in UTF-8


def escape(text: str) -> str:
    """`text` as valid Unicode."""
    return text.translate(_escapes())


def restore(text: str) -> str:
    """The inverse of `escape`, for every string that surrogateescape can have made."""
    raw = text.translate(_BYTES)
    # Four bytes that stood for a real private-use character become that character again.
    return raw if raw == text else raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def marked(utf8: bytes) -> bool:
    """Whether stored bytes hold anything that `restore` would change."""
    return any(mark in utf8 for mark in _MARKS)


def pack(values: Sequence[str]) -> tuple[bytes, Sequence[int]]:
    """`values` escaped, encoded and joined, and the length in bytes of each."""
    joined = "".join(values)
    if joined.isascii():
        return joined.encode(), list(map(len, values))
    encoded = [v.encode() if v.isascii() else escape(v).encode() for v in values]
    return b"".join(encoded), list(map(len, encoded))


@functools.cache
def _escapes() -> dict[int, str]:
    table = dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")
    table |= {0xDC00 + byte: chr(_BASE + byte) for byte in range(0x80, 0x100)}
    table |= {c: "".join(chr(_BASE + byte) for byte in chr(c).encode()) for c in _BYTES}
    return table
