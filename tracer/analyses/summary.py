"""A tree in a few figures: how many, how they ended, how many at once, what was lost.

    summarize(tree) -> Summary     frozen; None is "this source can not know"

Pure: knows no report and no words beyond the kernel's own.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tracer.analyses.shape import Shape
from tracer.events import NULL, Fact
from tracer.record import record
from tracer.tree import Loss, ProcessTree

_SECOND: Final = 10**9
_NOT_BORN_HERE: Final = frozenset({"root", "existing"})


@record
class Failure:
    """Processes of one program that ended by one signal, or with these statuses (sorted, each once)."""

    program: str
    signal: str | None
    codes: tuple[int, ...]
    count: int


@record
class Summary:
    """Times are ns. Failures are sorted, most first; `ways` counts births by how, most first."""

    processes: int  # seen to be born, started or found in passing: all but those that were there before
    existing: int  # were there before the trace
    gaps: int  # first heard of after their birth
    ways: tuple[tuple[str, int], ...]
    threads: int | None
    execs: int
    span_ns: int | None  # from the first beginning to the last end
    failed: int | None  # ended by a signal, or with a status other than 0
    failures: tuple[Failure, ...]
    failed_execs: int | None
    failed_forks: int | None
    core_dumps: int | None
    oom_kills: int | None
    alive: int  # of `processes`, still there at the end of the trace
    peak_alive: int | None  # at one time, those that were there before included
    depth: int  # generations below the roots
    forks: int
    peak_forks: int | None  # most births within one second
    adopted: int | None  # lost their parent and got another
    zombies: int | None  # had to wait for their parent
    zombie_max_ns: int | None
    zombie_max_row: int | None
    unreaped: int | None  # zombies that nobody had come for when the trace ended
    cpu_ns: int | None  # of all processes
    own_cpu_ns: int | None  # of forktrace
    lost: int | None  # records; 0 is none, None an unknown number
    losses: tuple[Loss, ...]


def summarize(tree: ProcessTree, shape: Shape | None = None) -> Summary:
    """Figures of the whole tree. `shape`, if it is at hand, saves a second."""
    shape = shape or Shape(tree)
    facts = tree.meta.facts
    how = tree.column("how")
    ways = Counter(word for word in how if word is not None)
    existing = ways.pop("existing", 0)
    ways.pop("root", None)
    failed, failures = _failures(tree) if Fact.STATUS in facts else (None, ())
    zombies = _zombies(tree) if Fact.ZOMBIES in facts else (None, None, None, None)
    threads = tree.column("threads")
    own = tree.end
    return Summary(
        processes=len(tree) - existing,
        existing=existing,
        gaps=sum(map(tree.is_gap, range(len(tree)))),
        ways=tuple(ways.most_common()),
        threads=sum(n for n in threads if n != NULL) if Fact.THREADS in facts else None,
        execs=len(tree.all_execs()[0]),
        span_ns=_span(tree, shape),
        failed=failed,
        failures=failures,
        failed_execs=len(tree.failed_execs) if Fact.EXEC_FAILED in facts else None,
        failed_forks=len(tree.failed_forks) if Fact.FORK_FAILED in facts else None,
        core_dumps=_trues(tree.column("core_dumped")) if Fact.STATUS in facts else None,
        oom_kills=_trues(tree.column("oom_killed")) if Fact.KILLER in facts else None,
        alive=sum(not dead and word != "existing" for dead, word in zip(shape.ended, how, strict=True)),
        peak_alive=_peak_alive(tree, shape),
        depth=max(shape.depth, default=0),
        forks=sum(ways.values()),
        peak_forks=_peak_forks(shape, how),
        adopted=sum(pid != NULL for pid in tree.column("adopted_by")) if Fact.ADOPTION in facts else None,
        zombies=zombies[0],
        zombie_max_ns=zombies[1],
        zombie_max_row=zombies[2],
        unreaped=zombies[3],
        cpu_ns=cpu_of(tree) if Fact.CPU in facts else None,
        own_cpu_ns=own.utime_ns + own.stime_ns if own is not None and own.utime_ns is not None else None,
        lost=None if any(loss.count is None for loss in tree.losses) else sum(loss.count or 0 for loss in tree.losses),
        losses=tuple(tree.losses),
    )


def program(argv: Sequence[str] | None, comm: str | None) -> str:
    """A short name: the last part of argv[0], else the kernel's name for it, else `?`."""
    return (argv[0].rpartition("/")[2] or argv[0] if argv else "") or comm or "?"


