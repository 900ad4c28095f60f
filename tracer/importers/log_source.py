"""Log files as bytes: plain, gzip, xz, bzip2, zstd, standard input; recognised by their first bytes.

Reads in blocks and hands out whole lines, so memory stays flat; a line longer than MAX_LINE is cut. Knows nothing of
what is in a log.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from tracer.errors import BadDataError, NoInputError
from tracer.host import own_programs

BLOCK: Final = 4 << 20
FIRST: Final = 1 << 16  # of the first block: a reader learns from it who is there
MAX_LINE: Final = 16 << 20
HEAD: Final = 1 << 20  # how much a sniffer may look at

_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"))


class LogSource:
    """An open log: `head` (its first bytes, still to be read), `blocks()`, how far it is read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        self.packed = False
        self.damaged: str | None = None  # why it could not be read to its end
        self.closed = False
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._raw: IO[bytes] = _standard_input() if path == "-" else _open(path)
            self._start = self._raw.read(6) or b""
            while len(self._start) < 6 and (more := self._raw.read(6 - len(self._start))):
                self._start += more
        except FileNotFoundError:
            raise NoInputError(f"there is no file {path}") from None
        except IsADirectoryError:
            raise NoInputError(f"{path} is a directory", f"name the files in it: {path.rstrip('/')}/*") from None
        except PermissionError:
            raise NoInputError(f"{path} may not be read", "its owner, or root, can") from None
        except OSError as e:
            raise NoInputError(f"{path} can not be read: {e.strerror or e}") from None
        except ValueError:
            raise NoInputError(f"{path!r} is no file name") from None
        self.size: int | None = None
        if path != "-":
            status = os.fstat(self._raw.fileno())
            self.size = status.st_size if status.st_size else None
        self._file: Any = self._unpacked()
        self.head = self._read(HEAD)
        while 0 < len(self.head) < HEAD and (more := self._read(HEAD - len(self.head))):
            self.head += more

    @property
    def position(self) -> int:
        """Bytes of the file itself read so far (packed ones, if it is packed)."""
        try:
            return self._raw.tell()
        except (OSError, ValueError):
            return self.size or 0

    def blocks(self) -> Iterator[bytes]:
        """The content, from its beginning, once; closes the file at its end. A closed one is opened again."""
        if self.closed and self.path != "-":
            again = LogSource(self.path)
            yield from again.blocks()
            self.damaged = again.damaged
            return
        if self.head:
            block, self.head = self.head, b""
            yield block[:FIRST]
            if len(block) > FIRST:
                yield block[FIRST:]
        while block := self._read(BLOCK):
            yield block
        self.close()

    def lines(self) -> Iterator[tuple[list[bytes], bool]]:
        """Whole lines without their newline, in lists; and whether the last of the list ended in one."""
        for block in self.whole():
            if block[-1:] == b"\n":
                yield block[:-1].split(b"\n"), True
            else:
                yield [block], False

    def whole(self) -> Iterator[bytes]:
        """Blocks of whole lines, each ending in a newline; a line without one (too long, or the last) comes alone."""
        pieces: list[bytes] = []  # of the line that is not whole yet
        size = 0
        skipping = False
        for block in self.blocks():
            at = block.rfind(b"\n") + 1
            if skipping and at:
                skipping = False
                block = block[block.find(b"\n") + 1 :]
                at = block.rfind(b"\n") + 1
            if at:
                whole = [b"".join((*pieces, memoryview(block)[:at])) if pieces else block[:at]]
                pieces, size = [], 0
                yield whole.pop()  # nothing here keeps it: a line may be as long as memory is large
            if skipping or at == len(block):
                continue
            pieces.append(block[at:] if at else block)
            size += len(block) - at
            if size > MAX_LINE:
                yield b"".join(pieces)[:MAX_LINE]
                pieces, size, skipping = [], 0, True
        if pieces:
            yield b"".join(pieces)

    def close(self) -> None:
        """Close the file and end the unpacker."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            if self._child.stdout is not None:
                self._child.stdout.close()
            self._child = None
        self.closed = True
        if self.path != "-":
            self._raw.close()

    def _read(self, size: int) -> bytes:
        if self.damaged is not None:
            return b""
        try:
            return self._file.read(size) or b""
        except (EOFError, OSError, zlib.error, ValueError) as e:
            self.damaged = f"{self.name} is damaged or cut off: {e}"
            return b""
        except Exception as e:
            if type(e).__name__ not in ("LZMAError", "ZstdError"):
                raise
            self.damaged = f"{self.name} is damaged or cut off: {e}"
            return b""

    def _unpacked(self) -> Any:
        kind = next((kind for magic, kind in _MAGIC if self._start.startswith(magic)), None)
        again = _Again(self._start, self._raw)
        if kind is None:
            return again
        self.packed = True
        return self._zstd(again) if kind == "zstd" else _Unpacker(kind, again)

    def _zstd(self, again: _Again) -> Any:
        """Python 3.14 has it; else pyarrow; else the zstd program."""
        try:
            from compression import zstd  # type: ignore[import-not-found, unused-ignore]

            return zstd.ZstdFile(again)
        except ImportError:
            pass
        try:
            import pyarrow as pa
        except ImportError:
            program = own_programs.find("zstd")
            if program is None or self.path == "-":
                raise BadDataError(f"{self.name} is packed with zstd", "unpack it first: zstd -d") from None
            self._child = subprocess.Popen([program, "-dc", "--", self.path], stdout=subprocess.PIPE)
            return self._child.stdout
        return pa.CompressedInputStream(pa.PythonFile(again, "r"), "zstd")


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise NoInputError("standard input is closed", "name a file")
    return sys.stdin.buffer


def _open(path: str) -> IO[bytes]:
    return Path(path).open("rb", buffering=0)


class _Again(io.RawIOBase):
    """A file whose first bytes were read already."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start = start
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        if self._start:
            if size < 0:
                data, self._start = self._start + (self._file.read() or b""), b""
                return data
            data, self._start = self._start[:size], self._start[size:]
            if len(data) < size:
                data += self._file.read(size - len(data)) or b""
            return data
        return self._file.read(size) or b""


