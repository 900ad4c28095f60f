"""Probe records to batches: the only file that knows C layouts. Mirrors probes/wire.h, side by side readable.

A run of fixed records becomes columns by strided slices, so that no Python object is made per record; only words
(argv, paths) are cut one by one. Knows nothing of rings, maps or trees; reaps are inferred by the caller.
"""

from __future__ import annotations

import errno
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind, Part

ABI: Final = 1
RECORD_SIZE: Final = 160
RING_HEADER: Final = 8
STRIDE: Final = RECORD_SIZE + RING_HEADER

# enum ft_kind
KIND_NAMES: Final = frozenset(
    {
        "FORK",
        "EXEC",
        "EXIT",
        "ZOMBIE",
        "WAIT",
        "FREE",
        "RENAME",
        "EXISTING",
        "REAP",
        "FAULTS",
        "DECAY",
        "ALIVE",
        "EXEC_FAILED",
        "FORK_FAILED",
        "BASE",
        "ADOPT",
        "MKDIR",
    }
)
FORK, EXEC, EXIT, ZOMBIE, WAIT, FREE, RENAME, EXISTING, REAP, FAULTS, DECAY, ALIVE = range(1, 13)
EXEC_FAILED, FORK_FAILED, BASE, ADOPT, MKDIR = 13, 14, 15, 16, 17

# ft_head.flags
LAST, OOM, NO_MM, TEXT, WAITED, MAYBE, AUTOREAP, ROOT, HIDDEN, BEFORE_EXEC, SNAPSHOT, EDGE, FORKED = (
    1 << i for i in range(13)
)

SIGCHLD: Final = (None, "default", "ignore", "handler", "nocldwait")
NS_PIDS: Final = 4
HOW: Final = (None, "root", "fork", "vfork", "clone", "posix_spawn", "io_worker", "existing")


COUNTERS: Final = (
    "wp_faults",
    "cow_heap",
    "cow_stack",
    "cow_anon",
    "cow_file",
    "cow_unknown",
    "cow_gup",
    "file_copies",
    "zero_copies",
    "large_copies",
    "reuses",
    "mkwrites",
    "failed_wp",
    "ksm_copies",
)
_NARROW: Final = ("failed_wp", "ksm_copies")
COPIES: Final = COUNTERS[1:7]
"""Together they are cow_copies."""
DECAY_BUCKETS: Final = 32


class Record(NamedTuple):
    """One struct of wire.h: its name and (field, format) in order; Q q I i H B are struct's, 16s and 4I arrays."""

    name: str
    fields: tuple[tuple[str, str], ...]

    def offsets(self) -> dict[str, tuple[int, str]]:
        """{field: (byte offset, format)}; raises ValueError if the order would need padding."""
        at, result = 0, {}
        for name, fmt in self.fields:
            size = struct.calcsize("=" + fmt)
            if at % struct.calcsize("=" + fmt[-1]):
                raise ValueError(f"{self.name}.{name} is not aligned")
            result[name] = (at, fmt)
            at += size
        return result

    def size(self) -> int:
        """Bytes."""
        return sum(struct.calcsize("=" + fmt) for _, fmt in self.fields)


