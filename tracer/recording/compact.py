"""Writes a trace of many small batches anew in big ones, and puts it in place of the first.

An hour at ten events a second is 360 batches and three megabytes, of which nine tenths are repeated
descriptions. The first file is complete before this begins, so whatever goes wrong here costs nothing: it
stays as it is. Knows Arrow streams and files; knows nothing of what a row means.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

BATCH_ROWS: Final = 65536
BATCH_BYTES: Final = 32 << 20
BUDGET_S: Final = 5.0  # a user waits for this; a trace of a day stays as it is


def replace(path: str, fd: int, as_caller: Callable[[], contextlib.AbstractContextManager[Any]]) -> bool:
    """Compact the trace at `path`, which is open as `fd`; whether that was done.

    Left alone: what is no regular file of ours (`-o /dev/null`!), has other names or another owner than a
    file that we make there, was renamed meanwhile, or would take too long. Mode and owner stay.
    """
    was = os.fstat(fd)
    if not stat.S_ISREG(was.st_mode) or was.st_nlink != 1:
        return False
    folder, name = os.path.split(path)
    fresh = str(Path(folder, f".{name}.{os.getpid()}.compacting"))
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with as_caller():
            source = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(source, "rb") as old:
            if not os.path.sameopenfile(source, fd):
                return False
            with as_caller():
                target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
            try:
                with os.fdopen(target, "wb") as new:
                    now = os.fstat(target)
                    if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid) or not _copy(old, new):
                        return False
                    new.flush()
                    os.fchmod(target, stat.S_IMODE(was.st_mode))
                    # Some file systems commit a rename before the data: after a power cut the file was empty.
                    os.fsync(target)
                with as_caller():
                    Path(fresh).replace(path)
                return True
            finally:
                with contextlib.suppress(OSError), as_caller():  # gone, when it took its place
                    Path(fresh).unlink()
    except (OSError, ValueError, MemoryError):  # ArrowInvalid is a ValueError
        return False


def _copy(source: IO[bytes], target: IO[bytes]) -> bool:
    import pyarrow as pa

    deadline = time.monotonic() + BUDGET_S
    with pa.ipc.open_stream(source) as reader:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(target, reader.schema, options=options) as writer:
            for batch, metadata in _groups(reader):
                writer.write_batch(batch, metadata)
                if time.monotonic() > deadline:
                    return False
    return True


def _groups(reader: Any) -> Iterator[tuple[Any, Any]]:
    """Neighbouring batches as one, up to a size; metadata of a batch goes to its group."""
    import pyarrow as pa

    held: list[Any] = []
    rows = size = 0
    metadata = None
    for batch, said in reader.iter_batches_with_custom_metadata():
        if held and (rows + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
            yield from _joined(pa, held, metadata)
            held, rows, size, metadata = [], 0, 0, None
        held.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        metadata = said or metadata
    yield from _joined(pa, held, metadata)


def _joined(pa: Any, batches: list[Any], metadata: Any) -> Iterator[tuple[Any, Any]]:
    if batches:
        for batch in pa.Table.from_batches(batches).combine_chunks().to_batches():
            yield batch, metadata
