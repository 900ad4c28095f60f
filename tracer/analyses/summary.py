"""A tree in a few figures: how many, how they ended, how many at once, what was lost.

    summarize(tree) -> Summary     frozen; None is "this source can not know"

Pure: knows no report and no words beyond the kernel's own.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tracer.analyses.peaks import peak_alive, peak_forks
from tracer.analyses.tree_index import Shape
from tracer.model.frozen import record
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.model.vector_ops import above_zero, exact_sum, least_and_most, occurrences, total, view
from tracer.tree.tree import Loss, ProcessTree, signal_name


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
    unsure: int  # of `processes`, those whose end was not seen while ends were lost: they may still be there
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
    counts = Counter(how)
    del counts[None]
    ways: Counter[str] = counts
    existing = ways.pop("existing", 0)
    ways.pop("root", None)
    failed, failures = _failures(tree) if Fact.STATUS in facts else (None, ())
    zombies = _zombies(tree) if Fact.ZOMBIES in facts else (None, None, None, None)
    threads = tree.column("threads")
    own = tree.end
    living = [row for row in shape.living() if how[row] != "existing"]
    unsure = 0
    if any(loss.may_be_ends for loss in tree.losses):
        found = tree.marks("alive")  # what a source found there when it ended
        unsure = sum(not found[row] for row in living)
    return Summary(
        processes=len(tree) - existing,
        existing=existing,
        gaps=tree.gaps().count(1),
        ways=tuple(ways.most_common()),
        threads=total(threads) or 0 if Fact.THREADS in facts else None,
        execs=len(tree.all_execs()[0]),
        span_ns=_span(tree, shape, existing),
        failed=failed,
        failures=failures,
        failed_execs=len(tree.failed_execs) if Fact.EXEC_FAILED in facts else None,
        failed_forks=len(tree.failed_forks) if Fact.FORK_FAILED in facts else None,
        core_dumps=occurrences(tree.column("core_dumped"), 1) if Fact.STATUS in facts else None,
        oom_kills=occurrences(tree.column("oom_killed"), 1) if Fact.KILLER in facts else None,
        alive=len(living) - unsure,
        unsure=unsure,
        peak_alive=peak_alive(tree, shape),
        depth=max(shape.depth, default=0),
        forks=sum(ways.values()),
        peak_forks=peak_forks(tree, shape),
        adopted=len(tree) - occurrences(tree.column("adopted_by"), NULL) if Fact.ADOPTION in facts else None,
        zombies=zombies[0],
        zombie_max_ns=zombies[1],
        zombie_max_row=zombies[2],
        unreaped=zombies[3],
        cpu_ns=cpu_of(tree) if Fact.CPU in facts else None,
        own_cpu_ns=None if own is None or None in (own.utime_ns, own.stime_ns) else own.utime_ns + own.stime_ns,
        lost=None if any(loss.count is None for loss in tree.losses) else sum(loss.count or 0 for loss in tree.losses),
        losses=tuple(tree.losses),
    )


def program(argv: Sequence[str] | None, comm: str | None) -> str:
    """A short name: the last part of argv[0], else the kernel's name for it, else `?`."""
    return (argv[0].rpartition("/")[2] or argv[0] if argv else "") or comm or "?"


def badly_ended(tree: ProcessTree) -> list[int]:
    """Rows of those that ended by a signal, or with a status other than 0."""
    codes, signals = tree.stored("exit_code"), tree.stored("signal")
    code = view(codes)
    found: list[int] = np.flatnonzero(((code != 0) & (code != NULL)) | (view(signals) != NULL)).tolist()
    return found


def _failures(tree: ProcessTree) -> tuple[int, tuple[Failure, ...]]:
    bad = badly_ended(tree)
    codes, signals = tree.stored("exit_code"), tree.stored("signal")
    argvs, comms = tree.last_argvs(), tree.column("comm")
    names: dict[tuple[int, str | None], str] = {}
    counts: Counter[tuple[str, str | None]] = Counter()
    statuses: dict[tuple[str, str | None], set[int]] = {}
    for row in bad:
        command = argvs[row], comms[row]
        if command not in names:
            names[command] = program(tree.value(row, "argv"), comms[row])
        key = names[command], None if signals[row] == NULL else signal_name(signals[row])
        counts[key] += 1
        if signals[row] == NULL:
            statuses.setdefault(key, set()).add(codes[row])
    return len(bad), tuple(
        Failure(name, signal, tuple(sorted(statuses.get((name, signal), ()))), n)
        for (name, signal), n in counts.most_common()
    )


def _span(tree: ProcessTree, shape: Shape, existing: int) -> int | None:
    """From the first begin to the last end, or to the last record if something still lives."""
    first = tree.first_ns
    begins = least_and_most(shape.begin, range(len(tree)))
    if first is not None and begins is not None and not existing and not occurrences(shape.begin, NULL):
        first = max(first, begins[0])  # the root is held for a while before it begins
    last = tree.last_ns
    if all(shape.ended):
        ends = least_and_most(tree.column("exit_ns"), range(len(tree)))
        last = None if ends is None else ends[1]
    return None if first is None or last is None else max(0, last - first)


def _zombies(tree: ProcessTree) -> tuple[int, int | None, int | None, int]:
    """(how many waited, longest wait, whose, how many wait still). Not the program itself: it waits for forktrace."""
    waits = zombie_times(tree)
    left = unreleased(tree)
    for row in left:
        since = tree.stored("zombie_at")[row]
        waits[row] = max(0, (tree.last_ns or since) - since)
    known = least_and_most(waits, range(len(waits)))
    longest = known[1] if known is not None and known[1] > 0 else None
    count = len(above_zero(waits))
    return count, longest, None if longest is None else waits.index(longest), len(left)


def zombie_times(tree: ProcessTree) -> array[int]:
    """How long each waited for its parent. Not the program itself: it waits for forktrace."""
    waits, how, row = array("q", tree.column("zombie_ns")), tree.column("how"), -1
    for _ in range(how.count("root")):
        row = how.index("root", row + 1)
        waits[row] = NULL
    return waits


def unreleased(tree: ProcessTree) -> list[int]:
    """Rows of zombies that nobody has come for, without the program itself."""
    wait, at, released = (view(tree.stored(name)) for name in ("zombie_ns", "zombie_at", "released"))
    how = tree.column("how")
    found = np.flatnonzero((wait == NULL) & (at != NULL) & (released != 1)).tolist()
    return [row for row in found if how[row] != "root"]


def cpu_of(tree: ProcessTree) -> int | None:
    """Run time by the scheduler's clock where it is known, else ticks; what the root had before its exec taken off."""
    exact, user, system = (view(tree.counters(name)) for name in ("runtime_ns", "utime_ns", "stime_ns"))
    ticks = (exact == NULL) & (user != NULL) & (system != NULL)
    parts = exact[exact != NULL], user[ticks], system[ticks]
    return sum(exact_sum(part) for part in parts) if any(map(len, parts)) else None
