"""The keys by which siblings of a fork tree are alike, and how many processes each stands for.

    folder = Folder(tree)
    folder.own[row]     a number for: template, how it came to be, how it ended
    folder.deep[row]    the same, and the kinds of trees below it, not their numbers

Pure; which lines are worth showing is folding.py's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tracer.analyses.group_key import Alike
from tracer.analyses.templates import ALIKE
from tracer.analyses.tree_index import Shape
from tracer.model.schema import NULL
from tracer.model.vector_ops import coded, combined, firsts, index, packed, view
from tracer.tree.tree import ProcessTree

_FAILED_COUNTS: Final = 4
_FEW: Final = 64  # of so many rows one: then looking at all rows costs more than looking at each one's children


class Folder:
    """The keys by which siblings are alike, for one tree; then any number of foldings."""

    def __init__(self, tree: ProcessTree, shape: Shape | None = None) -> None:
        self.tree = tree
        self.shape = shape or Shape(tree)
        self.alike = Alike(tree)
        self.commands = self.alike.commands
        self.failed = self.idle = bytearray(len(tree))
        levels = self.shape.levels()
        self.own = self._own()
        # Generation by generation, or one by one where there are too many generations (a chain of forks).
        self.size, self.weight = self._sizes_one_by_one() if levels is None else self._sizes(levels)
        self.deep = self._deep_one_by_one() if levels is None else self._deep(levels)

    def _sizes_one_by_one(self) -> tuple[array[int], array[int]]:
        """Processes at and below each row, and the same with failures counting for more; marks what is idle."""
        tree, parent, ended = self.tree, self.shape.parent, self.shape.ended
        size = array("q", [1]) * len(tree)
        weight = array("q", [_FAILED_COUNTS if bad else 1 for bad in self.failed])
        how, execs = tree.column("how"), tree.column("execs")
        busy = bytearray(len(tree))
        self.idle = bytearray(len(tree))
        for row in reversed(self.shape.order):
            if ended[row] or how[row] != "existing" or execs[row]:
                busy[row] = 1
            self.idle[row] = not busy[row]
            above = parent[row]
            if above >= 0:
                size[above] += size[row]
                weight[above] += weight[row]
                busy[above] |= busy[row]
        return size, weight

    def _deep_one_by_one(self) -> array[int]:
        """By a process and the kinds of trees below it, not their numbers."""
        own, parent = self.own, self.shape.parent
        deep = array("q", [-1]) * len(own)
        first = array("q", [-1]) * len(own)
        more: dict[int, set[int]] = {}
        numbers: dict[tuple[int, int | frozenset[int]], int] = {}
        for row in reversed(self.shape.order):
            below: int | frozenset[int] = first[row]
            if row in more:
                below = frozenset(more.pop(row))
            mine = deep[row] = numbers.setdefault((own[row], below), len(numbers))
            above = parent[row]
            if above < 0 or first[above] == mine:
                continue
            if first[above] < 0:
                first[above] = mine
            else:
                more.setdefault(above, {first[above]}).add(mine)
        return deep

    def _own(self) -> array[int]:
        """By a process itself: template, how it came to be, how it ended."""
        tree = self.tree
        dead = np.frombuffer(self.shape.ended, np.uint8) == 1
        code, signal = view(tree.stored("exit_code")), view(tree.stored("signal"))
        killed, status = signal != NULL, (code != NULL) & (code != 0)
        self.failed = bytearray((dead & (killed | status)).tobytes())
        outcome = np.where(killed, 0, np.where(dead, np.where(code == NULL, 2, 3 + status), 1))
        own, _ = combined(
            view(self.alike.templates)[view(self.commands.of)],
            tree.words("how")[0],
            tree.words("syscall")[0],
            view(tree.stored("clone_flags")),
            view(tree.stored("exit_signal")),
            outcome,
            signal,
        )
        return packed(own)

    def _sizes(self, levels: Sequence[Any]) -> tuple[array[int], array[int]]:
        parent = view(self.shape.parent)
        size = np.ones(len(parent), np.int64)
        weight = np.where(np.frombuffer(self.failed, np.uint8) == 1, _FAILED_COUNTS, 1)
        how, words = self.tree.words("how")
        busy = (np.frombuffer(self.shape.ended, np.uint8) == 1) | (view(self.tree.column("execs")) != 0)
        if "existing" in words:
            busy |= how != words.index("existing")
        else:
            busy[:] = True
        for rows in reversed(levels[1:]):
            above = parent[rows]
            np.add.at(size, above, size[rows])
            np.add.at(weight, above, weight[rows])
            busy[above[busy[rows]]] = True
        self.idle = bytearray((~busy).tobytes())
        return packed(size), packed(weight)

    def _deep(self, levels: Sequence[Any]) -> array[int]:
        own, parent = view(self.own), view(self.shape.parent)
        deep = np.empty(len(own), np.int64)
        below = np.full(len(own), -1, np.int64)  # of one kind: its number; of several: -2 and less; of nothing: -1
        sets: dict[bytes, int] = {}
        numbers: dict[tuple[int, int], int] = {}
        for rows in reversed(levels):
            mine, under = own[rows], below[rows]
            kinds, n = coded(mine * (len(numbers) + len(sets) + 2) + under + len(sets) + 1)
            at = firsts(kinds, n)
            pairs = zip(mine[at].tolist(), under[at].tolist(), strict=True)
            mine = np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs], np.int64)[kinds]
            deep[rows] = mine
            above = parent[rows]
            if above[0] < 0:  # these are the roots
                break
            below[above] = mine
            mixed = np.zeros(len(own), bool)
            mixed[above[below[above] != mine]] = True
            several = mixed[above]
            each = np.unique(above[several] * len(numbers) + mine[several])
            whose, raw = each // len(numbers), (each % len(numbers)).tobytes()
            starts = np.flatnonzero(np.diff(whose, prepend=-1))
            ends = [*(starts[1:] * 8).tolist(), len(raw)]
            found = [sets.setdefault(raw[a:b], len(sets)) for a, b in zip((starts * 8).tolist(), ends, strict=False)]
            below[whose[starts]] = -2 - np.array(found, np.int64)
        return packed(deep)

    # -- nodes ------------------------------------------------------------------------------------------------

    def groups(self, rows: Sequence[int], *, loose: bool, idle: bool) -> list[Sequence[int]]:
        """Siblings as lines: alike ones together, where the first of them stands."""
        key, least = (self.own, 2) if loose else (self.deep, ALIKE)
        at = index(rows)
        if not idle:
            at = at[np.frombuffer(self.idle, np.uint8)[at] == 0]
        kinds, n = coded(view(key)[at])
        lines: list[Sequence[int]] = []
        order = np.argsort(kinds, kind="stable")
        for group in np.split(at[order], np.cumsum(np.bincount(kinds, minlength=n))[:-1]) if len(at) else ():
            lines += [packed(group)] if len(group) >= least else [array("q", (row,)) for row in group.tolist()]
        lines.sort(key=lambda group: group[0])
        return lines

    def below(self, rows: Sequence[int]) -> Sequence[int]:
        """Rows of all children of `rows`, in order of birth."""
        if len(rows) == 1:
            return self.shape.children(rows[0])
        if len(rows) * _FEW > len(self.size):
            wanted = np.zeros(len(self.size) + 1, bool)  # the last one stands for no parent
            wanted[index(rows)] = True
            return packed(np.flatnonzero(wanted[view(self.shape.parent)]))
        size, children = self.size, self.shape.children
        found: list[int] = []
        for row in rows:
            if size[row] > 1:
                found.extend(children(row))
        found.sort()
        return found
