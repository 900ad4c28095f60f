"""Two programs compared by their runs: what came, what went, what is made more often, copies more or takes longer.

    places = Places()
    diff([profile(tree, places), ...], [profile(tree, places), ...], places) -> Diff

What is compared is what profile.py takes together: processes at the same place of the tree, with the same command. What
counts as a difference:

    one run on each side    counts (processes, ends, ways of birth) that are not equal; copies and times that are more
                            than 25 % apart, and more than 32 pages or 1 ms. Equal runs differ by some ten pages a
                            process, as addresses are random.
    several on a side       the ranges of the two sides do not overlap; for copies and times the medians are more than
                            32 pages or 1 ms apart, too, and more than 25 % where a side has less than four runs: of
                            figures that only fluctuate, the ranges of 2 and 1 runs are apart in two of three cases
                            (`Diff.chance`), of 4 and 4 in 1 of 35

Unknown is None, and compared with nothing. Pure: profiles in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Final

from tracer.analyses.median import median
from tracer.analyses.profile import METRICS, TOTALS, Places, Profile, figure
from tracer.model.meta import Fact

PART: Final = 0.25
FEW: Final = 4  # runs of a side; with so many the ranges alone say something
LEAST: Final = {"count": 0, "pages": 32, "ns": 1_000_000}


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

    `sources`: who saw the runs of each side. `page`: bytes of a page, None where not all agree on it.
    """

    runs: tuple[int, int]
    groups: int
    total: Mapping[str, Values]
    changes: tuple[Change, ...]
    unknown: tuple[str, ...]
    sources: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    page: int | None = None

    @property
    def chance(self) -> float:
        """How often the ranges of figures that only fluctuate are apart."""
        return 2 / comb(sum(self.runs), self.runs[0])

    @property
    def differs(self) -> bool:
        """Anything at all."""
        return bool(self.changes) or any(values.differs for values in self.total.values())


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
    pages = {run.page for run in (*a, *b)}
    page = pages.pop() if len(pages) == 1 else None
    return Diff((len(a), len(b)), len(keys), total, tuple(changes), unknown, sources, page)


def _change(key: tuple[int, str], a: Sequence[Profile], b: Sequence[Profile], places: Places) -> Change | None:
    values = {
        m.name: compared(m.unit, *([figure(m, run.groups.get(key), run.facts) for run in side] for side in (a, b)))
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