class _Unpacker:
    """gzip, xz, bzip2. Gives what can be unpacked before damage is met, and never more at once than was asked for."""

    def __init__(self, kind: str, file: _Again) -> None:
        self._kind = kind
        self._file = file
        self._waiting = b""  # packed bytes not yet taken
        self._error: Exception | None = None
        self._one = self._new()

    def _new(self) -> Any:
        if self._kind == "gzip":
            return zlib.decompressobj(wbits=31)
        if self._kind == "xz":
            import lzma

            return lzma.LZMADecompressor()
        import bz2

        return bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end. Raises EOFError and the libraries' own errors."""
        if self._error is not None:
            raise self._error
        parts: list[bytes] = []
        while size > 0:
            if self._one.eof:
                if not (self._waiting or self._fill()):
                    break
                self._one = self._new()  # packed files may be appended to one another
            if not self._waiting and (self._kind == "gzip" or self._one.needs_input) and not self._fill():
                self._fail(EOFError("its end is missing"), parts)
                break
            try:
                got = self._one.decompress(self._waiting, size)
            except Exception as e:
                self._fail(e, parts)
                break
            self._waiting = self._one.unused_data if self._one.eof else getattr(self._one, "unconsumed_tail", b"")
            parts.append(got)
            size -= len(got)
        return b"".join(parts)

    def _fill(self) -> bool:
        self._waiting = self._file.read(65536)
        return bool(self._waiting)

    def _fail(self, error: Exception, parts: list[bytes]) -> None:
        self._error = error
        if not any(parts):
            raise error


Progress = Callable[[int, int | None], None]
"""Called now and then with bytes done, and bytes in all (None: unknown)."""
