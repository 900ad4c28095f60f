"""Who is behind what happened in a window: births shared out among ancestors, templates, comms, cgroups or users.

    busiest(lives, namer, by, seconds, facts) -> [Group]     busiest first

By template, comm, cgroup and uid a birth belongs to what the child came to be. By ancestor each birth belongs to one
only: the deepest living process that accounts for most of what is born below it. pid 1 accounts for everything and
explains nothing, so the way goes down from there as long as few children account for nearly all; it stops above
children that are alike, which are somebody's workers, and above copies of the same program that only go on together.
Knows lives and tallies; knows no batches.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.window.lineage import Life, Lives, Tally
from tracer.window.naming import Namer, Words

BY: Final = ("ancestor", "template", "comm", "cgroup", "uid")
_HEAVY: Final = 0.1  # of the births below one: a child with fewer is not gone down to
_MOST: Final = 0.8


@dataclass
class Group:
    """What happened in the seconds that were asked for, and how many live now. None where the source is blind."""

    label: str
    life: Life | None = None  # of an ancestor
    forks: int = 0
    execs: int = 0
    exits: int = 0
    failures: int | None = 0
    alive: int = 0
    zombies: int | None = 0
    share: float = 0.0  # of all births, 0 to 1
    statuses: dict[int, int] = field(default_factory=dict)  # exit code, or minus the signal: how many
    spans: dict[int, int] = field(default_factory=dict)  # life times: bit length of the ns: how many
    causes: dict[str, int] = field(default_factory=dict)  # of failed forks
    fork_ns: int | None = None
    copies: int | None = None
    cpu_ns: int | None = None  # of those that were released

    @property
    def pid(self) -> int | None:
        """Of an ancestor."""
        return self.life.pid if self.life is not None else None


class Sum:
    """A Group in the making."""

    __slots__ = ("alive", "tally", "zombies")

    def __init__(self) -> None:
        self.tally = Tally()
        self.alive = self.zombies = 0

    def counts(self) -> bool:
        """Whether there is anything to tell of it."""
        t = self.tally
        return bool(self.alive or self.zombies or t.forks or t.execs or t.exits or t.failures)

    def less(self, others: Iterable[Sum]) -> Sum:
        """What is in none of `others`, which are parts of it."""
        rest = Sum()
        rest.add(self)
        for other in others:
            rest.tally.take_off(other.tally)
            rest.alive -= other.alive
            rest.zombies -= other.zombies
        return rest

    def add(self, other: Sum) -> None:
        """All of `other` too."""
        self.tally.add(other.tally)
        self.alive += other.alive
        self.zombies += other.zombies


def busiest(lives: Lives, namer: Namer, by: str, seconds: Collection[int], facts: Collection[str]) -> list[Group]:
    """Groups, those with most births first, then most alive. Raises KeyError for what is not in BY."""
    found: list[tuple[str, Life | None, Sum]]
    if by == "ancestor":
        found = [(ancestor_label(life, namer), life, total) for life, total in ancestors(lives, seconds)]
    else:
        found = [(label, None, total) for label, total in _kinds(lives, namer, by, seconds)]
    all_forks = sum(total.tally.forks for _, _, total in found)
    found = [each for each in found if each[2].counts()]
    groups = [_group(label, life, total, all_forks, facts) for label, life, total in found]
    groups.sort(key=lambda g: (-g.forks, -g.execs, -g.alive, g.label))
    return groups


def _group(label: str, life: Life | None, total: Sum, all_forks: int, facts: Collection[str]) -> Group:
    t = total.tally
    return Group(
        label,
        life,
        t.forks,
        t.execs,
        t.exits,
        t.failures if Fact.FORK_FAILED in facts else None,
        total.alive,
        total.zombies if Fact.ZOMBIES in facts else None,
        t.forks / all_forks if all_forks else 0.0,
        t.statuses,
        t.spans,
        t.causes,
        t.fork_ns if t.timed else None,
        t.copies if Fact.COW in facts else None,
        t.cpu_ns if Fact.CPU in facts and Fact.REAPS in facts else None,
    )


def _kinds(lives: Lives, namer: Namer, by: str, seconds: Collection[int]) -> Iterable[tuple[str, Sum]]:
    """Births by what the children came to be."""
    place = {"template": 0, "comm": 1, "cgroup": 2, "uid": 3}[by]
    sums: dict[object, Sum] = {}
    for cell in lives.cells:
        alike = cell.alike
        key: object = alike[place]
        if place == 0:
            number = alike[0]
            key = alike[1] if number < 0 else namer.now(number)
        total = sums.get(key)
        if total is None:
            total = sums[key] = Sum()
        take(total.tally, cell.seconds, seconds)
        total.alive += cell.alive
        total.zombies += cell.zombies
    if place:
        return [("-" if key is None or key == NULL else str(key), total) for key, total in sums.items()]
    words = namer.merged({key: max(total.tally.forks, 1) for key, total in sums.items() if isinstance(key, int)})
    named: dict[str, Sum] = {}
    for key, total in sums.items():
        label = spelled(words[key]) if isinstance(key, int) else f"({key or '?'})"
        if label in named:
            named[label].add(total)
        else:
            named[label] = total
    return named.items()


def take(total: Tally, have: Mapping[int, Tally], seconds: Collection[int]) -> None:
    """Add those of `seconds` to `total`."""
    if len(have) < len(seconds):
        for second, tally in have.items():
            if second in seconds:
                total.add(tally)
    else:
        for second in seconds:
            if second in have:
                total.add(have[second])


def spelled(words: Words) -> str:
    """A template as a shell would take it, `…` for what differs."""
    return " ".join("…" if word is None else shlex.quote(word) for word in words)


def ancestor_label(life: Life, namer: Namer) -> str:
    """Its command; in brackets, as ps has it, where only the comm is known."""
    if life.parent is life:
        return "(outside)"
    if life.command < 0:
        return f"({life.comm if life.comm is not None else '?'})"
    return spelled(namer.words(life.command))


class Below:
    """For each process with anything below it: all of that (`whole`), and what is not by a living child (`own`)."""

    def __init__(self, lives: Lives, seconds: Collection[int]) -> None:
        self.own: dict[Life, Sum] = {}
        self.whole: dict[Life, Sum] = {}
        self._parents: dict[Life, list[Life]] = {}
        levels: dict[int, set[Life]] = {}
        for cell in lives.cells:
            parent = cell.parent
            total = self.own.get(parent)
            if total is None:
                total = self.own[parent] = Sum()
                levels.setdefault(parent.depth, set()).add(parent)
            take(total.tally, cell.seconds, seconds)
            total.alive += cell.alive
            total.zombies += cell.zombies
        for life, total in self.own.items():
            whole = self.whole[life] = Sum()
            whole.add(total)
        for depth in range(max(levels, default=0), 0, -1):
            for life in levels.get(depth, ()):
                parent = life.parent
                if parent not in self.whole:
                    self.own[parent], self.whole[parent] = Sum(), Sum()
                    levels.setdefault(parent.depth, set()).add(parent)
                self.whole[parent].add(self.whole[life])
                self._parents.setdefault(parent, []).append(life)

    def kids(self, life: Life) -> list[Life]:
        """Its children that have anything below them."""
        return self._parents.get(life, [])

    def weight(self, life: Life) -> int:
        """Births below it, those that failed included."""
        whole = self.whole.get(life)
        return whole.tally.forks + whole.tally.failures if whole is not None else 0


def templates_below(lives: Lives, namer: Namer, life: Life, seconds: Collection[int]) -> list[tuple[str, Tally]]:
    """What was born below `life`, by template, most births first."""
    inside: dict[Life, bool] = {life: True, lives.outside: life is lives.outside}
    sums: dict[object, Tally] = {}
    for cell in lives.cells:
        way = []
        up = cell.parent
        while up not in inside:
            way.append(up)
            up = up.parent
        for each in way:
            inside[each] = inside[up]
        if not inside[up]:
            continue
        number, comm = cell.alike[:2]
        total = sums.setdefault(comm if number < 0 else namer.now(number), Tally())
        take(total, cell.seconds, seconds)
    words = namer.merged({key: max(tally.forks, 1) for key, tally in sums.items() if isinstance(key, int)})
    named: dict[str, Tally] = {}
    for key, tally in sums.items():
        label = spelled(words[key]) if isinstance(key, int) else f"({key or '?'})"
        named.setdefault(label, Tally()).add(tally)
    found = [(label, tally) for label, tally in named.items() if tally.forks or tally.failures]
    return sorted(found, key=lambda each: (-each[1].forks, each[0]))


def ancestors(lives: Lives, seconds: Collection[int]) -> list[tuple[Life, Sum]]:
    """Each birth with one ancestor."""
    below = Below(lives, seconds)
    result: list[tuple[Life, Sum]] = []
    if lives.outside not in below.whole:
        return result
    todo = [lives.outside]
    while todo:
        life = todo.pop()
        further = _further(below, life)
        if not further:
            result.append((life, below.whole[life]))
            continue
        todo += further
        rest = below.whole[life].less([below.whole[each] for each in further])
        if rest.tally.forks or rest.tally.execs or rest.tally.failures:
            result.append((life, rest))
    return result


def _further(below: Below, life: Life) -> list[Life]:
    """The children to go down to; none if `life` itself is the one to name."""
    all_of_it = below.weight(life)
    heavy = [kid for kid in below.kids(life) if below.weight(kid) > max(_HEAVY * all_of_it, 0)]
    if not all_of_it or sum(map(below.weight, heavy)) < _MOST * all_of_it:
        return []
    if life.parent is life or life.pid == 1:
        return heavy
    if len(heavy) > 1:
        alike: dict[object, int] = {}
        for kid in heavy:
            sort = (kid.comm, kid.command, kid.cgroup)
            alike[sort] = alike.get(sort, 0) + 1
        if max(alike.values()) > 1:
            return []
    return [end for end in (_through_copies(below, life, kid) for kid in heavy) if end is not None]


def _through_copies(below: Below, top: Life, kid: Life) -> Life | None:
    """`kid` itself unless it is a copy of `top`: then who does the work below, if that is one; in a fork bomb none is.

    A subshell is a copy, and so are the workers of a server, and all of a chain that was begun by one exec.
    """
    least = _MOST * below.weight(kid)
    life = kid
    while True:
        if life.execs or life.alike[:2] != top.alike[:2]:
            return life
        own = below.own.get(life)
        if own is not None and own.tally.forks + own.tally.failures >= least:
            return life
        heavy = [each for each in below.kids(life) if below.weight(each) >= least]
        if len(heavy) != 1:
            return None
        life = heavy[0]
