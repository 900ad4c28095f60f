"""A budget: limits that a trace must keep to, and for each what was measured and who had most of it.

    check(tree, {"max-processes": 200, "max-cow": 64 << 20})  -> (Outcome, ...), in the order of LIMITS
    LIMITS                                                      every limit there is, by name

What was not measured is never within: a limit on something that the source could not see, or that is null where it
should not be, raises BadDataError, and so does a trace with lost records unless `max-lost` allows for them. What is
over is over, whatever else is missing: such figures can only grow. Secrets are taken out of the commands.

Pure: a tree in, frozen results out. Knows no file and no words of the command line but the limits' names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tracer.analyses.cow import PAGE
from tracer.analyses.shape import Shape
from tracer.analyses.summary import Summary, summarize
from tracer.analyses.zombies import zombies
from tracer.errors import BadDataError
from tracer.events import NULL, Event, Fact
from tracer.redact import redact
from tracer.tree import ProcessTree

_CLONE_VM: Final = 0x100
_SHARED: Final = frozenset({"vfork", "posix_spawn"})
_BUFFER: Final = "record it again with a larger --buffer"


@dataclass(frozen=True)
class Worst:
    """Who had most of it. `share`: how much, in the limit's unit. `command`: None where it is outside of the trace."""

    pid: int | None
    command: tuple[str, ...] | None
    share: int


@dataclass(frozen=True)
class Outcome:
    """One limit: `most` is allowed, `measured` is what was. Both in `unit`: count, bytes or ns."""

    name: str
    unit: str
    most: int
    measured: int
    worst: Worst | None

    @property
    def within(self) -> bool:
        """It keeps to the limit; as much as that is allowed."""
        return self.measured <= self.most


@dataclass(frozen=True)
class _Measured:
    """`value` None: not known at all. `unknown`: processes that should have a figure and have none."""

    value: int | None
    row: int | None = None
    share: int | None = None  # None: the value itself
    unknown: int = 0
    pid: int | None = None  # of one that has no row


@dataclass(frozen=True)
class Limit:
    """`facts`: what the trace must have measured. `mend`: how to record one that has."""

    name: str
    unit: str  # count bytes ns; flag: none are allowed
    doc: str
    measure: Callable[[_Figures], _Measured]
    facts: tuple[Fact, ...] = ()
    mend: str | None = None
    what: str = ""  # that is not measured, for the sentence


class _Figures:
    """What several limits need, once."""

    def __init__(self, tree: ProcessTree) -> None:
        self.tree = tree

    @cached_property
    def shape(self) -> Shape:
        return Shape(self.tree)

    @cached_property
    def summary(self) -> Summary:
        return summarize(self.tree, self.shape)

    @cached_property
    def here(self) -> list[int]:
        """Rows of all but those that were there before: what those did before is not the trace's."""
        return [row for row, how in enumerate(self.tree.column("how")) if how != "existing"]


def check(tree: ProcessTree, limits: Mapping[str, int]) -> tuple[Outcome, ...]:
    """Raises BadDataError for what was not measured, KeyError for a name that is no limit."""
    unheard = limits.keys() - LIMITS.keys()
    if unheard:
        raise KeyError(*unheard)
    figures = _Figures(tree)
    outcomes = tuple(_outcome(figures, limit, limits[name]) for name, limit in LIMITS.items() if name in limits)
    lost = figures.summary.lost
    if lost != 0 and "max-lost" not in limits and all(outcome.within for outcome in outcomes):
        how_many = "an unknown number of" if lost is None else f"{lost:,}"
        raise BadDataError(
            f"{how_many} records were lost, so there may be more than was measured",
            f"{_BUFFER}, or allow for them with --max-lost N",
        )
    return outcomes


def _outcome(figures: _Figures, limit: Limit, most: int) -> Outcome:
    tree = figures.tree
    missing = f"{limit.what or limit.name} was not measured in this trace, so --{limit.name} can not be checked"
    if not tree.meta.facts.issuperset(limit.facts):
        raise BadDataError(missing, limit.mend)
    found = limit.measure(figures)
    if found.value is None:
        raise BadDataError(missing, limit.mend)
    worst = None
    if found.value and (found.row is not None or found.pid is not None):
        pid, command = found.pid, None
        if found.row is not None:
            pid, command = tree.value(found.row, "pid"), _command(tree, found.row)
        worst = Worst(pid, command, found.value if found.share is None else found.share)
    outcome = Outcome(limit.name, "count" if limit.unit == "flag" else limit.unit, most, found.value, worst)
    if found.unknown and outcome.within:
        if limit.name == "max-lost":
            raise BadDataError(f"{limit.what} is not known, so --{limit.name} can not be checked", _BUFFER)
        n = len(figures.here)
        raise BadDataError(
            f"{limit.what or limit.name} is not known for {found.unknown:,} of {n:,} processes, "
            f"so --{limit.name} can not be checked",
            "record the program from its beginning to its end",
        )
    return outcome


