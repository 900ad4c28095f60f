"""What every analysis of a whole tree needs once: a safe order, depths, begins and lives, as index arrays.

    shape = Shape(tree)
    shape.order     rows, parents before children
    shape.parent    row of the parent, -1 for none
    shape.depth     generations below a root
    shape.begin     ns, NULL unknown: where a life begins on the screen
    shape.life      ns, NULL unknown; of a process that still lives, its life so far
    shape.levels()  rows (numpy) of each generation, the roots first

A million rows cost 0.1 s and 40 MiB; nothing here recurses. Knows no report.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tracer.model.schema import NULL
from tracer.model.vector_ops import packed, view
from tracer.tree.tree import ProcessTree

_DEEP: Final = 500
"""Generations, beyond which one by one is as good as many at a time."""


class Shape:
    """Index arrays over `tree`, one value a row, as they are now: feed the tree more and they are old."""

    def __init__(self, tree: ProcessTree) -> None:
        self.tree = tree
        self.parent = array("q", tree.above())
        self.order: Sequence[int] = range(len(tree))
        if _stray(self.parent):
            self.order = self._sorted()
        self.depth = self._depths()
        self.ended = tree.marks("ended")
        self.begin, self.life = self._lives()

    def __len__(self) -> int:
        return len(self.parent)

    def roots(self) -> list[int]:
        """Rows without a parent, in order of birth."""
        found: list[int] = np.flatnonzero(view(self.parent) < 0).tolist()
        return found

    def living(self) -> list[int]:
        """Rows of those that have not ended."""
        return [row for row, dead in enumerate(self.ended) if not dead] if self.ended.count(0) else []

    def children(self, row: int) -> Sequence[int]:
        """Rows of its children, in order of birth."""
        return self.tree.children(row)

    def levels(self) -> list[Any] | None:
        """Rows by generation, the roots first, as numpy has them; None where there are too many generations."""
        depth = view(self.depth)
        if not len(depth) or depth.max() > _DEEP:
            return None
        order = np.argsort(depth.astype(np.uint16), kind="stable")  # of so short numbers by their digits
        found: list[Any] = np.split(order, np.cumsum(np.bincount(depth))[:-1])
        return found

    def _sorted(self) -> array[int]:
        """Parents first, where a child was heard of before its parent: generation by generation."""
        order = array("q", self.roots())
        at = 0
        while at < len(order):
            order.extend(self.tree.children(order[at]))
            at += 1
        return order

    def _deep_depths(self) -> array[int]:
        """One by one, where there are too many generations."""
        depth = array("q", [0]) * len(self.parent)
        parent = self.parent
        for row in self.order:
            above = parent[row]
            if above >= 0:
                depth[row] = depth[above] + 1
        return depth

    def _depths(self) -> array[int]:
        parent = view(self.parent)
        depth = np.zeros(len(parent), np.int64)
        rows = np.flatnonzero(parent >= 0)
        above = parent[rows]
        for _ in range(_DEEP + 1):
            if not len(rows):
                return packed(depth)
            depth[rows] += 1
            above = parent[above]
            rows, above = rows[above >= 0], above[above >= 0]
        return self._deep_depths()

    def _lives(self) -> tuple[array[int], array[int]]:
        tree = self.tree
        begin = view(tree.column("birth_ts")).copy()
        how, words = tree.words("how")
        if "existing" in words:
            rows = np.flatnonzero((how == words.index("existing")) & (begin != NULL))
            begin[rows] = view(tree.column("born_ns"))[rows]
            unsure = (begin == NULL) & (how != words.index("existing"))
        else:
            unsure = begin == NULL
        if "root" in words:
            unsure |= how == words.index("root")
        for row in np.flatnonzero(unsure).tolist():
            at = tree.begin_ns(row)
            begin[row] = NULL if at is None else at
        end = view(tree.column("exit_ns"))
        if tree.last_ns is not None:
            end = np.where((end == NULL) & (np.frombuffer(self.ended, np.uint8) == 0), tree.last_ns, end)
        life = np.where((end == NULL) | (begin == NULL), NULL, np.maximum(end - begin, 0))
        return packed(begin), packed(life)


def _stray(parent: array[int]) -> bool:
    """Whether some child stands before its parent."""
    above = view(parent)
    return bool((above >= np.arange(len(above))).any())
