"""A fork tree in few lines: like siblings become one line, long chains too, and what is still too much is counted.

    fold(tree, limit=60) -> Fold      .lines: in order of display; .hidden: processes that no line stands for
    unfolded(tree) -> Iterator[Line]  one line a process, nothing hidden, a million without a list

Siblings are alike when their commands have one template, they came to be and ended in the same way, and below them
stand like trees. If that does not fit the limit, what stands below is no longer compared; if that does not
fit, the lines that stand for most processes are kept, failures counting for more.

Pure: tree -> lines with rows and guides. Knows no width, no words and no colours.
"""

from __future__ import annotations

import enum
import heapq
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.sibling_keys import Folder
from tracer.analyses.tree_index import Shape
from tracer.model.frozen import record
from tracer.model.vector_ops import sum_at
from tracer.tree.tree import ProcessTree

LIMIT: Final = 60
GUIDES: Final = 64  # levels of guides that a line carries; no screen shows more
_CHAIN: Final = 7  # nodes in a row, each the only child of the one before and like it
_TRIES: Final = 1000


class Sort(enum.Enum):
    """What a line stands for."""

    ONE = "one"  # a process
    ALIKE = "alike"  # like siblings
    CHAIN = "chain"  # generations of one chain
    MORE = "more"  # what there was no room for


@record
class Line:
    """`rows`: the processes, in order of birth; of MORE, the first of each hidden line.

    `guides`: for each level above, nearest last, whether more siblings follow there: a line is drawn down. Its own
    entry is the last one; a root has none. `depth` is the length before it was cut to GUIDES.
    """

    sort: Sort
    rows: Sequence[int]
    guides: tuple[bool, ...]
    depth: int
    parent_of_some: bool = False  # lines below it follow
    levels: int = 1  # generations, of a CHAIN
    processes: int = 1  # of MORE: how many it stands for, with all below them


@record
class Fold:
    """`hidden`: processes that only a MORE line stands for. `idle`: there before, did nothing, left out."""

    lines: Sequence[Line]
    hidden: int
    idle: int


class _Node:
    __slots__ = ("kids", "levels", "parent", "rows", "shown", "shown_kids", "tops")

    def __init__(
        self, rows: Sequence[int], parent: int, *, levels: int = 1, tops: int = 0, shown: bool = False
    ) -> None:
        self.rows = rows
        self.parent = parent
        self.levels = levels
        self.tops = tops  # of a chain: rows of its first generation
        self.kids: list[int] = []
        self.shown = shown
        self.shown_kids = 0


def fold(tree: ProcessTree, *, limit: int = LIMIT, folder: Folder | None = None) -> Fold:
    """At most about `limit` lines. `folder`, if it is at hand, saves its making."""
    folder = folder or Folder(tree)
    show_idle = len(tree) <= limit
    best = _Selection(folder, limit, loose=False, show_idle=show_idle)
    if best.hidden:
        loose = _Selection(folder, limit, loose=True, show_idle=show_idle)
        best = loose if loose.hidden < best.hidden else best
    return Fold(best.lines(), best.hidden, 0 if show_idle else sum(folder.idle))


