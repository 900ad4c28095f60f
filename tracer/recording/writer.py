"""Writes a .ftrace file as it happens: soon enough to survive a kill, rarely enough to stay small.

A record batch of one row costs 6.7 KB and a millisecond, so rows wait for company: until there are 4096 of
them, or for 1 s, or, below 100 rows a second, for up to 10 s. Each batch goes out in one write to an
unbuffered descriptor: what is flushed is the kernel's, and a kill -9 of forktrace can not take it back.
There is no thread and no timer: whoever runs the event loop asks `next_flush_at` and calls `maybe_flush`.

A disk that is full must not stop a tracer. The writer says so once, as an error, and is mute from then on.
Knows nothing of where batches come from, or as whom files are opened (`opener` and `as_caller` do).
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import IO, Any, Final

from tracer.errors import CannotWriteError
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind
from tracer.recording import columns, compact
from tracer.recording.header import TOTALS_KEY, header

FLUSH_ROWS: Final = 4096
MAX_BATCH_ROWS: Final = 65536
MAX_BATCH_TEXT: Final = 8 << 20  # characters in argv and env: at most 32 MiB, well below what frames.py reads
SMALL_BATCH: Final = 32768  # bytes; below this, descriptions are more than a fifth of the file
WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 10.0
SLOW_RATE: Final = 100.0  # rows/s


class Writer:
    """Writes batches to `target`: a path (made or overwritten, mode 0600), or an open binary file object.

    `opener(path, "wb")` opens a path, and `as_caller()` is a context in which files are renamed: together
    they let root write as the user it works for. `clock` is in seconds. Raises CannotWriteError.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | IO[bytes],
        meta: Meta,
        *,
        opener: Callable[[str, str], IO[bytes]] | None = None,
        as_caller: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.meta = meta
        self.rows = 0
        """Rows written or waiting, the end row not included."""
        self.lost = 0
        """Records that `lost` rows speak of."""
        self.unwritten = 0
        """Rows that were given, but did not reach the file."""
        self.failed: CannotWriteError | None = None
        self.closed = False
        self._clock = clock
        self._as_caller = as_caller
        self._path: str | None = None
        self._file: Any = target
        if isinstance(target, str | os.PathLike):
            self._path = os.fspath(target)
            opened = (opener or _open)(self._path, "wb")
            self._file = opened.detach() if isinstance(opened, io.BufferedIOBase) else opened
        self._name = self._path or str(getattr(target, "name", "the trace"))
        self._waiting: list[Batch] = []
        self._waiting_rows = 0
        self._waiting_text = 0
        self._since = 0.0  # when the first waiting row came
        self._wait = WAIT_S
        self._bytes = 0
        self._batches = 0
        self._sink = io.BytesIO()
        self._stream: Any = None

    def write(self, batch: Batch) -> None:
        """Take `batch`, and flush if enough rows wait. The batch must not be changed afterwards."""
        batch = batch.without(Kind.END)  # the end row is ours to write
        if not len(batch) or self.closed:
            return
        if self.failed:
            self.unwritten += len(batch)
            return
        if not self._waiting:
            self._since = self._clock()
        self._waiting.append(batch)
        self._waiting_rows += len(batch)
        self._waiting_text += _text(batch)
        self.rows += len(batch)
        self.lost += sum(n for n in batch.parts.get(Kind.LOST, {}).get("count", ()) if n != NULL)
        if self._waiting_rows >= FLUSH_ROWS or self._waiting_text >= MAX_BATCH_TEXT:
            self._wait = WAIT_S
            self.flush()

    @property
    def next_flush_at(self) -> float | None:
        """When, on `clock`, `maybe_flush` has something to do; None while no row waits."""
        return self._since + self._wait if self._waiting else None

    def maybe_flush(self, now: float | None = None) -> bool:
        """Flush if the first waiting row has waited long enough; whether it did."""
        now = self._clock() if now is None else now
        if not self._waiting or now < self._since + self._wait:
            return False
        slow = self._waiting_rows < SLOW_RATE * (now - self._since)
        self._wait = min(2 * self._wait, LONGEST_WAIT_S) if slow else WAIT_S
        self.flush()
        return True

    @property
    def size(self) -> int:
        """Bytes in the file; rows that wait are not."""
        return self._bytes

    def flush(self) -> None:
        """Write every row that waits. Raises CannotWriteError the first time that this fails."""
        self._flush({})

    def close(self, totals: Mapping[str, Any] | None = None) -> None:
        """Write what waits and the end row, and close the file if it was given as a path.

        `totals` are JSON values to keep with the end row; `ts_ns`, `utime_ns` and `stime_ns` among them become its own:
        when, and the tracer's CPU time. A file of many
        small batches is then written anew in big ones, which take the place of the first. Raises
        CannotWriteError, if that was not said before.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if self.failed:
                return
            said = {**(totals or {}), "rows": self.rows, "lost": self.lost}
            row = {name: said.get(name) for name in ("ts_ns", "utime_ns", "stime_ns")}
            row["count"] = self.rows
            self._waiting.append(Batch.from_rows([(Kind.END, row)]))
            self._flush({TOTALS_KEY: json.dumps(said).encode()})
            if self._path is not None and self._batches > 1 and self._bytes < SMALL_BATCH * self._batches:
                compact.replace(self._path, self._file.fileno(), self._as_caller)
        finally:
            if self._path is not None:
                self._file.close()

    def abandon(self) -> None:
        """Close the file as it is: no end row, and what waits is dropped."""
        self.closed = True
        self._waiting = []
        if self._path is not None:
            self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(CannotWriteError):
            self.flush()
        self.abandon()

    def _flush(self, metadata: Mapping[bytes, bytes]) -> None:
        if not self._waiting:
            return
        batch, rows = Batch.join(self._waiting), self._waiting_rows
        small = self._waiting_text <= MAX_BATCH_TEXT
        self._waiting, self._waiting_rows, self._waiting_text = [], 0, 0
        pieces = [batch] if small and len(batch) <= MAX_BATCH_ROWS else list(_pieces(batch))
        try:
            for piece in pieces:
                self._put(piece, metadata if piece is pieces[-1] else {})
                rows -= len(piece)
        except OSError as e:
            self.unwritten += max(rows, 0)
            self.failed = CannotWriteError(
                f"can not go on writing {self._name}: {(e.strerror or str(e)).lower()}",
                "what it holds so far can be read",
            )
            raise self.failed from None

    def _put(self, batch: Batch, metadata: Mapping[bytes, bytes]) -> None:
        import pyarrow as pa

        if self._stream is None:
            # Without threads: a tracer should not compete with what it watches for the other cores.
            # Level 3 is as fast as 1, which takes the zero bytes of each number for a run of their own.
            codec = pa.Codec("zstd", compression_level=3)
            options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
            self._stream = pa.ipc.new_stream(self._sink, header(self.meta), options=options)
        self._stream.write_batch(columns.widen(batch), metadata or None)
        if metadata:
            self._stream.close()
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        self._send(data)
        self._bytes += len(data)
        self._batches += 1

    def _send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel, or none of it: half a batch is cut off again, if possible."""
        start = None
        with contextlib.suppress(OSError):  # a pipe does not know where it is
            start = self._file.tell()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._file.flush()
        except OSError:
            if start is not None:
                with contextlib.suppress(OSError):
                    self._file.seek(start)
                    self._file.truncate()
            raise


def _open(path: str, _mode: str) -> IO[bytes]:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
    except OSError as e:
        why = "it is a symbolic link" if e.errno == errno.ELOOP else (e.strerror or str(e)).lower()
        raise CannotWriteError(f"can not write {path}: {why}", "name another file") from None


def _pieces(batch: Batch) -> Iterator[Batch]:
    """`batch` in halves until each is of a size that readers take."""
    if len(batch) <= 1 or (len(batch) <= MAX_BATCH_ROWS and _text(batch) <= MAX_BATCH_TEXT):
        yield batch
    else:
        middle = len(batch) // 2
        for half in (batch.cut(0, middle), batch.cut(middle)):
            yield from _pieces(half)


def _text(batch: Batch) -> int:
    """Characters and elements in the lists of strings, which alone can be huge."""
    total = 0
    for part in batch.parts.values():
        for name in ("argv", "env"):
            lists = [strings for strings in part.get(name, ()) if strings]
            total += sum(map(len, lists)) + sum(map(len, chain.from_iterable(lists)))
    return total
