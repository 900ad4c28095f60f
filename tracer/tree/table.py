"""The process table: what each of its columns means. One row per process; null (None, NULL) is "not measured".

The names and meanings are stable: `export --table processes` writes them, in this order. Times are CLOCK_BOOTTIME ns,
durations ns, sizes bytes. Knows no events and no tree: tree.py fills the table.
"""

from __future__ import annotations

from array import array
from typing import Any, Final

from tracer.model.schema import NULL, Field
from tracer.model.vector_ops import numpy_of, packed, view

PROCESS_COLUMNS: Final = (
    Field("id", "i", "row number, in order of birth"),
    Field("parent_id", "i", "row of the parent; null for a root and for a parent outside the trace"),
    Field("pid", "i", "tgid as forktrace's pid namespace has it"),
    Field("ppid", "i", "the parent's pid at birth, even if it is outside the trace"),
    Field("creator_pid", "i", "process that called fork; differs from ppid under CLONE_PARENT"),
    Field("ns_pids", "I", "pids from forktrace's namespace inwards; the first is pid"),
    Field("pgid", "i", "process group at birth"),
    Field("sid", "i", "session at birth"),
    Field("born_ns", "i", "birth; with pid it is the identity"),
    Field("how", "s", "root fork vfork clone posix_spawn existing"),
    Field("syscall", "s", "fork vfork clone clone3"),
    Field("flags", "S", "CLONE_ names"),
    Field("comm", "s", "last name"),
    Field("exe", "s", "path of the last exec"),
    Field("argv", "S", "arguments of the last exec; a cut list ends in '...'"),
    Field("interpreter", "s", "what the last exec's #! line named"),
    Field("cwd", "s", "working directory at the last exec"),
    Field("execs", "i", "successful execs, the root's first included"),
    Field("exec_ns", "i", "time of the first exec"),
    Field("exit_ns", "i", "time of the end"),
    Field("exit_code", "i", "status; null if a signal killed it or it still lives"),
    Field("signal", "s", "signal that killed it; null if it exited or still lives"),
    Field("core_dumped", "b", "a core dump was written"),
    Field("killed_by", "i", "pid that sent the fatal signal"),
    Field("oom_killed", "b", "the out-of-memory killer chose it"),
    Field("zombie_ns", "i", "how long it was a zombie"),
    Field("reap_ns", "i", "when it was waited for"),
    Field("adopted_by", "i", "pid of the first parent other than the one it was born to"),
    Field("reaped_by", "i", "pid that waited for it"),
    Field("threads", "i", "CLONE_THREAD tasks ever made in it; leader and io_uring workers excluded"),
    Field("uid", "i", "last real user id seen"),
    Field("cgroup", "s", "control group path"),
    Field("container", "s", "container id or name, from the control group"),
    Field("fork_ns", "i", "page-table copy time"),
    Field("vfork_blocked_ns", "i", "how long its vfork kept the parent"),
    Field("pgtables_bytes", "i", "the parent's page tables at the fork"),
    Field("rss_bytes", "i", "the parent's resident memory at the fork"),
    Field("cpu_user_ns", "i", "user CPU time, all threads"),
    Field("cpu_system_ns", "i", "system CPU time, all threads"),
    Field("max_rss_bytes", "i", "peak resident memory"),
    Field("min_flt", "i", "minor faults"),
    Field("maj_flt", "i", "major faults"),
    Field("wp_faults", "i", "write-protect faults taken"),
    Field("cow_copies", "i", "pages really copied because of a fork"),
    Field("cow_heap", "i", "of these, in the heap"),
    Field("cow_stack", "i", "of these, in a stack"),
    Field("cow_anon", "i", "of these, in other anonymous memory"),
    Field("cow_file", "i", "of these, in private file mappings"),
    Field("file_copies", "i", "private file pages first written"),
    Field("zero_copies", "i", "zero pages replaced"),
    Field("large_copies", "i", "huge pages copied or replaced"),
    Field("ksm_copies", "i", "copies of pages that the kernel had merged (KSM); not among cow_copies"),
    Field("reuses", "i", "write-protect faults that copied nothing"),
    Field("mkwrites", "i", "shared file pages made writable"),
    Field("failed_wp", "i", "write-protect faults that ended in a signal or error"),
    Field("cow_unknown", "i", "of cow_copies, those whose mapping could not be looked up"),
    Field("cow_gup", "i", "of cow_copies, those that the kernel made for this process without a fault of its own"),
    Field("wpcopy_count", "i", "the kernel's own count: cow_copies, zero_copies, and file pages read before the write"),
)

