"""The fork tree as it is read: rows, parents and children, and the columns of the process table.

    tree = ProcessTree(meta); tree.feed(batch) ...; tree.children(row); tree.value(row, "argv"); tree.column("pid")

What growth.py has filled is given out as it stands, or derived: an id, a name for a signal, CPU time split as the
kernel does. Knows no source and no report. A million processes are some 60 arrays, not a million objects.
"""

from __future__ import annotations

import signal as _signal
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tracer.cgroups import place
from tracer.events import NULL, Fact, Meta, flag_names
from tracer.growth import Growth
from tracer.processes import COLUMN_TYPES, LISTS, PROCESS_COLUMNS, cpu_split
from tracer.record import record
from tracer.rows import Loss

__all__ = ["Exec", "Loss", "ProcessTree", "signal_name"]

_SIGNALS: Final = {int(s): s.name for s in _signal.Signals}


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal as SIGRTMIN+n by the C library's numbers; else SIG99."""
    if number in _SIGNALS:
        return _SIGNALS[number]
    rtmin = int(_signal.SIGRTMIN)
    return f"SIGRTMIN+{number - rtmin}" if rtmin < number <= int(_signal.SIGRTMAX) else f"SIG{number}"


@record
class Exec:
    """One image of a process. `old_tid`: the thread that called execve, which takes the leader's place."""

    ts_ns: int
    exe: str | None
    argv: tuple[str, ...] | None
    old_tid: int | None


class _Nothing:
    """A column of nulls of any length: eight bytes a process are not spent on what no source told."""

    def __init__(self, null: Any) -> None:
        self._null = null

    def __getitem__(self, row: int) -> Any:
        return self._null


class Groups:
    """Which of `of`'s places belong to row n: places(n). Built once, in two passes over `of`; -1 belongs to none."""

    def __init__(self, of: Sequence[int], rows: int) -> None:
        start = array("q", [0]) * (rows + 1)
        for row in of:
            if row >= 0:
                start[row + 1] += 1
        for i in range(rows):
            start[i + 1] += start[i]
        at, places = array("q", start), array("q", [0]) * start[-1]
        for place_, row in enumerate(of):
            if row >= 0:
                places[at[row]] = place_
                at[row] += 1
        self._start, self._places = start, places

    def places(self, row: int) -> Sequence[int]:
        """In order."""
        return self._places[self._start[row] : self._start[row + 1]]


_NO_NUMBERS: Final = _Nothing(NULL)
_NO_WORDS: Final = _Nothing(None)


