"""THE model: what an event is, in columns. Read this first.

Every backend and importer yields `Batch`es; the tree, the file and the exports take them. A batch holds rows in
stream order, grouped by kind into dense columns, and makes no Python object per event:

    kinds   b"\\x01\\x02\\x01..."            one byte a row, in stream order
    parts   {Kind.FORK: {"pid": array("q", ...), "comm": [...]}, Kind.EXEC: {...}}

Row k of the stream is the next unread row of `parts[kinds[k]]`. A column that is absent from a part is null in all
its rows. Integers and booleans are `array("q")` with NULL for "not measured"; strings and lists are Python lists
with None. An `Event` is a view of one row, made on demand.

Unknown, empty and zero are three different things: NULL/None is "not measured", [] and "" and 0 are measured.
Stream order is the truth about order; `ts_ns` (CLOCK_BOOTTIME, ns) is for show and for durations.
A process is (pid, born_ns): pid is the tgid in the pid namespace that forktrace runs in.

Refuses to know: C layouts (wire.py), files (recording.py), how events become a tree (tree.py).
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tracer.model.machines import PAGE_BYTES

NULL: Final = -(1 << 63)
"""The integer that means "not measured" inside an integer column."""

Column = "array[int] | list[Any]"
Part = dict[str, Any]  # name -> Column; Any, as mypy can not express "array for these names, list for those"


class Kind(enum.IntEnum):
    """What happened. The numbers are the file format: never renumber, only add."""

    FORK = 1  # a task was born (a thread too: tid != pid)
    EXEC = 2  # a process began a new image
    EXEC_FAILED = 3  # execve returned an error
    EXIT = 4  # a task ended; `last` marks the one that ended the process
    REAP = 5  # the kernel released a task: by whom it was waited for, when, its CPU time
    FORK_FAILED = 6  # fork, vfork, clone or clone3 returned an error
    FAULTS = 7  # fault counters of one thread, since its birth or since the previous such row
    EXISTING = 8  # a process that was there before the trace began (or was found again after a loss)
    LOST = 9  # records are missing here
    END = 10  # the trace was closed in order; totals
    RENAME = 11  # a process gave itself another comm
    ZOMBIE = 12  # a process ended and nobody was waiting: its parent was told and has not come yet
    DECAY = 14  # when copies were made, after the fork that made them necessary; no pid: of small processes together
    ALIVE = 13  # still there when the trace ended: its counters so far
    BASE = 16  # what a process that was there before had used by then: not the trace's
    STACKS = 15  # which code copied pages: one stack of one process, and how many
    ADOPT = 17  # the parent of one that waited for it has ended: it waits for another one now


class Field(NamedTuple):
    """One column of the schema. `type`: i int, b bool, s string, S list of strings, I list of ints."""

    name: str
    type: str
    doc: str


HEAD: Final = (
    Field("ts_ns", "i", "when, CLOCK_BOOTTIME ns"),
    Field("kind", "s", "what happened"),
    Field("pid", "i", "the process (tgid) it happened to: for a fork, the child"),
    Field("tid", "i", "the thread it happened to; equals pid for a process' first thread"),
    Field("born_ns", "i", "birth of the process; (pid, born_ns) is its identity"),
)

FIELDS: Final = (
    # birth
    Field("creator_pid", "i", "process that called fork/vfork/clone"),
    Field("creator_tid", "i", "its thread that did"),
    Field("creator_born_ns", "i", "birth of the creator"),
    Field(
        "ppid",
        "i",
        "the parent at that moment (differs from creator_pid under CLONE_PARENT and after adoption)",
    ),
    Field("parent_born_ns", "i", "birth of that parent"),
    Field("how", "s", "root fork vfork clone posix_spawn existing"),
    Field("syscall", "s", "fork vfork clone clone3"),
    Field("clone_flags", "i", "CLONE_* bits"),
    Field("exit_signal", "i", "signal sent to the parent at the end"),
    Field("ns_pids", "I", "pids from forktrace's namespace inwards, a last 0 for more of them; null: not known"),
    Field("pgid", "i", "process group"),
    Field("sid", "i", "session"),
    Field("uid", "i", "real user id"),
    Field("cgroup", "s", "control group path"),
    Field("fork_ns", "i", "time spent copying page tables, ns"),
    Field("pgtables_bytes", "i", "the parent's page tables at the fork"),
    Field("rss_bytes", "i", "the parent's resident memory at the fork"),
    Field("comm", "s", "the kernel's 15-byte name"),
    # exec
    Field("exe", "s", "path as given to execve (a script's own path)"),
    Field("argv", "S", "arguments; a cut list ends in '...', a cut string in '...'"),
    Field("interpreter", "s", "what a #! line named"),
    Field("cwd", "s", "working directory at the exec"),
    Field("env", "S", "NAME=value for the names asked for by --env"),
    Field("old_tid", "i", "thread that called execve"),
    Field("vfork_done_ns", "i", "when a vfork parent was let go, CLOCK_BOOTTIME ns"),
    # end
    Field("exit_code", "i", "exit status 0..255; null if a signal killed it"),
    Field("signal", "i", "number of the signal that killed it; null if it exited"),
    Field("core_dumped", "b", "a core dump was written"),
    Field("last", "b", "the process ended with this task"),
    Field("killed_by", "i", "pid that sent the fatal signal; null when the kernel did"),
    Field("oom_killed", "b", "the out-of-memory killer chose it"),
    Field("min_flt", "i", "minor faults so far"),
    Field("maj_flt", "i", "major faults so far"),
    Field("utime_ns", "i", "user CPU time, as the kernel ticks it"),
    Field("stime_ns", "i", "system CPU time, as the kernel ticks it"),
    Field("runtime_ns", "i", "CPU time by the scheduler's clock"),
    Field("max_rss_bytes", "i", "peak resident memory"),
    # release
    Field("reaped_by", "i", "pid of the process that waited for it"),
    Field("reap_ns", "i", "when it was waited for, CLOCK_BOOTTIME ns"),
    Field("zombie_ns", "i", "how long it was a zombie, ns"),
    Field("sigchld", "s", "what a zombie's parent does with SIGCHLD: default ignore handler nocldwait"),
    # failures
    Field("errno", "i", "error number"),
    Field("error", "s", "its name, as EAGAIN"),
    Field("cause", "s", "which limit"),
    # losses and the end
    Field("count", "i", "records lost; at the end, records written; of a stack, the copies that it stands for"),
    Field("where", "s", "where they were lost"),
    # how sure
    Field("evidence", "s", "measured inferred snapshot"),
    # faults (counters since birth, or since the exec that made the root)
    Field("wp_faults", "i", "write-protect faults taken"),
    Field("cow_copies", "i", "pages copied because of a fork"),
    Field("cow_heap", "i", "of these, in the heap"),
    Field("cow_stack", "i", "of these, in a stack"),
    Field("cow_anon", "i", "of these, in other anonymous memory"),
    Field("cow_file", "i", "of these, in private file mappings"),
    Field("file_copies", "i", "private file pages first written"),
    Field("zero_copies", "i", "zero pages replaced"),
    Field("large_copies", "i", "huge pages copied or replaced"),
    Field("reuses", "i", "write-protect faults that copied nothing"),
    Field("mkwrites", "i", "shared file pages made writable"),
    Field("failed_wp", "i", "write-protect faults that ended in a signal or error"),
    Field("wpcopy_count", "i", "pages copied at a write by the kernel's own count (kernel.task_delayacct)"),
    Field("cow_unknown", "i", "copies whose mapping could not be looked up"),
    Field("cow_gup", "i", "copies that no exception announced: the kernel wrote for this thread, perhaps elsewhere"),
    Field("before_exec", "b", "counted before the process' first exec"),
    Field("parent_cow_birth", "i", "the parent's copies so far when this process was born"),
    Field("parent_cow_end", "i", "the parent's copies so far when the two stopped sharing"),
    Field("cow_total", "i", "copies of the whole process so far"),
    Field("since_own_fork", "b", "decay counts from the process' own last fork, else from its birth"),
    Field("decay", "I", "copies by time since the fork: up to 1024 ns, up to 1024 << n ns, later"),
    Field("ksm_copies", "i", "copies of pages that the kernel had merged (KSM); not among cow_copies"),
    Field("frames", "S", "functions, the one that wrote first, then its callers; one alone: the callers are unknown"),
    Field("samples", "i", "how often this stack was found"),
)

TYPES: Final[Mapping[str, str]] = {f.name: f.type for f in (*HEAD, *FIELDS)}
KIND_NAMES: Final[Mapping[int, str]] = {k.value: k.name.lower() for k in Kind}
KINDS_BY_NAME: Final[Mapping[str, int]] = {v: k for k, v in KIND_NAMES.items()}


def is_list(name: str) -> bool:
    """Whether column `name` is a Python list (strings, lists) and not an integer array."""
    return TYPES[name] in "sSI"


class CloneFlags(enum.IntFlag):
    """clone(2) flags, include/uapi/linux/sched.h. The low byte of clone()'s flags is the exit signal, not here."""

    CLONE_VM = 0x00000100
    CLONE_FS = 0x00000200
    CLONE_FILES = 0x00000400
    CLONE_SIGHAND = 0x00000800
    CLONE_PIDFD = 0x00001000
    CLONE_PTRACE = 0x00002000
    CLONE_VFORK = 0x00004000
    CLONE_PARENT = 0x00008000
    CLONE_THREAD = 0x00010000
    CLONE_NEWNS = 0x00020000
    CLONE_SYSVSEM = 0x00040000
    CLONE_SETTLS = 0x00080000
    CLONE_PARENT_SETTID = 0x00100000
    CLONE_CHILD_CLEARTID = 0x00200000
    CLONE_DETACHED = 0x00400000
    CLONE_UNTRACED = 0x00800000
    CLONE_CHILD_SETTID = 0x01000000
    CLONE_NEWCGROUP = 0x02000000
    CLONE_NEWUTS = 0x04000000
    CLONE_NEWIPC = 0x08000000
    CLONE_NEWUSER = 0x10000000
    CLONE_NEWPID = 0x20000000
    CLONE_NEWNET = 0x40000000
    CLONE_IO = 0x80000000
    CLONE_CLEAR_SIGHAND = 0x100000000
    CLONE_INTO_CGROUP = 0x200000000


