"""Findings about lives: what fails, what is started again and again, what nobody waits for, threads at a fork. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tracer.analyses.churn import Churn
from tracer.analyses.failures import failed_forks
from tracer.analyses.findings.finding import Finding
from tracer.analyses.group_key import Alike
from tracer.analyses.median import median
from tracer.analyses.summary import badly_ended
from tracer.analyses.tree_index import Shape
from tracer.analyses.zombies import Zombies
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.model.vector_ops import above_zero
from tracer.tree.tree import ProcessTree

_SAID: Final = 8
_SECOND: Final = 10**9
_MS: Final = 10**6
_RESPAWNS: Final = 5
_FAILED: Final = 0.8
_SOON_NS: Final = 2 * _SECOND  # after the last one's end, a new one is its successor
_ASKING: Final = frozenset(
    {"test", "[", "grep", "egrep", "fgrep", "zgrep", "cmp", "diff", "expr", "which", "pgrep", "false"}
)
"""Programs whose status 1 is an answer, and no failure."""

_ZOMBIES: Final = 2
_ZOMBIE_NS: Final = _SECOND
_PROBES: Final = 20
_PROBES_MANY: Final = 100
_WRAPPERS: Final = 10
_REPEATED: Final = 100
_NOTHING_NS: Final = 3 * _MS  # who lives no longer does little but begin and end
_PART: Final = 0.1  # of all CPU time of the trace
_WORTH_NS: Final = 5 * _MS


def refused(tree: ProcessTree) -> Iterator[Finding]:
    """Forks that failed, whatever for."""
    for failed in failed_forks(tree):
        yield Finding(
            "failed_forks",
            failed.rows[0] if len(failed.rows) == 1 else None,
            failed.rows[:_SAID],
            {
                "failed": failed.count,
                "callers": len(failed.rows),
                "error": failed.error,
                "cause": failed.cause,
                "sure": failed.sure,
            },
            failed.count,
            breaks=True,
        )


def respawned(tree: ProcessTree, shape: Shape, alike: Alike) -> Iterator[Finding]:
    """The same command, by the same parent, again as soon as it has failed."""
    codes, signals, ends = tree.column("exit_code"), tree.stored("signal"), tree.column("exit_ns")
    of, parent, begin = alike.commands.of, shape.parent, shape.begin
    found: dict[tuple[int, int], list[int]] = {}
    for row in badly_ended(tree):
        if (codes[row] > 0 or signals[row] != NULL) and parent[row] >= 0:
            found.setdefault((parent[row], of[row]), []).append(row)
    siblings: dict[int, dict[int, list[int]]] = {}  # by parent, by command
    for (above, command), rows in found.items():
        if len(rows) < _RESPAWNS or _answers(tree, rows):
            continue
        if above not in siblings:
            siblings[above] = {}
            for row in shape.children(above):
                siblings[above].setdefault(of[row], []).append(row)
        whole = siblings[above][command]
        if len(rows) < _FAILED * len(whole) or NULL in [begin[row] for row in whole]:
            continue
        gaps = [begin[b] - ends[a] for a, b in pairwise(whole) if ends[a] != NULL]
        soon = [gap for gap in gaps if 0 <= gap <= _SOON_NS]
        if len(soon) < _FAILED * (len(whole) - 1):
            continue
        outcome = Counter(tree.value(row, "signal") or codes[row] for row in rows).most_common(1)[0][0]
        yield Finding(
            "respawn",
            above,
            tuple(rows[:_SAID]),
            {
                "times": len(whole),
                "failed": len(rows),
                "outcome": outcome,
                "life_ns": int(median(shape.life[row] for row in whole)),
                "pause_ns": int(median(soon)),
                "cpu_ns": _sum(tree.column("runtime_ns"), whole),
                "forks_per_s": _rate(len(whole), begin[whole[0]], begin[whole[-1]]),
            },
            max(_sum(tree.column("runtime_ns"), whole) or 0, 0),
            breaks=True,
        )


def _answers(tree: ProcessTree, rows: Sequence[int]) -> bool:
    argv = tree.value(rows[0], "argv")
    if not argv or argv[0].rpartition("/")[2] not in _ASKING:
        return False
    return all(tree.value(row, "exit_code") == 1 for row in rows)


def unwaited(tree: ProcessTree, dead: Zombies | None) -> Iterator[Finding]:
    """Parents whose children stay zombies."""
    for waiting in () if dead is None else dead.parents:
        if waiting.row is None and not waiting.unreaped:
            continue
        if waiting.children < _ZOMBIES or waiting.longest_ns < _ZOMBIE_NS:
            continue
        never = waiting.unreaped >= _ZOMBIES
        yield Finding(
            "unreaped" if never else "reaped_late",
            waiting.row,
            waiting.rows,
            {
                "children": waiting.children,
                "unreaped": waiting.unreaped,
                "longest_ns": waiting.longest_ns,
                "at_once": waiting.at_once,
                "sigchld": waiting.sigchld,
                "pid": waiting.pid,
            },
            waiting.children,
            breaks=never,
        )


def short_lived(tree: ProcessTree, all_of: Churn, cpu_ns: int | None) -> Iterator[Finding]:
    """Searches along the PATH, shells that were not needed, and one command again and again."""
    failed = sum(each.failed for each in all_of.probing)
    wasted = sum(each.wasted_ns for each in all_of.probing)
    if failed >= _PROBES and (failed >= _PROBES_MANY or wasted >= _MS):
        names = all_of.probing
        yield Finding(
            "path_search",
            None,
            names[0].rows,
            {
                "failed": failed,
                "processes": sum(each.processes for each in names),
                "names": len(names),
                "name": names[0].name,
                "wasted_ns": wasted,
                "missing": sum(not each.found for each in names),
            },
            wasted,
        )
    shells = sum(each.count for each in all_of.wrapped)
    own = sum(each.own_ns for each in all_of.wrapped)
    if shells >= _WRAPPERS and own >= _WORTH_NS:
        first = all_of.wrapped[0]
        yield Finding(
            "shell",
            None,
            first.rows,
            {
                "shells": shells,
                "in_place": sum(each.in_place for each in all_of.wrapped),
                "own_ns": own,
                "script": first.script,
                "of_script": first.count,
                "programs": len(all_of.wrapped),
            },
            own,
        )
    for each in all_of.repeated:
        if each.cpu_ns is None or not cpu_ns:
            continue  # what they are for may be worth their life; what they take is not known
        spent = each.cpu_ns
        if each.count >= _REPEATED and each.life_ns <= _NOTHING_NS and spent >= max(_WORTH_NS, _PART * cpu_ns):
            yield Finding(
                "short_lived",
                None,
                each.rows,
                {
                    "processes": each.count,
                    "parents": each.parents,
                    "words": each.words,
                    "comm": each.comm,
                    "life_ns": each.life_ns,
                    "lives_ns": each.lives_ns,
                    "cpu_ns": each.cpu_ns,
                    "part": min(1.0, spent / cpu_ns),
                },
                spent,
            )


def with_threads(tree: ProcessTree) -> Iterator[Finding]:
    """Forks without an exec while the maker had other threads."""
    if Fact.THREADS not in tree.meta.facts or Fact.FLAGS not in tree.meta.facts:
        return
    how, execs, born = tree.column("how"), tree.column("execs"), tree.column("birth_ts")
    for maker in above_zero(tree.column("threads")):
        threads = tree.threads(maker)
        begins = array("q", sorted(begin for _, begin, _ in threads if begin is not None))
        ends = array("q", sorted(end for _, _, end in threads if end is not None))
        found: list[tuple[int, int]] = []
        for row in tree.children(maker):
            if how[row] == "fork" and not execs[row] and born[row] != NULL:
                living = bisect_left(begins, born[row]) - bisect_left(ends, born[row])
                if living > 0 and tree.value(row, "creator_pid") == tree.value(maker, "pid"):
                    found.append((living, row))
        if found:
            most = max(found)[0]
            yield Finding(
                "threads", maker, tuple(row for _, row in found[:_SAID]), {"forks": len(found), "threads": most}, 0
            )


def _sum(column: Sequence[int], rows: Sequence[int]) -> int | None:
    known = [column[row] for row in rows if column[row] != NULL]
    return sum(known) if known else None


def _rate(n: int, first: int, last: int) -> float | None:
    return (n - 1) * _SECOND / (last - first) if last > first else None
