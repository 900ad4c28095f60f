"""A saved trace as something to come back to: its batches can be read again and again, from a pipe too.

Knows how to open and rewind; reader.py knows how to read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from tracer.events import Batch
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
        self._file, self._name = open_source(source)
        if regular_start(self._file) is None:
            spooled = tempfile.TemporaryFile(prefix="forktrace-")  # noqa: SIM115  lives as long as this
            shutil.copyfileobj(self._file, spooled)
            spooled.seek(0)
            self._file = spooled
        self._offset = self._file.tell()
        self._progress = progress
        self._reader = self._open(None)
        self.meta = self._reader.meta

    @property
    def torn(self) -> bool:
        """As `Reader.torn`: known once it was read."""
        return self._reader.torn

    @property
    def damage(self) -> str | None:
        """As `Reader.damage`."""
        return self._reader.damage

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
        view: Any = View(self._file, self._offset, self._name)
        return Reader(view, columns=columns)
