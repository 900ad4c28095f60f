"""What a capture leaves: the sink that keeps its batches, and the trace made of them; and opening a saved one.

Knows the file and the spool, and no report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracer.errors import CannotWriteError
from tracer.events import Batch, Kind
from tracer.session import Session
from tracer.spool import Spool
from tracer.trace import Trace


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

    def open(self) -> None:
        """After the program is held, before it is let go: the file's errors must stop nothing that runs."""
        if self._path is None:
            return
        from tracer.privileges import as_caller, open_output
        from tracer.recording import Writer

        self._writer = Writer(self._path, self._session.meta, opener=open_output, as_caller=as_caller)

    def take(self, batch: Batch) -> None:
        """A sink that never raises."""
        if self._redact:
            from tracer.redact import redact_batch

            redact_batch(batch)
        self._spool.add(batch)
        if Kind.END in batch.parts:
            self._totals = next(values for kind, values in batch.rows() if kind == Kind.END)
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
            self._writer = None

    def batches(self) -> Spool:
        """What has come so far."""
        return self._spool

    def finish(self) -> Trace:
        """Close the file; the trace to report from."""
        self._write(lambda writer: writer.close(self._totals))
        return Trace(self._session.meta, lambda: self._spool, status=self._session.status)


def open_trace(path: str, progress: Callable[[int, int], object] | None = None) -> Trace:
    """A saved trace, `-` for standard input. Raises NoInputError or BadDataError; damage later on is no error.

    `progress(position, size)`, in bytes, is called while it is read.
    """
    from tracer.recording import Recording

    saved = Recording(path, progress=progress)
    return Trace(saved.meta, saved.batches, is_torn=lambda: saved.torn)
