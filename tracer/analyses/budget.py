"""A budget: limits that a trace must keep to, and for each what was measured and who had most of it.

    check(tree, {"max-processes": 200, "max-cow": 64 << 20})  -> (Outcome, ...), in the order of LIMITS
    LIMITS                                                      every limit there is, by name

What was not measured is never within: a limit on something that the source could not see, or that is null where it
should not be, raises BadDataError, and so does a trace with lost records unless `max-lost` allows for them. What is
over is over, whatever else is missing: such figures can only grow. Secrets are taken out of the commands.

Pure: a tree in, frozen results out. Knows no file and no words of the command line but the limits' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tracer.analyses import measures
from tracer.analyses.measures import Figures, Measured, largest, sum_of
from tracer.errors import BadDataError
from tracer.model.meta import Fact
from tracer.redact import redact
from tracer.tree.tree import ProcessTree

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
class Limit:
    """`facts`: what the trace must have measured. `mend`: how to record one that has."""

    name: str
    unit: str  # count bytes ns; flag: none are allowed
    doc: str
    measure: Callable[[Figures], Measured]
    facts: tuple[Fact, ...] = ()
    mend: str | None = None
    what: str = ""  # that is not measured, for the sentence


def check(tree: ProcessTree, limits: Mapping[str, int]) -> tuple[Outcome, ...]:
    """Raises BadDataError for what was not measured, KeyError for a name that is no limit."""
    unheard = limits.keys() - LIMITS.keys()
    if unheard:
        raise KeyError(*unheard)
    figures = Figures(tree)
    outcomes = tuple(_outcome(figures, limit, limits[name]) for name, limit in LIMITS.items() if name in limits)
    lost = figures.summary.lost
    if lost != 0 and "max-lost" not in limits and all(outcome.within for outcome in outcomes):
        how_many = "an unknown number of" if lost is None else f"{lost:,}"
        raise BadDataError(
            f"{how_many} records were lost, so there may be more than was measured",
            f"{_BUFFER}, or allow for them with --max-lost N",
        )
    return outcomes


def _outcome(figures: Figures, limit: Limit, most: int) -> Outcome:
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
    return (f"({'?' if comm is None else redact([comm])[0][0]})",)


_EVERYWHERE: Final = "record it with the bpf backend"
_FULL: Final = "record it with --cow full"
_FAIL: Final = "record it with -e fail"

_ALL: Final = (
    Limit("max-processes", "count", "processes made, the program itself included", measures.processes),
    Limit("max-depth", "count", "generations below the program", measures.depth),
    Limit(
        "max-alive",
        "count",
        "processes at one time",
        lambda f: Measured(f.summary.peak_alive),
        what="how many lived at one time",
    ),
    Limit(
        "max-rate",
        "count",
        "births within one second",
        lambda f: Measured(f.summary.peak_forks),
        what="when processes were born",
    ),
    Limit(
        "max-threads",
        "count",
        "threads made",
        lambda f: sum_of(f.here, f.tree.column("threads")),
        (Fact.THREADS,),
        _EVERYWHERE,
        "threads",
    ),
    Limit(
        "max-failures",
        "count",
        "processes that ended by a signal or with a status other than 0",
        measures.failures,
        (Fact.STATUS,),
        _EVERYWHERE,
        "how processes ended",
    ),
    Limit(
        "max-failed-execs",
        "count",
        "execs that returned an error",
        lambda f: measures.calls(f, f.tree.failed_execs),
        (Fact.EXEC_FAILED,),
        _FAIL,
        "failing execs",
    ),
    Limit(
        "max-failed-forks",
        "count",
        "forks that returned an error",
        lambda f: measures.calls(f, f.tree.failed_forks),
        (Fact.FORK_FAILED,),
        _FAIL,
        "failing forks",
    ),
    Limit(
        "max-cow",
        "bytes",
        "copied because of forks, by all processes",
        measures.copied,
        (Fact.COW,),
        _FULL,
        "what was copied on write",
    ),
    Limit(
        "max-fork-time",
        "ns",
        "to copy the page tables for one fork",
        measures.fork_time,
        (Fact.FORK_COST,),
        "record it with --cow full or --cow fork",
        "what a fork took",
    ),
    Limit(
        "max-life",
        "ns",
        "from birth to end of one process, the program itself included",
        lambda f: largest(f.here, f.shape.life, lambda _: True),
        what="how long processes lived",
    ),
    Limit(
        "max-cpu",
        "ns",
        "CPU time of all processes",
        measures.cpu,
        (Fact.CPU,),
        _EVERYWHERE,
        "CPU time",
    ),
    Limit(
        "max-rss",
        "bytes",
        "peak resident memory of one process",
        lambda f: largest(f.here, f.tree.column("max_rss_bytes"), lambda row: bool(f.shape.ended[row])),
        (Fact.MAX_RSS,),
        _EVERYWHERE,
        "peak resident memory",
    ),
    Limit(
        "max-zombie",
        "ns",
        "that one process waited for its parent as a zombie",
        measures.zombie_time,
        (Fact.ZOMBIES,),
        _EVERYWHERE,
        "how long zombies waited",
    ),
    Limit(
        "no-zombies",
        "flag",
        "no process may be left a zombie when its parent ends, or the trace does",
        measures.unreaped,
        (Fact.ZOMBIES,),
        _EVERYWHERE,
        "whether zombies were waited for",
    ),
    Limit(
        "max-lost",
        "count",
        "records lost while recording; without this, none",
        measures.lost,
        what="how many were lost",
    ),
)

LIMITS: Final[dict[str, Limit]] = {limit.name: limit for limit in _ALL}
"""By name, which is the option's without its dashes, in the order in which they are told."""
