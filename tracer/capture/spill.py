"""Batches kept until the report: in memory while they are few, then in an unlinked temporary file.

Memory stays flat however long the program runs. No format that anyone else could read: that is recording's.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import IO, Final

from tracer.errors import CannotWriteError
from tracer.model.batch import Batch

_IN_MEMORY: Final = 64 << 20
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ROW_BYTES: Final = 400  # what a row takes as columns, words included: enough to bound, not to bill


class Spool:
    """`add` batches, iterate over them as often as wanted."""

    def __init__(self, limit: int = _IN_MEMORY) -> None:
        self._batches: list[Batch] = []
        self._held = 0
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._spilled: list[tuple[int, int, int]] = []  # (offset, bytes, bytes when not compressed)
        self._failed = False
        self.rows = 0

    def add(self, batch: Batch) -> None:
        """Keep a batch. When the temporary file can not be written, memory serves: nothing is dropped."""
        self._batches.append(batch)
        self.rows += len(batch)
        self._held += len(batch) * _ROW_BYTES
        if self._held > self._limit and not self._failed:
            self._spill()

    def _spill(self) -> None:
        import pickle
        import tempfile

        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="forktrace-")  # noqa: SIM115 - lives as long as we do
                weakref.finalize(self, self._file.close)
            # Our own file, unlinked and never shared: pickle reads back only what it wrote here.
            whole = pickle.dumps([(b.kinds, b.parts) for b in self._batches], protocol=5)
            data = _compressed(whole)
            offset = self._file.seek(0, 2)
            self._file.write(data)
            self._file.flush()
        except OSError:
            self._failed = True
            return
        self._spilled.append((offset, len(data), len(whole)))
        self._batches.clear()
        self._held = 0

    def __iter__(self) -> Iterator[Batch]:
        if self._spilled:
            import pickle

        for offset, size, whole in self._spilled:
            assert self._file is not None
            self._file.seek(offset)
            data = self._file.read(size)
            if len(data) != size:
                raise CannotWriteError("the temporary file with the events was cut short", "free space in TMPDIR")
            for kinds, parts in pickle.loads(_whole(data, whole)):  # noqa: S301 - our own unlinked file
                yield Batch(kinds, parts)
        yield from self._batches

    def close(self) -> None:
        """Give memory and disk back."""
        self._batches.clear()
        self._spilled.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def _compressed(data: bytes) -> bytes:
    """By zstd, which takes a third of zlib's time for as few bytes; zlib where pyarrow is not there."""
    try:
        from pyarrow import compress
    except ImportError:
        import zlib

        return zlib.compress(data, 1)
    packed: bytes = compress(data, codec="zstd", asbytes=True)
    return packed


def _whole(data: bytes, size: int) -> bytes:
    """What was compressed to `data`: both sorts begin as no other does."""
    if not data.startswith(_ZSTD):
        import zlib

        return zlib.decompress(data)
    from pyarrow import decompress

    whole: bytes = decompress(data, size, codec="zstd", asbytes=True)
    return whole
