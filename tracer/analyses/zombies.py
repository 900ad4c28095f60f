"""From exit to reap: who waited for whom, how late, who did not, and who got the orphans.

    zombies(tree) -> Zombies

A process that has ended is a zombie until its parent waits for it; a parent that never does fills the table of
processes. Whose fault that is, is the parent at the time: of an orphan the one that adopted it. A double fork is
how a daemon leaves its maker: one in between forks, ends at once without an exec, and its child is adopted.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.summary import peak
from tracer.events import NULL, Fact
from tracer.record import record
from tracer.tree import ProcessTree

POINTS: Final = 32
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
    spans = list(_spans(tree))
    by_parent: dict[tuple[int, int], list[tuple[int, int, int, bool]]] = {}
    above, born_to, adopted = tree.column("parent_id"), tree.column("ppid"), tree.column("adopted_by")
    since = tree.column("adopted_ns")
    ends = tree.column("exit_ns")
    for row, begin, end, reaped in spans:
        parent, pid = above[row], born_to[row]
        if adopted[row] != NULL and (since[row] == NULL or since[row] <= begin):
            parent, pid = NULL, adopted[row]  # whose row is that? A pid alone does not say
        elif parent != NULL and ends[parent] != NULL and begin < ends[parent] < end:
            end, reaped = ends[parent], False  # from then on it is somebody else's
        by_parent.setdefault((parent, pid), []).append((row, begin, end, reaped))
    parents = sorted((_waiting(tree, key, found) for key, found in by_parent.items()), key=lambda p: -p.total_ns)
    begins, finish = array("q", sorted(s[1] for s in spans)), array("q", sorted(s[2] for s in spans))
    return Zombies(
        parents=tuple(parents[:limit]),
        at_once=peak(begins, finish),
        unreaped=sum(not reaped for _, _, _, reaped in spans),
        growth=_growth(tree, begins, finish),
        adopters=tuple(
            Adopter(pid, _row_of(tree, pid), n)
            for pid, n in Counter(pid for pid in adopted if pid != NULL).most_common(limit)
        ),
        double_forks=tuple(_double_forks(tree)),
    )


def _spans(tree: ProcessTree) -> Iterator[tuple[int, int, int, bool]]:
    """(row, from, to, it was waited for) of each that was a zombie for any time."""
    how = tree.column("how")
    waits, reaps, ends = tree.column("zombie_ns"), tree.column("reap_ns"), tree.column("exit_ns")
    last = tree.last_ns
    for row, wait in enumerate(waits):
        if how[row] == "root":  # forktrace itself waits for that one
            continue
        if wait > 0:
            end = reaps[row] if reaps[row] != NULL else ends[row] + wait if ends[row] != NULL else NULL
            if end != NULL:
                yield row, end - wait, end, True
        elif wait == NULL and last is not None:
            begin = tree.zombie_since(row)
            if begin is not None and not tree.released(row) and begin < last:
                yield row, begin, last, False


def _waiting(
    tree: ProcessTree, key: tuple[int, int], found: Sequence[tuple[int, int, int, bool]]
) -> Waiting:
    sigchld = Counter(how for row, *_ in found if (how := tree.value(row, "sigchld")) is not None)
    longest = heapq.nlargest(8, found, key=lambda span: span[2] - span[1])
    return Waiting(
        row=None if key[0] == NULL else key[0],
        pid=tree.value(key[0], "pid") if key[0] != NULL else None if key[1] == NULL else key[1],
        children=len(found),
        rows=tuple(row for row, *_ in longest),
        unreaped=sum(not reaped for *_, reaped in found),
        total_ns=sum(end - begin for _, begin, end, _ in found),
        longest_ns=longest[0][2] - longest[0][1],
        at_once=peak(sorted(span[1] for span in found), sorted(span[2] for span in found)),
        sigchld=sigchld.most_common(1)[0][0] if sigchld else None,
    )


def _growth(tree: ProcessTree, begins: Sequence[int], ends: Sequence[int]) -> tuple[tuple[int, int], ...]:
    first, last = tree.first_ns, tree.last_ns
    if first is None or last is None or last <= first or not begins:
        return ()
    points = []
    came = went = 0
    for i in range(POINTS):
        at = first + (last - first) * (i + 1) // POINTS
        while came < len(begins) and begins[came] < at:
            came += 1
        while went < len(ends) and ends[went] < at:
            went += 1
        points.append((at - first, came - went))
    return tuple(points)


def _row_of(tree: ProcessTree, pid: int) -> int | None:
    """Of a process that adopted others: pids may have been used twice, then it is not known."""
    found = [row for row, each in enumerate(tree.column("pid")) if each == pid]
    return found[0] if len(found) == 1 else None


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
