"""Reads a .ftrace file, whole, torn, growing or hostile, as batches.

    bytes -> frames.py -> whole messages of bearable size -> decoder.py -> valid tables -> columns.py -> batches

What comes before damage is read; where it begins, reading ends, `torn` is true and `damage` says why. Only
a file that can not be a trace from its first message on is an error. Knows nothing of what batches are for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any, Final

from tracer.errors import NoInputError
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import KIND_NAMES, Kind
from tracer.recording.columns import narrow
from tracer.recording.decoder import Decoder
from tracer.recording.frames import Frames, RefusedError
from tracer.recording.header import TOTALS_KEY, check
from tracer.recording.source import no_trace, open_source, regular_start

GROUP_ROWS: Final = 65536
GROUP_BYTES: Final = 32 << 20
POLL_S: Final = 0.1


class Reader:
    """An open trace: iterate it, once, for its batches.

    `source` is a path, "-" for the standard input, or a binary file object that stands at the beginning of
    the trace. `columns` are the only ones to read (`kind` always is). With `follow` the iterator waits at
    the end of a file that is still written, until its end row comes; `wait(seconds)` is how it waits, and
    stops the following by returning False. Raises NoInputError, and BadDataError for what is not a trace.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        columns: Collection[str] | None = None,
        follow: bool = False,
        wait: Callable[[float], bool | None] = time.sleep,
    ) -> None:
        self.torn = False
        """Once read: there was no end row, so rows may be missing at the end."""
        self.broken = False
        """Once read: it is torn because it is damaged, not because its end never came."""
        self.damage: str | None = None
        """Once read: why it is torn, as a sentence."""
        self.totals: dict[str, Any] = {}
        """Once read: what came with the end row ("rows", "lost", ...)."""
        self.rows = 0
        """Rows read so far, those of unknown kinds included."""
        self.unknown = 0
        """Rows of kinds that this forktrace does not know; they were left out."""
        self._columns = None if columns is None else frozenset(columns)
        self._wait = wait
        self._file, self._name = open_source(source)
        self._ours = self._file is not source
        self._start = regular_start(self._file)
        self._size: int | None = None
        self._follow = follow and self._start is not None  # the end of a pipe is the end
        self._frames = Frames(self._file)
        self._over = False
        try:
            self.meta, self._decoder = self._begin(columns)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int | None:
        """Bytes in the file by now, for a progress bar; None for a pipe."""
        if self._start is not None and not self._file.closed:
            self._size = os.fstat(self._file.fileno()).st_size - self._start
        return self._size

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._frames.position

    def __iter__(self) -> Iterator[Batch]:
        for wide in self._wide():
            batch, unknown = narrow(wide, self._columns)
            self.rows += wide.num_rows
            self.unknown += unknown
            if len(batch):
                yield batch
        self.close()

    def _wide(self) -> Iterator[Any]:
        """Record batches of a size that is good to take apart."""
        import pyarrow as pa

        held: list[Any] = []
        rows = size = 0
        for batch in self._batches():
            # Small ones are joined: what is done by column, and not by row, would be most of the time.
            if held and (
                batch is None
                or rows + batch.num_rows > GROUP_ROWS
                or size > GROUP_BYTES
                or batch.num_columns != held[0].num_columns
            ):
                yield from pa.Table.from_batches(held).combine_chunks().to_batches()
                held, rows, size = [], 0, 0
            if batch is not None:
                held.append(batch)
                rows += batch.num_rows
                size += batch.nbytes
        if held:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()

    def close(self) -> None:
        """Close the file, if it was given by its name. Reading to the end does that too."""
        if self._ours:
            self._size = self.size
            self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, names: Collection[str] | None) -> tuple[Meta, Decoder]:
        import pyarrow as pa

        try:
            message = self._frames.next()
            while message is None and self._follow and self._wait(POLL_S) is not False:
                message = self._frames.next()
        except RefusedError:
            message = None
        except OSError as e:
            raise NoInputError(f"{self._name} can not be read: {(e.strerror or str(e)).lower()}") from None
        if message is None:
            raise no_trace(self._name, self._frames.head)
        try:
            decoder = Decoder(message, names)
        except (pa.ArrowException, OSError, ValueError, MemoryError):
            raise no_trace(self._name, message.raw) from None
        return check(decoder.schema, self._name), decoder

    def _batches(self) -> Iterator[Any]:
        """Valid record batches as they were written; None where a growing file ends for now."""
        import pyarrow as pa

        while not self._over:
            try:
                message = self._frames.next()
                if message is None and self._follow and not self._frames.ended:
                    yield None
                    if self._wait(POLL_S) is not False:
                        continue
                if message is None:
                    self._tear("has no end: its writer was killed, or is still writing")
                    continue
                batch, said = self._decoder.decode(message)
                if batch is None:
                    continue
                kinds = batch.column(batch.schema.get_field_index("kind"))
                if len(kinds) and kinds[len(kinds) - 1].as_py() == KIND_NAMES[Kind.END]:
                    self._over = True
                    self.totals = _json(said[TOTALS_KEY]) if said is not None and TOTALS_KEY in said else {}
                yield batch
            except MemoryError:  # ours: what a record may claim is bounded
                fix = "end other programs, or raise `ulimit -v`"
                raise NoInputError(f"{self._name} cannot be read: there is not enough memory", fix) from None
            except (RefusedError, pa.ArrowException, OSError, ValueError) as e:
                said = str(e) if isinstance(e, RefusedError) else "a record is damaged"
                self.broken = True
                self._tear(f"is damaged: at byte {self.position} {said}, and what comes behind was not read")

    def _tear(self, why: str) -> None:
        self._over = self.torn = True
        self.damage = f"{self._name} {why}"


def _json(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {}
