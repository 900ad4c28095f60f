"""Two programs compared by their runs: what came, what went, what is made more often, copies more or takes longer.

    places = Places()
    diff([profile(tree, places), ...], [profile(tree, places), ...], places) -> Diff

Processes are taken together that stand at the same place of the tree (the programs from the root down; the root itself
has no name there, so that ./old and ./new are one place) and have the same template: the command without what differs
from run to run. What counts as a difference:

    one run on each side    counts (processes, ends, ways of birth) that are not equal; copies and times that are more
                            than 25 % apart, and more than 32 pages or 1 ms. Equal runs differ by some ten pages a
                            process, as addresses are random.
    several on a side       the ranges of the two sides do not overlap; for copies and times the medians are more than
                            32 pages or 1 ms apart, too, and more than 25 % where a side has less than four runs: of
                            figures that only fluctuate, the ranges of 2 and 1 runs are apart in two of three cases
                            (`Diff.chance`), of 4 and 4 in 1 of 35

Unknown is None, and compared with nothing. Pure: trees in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Final

from tracer.analyses.middle import median
from tracer.analyses.shape import Shape
from tracer.analyses.summary import summarize
from tracer.events import NULL, Fact
from tracer.redact import redact
from tracer.tree import ProcessTree

PART: Final = 0.25
FEW: Final = 4  # runs of a side; with so many the ranges alone say something
LEAST: Final = {"count": 0, "pages": 32, "ns": 1_000_000}

PLACE_MOST: Final = 16

_WORDS: Final = 4
_PLAIN: Final = re.compile(r"-{0,2}[A-Za-z][A-Za-z_-]{0,23}")
_INTERPRETER: Final = re.compile(r"(?:ba|da|z|k)?sh|python[0-9.]*|perl|ruby|node|php")
_SCRIPT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
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
class _Group:
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
    groups: Mapping[tuple[int, str], _Group]
    total: Figures
    source: str = ""


@dataclass(frozen=True)
class Values:
    """One figure of each run on both sides. `differs` None: not known on a side."""

    unit: str
    a: tuple[int | None, ...]
    b: tuple[int | None, ...]
    differs: bool | None


@dataclass(frozen=True)
class Change:
    """`kind`: gained lost changed. `values`: every metric. `ends`, `ways`: only those that differ."""

    place: tuple[str, ...]
    template: str
    kind: str
    values: Mapping[str, Values]
    ends: Mapping[str, Values]  # exit 1, SIGKILL, alive; exit 0 is told by the rest
    ways: Mapping[str, Values]  # fork vfork clone posix_spawn


@dataclass(frozen=True)
class Diff:
    """`changes`: the largest first. `groups`: how many were compared. `unknown`: metrics not known on both sides.

    `sources`: who saw the runs of each side.
    """

    runs: tuple[int, int]
    groups: int
    total: Mapping[str, Values]
    changes: tuple[Change, ...]
    unknown: tuple[str, ...]
    sources: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def chance(self) -> float:
        """How often the ranges of figures that only fluctuate are apart."""
        return 2 / comb(sum(self.runs), self.runs[0])

    @property
    def differs(self) -> bool:
        """Anything at all."""
        return bool(self.changes) or any(values.differs for values in self.total.values())


def template(argv: Sequence[str] | None, comm: str | None) -> str:
    """A command without what differs from run to run: `gcc -c …`, `sh build.sh …`, `(comm)` of what never exec'd.

    The program's name and up to three plain words behind it, of an interpreter its script; secrets are taken out.
    """
    if not argv:
        return f"({'?' if comm is None else comm})"
    words = [_program(argv[0])]
    rest = redact(list(argv[: _WORDS * 2]))[0][1:]
    if rest and _INTERPRETER.fullmatch(words[0]) and _SCRIPT.fullmatch(script := rest[0].rpartition("/")[2]):
        words.append(script)
        rest = rest[1:]
    for word in rest:
        if len(words) == _WORDS or not _PLAIN.fullmatch(word):
            words.append("…")
            break
        words.append(word)
    else:
        if len(argv) > _WORDS * 2:
            words.append("…")
    return " ".join(words)


def _program(word: str) -> str:
    return word.rpartition("/")[2] or word


def profile(tree: ProcessTree, places: Places) -> Profile:
    """What `diff` wants to know of a run; the tree may go afterwards."""
    shape = Shape(tree)
    groups: dict[tuple[int, str], _Group] = {}
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
            group = groups[at] = _Group()
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
    return Profile(facts, groups, total, tree.meta.source)


def _places(tree: ProcessTree, shape: Shape, places: Places) -> list[int]:
    """Of each row the place of its children."""
    how, argvs, comms = tree.column("how"), tree.column("argv"), tree.column("comm")
    own = [_ROOT] * len(tree)
    for row in shape.order:
        if how[row] == "root":
            continue
        above = shape.parent[row]
        name = _program(argvs[row][0]) if argvs[row] else f"({comms[row]})"
        own[row] = places.below(own[above] if above >= 0 else _ROOT, name)
    return own


def _end(code: int, signal: str | None, *, alive: bool) -> str | None:
    if signal is not None:
        return signal
    if code != NULL:
        return f"exit {code}"
    return "alive" if alive else None


def _totalled(metric: Metric, groups: Mapping[tuple[int, str], _Group], facts: frozenset[str]) -> int | None:
    figures = [value for group in groups.values() if (value := _figure(metric, group, facts)) is not None]
    return sum(figures) if figures else None


def _figure(metric: Metric, group: _Group | None, facts: frozenset[str]) -> int | None:
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


# -- comparing ---------------------------------------------------------------------------------------------------


def compared(unit: str, a: Sequence[int | None], b: Sequence[int | None]) -> Values:
    """By the rules above; runs that do not know are left out."""
    left, right = [v for v in a if v is not None], [v for v in b if v is not None]
    return Values(unit, tuple(a), tuple(b), _differs(unit, left, right, few=min(len(a), len(b)) < FEW))


def _differs(unit: str, a: Sequence[int], b: Sequence[int], *, few: bool) -> bool | None:
    if not a or not b:
        return None
    if min(a) <= max(b) and min(b) <= max(a):
        return False
    apart = abs(median(a) - median(b))
    if unit == "count" or not few:
        return apart > LEAST[unit]
    return apart > LEAST[unit] and apart > PART * min(median(a), median(b))


def diff(a: Sequence[Profile], b: Sequence[Profile], places: Places) -> Diff:
    """At least one run on each side."""
    keys = list(dict.fromkeys(key for run in (*a, *b) for key in run.groups))
    changes = [change for key in keys if (change := _change(key, a, b, places)) is not None]
    changes.sort(key=_weight, reverse=True)
    total = {
        m.name: compared(m.unit, [run.total[m.name] for run in a], [run.total[m.name] for run in b])
        for m in (*METRICS, *TOTALS)
    }
    unknown = tuple(name for name, values in total.items() if values.differs is None)
    sources = (tuple(sorted({run.source for run in a})), tuple(sorted({run.source for run in b})))
    return Diff((len(a), len(b)), len(keys), total, tuple(changes), unknown, sources)


def _change(key: tuple[int, str], a: Sequence[Profile], b: Sequence[Profile], places: Places) -> Change | None:
    values = {
        m.name: compared(m.unit, *([_figure(m, run.groups.get(key), run.facts) for run in side] for side in (a, b)))
        for m in METRICS
    }
    ends = dict(_counted("ends", key, a, b))
    ways = dict(_counted("ways", key, a, b))
    made = values["processes"]
    kind = "changed"
    if made.differs and not any(made.a):
        kind = "gained"
    elif made.differs and not any(made.b):
        kind = "lost"
    if not ends and not ways and not any(v.differs for v in values.values()):
        return None
    return Change(places.names(key[0]), key[1], kind, values, ends, ways)


def _counted(of: str, key: tuple[int, str], a: Sequence[Profile], b: Sequence[Profile]) -> Iterator[tuple[str, Values]]:
    """Ends or ways that differ. A run whose source does not tell them knows of none."""
    counts: list[list[Counter[str] | None]] = [[], []]
    for side, runs in zip(counts, (a, b), strict=True):
        for run in runs:
            group = run.groups.get(key)
            told = Fact.STATUS in run.facts if of == "ends" else Fact.FLAGS in run.facts
            counted: Counter[str] = Counter() if group is None else getattr(group, of)
            side.append(counted if told else None)
    for word in sorted({word for side in counts for each in side if each is not None for word in each}):
        if word != "exit 0":
            sides = ([None if each is None else each[word] for each in side] for side in counts)
            values = compared("count", *sides)
            if values.differs:
                yield word, values


def _weight(change: Change) -> tuple[float, ...]:
    def apart(name: str) -> float:
        values = change.values[name]
        a, b = [v for v in values.a if v is not None], [v for v in values.b if v is not None]
        return abs(median(a) - median(b)) if values.differs and a and b else 0

    return (change.kind != "changed", *map(apart, ("processes", "failed", "cow_copies", "cpu_ns", "life_ns")))
