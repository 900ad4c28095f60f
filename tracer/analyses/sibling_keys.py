"""The keys by which siblings of a fork tree are alike, and how many processes each stands for.

    folder = Folder(tree)
    folder.own[row]     a number for: template, how it came to be, how it ended
    folder.deep[row]    the same, and the kinds of trees below it, not their numbers

Two ways to the same: many rows at a time by numpy, or one by one. Pure; which lines are worth showing is folding.py's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.analyses.group_key import Alike
from tracer.analyses.templates import ALIKE
from tracer.analyses.tree_index import Shape
from tracer.model.schema import NULL
from tracer.model.vector_ops import coded, combined, firsts, index, numpy_for, packed, view
from tracer.tree.tree import ProcessTree

_FAILED_COUNTS: Final = 4


class Folder:
    """The keys by which siblings are alike, for one tree; then any number of foldings."""

    def __init__(self, tree: ProcessTree, shape: Shape | None = None) -> None:
        self.tree = tree
        self.shape = shape or Shape(tree)
        self.alike = Alike(tree)
        self.commands = self.alike.commands
        self.failed = self.idle = bytearray(len(tree))
        np = numpy_for(len(tree))
        levels = None if np is None else self.shape.levels(np)
        self.own = self._own() if np is None else self._many_own(np)
        self.size, self.weight = self._sizes() if levels is None else self._many_sizes(np, levels)
        self.deep = self._deep() if levels is None else self._many_deep(np, levels)

    def _own(self) -> array[int]:
        """By a process itself: template, how it came to be, how it ended."""
        tree, ended = self.tree, self.shape.ended
        alike = self.alike.templates
        births: dict[tuple[str | None, str | None, int, int], int] = {}
        birth = births.setdefault
        columns = [tree.column(name) for name in ("how", "syscall", "clone_flags", "exit_signal")]
        how = array("q", (birth(key, len(births)) for key in zip(*columns, strict=True)))
        numbers: dict[tuple[int, int, str | int | None], int] = {}
        number = numbers.setdefault
        self.failed = bytearray(len(tree))
        own = array("q")
        ends = zip(ended, tree.column("exit_code"), tree.column("signal"), strict=True)
        for row, (command, (dead, code, signal)) in enumerate(zip(self.commands.of, ends, strict=True)):
            outcome: str | int | None = None if code == NULL else int(code != 0)
            if signal is not None:
                outcome = signal
            elif not dead:
                outcome = -1
            if outcome and dead:
                self.failed[row] = 1
            own.append(number((alike[command], how[row], outcome), len(numbers)))
        return own

    def _sizes(self) -> tuple[array[int], array[int]]:
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

    def _deep(self) -> array[int]:
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

    # -- many at a time -----------------------------------------------------------------------------------------

    def _many_own(self, np: Any) -> array[int]:
        tree = self.tree
        dead = np.frombuffer(self.shape.ended, np.uint8) == 1
        code, signal = view(np, tree.stored("exit_code")), view(np, tree.stored("signal"))
        killed, status = signal != NULL, (code != NULL) & (code != 0)
        self.failed = bytearray((dead & (killed | status)).tobytes())
        outcome = np.where(killed, 0, np.where(dead, np.where(code == NULL, 2, 3 + status), 1))
        own, _ = combined(
            np, view(np, self.alike.templates)[view(np, self.commands.of)], tree.words("how")[0],
            tree.words("syscall")[0], view(np, tree.stored("clone_flags")), view(np, tree.stored("exit_signal")),
            outcome, signal,
        )  # fmt: skip
        return packed(own)

    def _many_sizes(self, np: Any, levels: Sequence[Any]) -> tuple[array[int], array[int]]:
        parent = view(np, self.shape.parent)
        size = np.ones(len(parent), np.int64)
        weight = np.where(np.frombuffer(self.failed, np.uint8) == 1, _FAILED_COUNTS, 1)
        how, words = self.tree.words("how")
        busy = (np.frombuffer(self.shape.ended, np.uint8) == 1) | (view(np, self.tree.column("execs")) != 0)
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

    def _many_deep(self, np: Any, levels: Sequence[Any]) -> array[int]:
        own, parent = view(np, self.own), view(np, self.shape.parent)
        deep = np.empty(len(own), np.int64)
        below = np.full(len(own), -1, np.int64)  # of one kind: its number; of several: -2 and less; of nothing: -1
        sets: dict[bytes, int] = {}
        numbers: dict[tuple[int, int], int] = {}
        for rows in reversed(levels):
            mine, under = own[rows], below[rows]
            kinds, n = coded(np, mine * (len(numbers) + len(sets) + 2) + under + len(sets) + 1)
            at = firsts(np, kinds, n)
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
        hide = self.idle
        np = numpy_for(len(rows))
        if np is not None:
            return self._many_groups(np, rows, key, least, idle=idle)
        found: dict[int, array[int]] = {}
        for row in rows:
            if idle or not hide[row]:
                found.setdefault(key[row], array("q")).append(row)
        lines: list[Sequence[int]] = []
        for group in found.values():
            lines += [group] if len(group) >= least else [array("q", (row,)) for row in group]
        if len(lines) != len(found):
            lines.sort(key=lambda group: group[0])
        return lines

    def _many_groups(self, np: Any, rows: Sequence[int], key: array[int], least: int, *, idle: bool) -> list[Any]:
        at = index(np, rows)
        if not idle:
            at = at[np.frombuffer(self.idle, np.uint8)[at] == 0]
        kinds, n = coded(np, view(np, key)[at])
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
        np = numpy_for(len(rows))
        if np is not None:
            wanted = np.zeros(len(self.size) + 1, bool)  # the last one stands for no parent
            wanted[index(np, rows)] = True
            return packed(np.flatnonzero(wanted[view(np, self.shape.parent)]))
        size, children = self.size, self.shape.children
        found: list[int] = []
        for row in rows:
            if size[row] > 1:
                found.extend(children(row))
        found.sort()
        return found