_FLAG_NAMES: Final = tuple((int(f), str(f.name)) for f in CloneFlags)


def flag_names(flags: int) -> list[str]:
    """CLONE_* names set in `flags`, lowest bit first; bits without a name as one 0x... word."""
    names = [name for bit, name in _FLAG_NAMES if flags & bit]
    rest = flags & ~sum(bit for bit, _ in _FLAG_NAMES)
    return [*names, hex(rest)] if rest else names


def flag_bits(names: Iterable[str]) -> int:
    """The inverse of `flag_names`. Raises ValueError for a word that is neither a flag nor a number."""
    bits = 0
    for name in names:
        bits |= int(CloneFlags[name]) if name in CloneFlags.__members__ else int(name, 0)
    return bits


class Fact(enum.StrEnum):
    """What a source is able to see. A fact that is absent makes its columns null, and reports say so."""

    THREADS = "threads"  # threads as tasks
    FLAGS = "flags"  # clone flags, and so vfork/posix_spawn told apart
    SYSCALL = "syscall"  # which system call
    NS_PIDS = "ns_pids"  # pids inside namespaces
    ARGV = "argv"
    CWD = "cwd"
    EXEC_FAILED = "exec_failed"  # failed execs
    FORK_FAILED = "fork_failed"  # failed forks
    STATUS = "status"  # exit codes and signals
    KILLER = "killer"  # who sent the fatal signal
    REAPS = "reaps"  # who waited, and when
    ZOMBIES = "zombies"  # how long a zombie waited
    ADOPTION = "adoption"  # orphans' new parents
    CPU = "cpu"
    MAX_RSS = "max_rss"
    FAULTS = "faults"  # min_flt, maj_flt
    FORK_COST = "fork_cost"  # page-table copy time
    SIZES = "sizes"  # page tables and resident memory at the fork
    UID = "uid"
    CGROUP = "cgroup"
    SESSIONS = "sessions"  # pgid, sid
    COW = "cow"  # the fault ledger
    WP_FAULTS = "wp_faults"  # write-protect faults, whatever came of them
    WPCOPY = "wpcopy"  # the kernel's own count of copies (kernel.task_delayacct)
    STACKS = "stacks"  # which code copied


