"""From exit to reap: who waited for whom, how late, who did not, and who got the orphans.

    zombies(tree) -> Zombies

A process that has ended is a zombie until its parent waits for it; a parent that never does fills the table of
processes. Whose fault that is, is the parent at the time: of an orphan the one that adopted it. A double fork is
how a daemon leaves its maker: one in between forks, ends at once without an exec, and its child is adopted.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from tracer.analyses.peaks import peak
from tracer.analyses.summary import unreleased
from tracer.model.frozen import record
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.model.vector_ops import combined, exact_sum, occurrences, ordered, packed, view
from tracer.tree.tree import ProcessTree

POINTS: Final = 32
_SAID: Final = 8
_AT_ONCE_NS: Final = 10**9  # one in between, in a double fork, lives no longer


@record
class Waiting:
    """Zombies of one parent. `row`: the parent's, None where it is outside of the trace."""

    row: int | None
    pid: int | None
    children: int  # that had to wait at all
    rows: tuple[int, ...]  # the longest first, some
    unreaped: int  # still zombies when this parent ended, or the trace did
    total_ns: int
    longest_ns: int
    at_once: int  # the most
    sigchld: str | None  # what the parent does with SIGCHLD, if that is known


@record
class Adopter:
    """Who got orphans."""

    pid: int
    row: int | None
    count: int


@record
class Zombies:
    """`parents`: most zombie time first. `growth`: (ns since the trace began, zombies then), evenly spaced."""

    parents: tuple[Waiting, ...]
    at_once: int
    unreaped: int
    growth: tuple[tuple[int, int], ...]
    adopters: tuple[Adopter, ...]
    double_forks: tuple[int, ...]  # rows of what was left behind


def zombies(tree: ProcessTree, limit: int = 8) -> Zombies | None:
    """None where the source does not see when a process is waited for."""
    if Fact.ZOMBIES not in tree.meta.facts:
        return None
    spans = _spans(tree)
    groups = _by_parent(spans, limit)
    begins, ends = ordered(spans.begins), ordered(spans.ends)
    sigchld = tree.stored("sigchld") if tree.keeps("sigchld") else None
    adopted = tree.column("adopted_by")
    orphans = occurrences(adopted, NULL) < len(tree)
    counts = Counter(pid for pid in adopted if pid != NULL) if orphans else Counter[int]()
    return Zombies(
        parents=tuple(_waiting(tree, spans, at, sigchld) for at in groups),
        at_once=peak(begins, ends),
        unreaped=spans.reaped.count(0),
        growth=_growth(tree, begins, ends),
        adopters=tuple(Adopter(pid, _row_of(tree, pid), n) for pid, n in counts.most_common(limit)),
        double_forks=tuple(_double_forks(tree)) if orphans else (),
    )


@record
class _Spans:
    """Times as a zombie, in order of the row. `until`, `waited`: as their parent saw them, which may have ended."""

    rows: array[int]
    begins: array[int]
    ends: array[int]
    reaped: bytearray
    parents: array[int]  # rows, or NULL
    pids: array[int]
    until: array[int]
    waited: bytearray


def _spans(tree: ProcessTree) -> _Spans:
    """Of each that was a zombie for any time. Not the program itself: forktrace waits for it."""

    def column(name: str) -> Any:
        return view(tree.stored(name))

    waits, reaps, exits = column("zombie_ns"), column("reap_ns"), column("exit_ns")
    reaped = waits > 0
    ends = np.full(len(waits), NULL, np.int64)
    ends[reaped] = np.where(exits == NULL, NULL, exits + waits)[reaped]
    known = reaped & (reaps != NULL)
    ends[known] = reaps[known]
    begins = ends - waits
    if tree.last_ns is not None:
        left = np.array(unreleased(tree), np.int64)
        left = left[column("zombie_at")[left] < tree.last_ns]
        begins[left], ends[left] = column("zombie_at")[left], tree.last_ns
    how, words = tree.words("how")
    if "root" in words:
        ends[how == words.index("root")] = NULL
    rows = np.flatnonzero(ends != NULL)
    begin, end, done = begins[rows], ends[rows], reaped[rows]
    parent, pid = view(tree.above())[rows], column("ppid")[rows]
    adopted, since = column("adopted_by")[rows], column("adopted_ns")[rows]
    moved = (adopted != NULL) & ((since == NULL) | (since <= begin))
    gone = np.where(moved | (parent < 0), NULL, exits[parent])
    early = (gone != NULL) & (begin < gone) & (gone < end)
    return _Spans(
        packed(rows),
        packed(begin),
        packed(end),
        bytearray(done.tobytes()),
        packed(np.where(moved | (parent < 0), NULL, parent)),
        packed(np.where(moved, adopted, pid)),
        packed(np.where(early, gone, end)),
        bytearray((done & ~early).tobytes()),
    )


