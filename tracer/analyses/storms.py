"""Fork storms: found in a window second by second, against what is usual or a given rate, and explained.

    detector = Detector(window, usual=...); for finding in detector.look(): ...
    storms(batches, meta)                    the same over a whole trace

A storm is an excess of births (failed ones count) that lasts, by one ancestor, and bears a sign that it is no healthy
load (storm_signs.py); with `rate` the excess alone is enough. Said when it is sure, and again when it is over. A
second is judged half a second after its end: a source is a little late. Pure; no clock but the events'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from tracer.analyses.busiest import Below, Sum, ancestors, templates_below
from tracer.analyses.lives import LIVING, Key, Life
from tracer.analyses.pacing import by_second
from tracer.analyses.storm_advice import advise
from tracer.analyses.storm_baseline import Baseline
from tracer.analyses.storm_finding import Advice, Command, Finding, Who
from tracer.analyses.storm_signs import Sign, shape, signs, status_words
from tracer.analyses.storm_who import builds, inside, key_of, living_of, quantile, weight, who_is
from tracer.analyses.window import Window
from tracer.events import Batch, Fact, Meta
from tracer.recording.thin import earliest

__all__ = ["Advice", "Command", "Detector", "Finding", "Who", "storms"]

_NS: Final = 10**9
_LAG_NS: Final = _NS // 2
_BRIEF: Final = 3  # seconds of excess
_CALM: Final = 5  # seconds without, and it is over
_LOOK: Final = 10  # seconds that a judgement is made over
_PART: Final = 0.3  # of the excess, for an ancestor to be looked at
_COMMANDS: Final = 5


@dataclass
class _Storm:
    """One that goes on."""

    key: Key | None
    began: int  # second
    reason: str
    signs: tuple[str, ...]
    usual: float | None
    warm: bool
    limit: float
    who: Who | None = None
    shape: str | None = None
    commands: tuple[Command, ...] = ()
    total: Sum = field(default_factory=Sum)
    rates: list[int] = field(default_factory=list)
    usual_alive: int = 0
    calm: int = 0
    lost: int = 0


class Detector:
    """Looks at `window` after it was fed or advanced. `usual`: births a second since boot, if known.

    `cgroups`: version and mount point of the control groups, for the commands in the advice.
    """

    def __init__(
        self, window: Window, *, rate: float | None = None, usual: float | None = None,
        cgroups: tuple[int, str] = (2, "/sys/fs/cgroup"),
    ) -> None:  # fmt: skip
        self.window = window
        self.baseline = Baseline(usual)
        self.suspected = False
        """There is an excess just now, storm or not."""
        self._rate = rate
        self._cgroups = cgroups
        self._next: int | None = None
        self._run = 0  # seconds of excess in a row
        self._alive: dict[int, dict[Key | None, int]] = {}
        self._storm: _Storm | None = None

    @property
    def limit(self) -> float:
        """Births a second from which on there is an excess."""
        return self._rate if self._rate is not None else self.baseline.limit

    @property
    def storming(self) -> bool:
        """A storm was found and is not over."""
        return self._storm is not None

    def look(self) -> list[Finding]:
        """What is to be said of the seconds that have closed since: a storm that began, one that is over."""
        window = self.window
        span = window.span
        if not span and window.now_ns == 0:
            return []
        settled = (window.now_ns - _LAG_NS) // _NS  # the first second that is not
        first = span.start + 1  # the very first was seen from its middle
        at = first if self._next is None else max(self._next, first)
        said = []
        while at < settled:
            finding = self._judge(at)
            if finding is not None:
                said.append(finding)
            at += 1
        self._next = at
        return said

    def finish(self) -> Finding | None:
        """The stream has ended: so has the storm, for us."""
        storm, self._storm = self._storm, None
        return self._finding(storm, ended=self.window.now_ns) if storm is not None else None

    def now(self) -> Finding | None:
        """The storm that goes on, as it stands."""
        return self._finding(self._storm, ended=None) if self._storm is not None else None

    # -- second by second -------------------------------------------------------------------------------------

    def _judge(self, at: int) -> Finding | None:
        if self._storm is not None:
            return self._follow(self._storm, at)
        rate = self.window.attempts(at)
        self._note_living(at)
        self.suspected = rate > self.limit
        if not self.suspected:
            self._run = max(0, self._run - 2) if self._run else 0  # one second of breath does not end it
            self.baseline.feed(rate)
            return None
        self._run += 1
        found = self._begin(at) if self._run >= _BRIEF else None
        if found is None:
            self.baseline.feed(rate)
        return found

    def _note_living(self, at: int) -> None:
        """How many live below each that has many: growth is seen by comparing."""
        below = Below(self.window.lives, range(at, at + 1))
        self._alive[at] = {key_of(life): total.alive for life, total in below.whole.items() if total.alive}
        for old in [second for second in self._alive if second < at - _LOOK]:
            del self._alive[old]

    def _begin(self, at: int) -> Finding | None:
        window = self.window
        seconds = range(at - min(self._run, _LOOK) + 1, at + 1)
        level = self.baseline.level or 0.0
        least = _PART * max(self.limit, self._total(seconds) / len(seconds) - level)
        found = sorted(ancestors(window.lives, seconds), key=lambda each: -weight(each[1].tally))
        for life, total in found:
            if weight(total.tally) / len(seconds) < least:
                break
            if life is window.lives.outside:
                continue
            bad = self._signs(life, total, seconds)
            if self._rate is None and not [sign for sign in bad if sign.after <= self._run]:
                continue
            return self._named(life, bad, at)
        if self._rate is None:
            return None
        return self._named(None, [], at)

    def _signs(self, life: Life, total: Sum, seconds: range) -> list[Sign]:
        templates = templates_below(self.window.lives, self.window.namer, life, seconds)
        alive = [self._alive.get(at, {}).get(key_of(life), 0) for at in range(seconds.start - 1, seconds.stop)]
        return signs(total.tally, templates, alive, builder=builds(life))

    def _named(self, life: Life | None, bad: list[Sign], at: int) -> Finding:
        window = self.window
        began = at - self._run + 1
        storm = self._storm = _Storm(
            key=key_of(life) if life is not None else None, began=began,
            reason="baseline" if self._rate is None else "rate",
            signs=tuple(sign.words for sign in bad), usual=self.baseline.level,
            warm=self.baseline.warm, limit=self.limit,
        )  # fmt: skip
        if life is not None:
            storm.usual_alive = self._alive.get(began - 1, {}).get(key_of(life), 0)
        for second in range(max(began, window.span.start), at + 1):
            self._take(storm, second)
        self._explain(storm, at)
        return self._finding(storm, ended=None)

    def _follow(self, storm: _Storm, at: int) -> Finding | None:
        rate = self._take(storm, at)
        level = storm.usual or 0.0
        calm = rate <= max(0.25 * (sum(storm.rates[:_LOOK]) / len(storm.rates[:_LOOK])), 0.0)
        calm = calm or (storm.key is None and rate <= storm.limit)
        storm.calm = storm.calm + 1 if calm else 0
        if calm:
            self.baseline.feed(min(self.window.attempts(at), int(max(level, storm.limit))))
        elif len(storm.rates) % _CALM == 0:
            self._explain(storm, at)
        if storm.calm < _CALM:
            return None
        self._storm = None
        self._run = 0
        self.suspected = False
        del storm.rates[-_CALM:]
        return self._finding(storm, ended=(at - _CALM + 1) * _NS)

    def _take(self, storm: _Storm, at: int) -> int:
        """One more second of it; returns its rate."""
        second = range(at, at + 1)
        storm.lost += self.window.lost(at)
        total = Sum()
        if storm.key is None:
            for each in Below(self.window.lives, second).own.values():
                total.add(each)
        else:
            life = self._find(storm.key)
            if life is not None:
                total = Below(self.window.lives, second).whole.get(life, total)
        storm.total.tally.add(total.tally)
        storm.total.alive, storm.total.zombies = total.alive, total.zombies
        rate = weight(total.tally)
        storm.rates.append(rate)
        return rate

    def _find(self, key: Key) -> Life | None:
        """It, or who stands in its place; also where it has ended and only what is below it lives on."""
        lives = self.window.lives
        life = lives.of.get(key)
        if life is not None:
            return life
        own = (each for each in lives.of.values() if each.origin == key)
        return next(own, None) or next((cell.parent for cell in lives.cells if key_of(cell.parent) == key), None)

    def _ended(self, who: Who) -> bool:
        life = self._find((who.pid, who.born_ns))
        return life is None or not living_of(life)

    def _total(self, seconds: Iterable[int]) -> int:
        return sum(self.window.attempts(at) for at in seconds)

    # -- what it is -------------------------------------------------------------------------------------------

    def _explain(self, storm: _Storm, at: int) -> None:
        """Who, of what, in which shape: anew while it goes on, as there is more to see; kept when it is gone."""
        window = self.window
        seconds = range(max(storm.began, at - _LOOK + 1), at + 1)
        life = self._find(storm.key) if storm.key is not None else window.lives.outside
        if life is None:
            return
        below = Below(window.lives, seconds)
        whole = below.whole.get(life)
        if whole is None or not weight(whole.tally):
            return
        templates = templates_below(window.lives, window.namer, life, seconds)
        births = sum(tally.forks for _, tally in templates)
        storm.commands = tuple(
            Command(label, tally.forks / births if births else 0.0, tally.forks)
            for label, tally in templates[:_COMMANDS]
            if tally.forks
        )
        if storm.key is None:
            return
        everything = self._total(seconds)
        share = weight(whole.tally) / everything if everything else 0.0
        storm.who = who_is(life, seconds, storm.who, share=min(share, 1.0))
        at_first = Below(window.lives, seconds[:1]).whole.get(life)
        came = whole.tally.deepest - at_first.tally.deepest if at_first is not None and at_first.tally.deepest else 0
        generations = came * len(seconds) // max(len(seconds) - 1, 1)
        makers = sum(1 for each in below.own if each is not life and each.state == LIVING and inside(each, life))
        if 10 * whole.tally.forks >= weight(whole.tally):  # else it has none: nothing is born
            storm.shape = shape(
                whole.tally, templates, life.comm, generations=generations, makers=makers, alive=whole.alive
            )

    def _finding(self, storm: _Storm, *, ended: int | None) -> Finding:
        tally, facts = storm.total.tally, self.window.meta.facts
        lasting = storm.rates or [0]
        recent = lasting if ended is not None else lasting[-_BRIEF:]
        statuses = tuple(
            (status_words(status), n) for status, n in sorted(tally.statuses.items(), key=lambda each: -each[1])[:8]
        )
        causes = tuple(sorted(tally.causes.items(), key=lambda each: -each[1])[:8])
        version, mount = self._cgroups
        who = storm.who
        if who is not None and self._ended(who):
            who = replace(who, alive=False, pids=())
        return Finding(
            began_ns=storm.began * _NS, found_ns=self.window.now_ns, ended_ns=ended, reason=storm.reason,
            signs=storm.signs, usual=storm.usual, warm=storm.warm, limit=storm.limit,
            rate=sum(recent) / len(recent), peak=max(lasting),
            who=who, shape=storm.shape, commands=storm.commands,
            forks=tally.forks, execs=tally.execs, exits=tally.exits,
            failures=tally.failures if Fact.FORK_FAILED in facts else None, causes=causes,
            alive=storm.total.alive, zombies=storm.total.zombies if Fact.ZOMBIES in facts else None,
            statuses=statuses, life_ns=quantile(tally, 0.5), life_long_ns=quantile(tally, 0.9),
            fork_ns=tally.fork_ns if tally.timed else None, copies=tally.copies if Fact.COW in facts else None,
            cpu_ns=tally.cpu_ns if tally.exits and Fact.CPU in facts and Fact.REAPS in facts else None,
            lost=storm.lost,
            advice=() if ended is not None and who is not None and not who.alive else advise(
                who, storm.shape, alive=storm.total.alive, usual_alive=storm.usual_alive, statuses=statuses,
                causes=causes, version=version, mount=mount,
            ),
        )  # fmt: skip


def storms(
    batches: Iterable[Batch], meta: Meta, *, rate: float | None = None, usual: float | None = None
) -> Iterator[Finding]:
    """The storms of a whole trace, each once, when it is over or the trace is."""
    window = Window(60, meta)
    detector = Detector(window, rate=rate, usual=usual)
    for batch in by_second(batches):
        if window.now_ns:  # what is before a gap is judged before what lies behind it makes it old
            window.advance(min(earliest(batch), (window.now_ns // _NS + 1) * _NS + _LAG_NS))
            yield from (finding for finding in detector.look() if finding.ended_ns is not None)
        window.feed(batch)
        yield from (finding for finding in detector.look() if finding.ended_ns is not None)
    window.advance(window.now_ns + _NS + _LAG_NS)
    yield from (finding for finding in detector.look() if finding.ended_ns is not None)
    last = detector.finish()
    if last is not None:
        yield last
