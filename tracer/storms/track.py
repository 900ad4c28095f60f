"""One storm that goes on: its seconds, who makes it, of what and in which shape, and the finding made of it all.

    storm.take(window, at, below); storm.explain(window, at); storm.finding(window, ended=None)

Kept by storms.py, which decides when there is one and when it is over. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from tracer.model.meta import Fact
from tracer.storms.advise import advise
from tracer.storms.culprit import inside, key_of, living_of, quantile, weight, who_is
from tracer.storms.finding import Command, Finding, Who
from tracer.storms.signs import shape, status_words
from tracer.window.attribution import Below, Sum, templates_below
from tracer.window.lineage import LIVING, Key, Life, Lives
from tracer.window.window import Window

_NS: Final = 10**9
BRIEF: Final = 3
"""Seconds of excess that make one; its rate is of so many."""
LOOK: Final = 10
"""Seconds that a judgement is made over."""
_COMMANDS: Final = 5


@dataclass
class Storm:
    """`key`: who makes it; None: no one ancestor does. `cgroups`: version and mount point, for the advice."""

    key: Key | None
    began: int  # second
    reason: str
    signs: tuple[str, ...]
    usual: float | None
    warm: bool
    limit: float
    cgroups: tuple[int, str]
    who: Who | None = None
    shape: str | None = None
    commands: tuple[Command, ...] = ()
    total: Sum = field(default_factory=Sum)
    rates: list[int] = field(default_factory=list)
    usual_alive: int = 0
    calm: int = 0
    lost: int = 0

    def take(self, window: Window, at: int, below: Below) -> int:
        """One more second of it, `below` of that second; returns its rate."""
        self.lost += window.lost(at)
        total = Sum()
        if self.key is None:
            for each in below.own.values():
                total.add(each)
        else:
            life = find(window.lives, self.key)
            if life is not None:
                total = below.whole.get(life, total)
        self.total.tally.add(total.tally)
        self.total.alive, self.total.zombies = total.alive, total.zombies
        rate = weight(total.tally)
        self.rates.append(rate)
        return rate

    def explain(self, window: Window, at: int) -> None:
        """Who, of what, in which shape: anew while it goes on, as there is more to see; kept when it is gone."""
        seconds = range(max(self.began, at - LOOK + 1), at + 1)
        life = find(window.lives, self.key) if self.key is not None else window.lives.outside
        if life is None:
            return
        below = Below(window.lives, seconds)
        whole = below.whole.get(life)
        if whole is None or not weight(whole.tally):
            return
        templates = templates_below(window.lives, window.namer, life, seconds)
        births = sum(tally.forks for _, tally in templates)
        self.commands = tuple(
            Command(label, tally.forks / births if births else 0.0, tally.forks)
            for label, tally in templates[:_COMMANDS]
            if tally.forks
        )
        if self.key is None:
            return
        everything = sum(map(window.attempts, seconds))
        share = weight(whole.tally) / everything if everything else 0.0
        self.who = who_is(life, seconds, self.who, share=min(share, 1.0))
        at_first = Below(window.lives, seconds[:1]).whole.get(life)
        came = whole.tally.deepest - at_first.tally.deepest if at_first is not None and at_first.tally.deepest else 0
        generations = came * len(seconds) // max(len(seconds) - 1, 1)
        makers = sum(1 for each in below.own if each is not life and each.state == LIVING and inside(each, life))
        if 10 * whole.tally.forks >= weight(whole.tally):  # else it has none: nothing is born
            self.shape = shape(
                whole.tally, templates, life.comm, generations=generations, makers=makers, alive=whole.alive
            )

    def finding(self, window: Window, *, ended: int | None, beside: int) -> Finding:
        """`ended`: ns; None while it lasts. `beside`: how many others go on."""
        tally, facts = self.total.tally, window.meta.facts
        lasting = self.rates or [0]
        recent = lasting if ended is not None else lasting[-BRIEF:]
        statuses = tuple(
            (status_words(status), n) for status, n in sorted(tally.statuses.items(), key=lambda each: -each[1])[:8]
        )
        causes = tuple(sorted(tally.causes.items(), key=lambda each: -each[1])[:8])
        version, mount = self.cgroups
        who = self.who
        if who is not None and _ended(window.lives, who):
            who = replace(who, alive=False, pids=())
        return Finding(
            began_ns=self.began * _NS,
            found_ns=window.now_ns,
            ended_ns=ended,
            reason=self.reason,
            signs=self.signs,
            usual=self.usual,
            warm=self.warm,
            limit=self.limit,
            rate=sum(recent) / len(recent),
            peak=max(lasting),
            who=who,
            shape=self.shape,
            commands=self.commands,
            forks=tally.forks,
            execs=tally.execs,
            exits=tally.exits,
            failures=tally.failures if Fact.FORK_FAILED in facts else None,
            causes=causes,
            alive=self.total.alive,
            zombies=self.total.zombies if Fact.ZOMBIES in facts else None,
            statuses=statuses,
            life_ns=quantile(tally, 0.5),
            life_long_ns=quantile(tally, 0.9),
            fork_ns=tally.fork_ns if tally.timed else None,
            copies=tally.copies if Fact.COW in facts else None,
            cpu_ns=tally.cpu_ns if tally.exits and Fact.CPU in facts and Fact.REAPS in facts else None,
            lost=self.lost,
            beside=beside,
            advice=()
            if ended is not None and who is not None and not who.alive
            else advise(
                who,
                self.shape,
                alive=self.total.alive,
                usual_alive=self.usual_alive,
                statuses=statuses,
                causes=causes,
                version=version,
                mount=mount,
            ),
        )


def find(lives: Lives, key: Key) -> Life | None:
    """It, or who stands in its place; also where it has ended and only what is below it lives on."""
    life = lives.of.get(key)
    if life is not None:
        return life
    own = (each for each in lives.of.values() if each.origin == key)
    return next(own, None) or next((cell.parent for cell in lives.cells if key_of(cell.parent) == key), None)


def _ended(lives: Lives, who: Who) -> bool:
    life = find(lives, (who.pid, who.born_ns))
    return life is None or not living_of(life)
