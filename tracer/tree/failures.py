"""Ingest EXEC_FAILED, FORK_FAILED, LOST and END: what did not work, what is missing, and the totals.

Searches along the PATH fail several times for each exec that works, and as objects would take more memory than the
tree: failures are kept as the columns in which they came.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracer.model.batch import Batch, Event
from tracer.model.frozen import record
from tracer.model.schema import Kind, Part


@record
class Loss:
    """Records that are missing, and where they were lost; each may be unknown.

    `where` is a place, or a place and what was lost there: `events ring`, `skipped by the kernel: ends`.
    """

    time_ns: int | None
    count: int | None
    where: str | None

    @property
    def place(self) -> str | None:
        """Where it was lost."""
        return self.where.partition(": ")[0] if self.where else None

    @property
    def what(self) -> str | None:
        """What was lost: births, ends, ...; None where it may be anything."""
        return (self.where or "").partition(": ")[2] or None

    @property
    def may_be_ends(self) -> bool:
        """Whether ends of processes may be among it."""
        return self.what in (None, "ends")


class LazyEvents:
    """Events of one kind, kept as columns. Iterate as often as you like: `Event`s are made on the way."""

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


class Failures:
    """Failed calls, losses, and the end record of a trace."""

    def __init__(self) -> None:
        self.execs, self.forks = LazyEvents(Kind.EXEC_FAILED), LazyEvents(Kind.FORK_FAILED)
        self.losses: list[Loss] = []
        self.end: Event | None = None

    def failed_execs(self, part: Part) -> None:
        """EXEC_FAILED: execve returned an error."""
        self.execs.add(part, _size(part))

    def failed_forks(self, part: Part) -> None:
        """FORK_FAILED: a fork returned an error."""
        self.forks.add(part, _size(part))

    def lost(self, part: Part) -> None:
        """LOST: records are missing."""
        self.losses += [Loss(event.ts_ns, event.count, event.where) for event in _events(Kind.LOST, part)]

    def ended(self, part: Part) -> None:
        """END: the trace was closed in order."""
        for event in _events(Kind.END, part):
            self.end = event


def _size(part: Part) -> int:
    return len(next(iter(part.values()), ()))


def _events(kind: Kind, part: Part) -> Iterator[Event]:
    return Batch(bytes([kind]) * _size(part), {kind: part}).events()