HEAD: Final = (
    ("time_ns", "Q"),
    ("born_ns", "Q"),
    ("pid", "I"),
    ("tid", "I"),
    ("flags", "I"),
    ("kind", "H"),
    ("cpu", "H"),
)
_FORK: Final = (
    *HEAD,
    ("creator_born_ns", "Q"),
    ("parent_born_ns", "Q"),
    ("clone_flags", "Q"),
    ("fork_ns", "Q"),
    ("pgtables_bytes", "Q"),
    ("rss_bytes", "Q"),
    ("cgroup", "Q"),
    ("creator_pid", "I"),
    ("creator_tid", "I"),
    ("parent_pid", "I"),
    ("uid", "I"),
    ("ns_pids", "4I"),
    ("pgid", "I"),
    ("sid", "I"),
    ("syscall", "H"),
    ("how", "B"),
    ("levels", "B"),
    ("exit_signal", "I"),
    ("comm", "16s"),
)
RECORDS: Final[dict[int, Record]] = {
    FORK: Record("ft_fork", _FORK),
    EXEC: Record(
        "ft_exec",
        (
            *HEAD,
            ("parent_born_ns", "Q"),
            ("cgroup", "Q"),
            ("min_flt", "Q"),
            ("maj_flt", "Q"),
            ("utime_ns", "Q"),
            ("stime_ns", "Q"),
            ("runtime_ns", "Q"),
            ("vfork_done_ns", "Q"),
            ("parent_pid", "I"),
            ("uid", "I"),
            ("old_tid", "I"),
            ("wpcopy_count", "I"),
            ("comm", "16s"),
        ),
    ),
    EXIT: Record(
        "ft_exit",
        _EXIT := (
            *HEAD,
            ("parent_born_ns", "Q"),
            ("min_flt", "Q"),
            ("maj_flt", "Q"),
            ("utime_ns", "Q"),
            ("stime_ns", "Q"),
            ("runtime_ns", "Q"),
            ("max_rss_bytes", "Q"),
            ("parent_pid", "I"),
            ("uid", "I"),
            ("status", "i"),
            ("killed_by", "I"),
            ("comm", "16s"),
            ("wpcopy_count", "Q"),
        ),
    ),
    ZOMBIE: Record(
        "ft_zombie",
        (
            *HEAD,
            ("parent_born_ns", "Q"),
            ("parent_pid", "I"),
            ("pgid", "I"),
            ("status", "i"),
            ("sigchld", "I"),
        ),
    ),
    ADOPT: Record("ft_adopt", (*HEAD, ("parent_born_ns", "Q"), ("parent_pid", "I"), ("child_pid", "I"))),
    MKDIR: Record("ft_mkdir", (*HEAD, ("group", "Q"), ("above", "Q"), ("name", "112s"))),
    WAIT: Record("ft_wait", (*HEAD, ("target", "i"), ("options", "I"))),
    FREE: Record(
        "ft_free",
        (
            *HEAD,
            ("parent_born_ns", "Q"),
            ("min_flt", "Q"),
            ("maj_flt", "Q"),
            ("utime_ns", "Q"),
            ("stime_ns", "Q"),
            ("runtime_ns", "Q"),
            ("parent_pid", "I"),
            ("exit_signal", "i"),
        ),
    ),
    RENAME: Record("ft_rename", (*HEAD, ("comm", "16s"))),
    EXISTING: Record("ft_fork", _FORK),
    ALIVE: Record("ft_exit", _EXIT),
    BASE: Record("ft_exit", _EXIT),
    REAP: Record("ft_reap", (*HEAD, ("reaper_pid", "I"), ("unused", "I"))),
}
RECORDS[FAULTS] = Record(
    "ft_faults",
    (
        *HEAD,
        *((name, "i" if name in _NARROW else "q") for name in COUNTERS),
        ("parent_cow_birth", "Q"),
        ("parent_cow_end", "Q"),
        ("cow_total", "Q"),
    ),
)
RECORDS[DECAY] = Record("ft_decay", (*HEAD, ("buckets", f"{DECAY_BUCKETS}i")))
LIMIT_GROUPS: Final = ("cgroup", "pids_cgroup", "mem_cgroup")
LIMIT_NUMBERS: Final = (
    "pids_now",
    "pids_max",
    "pids_fails",
    "nproc_now",
    "nproc_max",
    "nproc_uid",
    "ns_now",
    "ns_max",
    "mem_now",
    "mem_max",
    "data_pages",
    "limits",
    "tasks_now",
    "committed",
)
L_READ, L_EXEMPT, L_NS_DEAD, L_NS_INNER, L_SECCOMP, L_TASKS = 1, 2, 4, 8, 16, 32
NO_LIMIT: Final = 0xFFFFFFFF
_FAILED: Final = Record(
    "ft_failed",
    (
        *HEAD,
        ("parent_born_ns", "Q"),
        ("clone_flags", "Q"),
        ("parent_pid", "I"),
        ("error", "i"),
        ("syscall", "I"),
        ("uid", "I"),
        ("comm", "16s"),
        *((name, "Q") for name in LIMIT_GROUPS),
        *((name, "I") for name in LIMIT_NUMBERS),
    ),
)
RECORDS[EXEC_FAILED] = RECORDS[FORK_FAILED] = _FAILED
OFFSETS: Final = {kind: record.offsets() for kind, record in RECORDS.items()}

