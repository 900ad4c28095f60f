"""One run as it is compared with others: its processes by place and command, and the figures of each such group.

    places = Places(); run = profile(tree, places)

Processes are taken together that stand at the same place of the tree (the programs from the root down; the root itself
has no name there, so that ./old and ./new are one place) and have the same label: the command without what differs
from run to run. Unknown is None. Pure: a tree in; compares nothing, which is diff.py's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracer.analyses.labels import label, program
from tracer.analyses.median import median
from tracer.analyses.summary import summarize
from tracer.analyses.tree_index import Shape
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.tree.tree import ProcessTree

PLACE_MOST: Final = 16
_ROOT: Final = 0


@dataclass(frozen=True)
class Metric:
    """`facts`: where a source has none of these, nothing is known. A group's figure is a sum, of lives the median."""

    name: str
    unit: str  # count pages ns
    facts: frozenset[str] = frozenset()


METRICS: Final = (
    Metric("processes", "count"),
    Metric("failed", "count", frozenset({Fact.STATUS})),
    Metric("cow_copies", "pages", frozenset({Fact.COW})),
    Metric("fork_ns", "ns", frozenset({Fact.FORK_COST})),
    Metric("life_ns", "ns"),
    Metric("cpu_ns", "ns", frozenset({Fact.CPU})),
)
"""Of a group. Of a whole run life_ns is its span, and there are failed_forks and failed_execs too."""

TOTALS: Final = (
    Metric("failed_forks", "count", frozenset({Fact.FORK_FAILED})),
    Metric("failed_execs", "count", frozenset({Fact.EXEC_FAILED})),
)

Figures = dict[str, "int | None"]


class Places:
    """Paths of program names as numbers, the same for all runs: a chain of 10,000 has no path of 10,000 names each."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}
        self._of: list[tuple[int, str]] = [(-1, "")]

    def below(self, place: int, name: str) -> int:
        """The number of `name` below `place`; 0 is the root."""
        key = (place, name)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._of)
            self._of.append(key)
        return number

    def names(self, place: int) -> tuple[str, ...]:
        """From the root down, without it; of a longer path `…` and the nearest PLACE_MOST."""
        names: list[str] = []
        while place > _ROOT:
            if len(names) == PLACE_MOST:  # whole, the paths of a chain would take the square of its length
                names.append("…")
                break
            place, name = self._of[place]
            names.append(name)
        return tuple(reversed(names))


@dataclass
class Group:
    """Processes of one place and one label, and their sums."""

    processes: int = 0
    failed: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    lives: list[int] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Profile:
    """One run. `groups`: by (place, template)."""

    facts: frozenset[str]
    groups: Mapping[tuple[int, str], Group]
    total: Figures
    source: str = ""
    page: int | None = None  # bytes of a page


def template(argv: Sequence[str] | None, comm: str | None) -> str:
    """The label of a command; `(comm)` of what never exec'd."""
    return label(argv) if argv else f"({'?' if comm is None else comm})"


def profile(tree: ProcessTree, places: Places) -> Profile:
    """What `diff` wants to know of a run; the tree may go afterwards."""
    shape = Shape(tree)
    groups: dict[tuple[int, str], Group] = {}
    own = _places(tree, shape, places)
    how, argvs, comms = tree.column("how"), tree.column("argv"), tree.column("comm")
    copies, forks = tree.column("cow_copies"), tree.column("fork_ns")
    user, system = tree.column("cpu_user_ns"), tree.column("cpu_system_ns")
    codes, signals = tree.column("exit_code"), tree.column("signal")
    known: dict[object, str] = {}
    for row in range(len(tree)):
        if how[row] == "existing":  # it was there whatever was run
            continue
        argv = argvs[row]
        key = comms[row] if argv is None else tuple(argv)
        words = known.get(key)
        if words is None:
            words = known[key] = template(argv, comms[row])
        above = shape.parent[row]
        at = (own[above] if above >= 0 else _ROOT, words)
        group = groups.get(at)
        if group is None:
            group = groups[at] = Group()
        group.processes += 1
        cpu = NULL if NULL in (user[row], system[row]) else user[row] + system[row]
        for name, value in (("cow_copies", copies[row]), ("fork_ns", forks[row]), ("cpu_ns", cpu)):
            if value != NULL:
                group.sums[name] = group.sums.get(name, 0) + value
        if shape.ended[row] and shape.life[row] != NULL:
            group.lives.append(shape.life[row])
        end = _end(codes[row], signals[row], alive=not shape.ended[row])
        if end is not None:
            group.ends[end] += 1
            group.failed += end not in ("exit 0", "alive")
        if how[row] not in (None, "root"):
            group.ways[how[row]] += 1
    facts = frozenset(map(str, tree.meta.facts))
    summary = summarize(tree, shape)
    total = {m.name: _totalled(m, groups, facts) for m in METRICS}
    total |= {"life_ns": summary.span_ns, "failed_forks": summary.failed_forks, "failed_execs": summary.failed_execs}
    return Profile(facts, groups, total, tree.meta.source, tree.meta.page_size)


def _places(tree: ProcessTree, shape: Shape, places: Places) -> list[int]:
    """Of each row the place of its children."""
    how, argvs, comms = tree.column("how"), tree.column("argv"), tree.column("comm")
    own = [_ROOT] * len(tree)
    for row in shape.order:
        if how[row] == "root":
            continue
        above = shape.parent[row]
        name = program(argvs[row][0]) if argvs[row] else f"({comms[row]})"
        own[row] = places.below(own[above] if above >= 0 else _ROOT, name)
    return own


def _end(code: int, signal: str | None, *, alive: bool) -> str | None:
    if signal is not None:
        return signal
    if code != NULL:
        return f"exit {code}"
    return "alive" if alive else None


def _totalled(metric: Metric, groups: Mapping[tuple[int, str], Group], facts: frozenset[str]) -> int | None:
    figures = [value for group in groups.values() if (value := figure(metric, group, facts)) is not None]
    return sum(figures) if figures else None


def figure(metric: Metric, group: Group | None, facts: frozenset[str]) -> int | None:
    """Of a group that a run does not have, sums are 0 where the source would have seen them."""
    if not metric.facts <= facts:
        return None
    if metric.name == "processes":
        return 0 if group is None else group.processes
    if metric.name == "life_ns":
        return round(median(group.lives)) if group is not None and group.lives else None
    if group is None:
        return 0
    if metric.name == "failed":
        return group.failed if group.ends else None
    return group.sums.get(metric.name)
