"""Where a trace is read from: names, pipes, open files; and what they are instead, when they are no trace.

Knows nothing of what is in a trace.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import IO, Final

from tracer.errors import BadDataError, NoInputError
from tracer.recording.frames import CONTINUATION

_OTHERS: Final = (
    (b"PAR1", "a Parquet file", "export the trace again from the .ftrace file it came from"),
    (b"ARROW1", "an Arrow file", "traces are Arrow streams"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"PERFILE2", "a perf.data file", "`perf script` makes text of it, and `forktrace import` reads that"),
)


def open_source(source: str | os.PathLike[str] | IO[bytes]) -> tuple[IO[bytes], str]:
    """`source` (a path, "-" or an open file) as a file, and what to call it. Raises NoInputError."""
    if not isinstance(source, str | os.PathLike):
        return source, str(getattr(source, "name", "the trace"))
    path = os.fspath(source)
    if path == "-":
        return os.fdopen(0, "rb", closefd=False), "the standard input"
    try:
        return Path(path).open("rb"), path
    except FileNotFoundError:
        raise NoInputError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise NoInputError(f"{path} is a folder", "name a file in it") from None
    except PermissionError:
        raise NoInputError(f"{path} may not be read", "a trace belongs to who made it") from None
    except (OSError, ValueError) as e:
        raise NoInputError(f"{path} can not be read: {str(e).lower()}") from None


def no_trace(name: str, head: bytes) -> BadDataError:
    """What to say of a file that begins with `head`, which is not the beginning of a trace."""
    if not head:
        return BadDataError(f"{name} is empty", "nothing was recorded in it")
    if head[:4] == CONTINUATION[: len(head)]:
        return BadDataError(f"{name} is cut off or damaged in its first record", "nothing in it can be read")
    for magic, what, mend in _OTHERS:
        if head.startswith(magic):
            return BadDataError(f"{name} is {what}, not a trace", mend)
    return BadDataError(f"{name} is not a trace", "`forktrace import` reads strace and perf logs")


def regular_start(file: IO[bytes]) -> int | None:
    """Where a regular file stands; None for anything else."""
    try:
        return file.tell() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (OSError, ValueError):
        return None


class View(io.RawIOBase):
    """An open regular file from an offset on, with a position of its own: several can be read in turn."""

    def __init__(self, fd: int, offset: int, name: str) -> None:
        self._fd = fd
        self._at = offset
        self.name = name

    def fileno(self) -> int:
        """The descriptor, which all views share."""
        return self._fd

    def tell(self) -> int:
        """Where this view stands in the file."""
        return self._at

    def read(self, size: int, /) -> bytes:  # type: ignore[override]
        """At most `size` bytes."""
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data