def _command(tree: ProcessTree, row: int) -> tuple[str, ...]:
    argv = tree.value(row, "argv")
    if argv:
        return tuple(redact(argv)[0])
    comm = tree.value(row, "comm")
    return (f"({'?' if comm is None else comm})",)


# -- what is measured --------------------------------------------------------------------------------------------


def _largest(rows: Iterable[int], column: Sequence[int], due: Callable[[int], bool]) -> _Measured:
    """The largest value, and whose. No process at all is 0; none that has one where one is due is unknown."""
    best, at, unknown, any_known = NULL, None, 0, False
    for row in rows:
        value = column[row]
        if value != NULL:
            any_known = True
            if value > best:
                best, at = value, row
        elif due(row):
            unknown += 1
    if not any_known:
        return _Measured(None if unknown else 0)
    return _Measured(max(0, best), at, unknown=unknown)


def _sum(rows: Iterable[int], column: Sequence[int], each: int = 1) -> _Measured:
    total, unknown, best, at, n = 0, 0, NULL, None, 0
    for row in rows:
        value, n = column[row], n + 1
        if value == NULL:
            unknown += 1
            continue
        total += value
        if value > best:
            best, at = value, row
    if unknown == n and n:
        return _Measured(None)
    return _Measured(total * each, at, max(0, best) * each, unknown)


def _most_common(rows: Iterable[int | None], value: int | None) -> _Measured:
    counts = Counter(row for row in rows if row is not None)
    if value is None or not counts:
        return _Measured(value)
    row, n = counts.most_common(1)[0]
    return _Measured(value, row, n)


def _processes(figures: _Figures) -> _Measured:
    above, how = figures.tree.column("parent_id"), figures.tree.column("how")
    makers = (above[row] for row in figures.here if above[row] != NULL and how[row] != "root")
    return _most_common(makers, figures.summary.processes)


def _depth(figures: _Figures) -> _Measured:
    depth = figures.shape.depth
    deepest = figures.summary.depth
    return _Measured(deepest, depth.index(deepest) if deepest else None)


def _failures(figures: _Figures) -> _Measured:
    """The worst is the first of those that ended alike, of which there are most."""
    tree = figures.tree
    codes, signals = tree.column("exit_code"), tree.column("signal")
    unknown = sum(codes[row] == NULL and signals[row] is None for row in figures.here if figures.shape.ended[row])
    if not figures.summary.failures:
        return _Measured(figures.summary.failed, unknown=unknown)
    alike: dict[tuple[object, ...], list[int]] = {}
    for row, code in enumerate(codes):
        if code not in (0, NULL) or signals[row] is not None:
            argv = tree.value(row, "argv")
            key = (argv[0] if argv else tree.value(row, "comm"), signals[row], code)
            alike.setdefault(key, []).append(row)
    most = max(alike.values(), key=len)
    return _Measured(figures.summary.failed, most[0], len(most), unknown)


def _calls(figures: _Figures, events: Sequence[Event]) -> _Measured:
    row_of = figures.tree.row
    known = ((e.pid, e.born_ns) for e in events)
    return _most_common((row_of(*key) if None not in key else None for key in known), len(events))


def _fork_time(figures: _Figures) -> _Measured:
    """Of one fork; who paid is its maker. Due for a fork that copied an address space."""
    tree = figures.tree
    how, flags = tree.column("how"), tree.column("clone_flags")

    def due(row: int) -> bool:
        shares = flags[row] != NULL and bool(flags[row] & _CLONE_VM)
        return how[row] not in _SHARED and how[row] not in (None, "root") and not shares

    found = _largest(figures.here, tree.column("fork_ns"), due)
    maker = None if found.row is None else tree.parent(found.row)
    return found if maker is None else _Measured(found.value, maker, unknown=found.unknown)


