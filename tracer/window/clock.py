"""Seconds of the events' own clock, for a window: what is counted in them, and what goes when they are too old.

Time comes from stamps, or from whoever knows that nothing came. Knows lives and no columns.
"""

from __future__ import annotations

from typing import Final

from tracer.model.meta import Fact, Meta
from tracer.model.schema import NULL
from tracer.window.lineage import ENDED, Key, Life, Lives
from tracer.window.naming import Namer

_NS: Final = 10**9
_LINGER_S: Final = 3
_RELEASE_S: Final = 30  # an ended process whose release was never told is let go of after one to two times this


class Second:
    """What happened in one second. `born` and `zombies` are what came less what went."""

    __slots__ = ("born", "copies", "execs", "exits", "failures", "forks", "lost", "zombies")

    def __init__(self) -> None:
        self.forks = self.execs = self.exits = self.failures = self.lost = self.copies = self.born = self.zombies = 0


class Ticking:
    """Seconds, and the state that feeding fills."""

    def __init__(self, seconds: int, meta: Meta | None) -> None:
        self.seconds = seconds
        self.now_ns = 0
        """Time as the events, or `advance`, have last told it; 0 before the first."""
        self.lives = Lives()
        self.namer = Namer()
        self._first = -1  # the first second that was seen, from its middle most likely
        self._now = -1
        self._seconds: dict[int, Second] = {}
        self._overdue: set[Key] = set()  # had ended at the last sweep, and were not released
        self._sweep_at = 0
        self._suspects: dict[int, Life] = {}  # by pid: after a loss, their end may be what was lost
        self._failures_from: int | None = None
        self.meta = meta or Meta(source="")

    @property
    def meta(self) -> Meta:
        """Of the stream; its facts decide what is null."""
        return self._meta

    @meta.setter
    def meta(self, meta: Meta) -> None:
        self._meta = meta
        facts = meta.facts
        self._reaps = Fact.REAPS in facts
        sees = Fact.FORK_FAILED in facts
        self._failures_from = (self._now if self._failures_from is None else self._failures_from) if sees else None
        self._blind = {
            name
            for name, fact in (("failures", Fact.FORK_FAILED), ("zombies", Fact.ZOMBIES), ("copies", Fact.COW))
            if fact not in facts
        }

    def advance(self, now_ns: int) -> None:
        """It is now at least `now_ns`: closes seconds in which nothing came, forgets those that are too old."""
        if now_ns < 0 or (now_ns <= self.now_ns and self._now >= 0):
            return
        self.now_ns = now_ns
        now = now_ns // _NS
        before = self._now
        if now == before:
            return
        self._now = now
        if before < 0:
            self._first = now
        if self._failures_from is not None and self._failures_from < 0:
            self._failures_from = now
        old = now - self.seconds - 1
        for second in [s for s in self._seconds if s < old]:
            del self._seconds[second]
        for second in [s for s in self.lives.touched if s < old]:
            self.lives.forget(second)
        self.lives.bury(now - _LINGER_S)
        if now >= self._sweep_at:
            self._sweep(now)
            if self.namer.many:
                lives = self.lives
                self.namer.prune({cell.alike[0] for cell in lives.cells} | {life.command for life in lives.of.values()})

    def _sweep(self, now: int) -> None:
        """Let go of those that ended long ago, if the source tells of releases and has not told of theirs."""
        self._sweep_at = now + _RELEASE_S
        self.lives.recall()
        of = self.lives.of
        still = {key for key, life in of.items() if life.state == ENDED and not life.zombie}
        for key in still & self._overdue:
            self.lives.release(of[key])
        self._overdue = still - self._overdue

    def _second(self, ts: int) -> tuple[int, Second]:
        at = self._now if ts == NULL else ts // _NS
        if at <= self._now - self.seconds - 1:
            at = self._now - self.seconds
        found = self._seconds.get(at)
        if found is None:
            found = self._seconds[at] = Second()
        return at, found
