"""Events of one kind, kept as the columns in which they came: `Event`s are made when they are looked at.

Searches along the PATH fail several times for each exec that does not: as objects they would take more memory than all
of the tree. Knows batches and events.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind, Part


class Told:
    """Iterate it, as often as you like, for its events, in stream order."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._parts: list[tuple[Part, int]] = []

    def add(self, part: Part, n: int) -> None:
        """`n` more. The columns are given away."""
        self._parts.append((part, n))

    def __len__(self) -> int:
        return sum(n for _, n in self._parts)

    def __iter__(self) -> Iterator[Event]:
        for part, n in self._parts:
            yield from Batch(bytes([self._kind]) * n, {self._kind: part}).events()
