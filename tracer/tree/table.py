"""The process table: one row a process in order of creation, a growing column for each thing that is known of them.

    table.rows(part)                       the row of each event of a part; an unknown process gets a gap row
    table.accumulate(Kind.EXIT, rows, part)   what schema.py says of that kind: values that replace, values that add
    table.column("pid")                    to write; `peek` and `whole` to read

Columns are array("q") with NULL, or lists with None, made when something is first stored in them; a million processes
are some 60 arrays, not a million objects. Rows are numpy arrays of int64.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from tracer.model.schema import LAST, NULL, SUMS, TYPES, Kind, Part
from tracer.model.vector_ops import view
from tracer.tree.index import Index

Key = tuple[int, int]
"""(pid, born_ns): the identity of a process."""

_MOST: Final = (1 << 63) - 1  # a forged file may count to there
_LARGE: Final = 1 << 61
_SMALL: Final = 1 << 40  # thousands of millions of these still fit


class _Nothing:
    """A column of nulls of any length: eight bytes a process are not spent on what no source reported."""

    def __init__(self, null: Any) -> None:
        self._null = null

    def __getitem__(self, row: int) -> Any:
        return self._null


_NO_NUMBERS: Final = _Nothing(NULL)
_NO_WORDS: Final = _Nothing(None)


def stored_as_list(name: str) -> bool:
    """Whether a stored column is a Python list. Columns that only the tree has are integers."""
    return TYPES.get(name, "i") in "sSI"


class Table:
    """Columns, and where a process is found in them."""

    def __init__(self) -> None:
        self.size = 0
        self.columns: dict[str, Any] = {"pid": array("q"), "born_ns": array("q")}
        self.index = Index(self.columns["pid"], self.columns["born_ns"])
        self.gap = bytearray()
        """1 where the creation was not seen: the row stands for a process first heard of later."""
        self.parent = array("q")
        """Row of the parent, -1: outside."""
        self._awaited: dict[int, Key] = {}  # rows whose parent has no row yet
        self._strays: dict[Key, list[int]] = {}  # the same by parent

    # -- columns --------------------------------------------------------------------------------------------------

    def column(self, name: str) -> Any:
        """A stored column, to write to; made if nothing was ever stored in it."""
        column = self.columns.get(name)
        if column is None:
            column = self.columns[name] = _nulls(name, self.size)
        return column

    def peek(self, name: str) -> Any:
        """A stored column to look into by row; one without values reads as null everywhere."""
        column = self.columns.get(name)
        return column if column is not None else _NO_WORDS if stored_as_list(name) else _NO_NUMBERS

    def whole(self, name: str) -> Any:
        """A stored column with a value for each row. Not to be changed."""
        column = self.columns.get(name)
        return _nulls(name, self.size) if column is None else column

    def grow(self, n: int) -> None:
        """`n` rows more: nulls in every column that does not have them yet."""
        self.size += n
        for name, column in self.columns.items():
            missing = self.size - len(column)
            if missing > 0:
                column.extend(_nulls(name, missing))

    def accumulate(self, kind: Kind, rows: Any, part: Part) -> None:
        """Add and replace values as schema.py says for events of this kind."""
        self.add(SUMS[kind], rows, part)
        self.replace(LAST[kind], rows, part)

    def add(self, names: Iterable[str], rows: Any, part: Part, prefix: str = "") -> None:
        """Add these columns of a part to what the rows have; null adds nothing."""
        for name in names:
            if name in part:
                add_rows(self.column(prefix + name), rows, part[name])

    def replace(self, names: Iterable[str], rows: Any, part: Part) -> None:
        """Put these columns of a part in place of what the rows have; null leaves it."""
        for name in names:
            if name in part:
                set_rows(self.column(name), rows, part[name])

    # -- identity -------------------------------------------------------------------------------------------------

    def rows(self, part: Part) -> Any:
        """The row of each event of a part; unknown processes get a gap row."""
        rows = self.index.find(view(part["pid"]), view(part["born_ns"]))
        for i in np.flatnonzero(rows < 0).tolist():
            rows[i] = self._found_or_gap(part, i)
        return rows

    def row_of(self, key: Key) -> int:
        """The row of one process; an unknown one gets a gap row."""
        row = self.index.get(key)
        return row if row >= 0 else self._gap_row(key)

    def _found_or_gap(self, part: Part, i: int) -> int:
        key = part["pid"][i], part["born_ns"][i]
        row = self.index.get(key)
        if row < 0:
            row = self._gap_row(key)
            ppids, parent_borns = part.get("ppid"), part.get("parent_born_ns")
            if ppids is not None:
                self.column("ppid")[row] = ppids[i]
                if parent_borns is not None:
                    self.link_or_await(row, (ppids[i], parent_borns[i]))
        return row

    def _gap_row(self, key: Key) -> int:
        row = self.size
        self.index[key] = row
        self.parent.append(-1)
        self.gap.append(1)
        self.grow(1)
        self.column("pid")[row], self.column("born_ns")[row] = key
        self._gather(key, row)
        return row

    # -- parents --------------------------------------------------------------------------------------------------

    def link_or_await(self, row: int, key: Key) -> None:
        """Make the process `key` the parent of a row, now or when it gets a row of its own."""
        known = self.index.get(key)
        if known >= 0:
            self._link(row, known)
        else:
            self.parent[row] = -1
            self.await_parent(row, key)

    def await_parent(self, row: int, key: Key) -> None:
        """Remember that the parent of `row` has no row yet."""
        self._awaited[row] = key
        self._strays.setdefault(key, []).append(row)

    def gather_all(self, first: int) -> None:
        """The rows from `first` on are new, and some of them may be awaited as parents."""
        if not self._strays:
            return
        if len(self._strays) * 8 < self.size - first:
            found = [(row, key) for key in self._strays if (row := self.index.get(key)) >= first]
        else:
            keys = zip(self.columns["pid"][first:], self.columns["born_ns"][first:], strict=True)
            found = [(row, key) for row, key in enumerate(keys, first) if key in self._strays]
        for row, key in sorted(found):
            self._gather(key, row)

    def _gather(self, key: Key, parent: int) -> None:
        """A process has got its row after its children had theirs."""
        for row in self._strays.pop(key, ()):
            if self._awaited.get(row) == key:
                self._link(row, parent)

    def _link(self, row: int, parent: int) -> None:
        """No process is its own ancestor: a file that says so is not believed."""
        self._awaited.pop(row, None)
        self.parent[row] = -1
        up = parent
        while up >= 0:
            if up == row:
                return
            up = self.parent[up]
        self.parent[row] = parent


def _nulls(name: str, n: int) -> Any:
    return [None] * n if stored_as_list(name) else array("q", [NULL]) * n


def subset(part: Part, keep: Sequence[int]) -> Part:
    """The rows `keep` of all columns of a part."""
    return {name: _picked(values, keep) for name, values in part.items()}


def _picked(values: Any, keep: Sequence[int]) -> Any:
    picked = [values[i] for i in keep]
    return picked if isinstance(values, list) else array("q", picked)


def set_rows(column: Any, rows: Any, values: Any) -> None:
    """column[rows[i]] = values[i], in order; NULL and None leave what is there."""
    if isinstance(column, list):
        for row, value in zip(rows.tolist(), values, strict=True):
            if value is not None:
                column[row] = value
        return
    new = view(values)
    known = new != NULL
    view(column)[rows[known]] = new[known]  # of a row that comes more than once, the last one stays


def mark_rows(column: array[int], rows: Any) -> None:
    """column[row] = 1 for all of them."""
    view(column)[rows] = 1


def add_rows(column: array[int], rows: Any, values: Any) -> None:
    """column[rows[i]] += values[i], where NULL is nothing yet. Sums stay within 64 bits."""
    new = view(values)
    known = new != NULL
    if not known.all():
        rows, new = rows[known], new[known]
    if len(rows) and not _add_vectors(view(column), rows, new):
        for row, value in zip(rows.tolist(), new.tolist(), strict=True):
            have = column[row]
            column[row] = value if have == NULL else max(-_MOST, min(have + value, _MOST))


def _add_vectors(have: Any, rows: Any, values: Any) -> bool:
    """Return False, unchanged, if a sum might not fit into 64 bits."""
    if (rows[1:] <= rows[:-1]).any():  # several threads of one process: sum what belongs to one row first
        if values.min() < -_SMALL or values.max() > _SMALL:
            return False
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        rows, values = rows[starts], np.add.reduceat(values[order], starts)
    before = have[rows]
    old = before[before != NULL]
    if len(old) and (old.max() > _LARGE or old.min() < -_LARGE):
        return False
    if values.max() > _LARGE or values.min() < -_LARGE:
        return False
    have[rows] = np.where(before == NULL, values, before + values)
    return True


Handler = Callable[[Part], None]