def _trues(column: Sequence[int]) -> int:
    return sum(value == 1 for value in column)


def _failures(tree: ProcessTree) -> tuple[int, tuple[Failure, ...]]:
    codes, signals = tree.column("exit_code"), tree.column("signal")
    bad = [row for row, code in enumerate(codes) if code not in (0, NULL) or signals[row] is not None]
    counts: Counter[tuple[str, str | None]] = Counter()
    statuses: dict[tuple[str, str | None], set[int]] = {}
    for row in bad:
        key = (program(tree.value(row, "argv"), tree.value(row, "comm")), signals[row])
        counts[key] += 1
        if signals[row] is None:
            statuses.setdefault(key, set()).add(codes[row])
    return len(bad), tuple(
        Failure(name, signal, tuple(sorted(statuses.get((name, signal), ()))), n)
        for (name, signal), n in counts.most_common()
    )


def _span(tree: ProcessTree, shape: Shape) -> int | None:
    """From the first begin to the last end, or to the last record if something still lives."""
    begins = [at for at, how in zip(shape.begin, tree.column("how"), strict=True) if how != "existing" and at != NULL]
    first = tree.first_ns
    if first is not None and begins and len(begins) == len(tree):
        first = max(first, min(begins))  # the root is held for a while before it begins
    last = tree.last_ns if not all(shape.ended) else max(tree.column("exit_ns"), default=NULL)
    return None if first is None or last is None or last == NULL else max(0, last - first)


def _peak_alive(tree: ProcessTree, shape: Shape) -> int | None:
    ends = tree.column("exit_ns")
    if any(end == NULL and shape.ended[row] for row, end in enumerate(ends)) or NULL in shape.begin:
        return None
    begins = array("q", sorted(shape.begin))  # arrays, since a million numbers as objects are 32 MiB
    return peak(begins, array("q", sorted(end for end in ends if end != NULL)))


def peak(begins: Sequence[int], ends: Sequence[int]) -> int:
    """The most that are there at one time; both sorted. What ends as another begins makes room for it."""
    most = gone = 0
    last = len(ends)
    for come, at in enumerate(begins, 1):
        while gone < last and ends[gone] <= at:
            gone += 1
        most = max(most, come - gone)
    return most


def _peak_forks(shape: Shape, how: Sequence[str | None]) -> int | None:
    made = [word not in _NOT_BORN_HERE for word in how]
    births = [at for at, here in zip(shape.begin, made, strict=True) if here and at != NULL]
    births.sort()
    return _most_within(births, _SECOND) if births or not any(made) else None


def _most_within(stamps: Sequence[int], window: int) -> int:
    """The most of sorted `stamps` that lie within `window` of each other."""
    most = first = 0
    for i, at in enumerate(stamps):
        while at - stamps[first] >= window:
            first += 1
        most = max(most, i + 1 - first)
    return most


def _zombies(tree: ProcessTree) -> tuple[int, int | None, int | None, int]:
    """(how many waited, longest wait, whose, how many wait still). Not the program itself: it waits for forktrace."""
    waits = array("q", tree.column("zombie_ns"))
    unreaped = 0
    for row, (wait, how) in enumerate(zip(waits, tree.column("how"), strict=True)):
        if how == "root":
            waits[row] = NULL
            continue
        since = tree.zombie_since(row) if wait == NULL else None
        if since is not None and not tree.released(row):
            unreaped += 1
            waits[row] = max(0, (tree.last_ns or since) - since)
    longest = max(waits, default=NULL)
    count = sum(wait > 0 for wait in waits)
    return count, (longest if longest > 0 else None), (waits.index(longest) if longest > 0 else None), unreaped


def cpu_of(tree: ProcessTree) -> int | None:
    """Run time by the scheduler's clock where it is known, else ticks; what the root had before its exec taken off."""
    known = False
    total = 0
    runtime = _net(tree, "runtime_ns")
    user, system = _net(tree, "utime_ns"), _net(tree, "stime_ns")
    for exact, u, s in zip(runtime, user, system, strict=True):
        if exact != NULL:
            total += exact
            known = True
        elif NULL not in (u, s):
            total += u + s
            known = True
    return total if known else None


def _net(tree: ProcessTree, name: str) -> Sequence[int]:
    base = tree.column("base_" + name)
    values = tree.column(name)
    if all(b == NULL for b in base):
        return values  # type: ignore[no-any-return]
    return [v if NULL in (v, b) else max(0, v - b) for v, b in zip(values, base, strict=True)]