class Meta(NamedTuple):
    """What is true of a whole trace. JSON-safe by `as_dict`; stored in the file's schema metadata."""

    source: str  # bpf, bcc, netlink, strace, strace-log, perf-script
    facts: frozenset[str] = frozenset()
    wall_offset_ns: int | None = None  # add to ts_ns for the Unix time; null when the source has no clock
    version: str = ""
    host: str = ""
    kernel: str = ""
    boot_id: str = ""
    machine: str = ""
    command: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()  # sentences a report must repeat: what this trace can not know, and why

    @property
    def page_size(self) -> int | None:
        """Bytes of a page where the trace was made. None: it does not say, and its machine has several."""
        said = self.options.get("page_size")
        if isinstance(said, int) and 1 << 10 <= said <= 1 << 24 and not said & (said - 1):
            return said
        return PAGE_BYTES.get(self.machine)

    def as_dict(self) -> dict[str, Any]:
        """A dict of JSON types, keys as the attributes."""
        return {
            "source": self.source,
            "facts": sorted(self.facts),
            "wall_offset_ns": self.wall_offset_ns,
            "version": self.version,
            "host": self.host,
            "kernel": self.kernel,
            "boot_id": self.boot_id,
            "machine": self.machine,
            "command": list(self.command),
            "options": dict(self.options),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Meta:
        """The inverse of `as_dict`; unknown keys are ignored, missing ones take their default."""
        return cls(
            source=str(d.get("source", "")),
            facts=frozenset(map(str, d.get("facts", ()))),
            wall_offset_ns=d.get("wall_offset_ns"),
            version=str(d.get("version", "")),
            host=str(d.get("host", "")),
            kernel=str(d.get("kernel", "")),
            boot_id=str(d.get("boot_id", "")),
            machine=str(d.get("machine", "")),
            command=tuple(map(str, d.get("command", ()))),
            options=dict(d.get("options", {})),
            notes=tuple(map(str, d.get("notes", ()))),
        )


class Event:
    """One row, seen from Python: `e.kind`, `e.pid`, `e.argv`. A field its kind does not carry, or null, is None."""

    __slots__ = ("_values", "kind")

    def __init__(self, kind: Kind, values: Mapping[str, Any]) -> None:
        self.kind = kind
        self._values = {k: v for k, v in values.items() if v is not None}

    def __getattr__(self, name: str) -> Any:
        if name in TYPES:
            return self._values.get(name)
        raise AttributeError(name)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are not null, `kind` first as its name."""
        return {"kind": KIND_NAMES[self.kind], **self._values}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.kind == other.kind and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.kind, self._values.get("ts_ns"), self._values.get("pid")))

    def __repr__(self) -> str:
        return f"Event({self.as_dict()!r})"


class Batch:
    """Rows in stream order, in dense columns by kind. Not copied: who feeds one gives it away."""

    __slots__ = ("kinds", "parts")

    def __init__(self, kinds: bytes, parts: dict[int, Part]) -> None:
        self.kinds = kinds
        self.parts = parts

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Kind, Mapping[str, Any]]]) -> Batch:
        """From (kind, {field: value or None}) pairs. For sources of few events, and for tests."""
        kinds = bytearray()
        grouped: dict[int, list[Mapping[str, Any]]] = {}
        for kind, values in rows:
            kinds.append(kind)
            grouped.setdefault(int(kind), []).append(values)
        return cls(bytes(kinds), {k: _columns(v) for k, v in grouped.items()})

    def rows(self) -> Iterator[tuple[Kind, dict[str, Any]]]:
        """(kind, {field: value}) in stream order, nulls left out."""
        iterators = {k: _part_rows(p, self.kinds.count(k)) for k, p in self.parts.items()}
        for k in self.kinds:
            yield Kind(k), next(iterators[k])

    def events(self) -> Iterator[Event]:
        """Each row as an `Event`, in stream order."""
        for kind, values in self.rows():
            yield Event(kind, values)


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows, in order."""
    if len(batches) == 1:
        return batches[0]
    parts: dict[int, Part] = {}
    counts: dict[int, int] = {}
    for batch in batches:
        for kind, part in batch.parts.items():
            have, new = counts.get(kind, 0), batch.kinds.count(kind)
            target = parts.setdefault(kind, {})
            for name in target.keys() | part.keys():
                if name not in target:
                    target[name] = nulls(name, have)
                target[name].extend(part[name] if name in part else nulls(name, new))
            counts[kind] = have + new
    return Batch(b"".join(b.kinds for b in batches), parts)


def nulls(name: str, n: int) -> Any:
    """A column of `n` nulls, of the sort that `name` has."""
    return [None] * n if is_list(name) else array("q", [NULL]) * n


def _columns(rows: Sequence[Mapping[str, Any]]) -> Part:
    names = dict.fromkeys(name for row in rows for name in row)
    part: Part = {}
    for name in names:
        values = [row.get(name) for row in rows]
        part[name] = values if is_list(name) else array("q", [NULL if v is None else v for v in values])
    return part


def _part_rows(part: Part, n: int) -> Iterator[dict[str, Any]]:
    columns = [(name, col, TYPES[name]) for name, col in part.items()]
    for i in range(n):
        row: dict[str, Any] = {}
        for name, col, type_ in columns:
            v = col[i]
            if v is None or (type_ in "ib" and v == NULL):
                continue
            row[name] = bool(v) if type_ == "b" else v
        yield row
