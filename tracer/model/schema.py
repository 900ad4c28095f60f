"""THE schema: every column of the event table and of the process table, once, with all that follows from it.

A row says what a column means, in which kinds of event it occurs, and what the process table does with it:

    last="exit alive"    the value in an EXIT or ALIVE event replaces what the process had (null leaves it)
    sums="exit reap"     the value is added
    table=25             its place in the process table; columns without one are in events only
    fact=Fact.CPU        null for every process unless the source sees this (`--need`, `forktrace doctor`)

Storage, the tree's accumulation, the file, the exports and docs/columns.md are made of these rows. A new column is
one row here, and a line in the backend that fills it.

Integers and booleans are 64-bit with NULL for "not measured"; strings and lists have None. Unknown, empty and zero
are three different things.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tracer.model.meta import Fact

NULL: Final = -(1 << 63)
"""The integer that means "not measured" inside an integer column."""

Part = dict[str, Any]
"""The columns of one kind of event by name: integers as array("q"), all others as lists."""


class Kind(enum.IntEnum):
    """What happened. The numbers are the file format: never renumber, only add."""

    FORK = 1  # a task was created (a thread too: tid != pid)
    EXEC = 2  # a process began a new image
    EXEC_FAILED = 3  # execve returned an error
    EXIT = 4  # a task ended; `last` marks the one that ended the process
    REAP = 5  # the kernel released a task: who waited for it, when, its CPU time
    FORK_FAILED = 6  # fork, vfork, clone or clone3 returned an error
    FAULTS = 7  # fault counters of one thread, since its creation or since the previous such event
    EXISTING = 8  # a process that was there before the trace began (or was found again after a loss)
    LOST = 9  # records are missing here
    END = 10  # the trace was closed in order; totals
    RENAME = 11  # a process changed its comm
    ZOMBIE = 12  # a process ended, its parent was notified, and no thread of the parent was waiting
    ALIVE = 13  # still there when the trace ended: its counters so far
    DECAY = 14  # when copies were made, after the fork that made them necessary; no pid: of small processes together
    STACKS = 15  # which code copied pages: one stack of one process, and how many
    BASE = 16  # what a process that was there before had used by then: not the trace's
    ADOPT = 17  # the parent of a zombie has ended: another process is its parent now


class Column(NamedTuple):
    """One column. `type`: i integer, b boolean, s string, S list of strings, I list of integers.

    `kinds`, `last` and `sums` are names of kinds, separated by blanks.
    """

    name: str
    type: str
    unit: str
    doc: str
    kinds: str = ""
    last: str = ""
    sums: str = ""
    table: int | None = None
    fact: Fact | None = None


_ALL = "fork exec exec_failed exit reap fork_failed faults existing rename zombie alive decay stacks base adopt"
_BIRTH = "fork existing"
_SUMMED = "exit reap alive"
_COUNTED = "exec exit reap base alive"
_FAULTS = "faults"
_PARENTED = "fork existing exec exec_failed exit reap fork_failed zombie alive base adopt"

COLUMNS: Final[tuple[Column, ...]] = (
    Column("ts_ns", "i", "ns", "time of the event, CLOCK_BOOTTIME", f"{_ALL} lost end"),
    Column("kind", "s", "", "what happened", f"{_ALL} lost end"),
    Column("pid", "i", "", "tgid in forktrace's pid namespace; of a fork, the child's", _ALL, last=_BIRTH, table=30),
    Column("tid", "i", "", "the thread it happened to; equals pid for a process' first thread", _ALL),
    Column("born_ns", "i", "ns", "creation time, CLOCK_BOOTTIME; with pid the identity", _ALL, last=_BIRTH, table=90),
    # fork
    Column(
        "creator_pid",
        "i",
        "",
        "process that called fork; differs from ppid under CLONE_PARENT",
        "fork existing fork_failed",
        last=_BIRTH,
        table=50,
    ),
    Column("creator_tid", "i", "", "its thread that did", _BIRTH),
    Column("creator_born_ns", "i", "ns", "creation time of the creator", _BIRTH),
    Column(
        "ppid",
        "i",
        "",
        "the parent's pid at that moment, even if it is outside the trace",
        _PARENTED,
        last=_BIRTH,
        table=40,
    ),
    Column("parent_born_ns", "i", "ns", "creation time of that parent", _PARENTED),
    Column("how", "s", "", "root fork vfork clone posix_spawn existing", _BIRTH, last=_BIRTH, table=100),
    Column(
        "syscall",
        "s",
        "",
        "fork vfork clone clone3",
        "fork existing fork_failed",
        last=_BIRTH,
        table=110,
        fact=Fact.SYSCALL,
    ),
    Column("clone_flags", "i", "", "CLONE_* bits", "fork existing fork_failed", last=_BIRTH),
    Column("exit_signal", "i", "", "signal sent to the parent at the end", "fork existing reap", last=_BIRTH),
    Column(
        "ns_pids",
        "I",
        "",
        "pids from forktrace's namespace inwards, the first is pid; a last 0 for more of them",
        _BIRTH,
        last=_BIRTH,
        table=60,
        fact=Fact.NS_PIDS,
    ),
    Column("pgid", "i", "", "process group", "fork existing zombie", last=_BIRTH, table=70, fact=Fact.SESSIONS),
    Column("sid", "i", "", "session", _BIRTH, last=_BIRTH, table=80, fact=Fact.SESSIONS),
    Column(
        "uid",
        "i",
        "",
        "real user id, the last one seen",
        "fork existing exec exit alive base fork_failed exec_failed",
        last="fork existing exec exit alive",
        table=310,
        fact=Fact.UID,
    ),
    Column(
        "cgroup",
        "s",
        "",
        "control group path",
        "fork existing exec fork_failed",
        last="fork existing exec",
        table=320,
        fact=Fact.CGROUP,
    ),
    Column("fork_ns", "i", "ns", "time spent copying page tables", _BIRTH, last=_BIRTH, table=340, fact=Fact.FORK_COST),
    Column(
        "pgtables_bytes",
        "i",
        "bytes",
        "the parent's page tables at the fork",
        _BIRTH,
        last=_BIRTH,
        table=360,
        fact=Fact.SIZES,
    ),
    Column(
        "rss_bytes",
        "i",
        "bytes",
        "the parent's resident memory at the fork",
        _BIRTH,
        last=_BIRTH,
        table=370,
        fact=Fact.SIZES,
    ),
    Column(
        "comm",
        "s",
        "",
        "the kernel's 15-byte name, the last one",
        "fork existing exec exit rename alive base fork_failed exec_failed",
        last="fork existing exec exit alive",
        table=130,
    ),
    # exec
    Column(
        "exe",
        "s",
        "",
        "path as given to the last execve (a script's own path)",
        "exec exec_failed",
        table=140,
        fact=Fact.ARGV,
    ),
    Column(
        "argv",
        "S",
        "",
        "arguments of the last exec; a cut list ends in '...', a cut string in '...'",
        "exec exec_failed",
        table=150,
        fact=Fact.ARGV,
    ),
    Column("interpreter", "s", "", "what the last exec's #! line named", "exec", table=160, fact=Fact.ARGV),
    Column("cwd", "s", "", "working directory at the last exec", "exec", table=170, fact=Fact.CWD),
    Column("env", "S", "", "NAME=value for the names asked for by --env", "exec"),
    Column("old_tid", "i", "", "thread that called execve", "exec"),
    Column("vfork_done_ns", "i", "ns", "when a vfork parent was let go, CLOCK_BOOTTIME", "exec"),
    # exit
    Column(
        "exit_code",
        "i",
        "",
        "exit status 0..255; null if a signal killed it, or it still runs",
        "exit zombie",
        last="exit zombie",
        table=210,
        fact=Fact.STATUS,
    ),
    Column(
        "signal",
        "i",
        "",
        "signal that killed it (in the process table its name); null if it exited or still runs",
        "exit zombie",
        last="exit zombie",
        table=220,
        fact=Fact.STATUS,
    ),
    Column(
        "core_dumped",
        "b",
        "",
        "a core dump was written",
        "exit zombie",
        last="exit zombie",
        table=230,
        fact=Fact.STATUS,
    ),
    Column("last", "b", "", "the process ended with this task", "exit"),
    Column(
        "killed_by",
        "i",
        "",
        "pid that sent the fatal signal; null when the kernel did",
        "exit",
        last="exit",
        table=240,
        fact=Fact.KILLER,
    ),
    Column(
        "oom_killed", "b", "", "the out-of-memory killer chose it", "exit", last="exit", table=250, fact=Fact.KILLER
    ),
    Column("min_flt", "i", "faults", "minor faults", _COUNTED, sums=_SUMMED, table=410, fact=Fact.FAULTS),
    Column("maj_flt", "i", "faults", "major faults", _COUNTED, sums=_SUMMED, table=420, fact=Fact.FAULTS),
    Column("utime_ns", "i", "ns", "user CPU time, as the kernel ticks it", f"{_COUNTED} end", sums=_SUMMED),
    Column("stime_ns", "i", "ns", "system CPU time, as the kernel ticks it", f"{_COUNTED} end", sums=_SUMMED),
    Column("runtime_ns", "i", "ns", "CPU time by the scheduler's clock", _COUNTED, sums=_SUMMED),
    Column(
        "max_rss_bytes",
        "i",
        "bytes",
        "peak resident memory",
        "exit reap alive base",
        last="exit reap alive",
        table=400,
        fact=Fact.MAX_RSS,
    ),
    # reap
    Column(
        "reaped_by", "i", "", "pid of the process that waited for it", "reap", last="reap", table=290, fact=Fact.REAPS
    ),
    Column(
        "reap_ns", "i", "ns", "when it was waited for, CLOCK_BOOTTIME", "reap", last="reap", table=270, fact=Fact.REAPS
    ),
    Column("zombie_ns", "i", "ns", "how long it was a zombie", "reap", last="reap", table=260, fact=Fact.ZOMBIES),
    Column(
        "sigchld",
        "s",
        "",
        "what a zombie's parent does with SIGCHLD: default ignore handler nocldwait",
        "zombie",
        last="zombie",
    ),
    # failures
    Column("errno", "i", "", "error number", "exec_failed fork_failed"),
    Column("error", "s", "", "its name, as EAGAIN", "exec_failed fork_failed"),
    Column("cause", "s", "", "which limit", "fork_failed"),
    # losses and the end
    Column(
        "count",
        "i",
        "",
        "records lost; at the end, records written; of a stack, the copies it stands for",
        "lost end stacks",
    ),
    Column("where", "s", "", "where they were lost", "lost"),
    # how sure
    Column("evidence", "s", "", "measured inferred snapshot", f"{_ALL} lost"),
    # faults: counters since creation, or since the exec that made the root
    Column(
        "wp_faults", "i", "faults", "write-protect faults taken", _FAULTS, sums=_FAULTS, table=430, fact=Fact.WP_FAULTS
    ),
    Column(
        "cow_copies",
        "i",
        "pages",
        "pages really copied because of a fork",
        _FAULTS,
        sums=_FAULTS,
        table=440,
        fact=Fact.COW,
    ),
    Column("cow_heap", "i", "pages", "of these, in the heap", _FAULTS, sums=_FAULTS, table=450, fact=Fact.COW),
    Column("cow_stack", "i", "pages", "of these, in a stack", _FAULTS, sums=_FAULTS, table=460, fact=Fact.COW),
    Column(
        "cow_anon", "i", "pages", "of these, in other anonymous memory", _FAULTS, sums=_FAULTS, table=470, fact=Fact.COW
    ),
    Column(
        "cow_file", "i", "pages", "of these, in private file mappings", _FAULTS, sums=_FAULTS, table=480, fact=Fact.COW
    ),
    Column(
        "file_copies", "i", "pages", "private file pages first written", _FAULTS, sums=_FAULTS, table=490, fact=Fact.COW
    ),
    Column("zero_copies", "i", "pages", "zero pages replaced", _FAULTS, sums=_FAULTS, table=500, fact=Fact.COW),
    Column(
        "large_copies", "i", "pages", "huge pages copied or replaced", _FAULTS, sums=_FAULTS, table=510, fact=Fact.COW
    ),
    Column(
        "reuses",
        "i",
        "faults",
        "write-protect faults that copied nothing",
        _FAULTS,
        sums=_FAULTS,
        table=520,
        fact=Fact.COW,
    ),
    Column(
        "mkwrites", "i", "faults", "shared file pages made writable", _FAULTS, sums=_FAULTS, table=530, fact=Fact.COW
    ),
    Column(
        "failed_wp",
        "i",
        "faults",
        "write-protect faults that ended in a signal or error",
        _FAULTS,
        sums=_FAULTS,
        table=540,
        fact=Fact.COW,
    ),
    Column(
        "wpcopy_count",
        "i",
        "pages",
        "the kernel's own count of copies at a write (kernel.task_delayacct): "
        "cow_copies, zero_copies, and file pages read before the write",
        _COUNTED,
        sums=_SUMMED,
        table=570,
        fact=Fact.WPCOPY,
    ),
    Column(
        "cow_unknown",
        "i",
        "pages",
        "of cow_copies, those whose mapping could not be looked up",
        _FAULTS,
        sums=_FAULTS,
        table=550,
        fact=Fact.COW,
    ),
    Column(
        "cow_gup",
        "i",
        "pages",
        "of cow_copies, those that the kernel made for this process without a fault of its own",
        _FAULTS,
        sums=_FAULTS,
        table=560,
        fact=Fact.COW,
    ),
    Column("before_exec", "b", "", "counted before the process' first exec", "faults stacks"),
    Column(
        "parent_cow_birth",
        "i",
        "pages",
        "the parent's copies so far when this process was created",
        _FAULTS,
        last=_FAULTS,
    ),
    Column(
        "parent_cow_end", "i", "pages", "the parent's copies so far when the two stopped sharing", _FAULTS, last=_FAULTS
    ),
    Column("cow_total", "i", "pages", "copies of the whole process so far", _FAULTS, last=_FAULTS),
    Column("since_own_fork", "b", "", "decay counts from the process' own last fork, else from its creation", "decay"),
    Column("decay", "I", "pages", "copies by time since the fork: up to 1024 ns, up to 1024 << n ns, later", "decay"),
    Column(
        "ksm_copies",
        "i",
        "pages",
        "copies of pages that the kernel had merged (KSM); not among cow_copies",
        _FAULTS,
        sums=_FAULTS,
        table=515,
        fact=Fact.COW,
    ),
    Column(
        "frames",
        "S",
        "",
        "functions, the one that wrote first, then its callers; one alone: the callers are unknown",
        "stacks",
    ),
    Column("samples", "i", "", "how often this stack was found", "stacks"),
    # process table only: computed by tree/columns.py
    Column("id", "i", "", "row number, in order of creation", table=10),
    Column("parent_id", "i", "", "row of the parent; null for a root and for a parent outside the trace", table=20),
    Column("flags", "S", "", "CLONE_ names", table=120, fact=Fact.FLAGS),
    Column("execs", "i", "", "successful execs, the root's first included", table=180),
    Column("exec_ns", "i", "ns", "time of the first exec, CLOCK_BOOTTIME", table=190),
    Column("exit_ns", "i", "ns", "time of the end, CLOCK_BOOTTIME", table=200),
    Column(
        "adopted_by",
        "i",
        "",
        "pid of the first parent other than the one it was born to",
        table=280,
        fact=Fact.ADOPTION,
    ),
    Column(
        "threads",
        "i",
        "",
        "CLONE_THREAD tasks ever made in it; leader and io_uring workers excluded",
        table=300,
        fact=Fact.THREADS,
    ),
    Column("container", "s", "", "container id or name, from the control group", table=330, fact=Fact.CGROUP),
    Column("vfork_blocked_ns", "i", "ns", "how long its vfork kept the parent", table=350),
    Column("cpu_user_ns", "i", "ns", "user CPU time, all threads", table=380, fact=Fact.CPU),
    Column("cpu_system_ns", "i", "ns", "system CPU time, all threads", table=390, fact=Fact.CPU),
)

KIND_NAMES: Final[Mapping[int, str]] = {k.value: k.name.lower() for k in Kind}
KINDS_BY_NAME: Final[Mapping[str, int]] = {v: k for k, v in KIND_NAMES.items()}

EVENT_COLUMNS: Final = tuple(c for c in COLUMNS if c.kinds)
"""The event table, and the file: in this order."""

PROCESS_COLUMNS: Final = tuple(
    c._replace(type="s") if c.name == "signal" else c
    for c in sorted((c for c in COLUMNS if c.table is not None), key=lambda c: c.table or 0)
)
"""The process table, in its order. A signal is a number in an event and a name here."""

HEAD: Final = EVENT_COLUMNS[:5]
"""The columns that every event of a task has."""

TYPES: Final[Mapping[str, str]] = {c.name: c.type for c in EVENT_COLUMNS}


def is_list(name: str) -> bool:
    """Whether an event column is a Python list (strings, lists) and not an integer array."""
    return TYPES[name] in "sSI"


def _by_kind(names: Mapping[str, str]) -> dict[int, tuple[str, ...]]:
    return {
        kind: tuple(name for name, kinds in names.items() if word in kinds.split()) for kind, word in KIND_NAMES.items()
    }


CARRIED: Final = _by_kind({c.name: c.kinds for c in COLUMNS})
"""{kind: the columns that occur in it}."""

LAST: Final = _by_kind({c.name: c.last for c in COLUMNS})
"""{kind: the columns of which the value replaces what the process had}."""

SUMS: Final = _by_kind({c.name: c.sums for c in COLUMNS})
"""{kind: the columns of which the value is added to what the process had}."""