class ProcessTree(Growth):
    """Feed it batches in stream order; read it at any time."""

    def __init__(self, meta: Meta | None = None) -> None:
        super().__init__(meta)
        self._grouped: dict[str, tuple[tuple[int, int], Groups]] = {}

    def _peek(self, name: str) -> Any:
        """A stored column to look into; one that nothing was ever put in reads as null everywhere."""
        column = self._columns.get(name)
        return column if column is not None else _NO_WORDS if name in LISTS else _NO_NUMBERS

    def _groups(self, name: str, of: Sequence[int]) -> Groups:
        """Made anew when the tree has grown since."""
        stamp = (self._n, len(of) + self._changes)
        known = self._grouped.get(name)
        if known is None or known[0] != stamp:
            known = self._grouped[name] = (stamp, Groups(of, self._n))
        return known[1]

    def _repr_html_(self) -> str:
        from tracer.outline import outline

        return outline(self)

    # -- reading ----------------------------------------------------------------------------------------------

    def row(self, pid: int, born_ns: int) -> int | None:
        """The row of a process."""
        return self._index.get((pid, born_ns))

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
                self._exec_ts[i], self._exec_exe[i], self._exec_argv[i],
                None if self._exec_old_tid[i] == NULL else self._exec_old_tid[i],
            )
            for i in self._groups("execs", self._exec_row).places(row)
        ]  # fmt: skip

    def all_execs(self) -> tuple[Sequence[int], Sequence[int]]:
        """(process row, time) of every exec, in stream order."""
        return self._exec_row, self._exec_ts

    def exec_argvs(self) -> Sequence[tuple[str, ...] | None]:
        """The arguments of every exec, as `all_execs` has them; equal ones are mostly one object."""
        return self._exec_argv

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

    def _whole(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:  # not kept
            return [None] * self._n if name in LISTS else array("q", [NULL]) * self._n
        return column

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

    # Derived columns: `_one_X` gives one value, `_make_X` the whole column.

    def _one_id(self, row: int) -> int:
        return row

    def _make_id(self) -> array[int]:
        return array("q", range(self._n))

    def _one_parent_id(self, row: int) -> int | None:
        return self.parent(row)

    def _make_parent_id(self) -> array[int]:
        return array("q", [NULL if above < 0 else above for above in self._parent])

    def _one_flags(self, row: int) -> list[str] | None:
        bits = self._peek("clone_flags")[row]
        return None if bits == NULL else flag_names(bits)

    def _make_flags(self) -> list[list[str] | None]:
        names: dict[int, list[str] | None] = {NULL: None}
        return [names[b] if b in names else names.setdefault(b, flag_names(b)) for b in self._whole("clone_flags")]

    def _one_ns_pids(self, row: int) -> list[int] | None:
        pids = self._peek("ns_pids")[row]
        return None if pids is None else list(pids)

    def _make_ns_pids(self) -> list[Any]:
        return [None if p is None else list(p) for p in self._whole("ns_pids")]

    def _of_exec(self, row: int, table: Sequence[Any]) -> Any:
        at = self._peek("last_exec")[row]
        return None if at == NULL or at >= len(table) else table[at]

    def _one_exe(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_exe)  # type: ignore[no-any-return]

    def _make_exe(self) -> list[str | None]:
        return [self._of_exec(row, self._exec_exe) for row in range(self._n)]

    def _one_argv(self, row: int) -> list[str] | None:
        argv = self._of_exec(row, self._exec_argv)
        return None if argv is None else list(argv)

    def _make_argv(self) -> list[Any]:
        return [self._of_exec(row, self._exec_argv) for row in range(self._n)]

    def _one_interpreter(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("interpreter", ()))  # type: ignore[no-any-return]

    def _make_interpreter(self) -> list[str | None]:
        return [self._one_interpreter(row) for row in range(self._n)]

    def _one_cwd(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("cwd", ()))  # type: ignore[no-any-return]

    def _make_cwd(self) -> list[str | None]:
        return [self._one_cwd(row) for row in range(self._n)]

    def _one_execs(self, row: int) -> int:
        n = self._peek("execs")[row]
        return 0 if n == NULL else int(n)

    def _make_execs(self) -> array[int]:
        return array("q", [0 if n == NULL else n for n in self._whole("execs")])

    def _one_threads(self, row: int) -> int | None:
        n = self._peek("threads")[row]
        return (0 if Fact.THREADS in self.meta.facts else None) if n == NULL else int(n)

    def _make_threads(self) -> array[int]:
        none = 0 if Fact.THREADS in self.meta.facts else NULL
        return array("q", [none if n == NULL else n for n in self._whole("threads")])

    def _one_signal(self, row: int) -> str | None:
        n = self._peek("signal")[row]
        return None if n == NULL else signal_name(n)

    def _make_signal(self) -> list[str | None]:
        return [None if n == NULL else signal_name(n) for n in self._whole("signal")]

    def _one_container(self, row: int) -> str | None:
        path = self._peek("cgroup")[row]
        return place(path).container if path else None

    def _make_container(self) -> list[str | None]:
        known: dict[str | None, str | None] = {None: None}
        return [
            known[p] if p in known else known.setdefault(p, place(p).container if p else None)
            for p in self._whole("cgroup")
        ]

    def _counter(self, row: int, name: str) -> int | None:
        value, base = self._peek(name)[row], self._peek("base_" + name)[row]
        if value == NULL:
            return None
        return int(value) if base == NULL else max(0, value - base)

    def _one_min_flt(self, row: int) -> int | None:
        return self._counter(row, "min_flt")

    def _one_maj_flt(self, row: int) -> int | None:
        return self._counter(row, "maj_flt")

    def _one_wpcopy_count(self, row: int) -> int | None:
        return self._counter(row, "wpcopy_count")

    def _make_wpcopy_count(self) -> array[int]:
        return self._by_row(self._one_wpcopy_count)

    def _one_cpu_user_ns(self, row: int) -> int | None:
        return self._cpu(row)[0]

    def _one_cpu_system_ns(self, row: int) -> int | None:
        return self._cpu(row)[1]

    def _cpu(self, row: int) -> tuple[int | None, int | None]:
        runtime = self._counter(row, "runtime_ns")
        utime, stime = self._counter(row, "utime_ns"), self._counter(row, "stime_ns")
        if utime is None or stime is None:
            return None, None
        return (utime, stime) if runtime is None else cpu_split(utime, stime, runtime)

    def _make_min_flt(self) -> array[int]:
        return self._by_row(self._one_min_flt)

    def _make_maj_flt(self) -> array[int]:
        return self._by_row(self._one_maj_flt)

    def _make_cpu_user_ns(self) -> array[int]:
        return self._by_row(self._one_cpu_user_ns)

    def _make_cpu_system_ns(self) -> array[int]:
        return self._by_row(self._one_cpu_system_ns)

    def _by_row(self, one: Any) -> array[int]:
        return array("q", [NULL if (v := one(row)) is None else v for row in range(self._n)])