def _zombie(figures: _Figures) -> _Measured:
    """Of the program itself no time counts: it is forktrace that waits for it."""
    found = zombies(figures.tree, len(figures.tree))
    if found is None:
        return _Measured(None)
    longest = max(found.parents, key=lambda parent: parent.longest_ns, default=None)
    return _Measured(0) if longest is None else _Measured(longest.longest_ns, longest.rows[0])


def _unreaped(figures: _Figures) -> _Measured:
    """Left as a zombie when the parent ended, or the trace did."""
    found = zombies(figures.tree, len(figures.tree))
    if found is None:
        return _Measured(None)
    total = sum(parent.unreaped for parent in found.parents)
    worst = max(found.parents, key=lambda parent: parent.unreaped, default=None)
    if worst is None or not total:
        return _Measured(total)
    return _Measured(total, worst.row, worst.unreaped, pid=worst.pid)


def _lost(figures: _Figures) -> _Measured:
    """An unknown number is at least one for each time."""
    lost = figures.summary.lost
    if lost is not None:
        return _Measured(lost)
    return _Measured(sum(loss.count or 1 for loss in figures.summary.losses), unknown=1)


def _cpu(figures: _Figures) -> _Measured:
    tree = figures.tree
    pairs = zip(tree.column("cpu_user_ns"), tree.column("cpu_system_ns"), strict=True)
    return _sum(figures.here, [NULL if NULL in pair else sum(pair) for pair in pairs])


_EVERYWHERE: Final = "record it with the bpf backend"
_FULL: Final = "record it with --cow full"
_FAIL: Final = "record it with -e fail"

_ALL: Final = (
    Limit("max-processes", "count", "processes made, the program itself included", _processes),
    Limit("max-depth", "count", "generations below the program", _depth),
    Limit(
        "max-alive", "count", "processes at one time", lambda f: _Measured(f.summary.peak_alive),
        what="how many lived at one time",
    ),
    Limit(
        "max-rate", "count", "births within one second", lambda f: _Measured(f.summary.peak_forks),
        what="when processes were born",
    ),
    Limit(
        "max-threads", "count", "threads made", lambda f: _sum(f.here, f.tree.column("threads")), (Fact.THREADS,),
        _EVERYWHERE, "threads",
    ),
    Limit(
        "max-failures", "count", "processes that ended by a signal or with a status other than 0", _failures,
        (Fact.STATUS,), _EVERYWHERE, "how processes ended",
    ),
    Limit(
        "max-failed-execs", "count", "execs that returned an error", lambda f: _calls(f, f.tree.failed_execs),
        (Fact.EXEC_FAILED,), _FAIL, "failing execs",
    ),
    Limit(
        "max-failed-forks", "count", "forks that returned an error", lambda f: _calls(f, f.tree.failed_forks),
        (Fact.FORK_FAILED,), _FAIL, "failing forks",
    ),
    Limit(
        "max-cow", "bytes", "copied because of forks, by all processes",
        lambda f: _sum(f.here, f.tree.column("cow_copies"), PAGE), (Fact.COW,), _FULL, "what was copied on write",
    ),
    Limit(
        "max-fork-time", "ns", "to copy the page tables for one fork", _fork_time, (Fact.FORK_COST,),
        "record it with --cow full or --cow fork", "what a fork took",
    ),
    Limit(
        "max-life", "ns", "from birth to end of one process, the program itself included",
        lambda f: _largest(f.here, f.shape.life, lambda _: True), what="how long processes lived",
    ),
    Limit(
        "max-cpu", "ns", "CPU time of all processes", _cpu, (Fact.CPU,), _EVERYWHERE, "CPU time",
    ),
    Limit(
        "max-rss", "bytes", "peak resident memory of one process",
        lambda f: _largest(f.here, f.tree.column("max_rss_bytes"), lambda row: bool(f.shape.ended[row])),
        (Fact.MAX_RSS,), _EVERYWHERE, "peak resident memory",
    ),
    Limit(
        "max-zombie", "ns", "that one process waited for its parent as a zombie", _zombie, (Fact.ZOMBIES,),
        _EVERYWHERE, "how long zombies waited",
    ),
    Limit(
        "no-zombies", "flag", "no process may be left a zombie when its parent ends, or the trace does", _unreaped,
        (Fact.ZOMBIES,), _EVERYWHERE, "whether zombies were waited for",
    ),
    Limit("max-lost", "count", "records lost while recording; without this, none", _lost, what="how many were lost"),
)  # fmt: skip

LIMITS: Final[dict[str, Limit]] = {limit.name: limit for limit in _ALL}
"""By name, which is the option's without its dashes, in the order in which they are told."""
