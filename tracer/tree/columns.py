"""The columns of the process table: as they are stored, or derived: an id, a signal's name, CPU time split.

`NUMBERS` are computed for all rows at once, by numpy, and kept until the tree grows; `MAPPED` columns are another
reading of a stored one; `OF_EXEC` columns are those of the last exec. Everything else is read as it is stored.
"""

from __future__ import annotations

import signal as _signal
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from tracer.host.cgroups import place
from tracer.model.flags import flag_names
from tracer.model.meta import Fact, Meta
from tracer.model.schema import NULL, SUMS, Kind
from tracer.model.vector_ops import packed, view
from tracer.tree.execs import Execs
from tracer.tree.table import Table

_SIGNALS: Final = {int(s): s.name for s in _signal.Signals}
_LARGE: Final = 1 << 61


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal as SIGRTMIN+n by the C library's numbers; else SIG99."""
    if number in _SIGNALS:
        return _SIGNALS[number]
    rtmin = int(_signal.SIGRTMIN)
    return f"SIGRTMIN+{number - rtmin}" if rtmin < number <= int(_signal.SIGRTMAX) else f"SIG{number}"


class Columns:
    """Reads the columns of one tree. `changes` says whether the tree has grown since a column was computed."""

    def __init__(self, meta: Meta, table: Table, execs: Execs, changes: Callable[[], tuple[int, int]]) -> None:
        self._meta = meta
        self._table = table
        self._execs = execs
        self._changes = changes
        self._kept: dict[str, tuple[tuple[int, int], Any]] = {}

    def column(self, name: str) -> Any:
        """A process column in row order: array("q") with NULL, or a list with None. Not to be changed."""
        if name in NUMBERS:
            return self._number(name)
        if name in MAPPED:
            stored, read = MAPPED[name]
            made: dict[Any, Any] = {}
            return [made[v] if v in made else made.setdefault(v, read(v)) for v in self._table.whole(stored)]
        if name in OF_EXEC:
            words, n = OF_EXEC[name](self._execs), len(self._execs.process)
            return [words(at) if NULL < at < n else None for at in self._table.whole("last_exec")]
        if name == "ns_pids":
            return [None if pids is None else list(pids) for pids in self._table.whole(name)]
        return self._table.whole(name)

    def value(self, row: int, name: str) -> Any:
        """One value, None for null; booleans are still numbers."""
        if name in MAPPED:
            stored, read = MAPPED[name]
            return read(self._table.peek(stored)[row])
        if name in OF_EXEC:
            at = self._table.peek("last_exec")[row]
            value = None if at == NULL else OF_EXEC[name](self._execs)(at)
        else:
            value = self._number(name)[row] if name in NUMBERS else self._table.peek(name)[row]
        if isinstance(value, tuple | list):
            return list(value)
        return None if value is None or value == NULL else value

    def counters(self, name: str) -> Any:
        """A running total, less what was there before the trace. Not to be changed."""
        return self._number(name) if name in NUMBERS else self._net(name)

    def last_argvs(self) -> array[int]:
        """Where in `Execs.argvs` those of each process' last exec are; NULL: not known, or it never exec'd."""
        at, numbers = view(self._table.whole("last_exec")), np.full(self._table.size, NULL, np.int64)
        known = at != NULL
        numbers[known] = view(self._execs.argv)[at[known]]
        return packed(numbers)

    # -- numbers --------------------------------------------------------------------------------------------------

    def _number(self, name: str) -> array[int]:
        stamp = self._changes()
        kept = self._kept.get(name)
        if kept is None or kept[0] != stamp:
            kept = self._kept[name] = (stamp, NUMBERS[name](self))
        made: array[int] = kept[1]
        return made

    def _ids(self) -> array[int]:
        return array("q", range(self._table.size))

    def _parents(self) -> array[int]:
        parent = view(self._table.parent)
        return packed(np.where(parent < 0, NULL, parent))

    def _threads(self) -> array[int]:
        return self._or("threads", 0 if Fact.THREADS in self._meta.facts else NULL)

    def _or(self, name: str, value: int) -> array[int]:
        numbers = view(self._table.whole(name))
        return packed(np.where(numbers == NULL, value, numbers))

    def _net(self, name: str) -> Any:
        values, base = self._table.whole(name), self._table.columns.get("base_" + name)
        if base is None or name not in self._table.columns:
            return values
        total, before = view(values), view(base)
        at = np.flatnonzero((total != NULL) & (before != NULL))
        net = total.copy()
        net[at] = np.maximum(total[at] - before[at], 0)
        return packed(net)

    def _cpu(self, which: int) -> array[int]:
        return cpu_splits(*(self._net(name) for name in ("utime_ns", "stime_ns", "runtime_ns")))[which]


NUMBERS: Final[Mapping[str, Callable[[Columns], array[int]]]] = {
    "id": Columns._ids,
    "parent_id": Columns._parents,
    "threads": Columns._threads,
    "execs": lambda columns: columns._or("execs", 0),
    "cpu_user_ns": lambda columns: columns._cpu(0),
    "cpu_system_ns": lambda columns: columns._cpu(1),
    **{name: lambda columns, name=name: columns._net(name) for name in SUMS[Kind.ALIVE]},  # type: ignore[misc]
}


def _flags(bits: int) -> list[str] | None:
    return None if bits == NULL else flag_names(bits)


def _signal_word(number: int) -> str | None:
    return None if number == NULL else signal_name(number)


def _container(path: str | None) -> str | None:
    return place(path).container if path else None


MAPPED: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "flags": ("clone_flags", _flags),
    "signal": ("signal", _signal_word),
    "container": ("cgroup", _container),
}
"""{column: (the stored column it is made of, how one value is read)}."""

OF_EXEC: Final[Mapping[str, Callable[[Execs], Callable[[int], Any]]]] = {
    "exe": lambda execs: execs.exe.__getitem__,
    "argv": lambda execs: execs.argv_of,
    "interpreter": lambda execs: execs.word_of("interpreter"),
    "cwd": lambda execs: execs.word_of("cwd"),
}
"""Columns of the last exec: by its place in the table of execs."""


def cpu_splits(utime: Any, stime: Any, runtime: Any) -> tuple[array[int], array[int]]:
    """User and system ns of each process, as the kernel's cputime_adjust() splits the exact run time by its ticks.

    Without a run time the ticks stand; where ticks are not known, neither is known.
    """
    user, system, exact = view(utime), view(stime), view(runtime)
    known = (user != NULL) & (system != NULL)
    users, systems = np.where(known, user, NULL), np.where(known, system, NULL)
    split = known & (exact != NULL)
    small = (user >= 0) & (user < _LARGE) & (system >= 0) & (system < _LARGE) & (exact >= 0)
    small &= system.astype(float) * exact < _LARGE
    at = np.flatnonzero(split & small)
    u, s, r = user[at], system[at], exact[at]
    part = np.where(u == 0, r, np.minimum(s * r // np.maximum(s + u, 1), r))
    part[s == 0] = 0
    users[at], systems[at] = r - part, part
    for row in np.flatnonzero(split & ~small).tolist():  # their product does not fit into 64 bits
        users[row], systems[row] = _cpu_split(int(user[row]), int(system[row]), int(exact[row]))
    return packed(users), packed(systems)


def _cpu_split(utime: int, stime: int, runtime: int) -> tuple[int, int]:
    if stime == 0:
        return runtime, 0
    if utime == 0:
        return 0, runtime
    system = min(stime * runtime // (stime + utime), runtime)
    return runtime - system, system
