"""The process table by columns: as growth.py has filled them, or derived: an id, a signal's name, CPU time split.

Of a derived column there is one value, `_one_X`, and all of them at once, `_make_X`. Knows the tables; who is below
whom is tree.py's.
"""

from __future__ import annotations

import signal as _signal
from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.host.cgroups import place
from tracer.model.flags import flag_names
from tracer.model.meta import Fact
from tracer.model.schema import LISTS, NULL
from tracer.model.vector_ops import numpy_for, packed, view
from tracer.tree.columns import cpu_split, cpu_splits
from tracer.tree.ends import Growth

_SIGNALS: Final = {int(s): s.name for s in _signal.Signals}


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal as SIGRTMIN+n by the C library's numbers; else SIG99."""
    if number in _SIGNALS:
        return _SIGNALS[number]
    rtmin = int(_signal.SIGRTMIN)
    return f"SIGRTMIN+{number - rtmin}" if rtmin < number <= int(_signal.SIGRTMAX) else f"SIG{number}"


class _Nothing:
    """A column of nulls of any length: eight bytes a process are not spent on what no source told."""

    def __init__(self, null: Any) -> None:
        self._null = null

    def __getitem__(self, row: int) -> Any:
        return self._null


_NO_NUMBERS: Final = _Nothing(NULL)
_NO_WORDS: Final = _Nothing(None)