TEXT_HEAD: Final = Record(
    "ft_text",
    (
        ("time_ns", "Q"),
        ("tid", "I"),
        ("seq", "I"),
        ("argv_full", "I"),
        ("env_full", "I"),
        ("exe_len", "H"),
        ("interp_len", "H"),
        ("cwd_len", "H"),
        ("argv_len", "H"),
        ("env_len", "H"),
        ("failed", "H"),
        ("unused", "I"),
    ),
)
_TEXT_STRUCT: Final = struct.Struct("=" + "".join(f for _, f in TEXT_HEAD.fields))

OPTIONS: Final = Record(
    "ft_options",
    tuple(
        (n, "I")
        for n in (
            "ns_level",
            "ns_inum",
            "everyone",
            "kernel_reads",
            "fork_cost",
            "argv_max",
            "env_max",
            "cgroup_v1",
            "events_bytes",
            "sighand_size",
            "rdonly_cast",
            "match",
            "match_v1",
            "page_size",
            "copies",
            "copy",
        )
    ),
)

MAX_CPUS: Final = 512
STATS: Final = Record(
    "ft_stats",
    (
        ("alive", "Q"),
        ("unmarked", "Q"),
        ("unseen", "Q"),
        ("added", "Q"),
        ("records", "Q"),
        ("joined", "Q"),
        ("late_ends", "Q"),
        ("lost_events", f"{MAX_CPUS}Q"),
        ("lost_texts", f"{MAX_CPUS}Q"),
    ),
)
MARK: Final = Record(
    "mark",
    (
        ("flags", "I"),
        ("kill_sig", "I"),
        ("kill_pid", "I"),
        ("kill9_pid", "I"),
        ("copy_mm", "Q"),
        ("copy_ns", "Q"),
        ("renamed_ns", "Q"),
        ("wait_ns", "Q"),
        ("min_flt", "Q"),
        ("maj_flt", "Q"),
        ("utime", "Q"),
        ("stime", "Q"),
        ("runtime", "Q"),
        ("pid", "I"),
        ("tid", "I"),
        ("exec_id", "I"),
        ("orphan", "I"),
        ("notes", "I"),
        ("unused", "I"),
    ),
)
MARK_ROOT, MARK_SEEN, MARK_ENDED = 1, 2, 16


def pack_options(**values: int) -> bytes:
    """struct ft_options; every field must be named."""
    return struct.pack("=" + "I" * len(OPTIONS.fields), *(values[name] for name, _ in OPTIONS.fields))


def pack_root_mark() -> bytes:
    """struct mark of the program forktrace starts."""
    return struct.pack("=I", MARK_ROOT).ljust(MARK.size(), b"\0")


