"""What did not work: forks that failed and why, execs that failed and of what, and how processes ended.

    failures(tree) -> Failures     counts, most first; None where the source can not see it

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tracer.analyses.summary import badly_ended, program
from tracer.model.batch import Event
from tracer.model.frozen import record
from tracer.model.meta import Fact
from tracer.tree.tree import ProcessTree


@record
class Failed:
    """Calls that failed alike. `what`: of an exec the path, of a fork the system call's name or None."""

    error: str | None
    cause: str | None  # which limit; None: not known
    sure: bool  # the cause was measured, not inferred
    what: str | None
    count: int
    rows: tuple[int, ...]  # the callers, each once, in order of their first


@record
class Ended:
    """Processes of one program that ended alike. One of `code` and `signal` is None."""

    program: str
    code: int | None
    signal: str | None
    count: int


@record
class Failures:
    """`ends`: those that ended by a signal or with a status other than 0."""

    forks: tuple[Failed, ...] | None
    execs: tuple[Failed, ...] | None
    ends: tuple[Ended, ...] | None
    oom_killed: tuple[int, ...]  # rows


def failures(tree: ProcessTree) -> Failures:
    """Of the whole trace."""
    facts = tree.meta.facts
    return Failures(
        forks=failed_forks(tree) if Fact.FORK_FAILED in facts or tree.failed_forks else None,
        execs=_calls(tree, tree.failed_execs, "exe") if Fact.EXEC_FAILED in facts or tree.failed_execs else None,
        ends=_ends(tree) if Fact.STATUS in facts else None,
        oom_killed=tuple(row for row, killed in enumerate(tree.column("oom_killed")) if killed == 1),
    )


def failed_forks(tree: ProcessTree) -> tuple[Failed, ...]:
    """Those alone; empty also where the source can not see them."""
    return _calls(tree, tree.failed_forks, "syscall")


def _calls(tree: ProcessTree, events: Iterable[Event], of: str) -> tuple[Failed, ...]:
    counts: Counter[tuple[str | None, str | None, bool, str | None]] = Counter()
    callers: dict[tuple[str | None, str | None, bool, str | None], dict[int, None]] = {}
    for event in events:
        key = (event.error, event.cause, event.evidence == "measured", getattr(event, of))
        counts[key] += 1
        row = tree.row(event.pid, event.born_ns) if event.pid is not None and event.born_ns is not None else None
        if row is not None:
            callers.setdefault(key, {})[row] = None
    return tuple(Failed(*key, count, tuple(callers.get(key, ()))) for key, count in counts.most_common())


def _ends(tree: ProcessTree) -> tuple[Ended, ...]:
    counts: Counter[tuple[str, int | None, str | None]] = Counter()
    for row in badly_ended(tree):
        signal = tree.value(row, "signal")
        code = None if signal is not None else tree.value(row, "exit_code")
        counts[program(tree.value(row, "argv"), tree.value(row, "comm")), code, signal] += 1
    return tuple(Ended(name, code, signal, n) for (name, code, signal), n in counts.most_common())