LISTS: Final = frozenset({"how", "syscall", "ns_pids", "cgroup", "comm", "sigchld"})
"""Stored columns that are Python lists; all others are array("q")."""

COLUMN_TYPES: Final = {f.name: f.type for f in PROCESS_COLUMNS}

_NAMES: Final = [f.name for f in PROCESS_COLUMNS]
COW_COLUMNS: Final = tuple(_NAMES[_NAMES.index("wp_faults") : _NAMES.index("failed_wp") + 1])


_MOST: Final = (1 << 63) - 1  # a forged file may count to there
_LARGE: Final = 1 << 61
_SMALL: Final = 1 << 40  # so many thousands of millions of these are less than that


def cpu_split(utime: int, stime: int, runtime: int) -> tuple[int, int]:
    """User and system ns of a process, as the kernel's cputime_adjust() splits the exact run time by its ticks."""
    if stime == 0:
        return runtime, 0
    if utime == 0:
        return 0, runtime
    system = min(stime * runtime // (stime + utime), runtime)
    return runtime - system, system


def cpu_splits(np: Any, user: Any, system: Any, runtime: Any) -> tuple[array[int], array[int], list[int]]:
    """Numpy columns as cpu_split has them, and the rows that are left to it: 64 bits do not hold their product."""
    known = (user != NULL) & (system != NULL)
    split = known & (runtime != NULL)
    small = (user >= 0) & (user < _LARGE) & (system >= 0) & (system < _LARGE) & (runtime >= 0)
    small &= system.astype(float) * runtime < _LARGE
    at = np.flatnonzero(split & small)
    u, s, exact = user[at], system[at], runtime[at]
    part = np.where(u == 0, exact, np.minimum(s * exact // np.maximum(s + u, 1), exact))
    part[s == 0] = 0
    users, systems = np.where(known, user, NULL), np.where(known, system, NULL)
    users[at], systems[at] = exact - part, part
    return packed(users), packed(systems), np.flatnonzero(split & ~small).tolist()


def set_rows(column: Any, rows: Any, values: Any) -> None:
    """column[rows[i]] = values[i], in order; NULL and None leave what is there. `rows`: a list, or numpy's."""
    np = numpy_of(rows)
    if isinstance(column, list):
        for row, value in zip(rows if np is None else rows.tolist(), values, strict=True):
            if value is not None:
                column[row] = value
        return
    if np is not None:
        new = view(np, values)
        known = new != NULL
        view(np, column)[rows[known]] = new[known]  # of a row that comes more than once, the last one stays
        return
    for row, value in zip(rows, values, strict=True):
        if value != NULL:
            column[row] = value


def mark_rows(column: array[int], rows: Any) -> None:
    """column[row] = 1 for all of them."""
    np = numpy_of(rows)
    if np is not None:
        view(np, column)[rows] = 1
        return
    for row in rows:
        column[row] = 1


def add_rows(column: array[int], rows: Any, values: Any) -> None:
    """column[rows[i]] += values[i], where NULL is nothing yet."""
    np = numpy_of(rows)
    if np is not None:
        if _add_many(np, column, rows, view(np, values)):
            return
        rows = rows.tolist()
    for row, value in zip(rows, values, strict=True):
        if value != NULL:
            have = column[row]
            column[row] = value if have == NULL else max(-_MOST, min(have + value, _MOST))


def _add_many(np: Any, column: array[int], rows: Any, values: Any) -> bool:
    """False, and nothing done, where a sum might not fit into 64 bits."""
    known = values != NULL
    if not known.all():
        rows, values = rows[known], values[known]
    if not len(rows):
        return True
    have = view(np, column)
    if (rows[1:] <= rows[:-1]).any():  # threads, each with its own: first what comes to one row is one sum
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