class Derived(Growth):
    """Columns, and single values of them."""

    def _peek(self, name: str) -> Any:
        """A stored column to look into; one that nothing was ever put in reads as null everywhere."""
        column = self._columns.get(name)
        return column if column is not None else _NO_WORDS if name in LISTS else _NO_NUMBERS

    def _whole(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:  # not kept
            return [None] * self._n if name in LISTS else array("q", [NULL]) * self._n
        return column

    def last_argvs(self) -> Sequence[int]:
        """Where in `argvs` those of each process' last exec are; NULL: not known, or it never exec'd."""
        np = numpy_for(self._n)
        last, argv = self._whole("last_exec"), self._exec_argv
        if np is None:
            return array("q", [NULL if at == NULL else argv[at] for at in last])
        at, numbers = view(np, last), np.full(self._n, NULL, np.int64)
        known = at != NULL
        numbers[known] = view(np, argv)[at[known]]
        return packed(numbers)

    def _argv_of(self, at: int) -> tuple[str, ...] | None:
        number = self._exec_argv[at]
        return None if number == NULL else self._argvs[number]

    # Derived columns: `_one_X` gives one value, `_make_X` the whole column.

    def _one_id(self, row: int) -> int:
        return row

    def _make_id(self) -> array[int]:
        return array("q", range(self._n))

    def _one_parent_id(self, row: int) -> int | None:
        above = self._parent[row]
        return above if above >= 0 else None

    def _make_parent_id(self) -> array[int]:
        np = numpy_for(self._n)
        if np is None:
            return array("q", [NULL if above < 0 else above for above in self._parent])
        above = view(np, self._parent)
        return packed(np.where(above < 0, NULL, above))

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

    def _of_execs(self, table: Sequence[Any]) -> list[Any]:
        most = len(table)
        return [table[at] if NULL < at < most else None for at in self._whole("last_exec")]

    def _one_exe(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_exe)  # type: ignore[no-any-return]

    def _make_exe(self) -> list[str | None]:
        return self._of_execs(self._exec_exe)

    def _one_argv(self, row: int) -> list[str] | None:
        at = self._peek("last_exec")[row]
        argv = None if at == NULL else self._argv_of(at)
        return None if argv is None else list(argv)

    def _make_argv(self) -> list[Any]:
        argvs = self._argvs
        return [None if number == NULL else argvs[number] for number in self.last_argvs()]

    def _one_interpreter(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("interpreter", ()))  # type: ignore[no-any-return]

    def _make_interpreter(self) -> list[str | None]:
        return self._of_execs(self._exec_words.get("interpreter", ()))

    def _one_cwd(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("cwd", ()))  # type: ignore[no-any-return]

    def _make_cwd(self) -> list[str | None]:
        return self._of_execs(self._exec_words.get("cwd", ()))

    def _one_execs(self, row: int) -> int:
        n = self._peek("execs")[row]
        return 0 if n == NULL else int(n)

    def _make_execs(self) -> array[int]:
        return _or(self._whole("execs"), 0)

    def _one_threads(self, row: int) -> int | None:
        n = self._peek("threads")[row]
        return (0 if Fact.THREADS in self.meta.facts else None) if n == NULL else int(n)

    def _make_threads(self) -> array[int]:
        none = 0 if Fact.THREADS in self.meta.facts else NULL
        return _or(self._whole("threads"), none)

    def _one_signal(self, row: int) -> str | None:
        n = self._peek("signal")[row]
        return None if n == NULL else signal_name(n)

    def _make_signal(self) -> list[str | None]:
        names: dict[int, str | None] = {NULL: None}
        return [names[n] if n in names else names.setdefault(n, signal_name(n)) for n in self._whole("signal")]

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

    def _counters(self, name: str) -> Any:
        """The whole column, less what was there at the beginning."""
        values, base = self._whole(name), self._columns.get("base_" + name)
        if base is None or name not in self._columns:
            return values
        np = numpy_for(self._n)
        if np is None:
            pairs = zip(values, base, strict=True)
            return array("q", [v if NULL in (v, b) else max(0, v - b) for v, b in pairs])
        v, b = view(np, values), view(np, base)
        at = np.flatnonzero((v != NULL) & (b != NULL))
        net = v.copy()
        net[at] = np.maximum(v[at] - b[at], 0)
        return packed(net)

    def _one_min_flt(self, row: int) -> int | None:
        return self._counter(row, "min_flt")

    def _make_min_flt(self) -> Any:
        return self._counters("min_flt")

    def _one_maj_flt(self, row: int) -> int | None:
        return self._counter(row, "maj_flt")

    def _make_maj_flt(self) -> Any:
        return self._counters("maj_flt")

    def _one_wpcopy_count(self, row: int) -> int | None:
        return self._counter(row, "wpcopy_count")

    def _make_wpcopy_count(self) -> Any:
        return self._counters("wpcopy_count")

    def _one_cpu_user_ns(self, row: int) -> int | None:
        return self._cpu(row)[0]

    def _make_cpu_user_ns(self) -> array[int]:
        return self._cpus()[0]

    def _one_cpu_system_ns(self, row: int) -> int | None:
        return self._cpu(row)[1]

    def _make_cpu_system_ns(self) -> array[int]:
        return self._cpus()[1]

    def _cpu(self, row: int) -> tuple[int | None, int | None]:
        runtime = self._counter(row, "runtime_ns")
        utime, stime = self._counter(row, "utime_ns"), self._counter(row, "stime_ns")
        if utime is None or stime is None:
            return None, None
        return (utime, stime) if runtime is None else cpu_split(utime, stime, runtime)

    def _cpus(self) -> tuple[array[int], array[int]]:
        """User and system time of all."""
        columns = [self._counters(name) for name in ("utime_ns", "stime_ns", "runtime_ns")]
        np = numpy_for(self._n)
        if np is not None:
            user, system, rows = cpu_splits(np, *(view(np, column) for column in columns))
        else:
            user, system, rows = array("q", columns[0]), array("q", columns[1]), list(range(self._n))
        for row in rows:
            u, s, runtime = (column[row] for column in columns)
            if NULL in (u, s):
                user[row] = system[row] = NULL
            elif runtime != NULL:
                user[row], system[row] = cpu_split(u, s, runtime)
        return user, system


def _or(column: array[int], value: int) -> array[int]:
    """The column with `value` where it is NULL."""
    np = numpy_for(len(column))
    if np is None:
        return array("q", [value if n == NULL else n for n in column])
    numbers = view(np, column)
    return packed(np.where(numbers == NULL, value, numbers))
