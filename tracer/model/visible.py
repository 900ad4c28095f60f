"""The way of text to a terminal: nothing that could move the cursor, set colours, or hide, goes out of here.

    visible(text)            `text` with everything escaped but visible characters, spaces and line ends
    write(stream, text)      the same on its way to a terminal; to a file or a pipe `text` goes as it is
    binary(stream)           the binary side of a stream for an export: a terminal gets it in the same way

Names come from outside: a program chooses its own, and a trace may come from a stranger. Reports escape what they show
where they lay it out, as only they know how wide it may be; this is the last door, for all of it and for any format.
Escapes are those of a shell's $'...': \\xNN is a byte (a control character, or one that was not UTF-8), \\uNNNN and
\\UNNNNNNNN a code point.
"""

from __future__ import annotations

import codecs
import io
from typing import IO, Any, Final

_NAMED: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escaped(char: str) -> str:
    """One character as its escape."""
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """`text` with all escaped that does not print, line ends excepted: controls, C1, bidi, surrogates, private use."""
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(c if c.isprintable() else escaped(c) for c in line)
        for line in text.split("\n")
    )


def write(stream: IO[str], text: str) -> None:
    """Write `text`, which has no colours of ours. Raises what the stream raises."""
    stream.write(visible(text) if stream.isatty() else text)


def binary(stream: IO[str]) -> IO[bytes]:
    """What the bytes of an export go to; its `isatty` is the stream's."""
    buffer: IO[bytes] = stream.buffer  # type: ignore[attr-defined]
    return _Visible(buffer) if stream.isatty() else buffer  # type: ignore[return-value]


class _Visible(io.RawIOBase):
    """Bytes of a text format, made visible on their way to a terminal."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """A character that comes in two halves waits for the second."""
        self._out.write(visible(self._decoder.decode(bytes(data))).encode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._out.flush()