class Run:
    """A run of fixed records as the ring had them, to be taken apart by kind. `present`: the kinds that are in it."""

    def __init__(self, raw: bytes) -> None:
        self.n = len(raw) // STRIDE
        self._raw = raw
        self.np = np = _numpy(self.n)
        self._ordered: Any = None
        self._starts: dict[int, tuple[int, int]] = {}
        if np is None:
            self.kinds: Any = kinds_of(raw)
            self.present: set[int] = set(self.kinds)
            return
        # By kind in one stroke, each in order: to look for every kind anew takes as many passes over all records.
        self.kinds = np.frombuffer(raw, "u2")[(RING_HEADER + 28) // 2 :: STRIDE // 2]
        self._ordered = np.argsort(self.kinds, kind="stable")
        found, starts = np.unique(self.kinds[self._ordered], return_index=True)
        ends = [*starts[1:].tolist(), self.n]
        self._starts = {kind: (a, b) for kind, a, b in zip(found.tolist(), starts.tolist(), ends, strict=True)}
        self.present = set(self._starts)

    def columns(self, kind: int) -> Columns:
        """The records of one kind, in order."""
        if self.np is None:
            return Columns(select(self._raw, self.kinds, kind), kind)
        if len(self.present) == 1:
            return Columns(self._raw, kind)
        return Columns(self.np.frombuffer(self._raw, f"V{STRIDE}")[self.where(kind)].tobytes(), kind)

    def where(self, kind: int) -> Any:
        """Their numbers in the run, rising, as a numpy array; only of runs that are long enough for numpy."""
        start, end = self._starts.get(kind, (0, 0))
        return self._ordered[start:end]

    def others(self, kind: int, wanted: Sequence[bool]) -> list[int]:
        """The numbers of those records of a kind that are not `wanted`."""
        if self.np is None:
            return [at for at, is_wanted in zip(self._numbers(kind), wanted, strict=True) if not is_wanted]
        numbers: list[int] = self.where(kind)[~self.np.array(wanted, bool)].tolist()
        return numbers

    def _numbers(self, kind: int) -> list[int]:
        return [at for at, each in enumerate(self.kinds) if each == kind]

    def codes(self) -> bytearray:
        """The kind of each record, 0 for what does not fit into a byte."""
        if self.np is not None:
            return bytearray(self.np.where(self.kinds < 256, self.kinds, 0).astype("u1").tobytes())
        return bytearray(k if k < 256 else 0 for k in self.kinds)


def kinds_of(raw: bytes) -> array[int]:
    """The ft_kind of each record in a run of ring records."""
    halves = array("H")
    halves.frombytes(raw)
    return halves[(RING_HEADER + 28) // 2 :: STRIDE // 2]


def select(raw: bytes, kinds: array[int], kind: int) -> bytes:
    """The records of one kind, in order; the run itself when there is no other."""
    if kinds.count(kind) == len(kinds):
        return raw
    return b"".join([raw[i * STRIDE : (i + 1) * STRIDE] for i, k in enumerate(kinds) if k == kind])


def _numpy(n: int) -> Any:
    """numpy, where somebody has imported it already and there are enough rows to be worth its calls; else None."""
    return sys.modules.get("numpy") if n >= 256 else None


class Columns:
    """Columns of a run of records of one kind, cut out when asked for."""

    def __init__(self, raw: bytes, kind: int) -> None:
        self.n = len(raw) // STRIDE
        self._raw = raw
        self._kind = kind
        self._offsets = OFFSETS[kind]
        self._views: dict[str, Any] = {}
        self._arrays: dict[str, array[int]] = {}

    def _words(self, typecode: str) -> array[int]:
        words = self._arrays.get(typecode)
        if words is None:
            words = self._arrays[typecode] = array(typecode)
            words.frombytes(self._raw)
        return words

    def narrow(self, name: str) -> array[int]:
        """An integer field with the type it has in C, ~0 of a u64 as -1."""
        offset, fmt = self._offsets[name]
        size = struct.calcsize("=" + fmt)
        np = _numpy(self.n)
        if np is not None:
            return array("q" if fmt == "Q" else fmt, self.view(np, name).tobytes())
        return self._words("q" if fmt == "Q" else fmt)[(RING_HEADER + offset) // size :: STRIDE // size]

    def ints(self, name: str) -> array[int]:
        """An integer field as array("q")."""
        np = _numpy(self.n)
        if np is not None:
            return array("q", self._wide(np, name).tobytes())
        values = self.narrow(name)
        return values if values.typecode == "q" else array("q", values)

    def _wide(self, np: Any, name: str) -> Any:
        return self.view(np, name).astype("i8")

    def view(self, np: Any, name: str) -> Any:
        """An integer field as a numpy array over the records themselves, of its type in C."""
        offset, fmt = self._offsets[name]
        whole = self._views.get(fmt)
        if whole is None:
            whole = self._views[fmt] = np.frombuffer(self._raw, fmt)
        size = whole.itemsize
        return whole[(RING_HEADER + offset) // size :: STRIDE // size]

    def picked(self, wanted: Sequence[bool]) -> Columns:
        """Those records."""
        np = _numpy(self.n)
        if np is not None:
            chosen = np.frombuffer(self._raw, f"V{STRIDE}")[np.asarray(wanted, bool)]
            return Columns(chosen.tobytes(), self._kind)
        raw = (self._raw[i * STRIDE : (i + 1) * STRIDE] for i, is_wanted in enumerate(wanted) if is_wanted)
        return Columns(b"".join(raw), self._kind)

    def mapped(self, name: str, of: Callable[[int], Any]) -> list[Any]:
        """`of` an integer field, asked once for each value."""
        np = _numpy(self.n)
        if np is not None:
            wide = self._wide(np, name)
            if (wide == wide[0]).all():  # as in a storm
                return [of(int(wide[0]))] * self.n
            values = wide.tolist()
        else:
            values = self.narrow(name).tolist()
        known = {value: of(value) for value in dict.fromkeys(values)}
        return list(map(known.__getitem__, values))

    def ints_or_null(self, name: str, unknown: int) -> array[int]:
        """As `ints`, with the value that means unknown turned into NULL."""
        np = _numpy(self.n)
        if np is not None:
            wide = self._wide(np, name)
            wide[wide == unknown] = NULL
            return array("q", wide.tobytes())
        values = self.ints(name)
        n = values.count(unknown)
        if n == 0:
            return values
        if n == len(values):
            return array("q", [NULL]) * n
        return array("q", [NULL if v == unknown else v for v in values])

    def comms(self, name: str = "comm") -> list[str]:
        """A 16-byte name, up to its NUL."""
        at = RING_HEADER + self._offsets[name][0]
        raw, known = self._raw, _COMMS
        np = _numpy(self.n)
        if np is not None:
            halves = [np.frombuffer(raw, "u8")[where // 8 :: STRIDE // 8] for where in (at, at + 8)]
            if all((half == half[0]).all() for half in halves):  # as in a storm
                return [raw[at : at + 16].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")] * self.n
        result = []
        for start in range(at, len(raw), STRIDE):
            word = raw[start : start + 16]
            text = known.get(word)
            if text is None:
                text = word.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                if len(known) < 65536:  # hostile programs rename themselves without end
                    known[word] = text
            result.append(text)
        return result

    def lists(self, name: str) -> list[tuple[Any, ...]]:
        """An array field, one tuple a record."""
        offset, fmt = self._offsets[name]
        take = struct.Struct("=" + fmt).unpack_from
        return [take(self._raw, at) for at in range(RING_HEADER + offset, len(self._raw), STRIDE)]

    def ns_pids(self) -> list[tuple[int, ...]]:
        """pids from forktrace's namespace inwards, at most four; a 0 behind them says that there are more."""
        at = RING_HEADER + self._offsets["ns_pids"][0]
        np = _numpy(self.n)
        if np is not None and (self.view(np, "levels") <= 1).all():
            pids = np.frombuffer(self._raw, "u4")[at // 4 :: STRIDE // 4]
            if pids.all():
                return list(zip(pids.tolist()))
        levels = self.narrow("levels")
        if max(levels, default=0) <= 1:
            return [(pid,) if pid else () for pid in self._words("I")[at // 4 :: STRIDE // 4]]
        raw = self._raw
        return [
            struct.unpack_from(f"={min(n, 4)}I", raw, at + i * STRIDE) + ((0,) if n > NS_PIDS else ())
            for i, n in enumerate(levels)
        ]


_COMMS: dict[bytes, str] = {}
_CWD_DELETED: Final = 16  # ft_text.failed


class Words:
    """What one exec said, put together from its text records, which may come in several reads."""

    __slots__ = ("_argv", "_argv_full", "_env", "_env_full", "_failed", "_next", "cwd", "exe", "interpreter")

    def __init__(self) -> None:
        self.exe: str | None = None
        self.interpreter: str | None = None
        self.cwd: str | None = None
        self._argv: list[bytes] = []
        self._env: list[bytes] = []
        self._argv_full = self._env_full = self._failed = 0
        self._next = 0

    def add(self, record: bytes) -> None:
        """The next record. Behind one that was lost nothing is taken: what is there ends early, as if it were cut."""
        _, _, seq, argv_full, env_full, exe_len, interp_len, cwd_len, argv_len, env_len, failed, _ = (
            _TEXT_STRUCT.unpack_from(record)
        )
        if seq != self._next:
            return
        self._next += 1
        self._argv_full, self._env_full = argv_full, env_full
        self._failed |= failed
        pieces = []
        at = _TEXT_STRUCT.size
        for size in (exe_len, interp_len, cwd_len, argv_len, env_len):
            pieces.append(record[at : at + size])
            at += size
        exe, interpreter, cwd, argv, env = pieces
        if exe:
            self.exe = _text(exe)
        if interpreter:
            self.interpreter = _text(interpreter)
        if cwd:
            self.cwd = _path(cwd) + (" (deleted)" if failed & _CWD_DELETED else "")
        self._argv.append(argv)
        self._env.append(env)

    @property
    def argv(self) -> list[str] | None:
        """None if it could not be read, or its beginning was lost."""
        if not self._next or self._failed & 1:
            return None
        return split_words(b"".join(self._argv), self._argv_full)

    @property
    def env(self) -> list[str] | None:
        """None if it was not asked for, or could not be read."""
        env = b"".join(self._env)
        return split_words(env, self._env_full) if env and not self._failed & 2 else None


def texts(records: Iterable[bytes], known: dict[tuple[int, int], Words] | None = None) -> dict[tuple[int, int], Words]:
    """Text records by (time_ns, tid) of the exec they belong to, added to `known`."""
    result = {} if known is None else known
    for record in records:
        time_ns, tid = _TEXT_STRUCT.unpack_from(record)[:2]
        result.setdefault((time_ns, tid), Words()).add(record)
    return result


def split_words(raw: bytes, full: int) -> list[str]:
    """NUL-ended strings. What was cut ends in "..." and is followed by an element "..."."""
    cut = len(raw) < full
    if not raw:
        return ["..."] if cut else []
    whole = raw.endswith(b"\0")
    words = [w.decode("utf-8", "surrogateescape") for w in raw.removesuffix(b"\0").split(b"\0")]
    if cut:
        if not whole:
            words[-1] += "..."
        words.append("...")
    return words


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _path(raw: bytes) -> str:
    """Components leaf first, each with its NUL."""
    return "/" + "/".join(p.decode("utf-8", "surrogateescape") for p in reversed(raw.split(b"\0")[:-1]) if p)


def head_part(c: Columns) -> Part:
    """The columns every kind has."""
    return {
        "ts_ns": c.ints("time_ns"),
        "pid": c.ints_or_null("pid", 0),
        "tid": c.ints_or_null("tid", 0),
        "born_ns": c.ints("born_ns"),
    }


def zombie_part(c: Columns) -> Part:
    """ZOMBIE. How it ended is told only of those that were found as zombies: of the others, EXIT does."""
    flags, status = c.narrow("flags"), c.narrow("status")
    found = [f & SNAPSHOT for f in flags]
    part = {
        **head_part(c),
        "ppid": c.ints_or_null("parent_pid", 0),
        "sigchld": [SIGCHLD[n] if n < len(SIGCHLD) else None for n in c.narrow("sigchld")],
    }
    if any(found):
        ends = list(zip(found, status, strict=True))
        part["exit_code"] = array("q", [s >> 8 & 0xFF if f and not s & 0x7F else NULL for f, s in ends])
        part["signal"] = array("q", [(s & 0x7F) or NULL if f else NULL for f, s in ends])
        part["core_dumped"] = array("q", [s >> 7 & 1 if f else NULL for f, s in ends])
        part["evidence"] = ["snapshot" if f else "measured" for f in found]
    return part


def fork_part(c: Columns, cgroup: Callable[[int], str | None], syscalls: Sequence[str | None]) -> Part:
    """FORK and EXISTING. `syscalls`: number to name, None for what is not a fork."""
    return {
        **head_part(c),
        "creator_pid": c.ints_or_null("creator_pid", 0),
        "creator_tid": c.ints_or_null("creator_tid", 0),
        "creator_born_ns": c.ints("creator_born_ns"),
        "ppid": c.ints_or_null("parent_pid", 0),
        "parent_born_ns": c.ints("parent_born_ns"),
        "how": c.mapped("how", HOW.__getitem__),
        "syscall": c.mapped("syscall", lambda n: syscalls[n] if n < len(syscalls) else None),
        "clone_flags": c.ints("clone_flags"),
        "exit_signal": c.ints("exit_signal"),
        "ns_pids": c.ns_pids(),
        "pgid": c.ints_or_null("pgid", 0),
        "sid": c.ints_or_null("sid", 0),
        "uid": c.ints("uid"),
        "cgroup": c.mapped("cgroup", cgroup),
        "fork_ns": c.ints_or_null("fork_ns", -1),
        "pgtables_bytes": c.ints_or_null("pgtables_bytes", -1),
        "rss_bytes": c.ints_or_null("rss_bytes", -1),
        "comm": c.comms(),
    }


def exec_part(c: Columns, words: dict[tuple[int, int], Words], cgroup: Callable[[int], str | None]) -> Part:
    """EXEC; takes its words out of `words`."""
    none = Words()
    said = [words.pop(key, none) for key in zip(c.ints("time_ns"), c.narrow("tid"), strict=True)]
    part = head_part(c)
    part.update(
        ppid=c.ints_or_null("parent_pid", 0),
        parent_born_ns=c.ints("parent_born_ns"),
        exe=[w.exe for w in said],
        argv=[w.argv for w in said],
        interpreter=[w.interpreter for w in said],
        cwd=[w.cwd for w in said],
        uid=c.ints("uid"),
        cgroup=c.mapped("cgroup", cgroup),
        old_tid=c.ints_or_null("old_tid", 0),
        wpcopy_count=c.ints_or_null("wpcopy_count", 0xFFFFFFFF),
        min_flt=c.ints("min_flt"),
        maj_flt=c.ints("maj_flt"),
        utime_ns=c.ints("utime_ns"),
        stime_ns=c.ints("stime_ns"),
        runtime_ns=c.ints("runtime_ns"),
        vfork_done_ns=c.ints_or_null("vfork_done_ns", 0),
        comm=c.comms(),
    )
    env = [w.env for w in said]
    if any(env):
        part["env"] = env
    return part


def exit_part(c: Columns) -> Part:
    """EXIT. A thread's own status means nothing to its process, so only the last task's is told."""
    part = head_part(c)
    part.update(
        ppid=c.ints_or_null("parent_pid", 0),
        parent_born_ns=c.ints("parent_born_ns"),
        killed_by=c.ints_or_null("killed_by", 0),
        min_flt=c.ints("min_flt"),
        maj_flt=c.ints("maj_flt"),
        utime_ns=c.ints("utime_ns"),
        stime_ns=c.ints("stime_ns"),
        runtime_ns=c.ints("runtime_ns"),
        wpcopy_count=c.ints_or_null("wpcopy_count", -1),
        uid=c.ints("uid"),
        comm=c.comms(),
        **_ends(c),
    )
    return part


def _ends(c: Columns) -> Part:
    """What flags and status say."""
    flags, status, max_rss = c.ints("flags"), c.ints("status"), c.ints("max_rss_bytes")
    np = _numpy(c.n)
    if np is None:
        last = [f & LAST for f in flags]
        pairs = list(zip(last, status, strict=True))
        return {
            "last": array("q", last),
            "exit_code": array("q", [s >> 8 & 0xFF if e and not s & 0x7F else NULL for e, s in pairs]),
            "signal": array("q", [(s & 0x7F) or NULL if e else NULL for e, s in pairs]),
            "core_dumped": array("q", [s >> 7 & 1 if e else NULL for e, s in pairs]),
            "oom_killed": array("q", [(f & OOM) >> 1 if e else NULL for e, f in zip(last, flags, strict=True)]),
            "max_rss_bytes": array("q", [NULL if f & NO_MM else v for f, v in zip(flags, max_rss, strict=True)]),
        }
    f, s = np.frombuffer(flags, "i8"), np.frombuffer(status, "i8")
    over, killed = (f & LAST) != 0, (s & 0x7F) != 0
    made = {
        "last": f & LAST,
        "exit_code": np.where(over & ~killed, s >> 8 & 0xFF, NULL),
        "signal": np.where(over & killed, s & 0x7F, NULL),
        "core_dumped": np.where(over, s >> 7 & 1, NULL),
        "oom_killed": np.where(over, (f & OOM) >> 1, NULL),
        "max_rss_bytes": np.where((f & NO_MM) != 0, NULL, np.frombuffer(max_rss, "i8")),
    }
    return {name: array("q", values.tobytes()) for name, values in made.items()}


def failed_part(c: Columns) -> Part:
    """What EXEC_FAILED and FORK_FAILED have in common."""
    errors = c.ints("error")
    return {
        **head_part(c),
        "ppid": c.ints_or_null("parent_pid", 0),
        "parent_born_ns": c.ints("parent_born_ns"),
        "uid": c.ints("uid"),
        "comm": c.comms(),
        "errno": errors,
        "error": [errno.errorcode.get(e) for e in errors],
    }


def exec_failed_part(c: Columns, words: dict[tuple[int, int], Words]) -> Part:
    """EXEC_FAILED; takes its words out of `words`."""
    none = Words()
    said = [words.pop(key, none) for key in zip(c.ints("time_ns"), c.narrow("tid"), strict=True)]
    return {**failed_part(c), "exe": [w.exe for w in said], "argv": [w.argv for w in said]}


def fork_failed_part(c: Columns, syscalls: Sequence[str | None]) -> Part:
    """FORK_FAILED."""
    return {
        **failed_part(c),
        "clone_flags": c.ints("clone_flags"),
        "syscall": [syscalls[n] if n < len(syscalls) else None for n in c.narrow("syscall")],
    }


def mkdir_rows(c: Columns) -> Iterator[tuple[int, int, str]]:
    """MKDIR: (group, the one above, its name); a name that was cut or not read is left out."""
    names = c.lists("name")
    for group, above, (raw,) in zip(c.narrow("group"), c.narrow("above"), names, strict=True):
        name, end, _ = bytes(raw).partition(b"\0")
        if name and len(name) < len(raw) - 1 and end:
            yield group, above, name.decode("utf-8", "surrogateescape")


def limits_rows(c: Columns) -> Iterable[tuple[int, ...]]:
    """Of FORK_FAILED: LIMIT_GROUPS and LIMIT_NUMBERS of each record."""
    return zip(*(c.narrow(name) for name in (*LIMIT_GROUPS, *LIMIT_NUMBERS)), strict=True)


def faults_part(c: Columns) -> Part:
    """FAULTS: what was counted since this thread's last such row."""
    part = head_part(c)
    part.update({name: c.ints(name) for name in COUNTERS})
    np = _numpy(c.n)
    if np is None:
        part["cow_copies"] = array("q", map(sum, zip(*(part[name] for name in COPIES), strict=True)))
    else:
        copies = sum(np.frombuffer(part[name], "i8") for name in COPIES)
        part["cow_copies"] = array("q", copies.tobytes())
    for name in ("parent_cow_birth", "parent_cow_end", "cow_total"):
        part[name] = c.ints_or_null(name, -1)
    flags = c.ints("flags")
    if np is None:
        part["before_exec"] = array("q", [1 if f & BEFORE_EXEC else 0 for f in flags])
    else:
        part["before_exec"] = array("q", ((np.frombuffer(flags, "i8") & BEFORE_EXEC) != 0).astype("i8").tobytes())
    part["evidence"] = c.mapped("flags", lambda f: "snapshot" if f & SNAPSHOT else "measured")
    return part


def decay_part(c: Columns) -> Part:
    """DECAY: `decay` has DECAY_BUCKETS counts a row."""
    return {
        **head_part(c),
        "since_own_fork": array("q", [1 if f & FORKED else 0 for f in c.narrow("flags")]),
        "decay": c.lists("buckets"),
    }


def small_decay(sides: Sequence[Sequence[int]]) -> Batch | None:
    """DECAY of no process: those together that copied too little for a row. `sides`: since birth, since the fork."""
    rows = [
        (Kind.DECAY, {"since_own_fork": own, "decay": list(counts), "evidence": "measured"})
        for own, counts in enumerate(sides)
        if any(counts)
    ]
    if not rows:
        return None
    batch = Batch.from_rows(rows)
    for name in ("ts_ns", "pid", "tid", "born_ns"):
        batch.parts[Kind.DECAY][name] = array("q", [NULL]) * len(rows)
    return batch
