"""What a capture leaves: the sink that keeps its batches, and the trace made of them; and opening a saved one.

Knows the file and the spool, and no report.
"""

from __future__ import annotations

import contextlib
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Any

from tracer.api.trace import Trace
from tracer.capture.session import Session
from tracer.capture.spill import Spool
from tracer.errors import CannotWriteError, ForktraceError
from tracer.model.batch import Batch
from tracer.model.schema import Kind


class Keeper:
    """Where the batches go: a file if one was named, else the spool. A file that fails is replaced by the spool."""

    def __init__(self, session: Session, path: str | None, *, redact: bool = False) -> None:
        self.failure: CannotWriteError | None = None
        self._session = session
        self._path = path
        self._redact = redact
        self._spool = Spool()
        self._writer: Any = None
        self._totals: dict[str, Any] = {}
        self._written: int | None = None  # the file, to be read
        self._unwritten: list[Batch] = []  # given to the writer, and not in the file yet
        self._damage: str | None = None
        self._finished = False
        self.losses = 0
        """Times that records were lost."""

    def open(self) -> None:
        """After the program is held, before it is let go: the file's errors must stop nothing that runs."""
        if self._path is None:
            return
        from tracer.capture.privileges import as_caller
        from tracer.recording import Writer

        self._writer = Writer(self._path, self._session.meta, opener=self._open, as_caller=as_caller)

    def _open(self, path: str, mode: str) -> IO[bytes]:
        """Open the file to write, and again to read: by the time of the report its name may mean another file.

        A pipe or a terminal can not be read back, and what /dev/stdout stands for may be written by others too.
        """
        from tracer.capture.privileges import as_caller, open_output

        file = open_output(path, mode)
        with contextlib.suppress(OSError), as_caller():
            made, named = os.fstat(file.fileno()), os.lstat(path)
            if stat.S_ISREG(named.st_mode) and os.path.samestat(made, named):
                self._written = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, self._written)
        return file

    def take(self, batch: Batch) -> None:
        """A sink that never raises."""
        if self._redact:
            from tracer.redact import redact_batch

            redact_batch(batch)
        self.losses += batch.kinds.count(Kind.LOST)
        if Kind.END in batch.parts:
            self._totals = next(values for kind, values in batch.rows() if kind == Kind.END)
        if self._writer is None:
            self._spool.add(batch)
            return
        if self._written is not None:
            self._unwritten.append(batch)
        else:
            self._spool.add(batch)
        self._write(lambda writer: writer.write(batch))

    def tick(self) -> None:
        """Now and then: rows that have waited long enough go to the file, also when no more come."""
        self._write(lambda writer: writer.maybe_flush())

    def _write(self, do: Callable[[Any], object]) -> None:
        if self._writer is None:
            return
        try:
            do(self._writer)
        except CannotWriteError as e:
            self.failure = e
            self._writer.abandon()
            for batch in _last(self._unwritten, self._writer.unwritten):
                self._spool.add(batch)
            self._unwritten.clear()
            self._writer = None
            return
        if self._writer.next_flush_at is None:
            self._unwritten.clear()

    def batches(self) -> Iterator[Batch]:
        """What has come so far: from the file, what it does not hold yet, and the spool.

        Raises NoInputError or BadDataError for a file that cannot be read again.
        """
        self._damage = None
        if self._written is not None and os.fstat(self._written).st_size:  # else nothing was written yet
            from tracer.recording import Recording

            with open(self._written, "rb", buffering=0, closefd=False) as file:
                saved = Recording(file)
                yield from saved.batches()
                if saved.broken or (saved.torn and self._finished):
                    self._damage = str(saved.damage).replace(saved.name, self._path or saved.name, 1)
        yield from self._unwritten
        yield from self._spool

    def so_far(self) -> Iterator[Batch]:
        """As `batches`, as far as they can be read: for what is only said on the way."""
        with contextlib.suppress(ForktraceError):
            yield from self.batches()

    def finish(self) -> Trace:
        """Close the file; the trace to report from."""
        self._write(lambda writer: writer.close(self._totals))
        self._finished = self._writer is not None  # the end is in the file
        return Trace(
            self._session.meta,
            self.batches,
            status=self._session.status,
            damage=lambda: self._damage,
            broken=lambda: self._damage is not None,
        )


def _last(batches: list[Batch], rows: int) -> Iterator[Batch]:
    """The last so many rows, and the end: a write that failed half way has put those before them into the file."""
    written = sum(len(batch) - batch.kinds.count(Kind.END) for batch in batches) - rows
    for batch in batches:
        at = min(max(written, 0), len(batch))
        written -= at
        if at < len(batch):
            yield batch.cut(at)


def open_trace(path: str, progress: Callable[[int, int], object] | None = None) -> Trace:
    """A saved trace, `-` for standard input. Raises NoInputError or BadDataError; damage later on is no error.

    `progress(position, size)`, in bytes, is called while it is read.
    """
    from tracer.recording import Recording

    saved = Recording(path, progress=progress)
    return Trace(saved.meta, saved.batches, damage=lambda: saved.damage, broken=lambda: saved.broken)