class _Selection:
    """The nodes that are worth a line."""

    def __init__(self, folder: Folder, limit: int, *, loose: bool, show_idle: bool) -> None:
        self.folder = folder
        self.loose = loose
        self.show_idle = show_idle
        self.nodes = [_Node((), -1, shown=True)]
        self._open(0, self._groups(folder.shape.roots()))
        self._choose(limit)
        self.hidden = sum(
            self._processes(at) for node in self.nodes if node.shown for at in node.kids if not self.nodes[at].shown
        )

    def _groups(self, rows: Sequence[int]) -> list[Sequence[int]]:
        return self.folder.groups(rows, loose=self.loose, idle=self.show_idle)

    def _open(self, at: int, groups: Sequence[Sequence[int]]) -> None:
        for group in groups:
            self.nodes.append(_Node(group, at))
            self.nodes[at].kids.append(len(self.nodes) - 1)

    def _processes(self, at: int) -> int:
        node = self.nodes[at]
        # A chain's rows lie below each other: the size of its first generation has all the others in it.
        return sum_at(self.folder.size, node.rows[: node.tops] if node.tops else node.rows)

    def _choose(self, limit: int) -> None:
        nodes, weight = self.nodes, self.folder.weight
        heap: list[tuple[int, int]] = []

        def offer(at: int) -> None:
            for kid in nodes[at].kids:
                heapq.heappush(heap, (-sum_at(weight, nodes[kid].rows), kid))

        offer(0)
        lines = 1 if heap else 0  # the one that would say what is left out
        tries = 0
        while heap and tries < _TRIES:
            _, at = heapq.heappop(heap)
            node, above = nodes[at], nodes[nodes[at].parent]
            if not node.kids:
                self._expand(at)
            last = above.shown_kids + 1 == len(above.kids)
            cost = 1 + (1 if node.kids else 0) - (1 if last else 0)
            if lines + cost > limit:
                tries += 1
                continue
            lines += cost
            node.shown = True
            above.shown_kids += 1
            offer(at)

    def _expand(self, at: int) -> None:
        """The nodes below; where a chain begins, its middle as one node and its end below that."""
        own = self.folder.own
        rows = self.nodes[at].rows
        first = groups = self._groups(self.folder.below(rows))
        run: list[Sequence[int]] = []
        while len(groups) == 1 and own[groups[0][0]] == own[rows[0]]:
            rows = groups[0]
            run.append(rows)
            groups = self._groups(self.folder.below(rows))
        if len(run) + 1 < _CHAIN:
            self._open(at, first)
            return
        middle = array("q")
        for generation in run[:-1]:
            middle.extend(generation)
        self.nodes.append(_Node(middle, at, levels=len(run) - 1, tops=len(run[0])))
        self.nodes[at].kids.append(len(self.nodes) - 1)
        self.nodes.append(_Node(run[-1], len(self.nodes) - 1))
        self.nodes[-2].kids.append(len(self.nodes) - 1)

    def lines(self) -> list[Line]:
        """In order of display, without recursion: the nodes that are shown, and what is hidden below each."""
        lines: list[Line] = []
        todo = self._below(0, (), 0)
        while todo:
            at, guides, depth = todo.pop()
            if isinstance(at, Line):
                lines.append(at)
                continue
            node = self.nodes[at]
            below = self._below(at, guides, depth + 1)
            sort = Sort.CHAIN if node.levels > 1 else Sort.ALIKE if len(node.rows) > 1 else Sort.ONE
            lines.append(Line(sort, node.rows, guides, depth, bool(below), node.levels))
            todo += below
        return lines

    def _below(self, at: int, guides: tuple[bool, ...], depth: int) -> list[tuple[int | Line, tuple[bool, ...], int]]:
        """Last first, as a stack wants it."""
        shown = [kid for kid in self.nodes[at].kids if self.nodes[kid].shown]
        hidden = [kid for kid in self.nodes[at].kids if not self.nodes[kid].shown]

        def own(more: bool) -> tuple[bool, ...]:
            return (*guides[1 - GUIDES :], more) if at else ()

        below: list[tuple[int | Line, tuple[bool, ...], int]] = []
        if hidden:
            rows = array("q", [self.nodes[kid].rows[0] for kid in hidden])
            processes = sum(self._processes(kid) for kid in hidden)
            below.append((Line(Sort.MORE, rows, own(False), depth, processes=processes), (), 0))
        for i, kid in enumerate(reversed(shown)):
            below.append((kid, own(bool(hidden) or i > 0), depth))
        return below


def unfolded(tree: ProcessTree, shape: Shape | None = None) -> Iterator[Line]:
    """Every process on a line of its own, in order of display."""
    shape = shape or Shape(tree)
    todo: list[tuple[int, tuple[bool, ...], int]] = [(row, (), 0) for row in reversed(shape.roots())]
    while todo:
        row, guides, depth = todo.pop()
        kids = shape.children(row)
        yield Line(Sort.ONE, (row,), guides, depth, bool(kids))
        above = guides[1 - GUIDES :]
        last = len(kids) - 1
        todo += [(kids[i], (*above, i < last), depth + 1) for i in range(last, -1, -1)]