def _by_parent(spans: _Spans, limit: int) -> list[array[int]]:
    """Where in `spans` those of one parent are: of the parents with most zombie time."""
    if not spans.rows:
        return []
    codes, n = combined(view(spans.parents), view(spans.pids))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=n))
    starts = np.concatenate([[0], ends[:-1]])
    totals = np.add.reduceat((view(spans.until) - view(spans.begins))[order], starts)
    worst = np.lexsort((order[starts], -totals))[:limit]  # of equal ones the one that comes first
    return [packed(order[starts[k] : ends[k]]) for k in worst.tolist()]


def _waiting(tree: ProcessTree, spans: _Spans, at: Sequence[int], sigchld: Sequence[str | None] | None) -> Waiting:
    parent, pid = spans.parents[at[0]], spans.pids[at[0]]
    where = view(at)
    begin, end = view(spans.begins)[where], view(spans.until)[where]
    begins, ends, spent = packed(begin), packed(end), end - begin
    longest = np.argsort(-spent, kind="stable")[:_SAID].tolist()
    total_ns = exact_sum(spent)
    unreaped = int(np.count_nonzero(np.frombuffer(spans.waited, np.uint8)[where] == 0))
    said = Counter(how for i in at if (how := sigchld[spans.rows[i]]) is not None) if sigchld else Counter[str]()
    return Waiting(
        row=None if parent == NULL else parent,
        pid=tree.value(parent, "pid") if parent != NULL else None if pid == NULL else pid,
        children=len(at),
        rows=tuple(spans.rows[at[i]] for i in longest),
        unreaped=unreaped,
        total_ns=total_ns,
        longest_ns=int(spent[longest[0]]),
        at_once=peak(ordered(begins), ordered(ends)),
        sigchld=said.most_common(1)[0][0] if said else None,
    )


def _growth(tree: ProcessTree, begins: Sequence[int], ends: Sequence[int]) -> tuple[tuple[int, int], ...]:
    first, last = tree.first_ns, tree.last_ns
    if first is None or last is None or last <= first or not begins:
        return ()
    times = [first + (last - first) * (i + 1) // POINTS for i in range(POINTS)]
    return tuple((at - first, bisect_left(begins, at) - bisect_left(ends, at)) for at in times)


def _row_of(tree: ProcessTree, pid: int) -> int | None:
    """Of a process that adopted others: pids may have been used twice, then it is not known."""
    pids = tree.column("pid")
    return pids.index(pid) if occurrences(pids, pid) == 1 else None


def _double_forks(tree: ProcessTree) -> Iterator[int]:
    above, born, execs = tree.column("parent_id"), tree.column("birth_ts"), tree.column("execs")
    how, ends = tree.column("how"), tree.column("exit_ns")
    for row, adopted in enumerate(tree.column("adopted_by")):
        if adopted == NULL or above[row] == NULL:
            continue
        between = above[row]
        if how[between] in ("root", "existing", None) or execs[between] or NULL in (ends[between], born[between]):
            continue
        if ends[between] - born[between] <= _AT_ONCE_NS and (ends[row] == NULL or ends[row] > ends[between]):
            yield row
