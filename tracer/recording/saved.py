"""A saved trace as something to come back to: its batches can be read again and again, from a pipe too.

Knows how to open and rewind; reader.py knows how to read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from tracer.errors import NoInputError
from tracer.model.batch import Batch
from tracer.recording.reader import Reader
from tracer.recording.source import View, open_source, regular_start


class Recording:
    """A saved trace that can be read more than once, also from a pipe: that is kept in a temporary file.

    `progress(position, size)`, in bytes, is called between batches. Raises NoInputError and BadDataError.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        file, self._name = open_source(source)
        try:
            offset = regular_start(file)
            if offset is None:
                with tempfile.TemporaryFile(prefix="forktrace-") as spooled:
                    shutil.copyfileobj(file, spooled)
                    spooled.flush()
                    self._fd, self._offset = os.dup(spooled.fileno()), 0
            else:
                self._fd, self._offset = os.dup(file.fileno()), offset
        except OSError as e:
            why = (e.strerror or str(e)).lower()
            raise NoInputError(f"{self._name} can not be kept in a temporary file: {why}", "set TMPDIR") from None
        finally:
            if file is not source:
                file.close()
        # Open as long as this lives: a name may mean another file by the time that it is read again.
        weakref.finalize(self, os.close, self._fd)
        self._progress = progress
        self._reader = self._open(None)
        self.meta = self._reader.meta

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return self._name

    @property
    def torn(self) -> bool:
        """As `Reader.torn`: known once it was read."""
        return self._reader.torn

    @property
    def damage(self) -> str | None:
        """As `Reader.damage`."""
        return self._reader.damage

    @property
    def broken(self) -> bool:
        """As `Reader.broken`."""
        return self._reader.broken

    @property
    def totals(self) -> dict[str, Any]:
        """As `Reader.totals`."""
        return self._reader.totals

    @property
    def unknown(self) -> int:
        """As `Reader.unknown`."""
        return self._reader.unknown

    def batches(self, columns: Collection[str] | None = None) -> Iterator[Batch]:
        """Its batches, from the beginning, each time."""
        self._reader = reader = self._open(columns)
        for batch in reader:
            if self._progress is not None:
                self._progress(reader.position, reader.size or 0)
            yield batch

    def _open(self, columns: Collection[str] | None) -> Reader:
        view: Any = View(self._fd, self._offset, self._name)
        return Reader(view, columns=columns)
