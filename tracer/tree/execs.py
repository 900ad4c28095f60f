"""What execs do to the processes of a tree: images one after the other, names, what a vfork waited for, new parents.

Every exec has a row of its own, in the order in which they came; each process knows its last. Knows nothing of how a
process ends, which is growth.py's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.model.schema import NULL, Part
from tracer.model.vector_ops import numpy_of, view
from tracer.tree.table import set_rows
from tracer.tree.vector_births import Bulk

COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
_AT_FIRST_EXEC: Final = frozenset({"root", "vfork", "posix_spawn"})


class Execs(Bulk):
    """Feed it what execs and renames there are."""

    def _execs(self, part: Part) -> None:
        rows = self._rows(part)
        n = len(rows)
        base = len(self._exec_row)
        extend(self._exec_row, rows)
        self._exec_ts.extend(part["ts_ns"])
        self._exec_exe.extend(part.get("exe") or [None] * n)
        self._exec_argv.extend(self._numbered(part.get("argv") or [None] * n))
        self._exec_old_tid.extend(part.get("old_tid") or array("q", [NULL]) * n)
        first, at = self._count_execs(rows, base)
        set_rows(self._col("exec_ns"), first, [part["ts_ns"][i] for i in as_list(at)])
        how = self._col("how")
        for row, i in zip(as_list(first), as_list(at), strict=True):
            if how[row] in _AT_FIRST_EXEC:
                self._first_exec(row, part, i)
        for name in ("interpreter", "cwd"):
            values = part.get(name)
            if values is not None:
                table = self._exec_words.setdefault(name, [])
                table.extend([None] * (base - len(table)))
                table.extend(values)
        for name in ("uid", "cgroup", "comm"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        if "old_tid" in part and self._live_threads:  # it becomes the leader, and as a thread it never ends
            for row, tid, ts in zip(as_list(rows), part["old_tid"], part["ts_ns"], strict=True):
                self._thread_end_at(tid, row, ts)
        self._adoptions(rows, part)

    def _count_execs(self, rows: Any, base: int) -> tuple[Any, Any]:
        """Rows of the processes that had none before, and which of these execs is the first of each."""
        last, execs = self._col("last_exec"), self._col("execs")
        np = numpy_of(rows)
        if np is None:
            first = []
            for i, row in enumerate(rows):
                last[row] = base + i
                if execs[row] == NULL:
                    execs[row] = 1
                    first.append(i)
                else:
                    execs[row] += 1
            return [rows[i] for i in first], first
        numbers = np.arange(base, base + len(rows))
        view(np, last)[rows] = numbers  # of one that has several, the last one stays
        if (view(np, last)[rows] == numbers).all():  # none has
            whose, at, times = rows, numbers - base, np.ones_like(rows)
        else:
            whose, at, times = np.unique(rows, return_index=True, return_counts=True)
        counted = view(np, execs)
        new = counted[whose] == NULL
        counted[whose] = np.where(new, times, counted[whose] + times)
        return whose[new], at[new]

    def _first_exec(self, row: int, part: Part, i: int) -> None:
        """What the first exec of a root or of a vfork means."""
        if self._col("how")[row] == "root":
            for name in COUNTERS:
                if name in part and self._col("base_" + name)[row] == NULL:
                    self._col("base_" + name)[row] = part[name][i]
            return
        done, birth = part.get("vfork_done_ns"), self._col("birth_ts")[row]
        end = done[i] if done is not None and done[i] != NULL else part["ts_ns"][i]
        if NULL not in (birth, end):
            self._col("vfork_blocked_ns")[row] = end - birth

    def _renames(self, part: Part) -> None:
        """A process' new names. An exec gives one too, and those of the same batch were taken before."""
        rows, stamps = as_list(self._rows(part)), part["ts_ns"]
        last, exec_ts = self._col("last_exec"), self._exec_ts
        keep = [i for i, row in enumerate(rows) if last[row] == NULL or exec_ts[last[row]] <= stamps[i]]
        names = part["comm"]
        set_rows(self._col("comm"), [rows[i] for i in keep], [names[i] for i in keep])

    def _numbered(self, argvs: Sequence[Sequence[str] | None]) -> array[int]:
        """Where in the table of arguments each is; equal ones are mostly one."""
        known, table = self._known_argv, self._argvs
        if len(known) > 200_000:
            known.clear()
        # A reader may have made one list of those that are equal, which is seen sooner than that they are.
        numbers: dict[int, int] = {}
        for one, argv in {id(argv): argv for argv in argvs}.items():
            if argv is None:
                numbers[one] = NULL
                continue
            words = tuple(argv)
            number = numbers[one] = known.setdefault(words, len(table))
            if number == len(table):
                table.append(words)
        return array("q", map(numbers.__getitem__, map(id, argvs)))

    def _adoptions(self, rows: Sequence[int], part: Part) -> None:
        ppids = part.get("ppid")
        if ppids is None:
            return
        born_to, adopted, since = self._col("ppid"), self._col("adopted_by"), self._col("adopted_ns")
        stamps = part["ts_ns"]
        np = numpy_of(rows)
        if np is not None:  # most have the parent that they were born to
            moved = np.flatnonzero(view(np, born_to)[rows] != view(np, ppids)).tolist()
            rows, ppids, stamps = rows[moved].tolist(), [ppids[i] for i in moved], [stamps[i] for i in moved]
        for row, ppid, ts in zip(rows, ppids, stamps, strict=True):
            first = born_to[row]
            if ppid in (first, NULL) or first == NULL:
                continue
            # An exec may be taken before the earlier end of a thread: the first new parent by time counts.
            if adopted[row] == NULL or NULL < ts < since[row]:
                adopted[row], since[row] = ppid, ts


def as_list(rows: Any) -> list[int]:
    """Row numbers as Python has them."""
    return rows if isinstance(rows, list) else rows.tolist()


def taken(rows: Any, keep: Sequence[int]) -> Any:
    """Some of these, of the sort they are."""
    return [rows[i] for i in keep] if isinstance(rows, list) else rows[keep]


def extend(column: array[int], rows: Any) -> None:
    """More numbers at the end of a column."""
    if isinstance(rows, list):
        column.extend(rows)
    else:
        column.frombytes(rows.tobytes())
