"""What a budget measures of a trace: of each limit the figure, whose it is most, and of how many it is not known.

    figures = Figures(tree); processes(figures) -> Measured

Unknown is never 0: a process that should have a figure and has none is counted. Knows no limits; those are budget.py's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tracer.analyses.summary import Summary, badly_ended, summarize
from tracer.analyses.tree_index import Shape
from tracer.analyses.zombies import Zombies, zombies
from tracer.model.schema import NULL
from tracer.tree.failures import LazyEvents
from tracer.tree.tree import ProcessTree

_CLONE_VM: Final = 0x100
_SHARED: Final = frozenset({"vfork", "posix_spawn"})


@dataclass(frozen=True)
class Measured:
    """`value` None: not known at all. `unknown`: processes that should have a figure and have none."""

    value: int | None
    row: int | None = None
    share: int | None = None  # None: the value itself
    unknown: int = 0
    pid: int | None = None  # of one that has no row


class Figures:
    """What several limits need, once."""

    def __init__(self, tree: ProcessTree) -> None:
        self.tree = tree

    @cached_property
    def shape(self) -> Shape:
        """Depths and lives."""
        return Shape(self.tree)

    @cached_property
    def summary(self) -> Summary:
        """The tree in a few figures."""
        return summarize(self.tree, self.shape)

    @cached_property
    def zombies(self) -> Zombies | None:
        """Of all parents."""
        return zombies(self.tree, len(self.tree))

    @cached_property
    def here(self) -> list[int]:
        """Rows of all but those that were there before: what those did before is not the trace's."""
        return [row for row, how in enumerate(self.tree.column("how")) if how != "existing"]


def largest(rows: Iterable[int], column: Sequence[int], due: Callable[[int], bool]) -> Measured:
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
        return Measured(None if unknown else 0)
    return Measured(max(0, best), at, unknown=unknown)


def sum_of(rows: Iterable[int], column: Sequence[int], each: int = 1) -> Measured:
    """The sum in units of `each`, and whose part is largest. None that is known is unknown, if there is any process."""
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
        return Measured(None)
    return Measured(total * each, at, max(0, best) * each, unknown)


def _most_common(rows: Iterable[int | None], value: int | None) -> Measured:
    counts = Counter(row for row in rows if row is not None)
    if value is None or not counts:
        return Measured(value)
    row, n = counts.most_common(1)[0]
    return Measured(value, row, n)


def copied(figures: Figures) -> Measured:
    """Bytes that were copied because of forks."""
    page = figures.tree.meta.page_size
    return Measured(None) if page is None else sum_of(figures.here, figures.tree.column("cow_copies"), page)


def processes(figures: Figures) -> Measured:
    """How many were made, and who made most."""
    above, how = figures.tree.column("parent_id"), figures.tree.column("how")
    makers = (above[row] for row in figures.here if above[row] != NULL and how[row] != "root")
    return _most_common(makers, figures.summary.processes)


def depth(figures: Figures) -> Measured:
    """The generations, and who stands lowest."""
    deepest = figures.summary.depth
    return Measured(deepest, figures.shape.depth.index(deepest) if deepest else None)


def failures(figures: Figures) -> Measured:
    """The worst is the first of those that ended alike, of which there are most."""
    tree = figures.tree
    codes, signals = tree.column("exit_code"), tree.column("signal")
    unknown = sum(codes[row] == NULL and signals[row] is None for row in figures.here if figures.shape.ended[row])
    if not figures.summary.failures:
        return Measured(figures.summary.failed, unknown=unknown)
    alike: dict[tuple[object, ...], list[int]] = {}
    for row in badly_ended(tree):
        argv = tree.value(row, "argv")
        key = (argv[0] if argv else tree.value(row, "comm"), signals[row], codes[row])
        alike.setdefault(key, []).append(row)
    most = max(alike.values(), key=len)
    return Measured(figures.summary.failed, most[0], len(most), unknown)


def calls(figures: Figures, events: LazyEvents) -> Measured:
    """How many failed, and whose most of them were."""
    row_of = figures.tree.row
    known = ((e.pid, e.born_ns) for e in events)
    return _most_common((row_of(*key) if None not in key else None for key in known), len(events))


def fork_time(figures: Figures) -> Measured:
    """Of one fork; who paid is its maker. Due for a fork that copied an address space."""
    tree = figures.tree
    how, flags = tree.column("how"), tree.column("clone_flags")

    def due(row: int) -> bool:
        shares = flags[row] != NULL and bool(flags[row] & _CLONE_VM)
        return how[row] not in _SHARED and how[row] not in (None, "root") and not shares

    found = largest(figures.here, tree.column("fork_ns"), due)
    maker = None if found.row is None else tree.parent(found.row)
    return found if maker is None else Measured(found.value, maker, unknown=found.unknown)


def zombie_time(figures: Figures) -> Measured:
    """Of the program itself no time counts: it is forktrace that waits for it."""
    found = figures.zombies
    if found is None:
        return Measured(None)
    longest = max(found.parents, key=lambda parent: parent.longest_ns, default=None)
    return Measured(0) if longest is None else Measured(longest.longest_ns, longest.rows[0])


def unreaped(figures: Figures) -> Measured:
    """Left as a zombie when the parent ended, or the trace did."""
    found = figures.zombies
    if found is None:
        return Measured(None)
    total = sum(parent.unreaped for parent in found.parents)
    worst = max(found.parents, key=lambda parent: parent.unreaped, default=None)
    if worst is None or not total:
        return Measured(total)
    return Measured(total, worst.row, worst.unreaped, pid=worst.pid)


def lost(figures: Figures) -> Measured:
    """An unknown number is at least one for each time."""
    n = figures.summary.lost
    if n is not None:
        return Measured(n)
    return Measured(sum(loss.count or 1 for loss in figures.summary.losses), unknown=1)


def cpu(figures: Figures) -> Measured:
    """Of all processes, and who took most."""
    tree = figures.tree
    pairs = zip(tree.column("cpu_user_ns"), tree.column("cpu_system_ns"), strict=True)
    return sum_of(figures.here, [NULL if NULL in pair else sum(pair) for pair in pairs])
