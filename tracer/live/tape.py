"""A saved trace as a tape: an outline of it, and its rows in order of time, as often as it is rewound.

    outline(recording) -> Outline           first and last stamp, births over time; reads the stamps alone
    tape = Tape(recording); tape.until(ns) -> Batch | None     rows up to then that were not given yet
    tape.find({Kind.FORK}) -> (Batch, Event) | None            rows up to and with the next of these
    tape.rewind()

Time is that of the rows so far: a stamp that goes back is taken to be of the moment before. Small traces are held in
memory, so that rewinding costs no reading; large ones are read again. Knows no clock and no screen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracer.model.batch import Batch, Event
from tracer.model.schema import NULL, TYPES, Kind, Part
from tracer.recording.thin import weight

if TYPE_CHECKING:
    from tracer.recording import Recording

_BUCKETS: Final = 1024
_HELD_MOST: Final = 64 << 20  # bytes
_NS: Final = 10**9


@dataclass
class Outline:
    """`births`: how many processes were born in each `step_ns`, from `first_ns` on. None where there is no stamp."""

    first_ns: int | None = None
    last_ns: int | None = None
    step_ns: int = 10_000_000
    births: list[int] = field(default_factory=list)
    rows: int = 0

    @property
    def length_ns(self) -> int:
        """From the first stamp to the last."""
        return 0 if self.first_ns is None or self.last_ns is None else self.last_ns - self.first_ns

    def add(self, batch: Batch) -> None:
        """A part of the trace."""
        import numpy as np

        self.rows += len(batch)
        stamps = stamps_of(batch)
        if not len(stamps) or stamps[-1] == NULL:
            return
        if self.first_ns is None:
            self.first_ns = int(stamps[np.argmax(stamps != NULL)])
        self.last_ns = max(int(stamps[-1]), self.last_ns or self.first_ns)
        while self.length_ns // self.step_ns >= _BUCKETS:
            self.births = [sum(self.births[i : i + 2]) for i in range(0, len(self.births), 2)]
            self.step_ns *= 2
        self.births += [0] * (self.length_ns // self.step_ns + 1 - len(self.births))
        part = batch.parts.get(Kind.FORK)
        if part is None:
            return
        at = np.array(part["ts_ns"], np.int64)
        at = at[(at != NULL) & (np.array(part.get("tid") or part["pid"]) == np.array(part["pid"]))]
        at = np.clip((at - self.first_ns) // self.step_ns, 0, len(self.births) - 1)
        for bucket, n in zip(*np.unique(at, return_counts=True), strict=True):
            self.births[int(bucket)] += int(n)


def outline(recording: Recording) -> Outline:
    """Of all of it."""
    result = Outline()
    for batch in recording.batches({"ts_ns", "pid", "tid"}):
        result.add(batch)
    return result


def stamps_of(batch: Batch) -> Any:
    """For each row the latest stamp up to it, as a numpy array; NULL before the first."""
    import numpy as np

    kinds = np.frombuffer(batch.kinds, np.uint8)
    stamps = np.full(len(kinds), NULL, np.int64)
    for kind, part in batch.parts.items():
        if part.get("ts_ns"):
            stamps[kinds == kind] = part["ts_ns"]
    return np.maximum.accumulate(stamps) if len(stamps) else stamps


class Tape:
    """Stands at the beginning. `ended`: everything was given."""

    def __init__(self, recording: Recording, *, held_most: int = _HELD_MOST) -> None:
        self._recording = recording
        self._held: list[Batch] | None = []
        self._bytes = 0
        self._whole = False
        self._held_most = held_most
        self.rewind()

    def rewind(self) -> None:
        """Back to the beginning."""
        if not self._whole:
            self._held, self._bytes = [], 0
        self._source: Iterator[Batch] = iter(self._held or ()) if self._whole else self._recording.batches()
        self._batch: Batch | None = None
        self._at = 0
        self._stamps: Any = None
        self.ended = False
        self.at_ns = NULL
        """Stamp of the last row that was given."""

    def _more(self) -> bool:
        """Whether there is a row to give."""
        while self._batch is None or self._at >= len(self._batch):
            batch = next(self._source, None)
            if batch is None:
                self.ended = True
                self._whole = self._held is not None
                return False
            if not self._whole and self._held is not None:
                self._bytes += weight(batch)
                self._held.append(batch)
                if self._bytes > self._held_most:
                    self._held = None
            self._batch, self._at = batch, 0
            self._stamps = stamps_of(batch)
            if self.at_ns != NULL:
                self._stamps.clip(self.at_ns, out=self._stamps)
        return True

    def next_ns(self) -> int | None:
        """Stamp of the row that comes next; None at the end."""
        return int(self._stamps[self._at]) if self._more() else None

    def until(self, ns: int) -> Batch | None:
        """The rows up to then, of one stretch that was stored together; None when all of them were given."""
        import numpy as np

        if not self._more():
            return None
        assert self._batch is not None
        end = int(np.searchsorted(self._stamps, ns, side="right"))
        return self._give(end) if end > self._at else None

    def find(self, kinds: Collection[Kind]) -> tuple[Batch, Event | None] | None:
        """Rows up to and with the next of these kinds, threads left out; a stretch of rows without; None at the end."""
        if not self._more():
            return None
        batch = self._batch
        assert batch is not None
        best: tuple[int, Event] | None = None
        for kind in kinds:
            at, k = self._at, batch.kinds.count(kind, 0, self._at)
            while (at := batch.kinds.find(kind, at)) >= 0 and (best is None or at < best[0]):
                event = _event(kind, batch.parts[kind], k)
                if event.tid in (None, event.pid) and (kind != Kind.EXIT or event.last is not False):
                    best = (at, event)
                    break
                at, k = at + 1, k + 1
        if best is None:
            return self._give(len(batch)), None
        return self._give(best[0] + 1), best[1]

    def _give(self, end: int) -> Batch:
        assert self._batch is not None
        given = self._batch.cut(self._at, end)
        self._at = end
        self.at_ns = int(self._stamps[end - 1])
        return given


def _event(kind: Kind, part: Part, k: int) -> Event:
    values: dict[str, Any] = {}
    for name, column in part.items():
        value = column[k]
        if value is not None and not (TYPES[name] in "ib" and value == NULL):
            values[name] = bool(value) if TYPES[name] == "b" else value
    return Event(kind, values)
