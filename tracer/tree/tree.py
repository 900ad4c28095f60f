"""The fork tree as it is read: rows, parents and children, and the columns of the process table.

    tree = ProcessTree(meta); tree.feed(batch) ...; tree.children(row); tree.value(row, "argv"); tree.column("pid")

Columns are derived.py's. Knows no source and no report. A million processes are some 60 arrays, not a million objects.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from tracer.model.frozen import record
from tracer.model.meta import Meta
from tracer.model.schema import COLUMN_TYPES, NULL, PROCESS_COLUMNS
from tracer.model.vector_ops import Groups, numpy_for, view
from tracer.tree.columns import Derived, signal_name
from tracer.tree.failures import Loss

__all__ = ["Exec", "Loss", "ProcessTree", "signal_name"]


@record
class Exec:
    """One image of a process. `old_tid`: the thread that called execve, which takes the leader's place."""

    ts_ns: int
    exe: str | None
    argv: tuple[str, ...] | None
    old_tid: int | None


class ProcessTree(Derived):
    """Feed it batches in stream order; read it at any time."""

    def __init__(self, meta: Meta | None = None) -> None:
        super().__init__(meta)
        self._grouped: dict[str, tuple[tuple[int, int], Groups]] = {}
        self._worded: dict[str, tuple[tuple[int, int], tuple[Any, list[str | None]]]] = {}

    def _groups(self, name: str, of: Sequence[int]) -> Groups:
        """Made anew when the tree has grown since."""
        stamp = (self._n, len(of) + self._changes)
        known = self._grouped.get(name)
        if known is None or known[0] != stamp:
            known = self._grouped[name] = (stamp, Groups(of, self._n))
        return known[1]

    def _repr_html_(self) -> str:
        from tracer.tree.notebook_tree import outline

        return outline(self)

    # -- reading ----------------------------------------------------------------------------------------------

    def row(self, pid: int, born_ns: int) -> int | None:
        """The row of a process; None if there is none."""
        row = self._index.get((pid, born_ns))
        return row if row >= 0 else None

    def parent(self, row: int) -> int | None:
        """Row of the parent, None if it is outside."""
        above = self._parent[row]
        return above if above >= 0 else None

    def children(self, row: int) -> Sequence[int]:
        """Rows of the children, in order of birth."""
        return self._groups("children", self._parent).places(row)

    def roots(self) -> list[int]:
        """Rows without a parent in the trace."""
        return [row for row, above in enumerate(self._parent) if above < 0]

    def is_gap(self, row: int) -> bool:
        """Its birth was not seen: the row stands for a process first heard of later."""
        return bool(self._gap[row])

    def ended(self, row: int) -> bool:
        """Its end was seen."""
        return bool(self._peek("ended")[row] == 1)

    def released(self, row: int) -> bool:
        """The kernel has let go of it: it is not a zombie any more."""
        return bool(self._peek("released")[row] == 1)

    def zombie_since(self, row: int) -> int | None:
        """When its parent was told of its end and did not come; None if it was reaped at once, or is not known."""
        at = self._peek("zombie_at")[row]
        return None if at == NULL else int(at)

    def begin_ns(self, row: int) -> int | None:
        """Where its life begins on the screen: its birth; for the program forktrace started, its first exec."""
        how = self._peek("how")[row]
        at = self._peek("exec_ns" if how == "root" else "birth_ts")[row]
        if at == NULL and how == "root":
            at = self._peek("birth_ts")[row]
        elif at == NULL and how != "existing" and self._peek("creator_pid")[row] == NULL:
            at = self._peek("born_ns")[row]  # never heard of its birth: the kernel's own stamp. A log's is none.
        return None if at == NULL else int(at)

    def execs(self, row: int) -> list[Exec]:
        """Every image it had, in order."""
        return [
            Exec(
                self._exec_ts[i], self._exec_exe[i], self._argv_of(i),
                None if self._exec_old_tid[i] == NULL else self._exec_old_tid[i],
            )
            for i in self._groups("execs", self._exec_row).places(row)
        ]  # fmt: skip

    def all_execs(self) -> tuple[Sequence[int], Sequence[int]]:
        """(process row, time) of every exec, in stream order."""
        return self._exec_row, self._exec_ts

    def argvs(self) -> tuple[Sequence[tuple[str, ...]], Sequence[int]]:
        """(arguments, each different one once at least; where in these those of every exec are, NULL: not known).

        The execs are as `all_execs` has them.
        """
        return self._argvs, self._exec_argv

    def stored(self, name: str) -> Any:
        """A column as it is kept: a signal by its number, flags by their bits. Not to be changed."""
        return self._whole(name)

    def counters(self, name: str) -> Any:
        """A stored counter, less what was there at the beginning. Not to be changed."""
        return self._counters(name)

    def marks(self, name: str) -> bytearray:
        """1 where a stored column is 1."""
        column = self._columns.get(name)
        np = numpy_for(self._n)
        if column is None:
            return bytearray(self._n)
        return bytearray(v == 1 for v in column) if np is None else bytearray((view(np, column) == 1).tobytes())

    def keeps(self, name: str) -> bool:
        """Whether any source has told anything for a stored column."""
        return name in self._columns

    def above(self) -> array[int]:
        """Row of the parent of each, -1 for none. Not to be changed."""
        return self._parent

    def gaps(self) -> bytearray:
        """1 where the birth was not seen. Not to be changed."""
        return self._gap

    def words(self, name: str) -> tuple[Any, list[str | None]]:
        """A column of words as numbers (numpy's), and the word that each stands for. For who has numpy."""
        import numpy as np

        known = self._worded.get(name)
        if known is None or known[0] != (self._n, self._changes):
            column = self._whole(name)
            numbers: dict[str | None, int] = {word: n for n, word in enumerate(dict.fromkeys(column))}
            codes = np.fromiter(map(numbers.__getitem__, column), np.int64, self._n)
            known = self._worded[name] = ((self._n, self._changes), (codes, list(numbers)))
        return known[1]

    def threads(self, row: int) -> list[tuple[int, int | None, int | None]]:
        """(tid, birth, end) of each thread it made, in order of birth."""
        born, end = self._thread_born, self._thread_end
        return [
            (self._thread_tid[i], None if born[i] == NULL else born[i], None if end[i] == NULL else end[i])
            for i in self._groups("threads", self._thread_row).places(row)
        ]

    def column(self, name: str) -> Any:
        """A process column in row order: array("q") with NULL, or a list with None, by its type in PROCESS_COLUMNS."""
        make = getattr(self, "_make_" + name, None)
        if make is not None:
            return make()
        return self._whole(name)

    def value(self, row: int, name: str) -> Any:
        """One value of one process, None for null; booleans as bool."""
        one = getattr(self, "_one_" + name, None)
        if one is not None:
            return one(row)
        v = self._peek(name)[row]
        if v is None or v == NULL:
            return None
        return bool(v) if COLUMN_TYPES.get(name) == "b" else v

    def record(self, row: int) -> dict[str, Any]:
        """All columns of one process; None for null."""
        return {f.name: self.value(row, f.name) for f in PROCESS_COLUMNS}

    def records(self) -> Iterator[dict[str, Any]]:
        """`record` of every process, in order of birth."""
        for row in range(self._n):
            yield self.record(row)
