"""Fork storms: found in a window second by second, against what is usual or a given rate, and explained.

    detector = Detector(window, usual=...); for finding in detector.look(): ...
    storms(batches, meta)                    the same over a whole trace

A storm is an excess of births (failed ones count) that lasts, by one ancestor, and bears a sign that it is no healthy
load (storm_signs.py); with `rate` the excess alone is enough. Said when it is sure, and again when it is over. A
second is judged half a second after its end: a source is a little late. While storms go on, what is left without them
is judged for more, up to MOST at a time; others are told of by name, and counted. Pure; no clock but the events'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.recording.thin import earliest
from tracer.storms.baseline import Baseline
from tracer.storms.culprit import builds, inside, key_of, weight, who_is
from tracer.storms.finding import Advice, Command, Finding, Who
from tracer.storms.signs import Sign, signs
from tracer.storms.track import BRIEF, LOOK, Storm, find
from tracer.window.attribution import Below, Sum, ancestors, templates_below
from tracer.window.lineage import Key, Life
from tracer.window.pacing import by_second
from tracer.window.window import Window

__all__ = ["MOST", "Advice", "Command", "Detector", "Finding", "Who", "storms"]

_NS: Final = 10**9
_LAG_NS: Final = _NS // 2
_CALM: Final = 5  # seconds without, and it is over
_PART: Final = 0.3  # of the excess, for an ancestor to be looked at; and so is who alone is above the limit
MOST: Final = 4
"""Storms that are followed at the same time."""
_MOST_KNOWN: Final = 64  # others, that are told apart


class Detector:
    """Looks at `window` after it was fed or advanced. `usual`: births a second since boot, if known.

    `cgroups`: version and mount point of the control groups, for the commands in the advice.
    """

    def __init__(
        self,
        window: Window,
        *,
        rate: float | None = None,
        usual: float | None = None,
        cgroups: tuple[int, str] = (2, "/sys/fs/cgroup"),
    ) -> None:
        self.window = window
        self.baseline = Baseline(usual)
        self.suspected = False
        """There is an excess just now, storm or not."""
        self.passed_over: list[Who] = []
        """Who made storms that were one too many to be followed, each once; at most 64 of them."""
        self._rate = rate
        self._cgroups = cgroups
        self._next: int | None = None
        self._run = 0  # seconds of excess in a row
        self._alive: dict[int, dict[Key | None, int]] = {}
        self._storms: list[Storm] = []

    @property
    def limit(self) -> float:
        """Births a second from which on there is an excess."""
        return self._rate if self._rate is not None else self.baseline.limit

    @property
    def storming(self) -> int:
        """How many storms were found and are not over."""
        return len(self._storms)

    def look(self) -> list[Finding]:
        """What is to be said of the seconds that have closed since: storms that began, those that are over."""
        window = self.window
        span = window.span
        if not span and window.now_ns == 0:
            return []
        settled = (window.now_ns - _LAG_NS) // _NS  # the first second that is not
        first = span.start + 1  # the very first was seen from its middle
        at = first if self._next is None else max(self._next, first)
        said = []
        while at < settled:
            said += self._judge(at)
            at += 1
        self._next = at
        return said

    def finish(self) -> list[Finding]:
        """The stream has ended: so have the storms, for us."""
        storms, self._storms = self._storms, []
        return [storm.finding(self.window, ended=self.window.now_ns, beside=0) for storm in storms]

    def now(self) -> list[Finding]:
        """The storms that go on, as they stand."""
        return [storm.finding(self.window, ended=None, beside=len(self._storms) - 1) for storm in self._storms]

    # -- second by second -------------------------------------------------------------------------------------

    def _judge(self, at: int) -> list[Finding]:
        below = Below(self.window.lives, range(at, at + 1))
        self._note_living(at, below)
        before = [*self._storms]
        said = [finding for storm in before if (finding := self._follow(storm, at, below)) is not None]
        if before and all(storm.calm for storm in before):
            usual = max(before[0].usual or 0.0, before[0].limit)
            self.baseline.feed(min(self.window.attempts(at), int(usual)))
        if any(storm.key is None for storm in self._storms):
            return said  # it has all that there is
        rate = self.window.attempts(at) - self._followed(below)
        self.suspected = rate > self.limit
        if self.suspected:
            self._run += 1
        else:
            self._run = max(0, self._run - 2)  # one second of breath does not end it
        found = self._begin(at) if self.suspected and self._run >= BRIEF else []
        if not before and not found:
            self.baseline.feed(rate)
        return said + found

    def _note_living(self, at: int, below: Below) -> None:
        """How many live below each that has many: growth is seen by comparing."""
        self._alive[at] = {key_of(life): total.alive for life, total in below.whole.items() if total.alive}
        for old in [second for second in self._alive if second < at - LOOK]:
            del self._alive[old]

    def _followed(self, below: Below) -> int:
        """Births of the storms that are followed."""
        return sum(weight(below.whole[life].tally) for life in self._makers() if life in below.whole)

    def _makers(self) -> list[Life]:
        """Who makes them, those that another of them is above left out."""
        keys = [storm.key for storm in self._storms if storm.key is not None]
        found = [life for key in keys if (life := find(self.window.lives, key)) is not None]
        return [life for life in found if not any(top is not life and inside(life, top) for top in found)]

    def _begin(self, at: int) -> list[Finding]:
        window = self.window
        seconds = range(at - min(self._run, LOOK) + 1, at + 1)
        level = self.baseline.level or 0.0
        makers = self._makers()
        left = self._total(seconds)
        if makers:
            below = Below(window.lives, seconds)
            left -= sum(weight(below.whole[life].tally) for life in makers if life in below.whole)
        said: list[Finding] = []
        run = self._run
        earlier = range(max(seconds.stop - run - LOOK, window.span.start + 1), seconds.stop - run)
        usual = Below(window.lives, earlier) if earlier and self._rate is None else None
        for life, total in self._candidates(seconds, makers):
            rate = left / len(seconds)
            if rate <= self.limit and said:
                break
            least, own = min(_PART * max(self.limit, rate - level), self.limit), weight(total.tally) / len(seconds)
            if own < least:
                break
            if usual is not None and own - usual.weight(life) / len(earlier) < least:
                continue  # it makes what it always makes: the excess is another's
            if life is window.lives.outside:
                continue
            bad = self._signs(life, total, seconds)
            if self._rate is None and not [sign for sign in bad if sign.after <= run]:
                continue
            left -= weight(total.tally)
            if len(self._storms) < MOST:
                said.append(self._named(life, bad, at))
            else:
                self._pass_over(life, total, seconds)
        if said:
            self._run = 0
        elif self._rate is not None and not self._storms:
            return [self._named(None, [], at)]
        return said

    def _candidates(self, seconds: range, makers: list[Life]) -> list[tuple[Life, Sum]]:
        """Each with what was born below it, most first; what storms make that are followed is not judged again."""
        entries = ancestors(self.window.lives, seconds)
        below = Below(self.window.lives, seconds) if makers else None
        found = []
        for life, total in entries:
            if any(inside(life, maker) for maker in makers):
                continue
            if below is not None:
                # Of a storm below it, unless that has an entry of its own, or is on the way to one.
                parts = [
                    below.whole[maker]
                    for maker in makers
                    if maker in below.whole
                    and inside(maker, life)
                    and not any(
                        each is not life and inside(each, life) and (inside(maker, each) or inside(each, maker))
                        for each, _ in entries
                    )
                ]
                total = total.less(parts) if parts else total
            found.append((life, total))
        return sorted(found, key=lambda each: -weight(each[1].tally))

    def _pass_over(self, life: Life, total: Sum, seconds: range) -> None:
        key = key_of(life)
        if len(self.passed_over) >= _MOST_KNOWN or any((who.pid, who.born_ns) == key for who in self.passed_over):
            return
        share = weight(total.tally) / max(self._total(seconds), 1)
        self.passed_over.append(who_is(life, seconds, None, share=min(share, 1.0)))

    def _signs(self, life: Life, total: Sum, seconds: range) -> list[Sign]:
        templates = templates_below(self.window.lives, self.window.namer, life, seconds)
        alive = [self._alive.get(at, {}).get(key_of(life), 0) for at in range(seconds.start - 1, seconds.stop)]
        return signs(total.tally, templates, alive, builder=builds(life))

    def _named(self, life: Life | None, bad: list[Sign], at: int) -> Finding:
        window = self.window
        began = at - self._run + 1
        if life is not None and self._storms:  # another's excess may have been there before it
            began = min(max(began, key_of(life)[1] // _NS), at)
        storm = Storm(
            key=key_of(life) if life is not None else None,
            began=began,
            reason="baseline" if self._rate is None else "rate",
            signs=tuple(sign.words for sign in bad),
            usual=self.baseline.level,
            warm=self.baseline.warm,
            limit=self.limit,
            cgroups=self._cgroups,
        )
        self._storms.append(storm)
        if life is not None:
            storm.usual_alive = self._alive.get(began - 1, {}).get(key_of(life), 0)
        for second in range(max(began, window.span.start), at + 1):
            storm.take(window, second, Below(window.lives, range(second, second + 1)))
        storm.explain(self.window, at)
        return storm.finding(self.window, ended=None, beside=len(self._storms) - 1)

    def _follow(self, storm: Storm, at: int, below: Below) -> Finding | None:
        rate = storm.take(self.window, at, below)
        calm = rate <= max(0.25 * (sum(storm.rates[:LOOK]) / len(storm.rates[:LOOK])), 0.0)
        calm = calm or (storm.key is None and rate <= storm.limit)
        storm.calm = storm.calm + 1 if calm else 0
        if not calm and len(storm.rates) % _CALM == 0:
            storm.explain(self.window, at)
        if storm.calm < _CALM:
            return None
        self._storms.remove(storm)
        self._run = self._run if self._storms else 0
        self.suspected = False
        del storm.rates[-_CALM:]
        return storm.finding(self.window, ended=(at - _CALM + 1) * _NS, beside=len(self._storms))

    def _total(self, seconds: Iterable[int]) -> int:
        return sum(self.window.attempts(at) for at in seconds)


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
    yield from detector.finish()
