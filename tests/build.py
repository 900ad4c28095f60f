"""Traces in three words: `tree(root(1, "make"), fork(1, 2), exec_(2, "cc", "-c", "a.c"), exit_(2, code=1))`.

A step says what happened; pids are numbers of the test's choosing. What a step leaves out is what a kernel would have
put there: births and parents' births by pid, comm from the parent, one millisecond from step to step. Any field of
events.FIELDS can be given by name, and None takes it away.

    root existing fork vfork spawn clone        births; fork(1, 2): 1 makes 2
    exec_ exec_failed rename thread stack       what they do
    exit_ zombie reap thread_exit alive         how they end
    faults lost end after                       the rest; after(ms) lets time pass
    batch(*steps), tree(*steps), trace(*steps)  what is made of them

Knows the model of events and nothing of any report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.model.flags import CloneFlags
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

MS: Final = 1_000_000
TORN: Final = "t.ftrace has no end: its writer was killed, or is still writing"
OUTSIDE: Final = 999
"""The pid of who started the root, and has no row."""

META: Final = Meta(
    source="bpf",
    facts=frozenset(Fact),
    wall_offset_ns=1_700_000_000_000_000_000,
    version="0.1.0",
    host="host",
    kernel="6.18.0",
    machine="x86_64",
    command=("make",),
)

_FORK: Final = int(CloneFlags.CLONE_CHILD_CLEARTID | CloneFlags.CLONE_CHILD_SETTID)
_VFORK: Final = int(CloneFlags.CLONE_VM | CloneFlags.CLONE_VFORK)
_SIGCHLD: Final = 17

Row = tuple[Kind, dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """Rows that happen at one time; `ms` later than the step before."""

    rows: tuple[Row, ...] = ()
    ms: float = 1


def _step(kind: Kind, pid: int, fields: dict[str, Any], **given: Any) -> Step:
    return Step(((kind, {"pid": pid, **fields, **given}),))


# -- births -----------------------------------------------------------------------------------------------------


def root(pid: int, *argv: str, **fields: Any) -> Step:
    """The program that forktrace started, and its exec if it has an argv."""
    birth = _step(Kind.FORK, pid, {"how": "root", "ppid": OUTSIDE, "comm": "python3"}, **fields)
    return replace(birth, rows=(*birth.rows, *exec_(pid, *argv).rows)) if argv else birth


def existing(pid: int, ppid: int = 0, comm: str = "daemon", **fields: Any) -> Step:
    """A process that was there before, an hour old."""
    return _step(Kind.EXISTING, pid, {"how": "existing", "ppid": ppid, "comm": comm, "evidence": "snapshot"}, **fields)


def _born(parent: int, child: int, fields: dict[str, Any], **given: Any) -> Step:
    made_by = {"ppid": parent, "creator_pid": parent, "exit_signal": _SIGCHLD}
    return _step(Kind.FORK, child, {**made_by, **given}, **fields)


def fork(parent: int, child: int, *flags: CloneFlags, **fields: Any) -> Step:
    """As glibc's fork() does it; `flags` are added."""
    return _born(parent, child, fields, how="fork", syscall="clone", clone_flags=_FORK | sum(flags))


def vfork(parent: int, child: int, **fields: Any) -> Step:
    """vfork(2)."""
    return _born(parent, child, fields, how="vfork", syscall="vfork", clone_flags=_VFORK)


def spawn(parent: int, child: int, **fields: Any) -> Step:
    """posix_spawn(3)."""
    return _born(parent, child, fields, how="posix_spawn", syscall="clone3", clone_flags=_VFORK)


def clone(parent: int, child: int, *flags: CloneFlags, **fields: Any) -> Step:
    """clone(2) with just these flags."""
    return _born(parent, child, fields, how="clone", syscall="clone", clone_flags=sum(flags))


def thread(pid: int, tid: int, **fields: Any) -> Step:
    """A thread of `pid`."""
    return _step(Kind.FORK, pid, {"tid": tid, "clone_flags": int(CloneFlags.CLONE_THREAD), "how": "clone"}, **fields)


# -- lives ------------------------------------------------------------------------------------------------------


def exec_(pid: int, *argv: str, **fields: Any) -> Step:
    """A successful exec; exe is argv[0], comm its last part."""
    name = argv[0] if argv else ""
    given = {"argv": list(argv), "exe": name, "comm": name.rpartition("/")[2][:15]}
    return _step(Kind.EXEC, pid, given, **fields)


def exec_failed(pid: int, *argv: str, error: str = "ENOENT", **fields: Any) -> Step:
    """An exec that returned."""
    return _step(Kind.EXEC_FAILED, pid, {"argv": list(argv), "exe": argv[0], "error": error}, **fields)


def fork_failed(pid: int, error: str = "EAGAIN", **fields: Any) -> Step:
    """A fork that returned an error."""
    return _step(Kind.FORK_FAILED, pid, {"error": error}, **fields)


def rename(pid: int, comm: str) -> Step:
    """prctl(PR_SET_NAME)."""
    return _step(Kind.RENAME, pid, {"comm": comm})


def faults(pid: int, **fields: Any) -> Step:
    """Counters of page faults."""
    return _step(Kind.FAULTS, pid, {}, **fields)


def stack(pid: int, copies: int, *frames: str, **fields: Any) -> Step:
    """Copies of one stack, the function that wrote first; measured, each a sample."""
    given = {"count": copies, "samples": copies, "frames": list(frames), "evidence": "measured", "before_exec": False}
    return _step(Kind.STACKS, pid, {**given, **fields})


# -- ends -------------------------------------------------------------------------------------------------------


def exit_(pid: int, code: int | None = 0, *, signal: int | None = None, core: bool = False, **fields: Any) -> Step:
    """The end of a process, by exit or by a signal."""
    given = {"exit_code": None if signal else code, "signal": signal, "core_dumped": core, "last": True}
    return _step(Kind.EXIT, pid, given, **fields)


def thread_exit(pid: int, tid: int) -> Step:
    """The end of a thread that is not the last."""
    return _step(Kind.EXIT, pid, {"tid": tid, "last": False})


def zombie(pid: int) -> Step:
    """Its parent was told and has not come."""
    return _step(Kind.ZOMBIE, pid, {})


def reap(pid: int, by: int, zombie_ms: float = 0, **fields: Any) -> Step:
    """Somebody waited for it."""
    return _step(Kind.REAP, pid, {"reaped_by": by, "zombie_ns": int(zombie_ms * MS), "reap_ns": ...}, **fields)


def alive(pid: int, **fields: Any) -> Step:
    """Still there at the end."""
    return _step(Kind.ALIVE, pid, {}, **fields)


# -- the rest ---------------------------------------------------------------------------------------------------


def lost(count: int | None, where: str = "ring") -> Step:
    """Records that are missing."""
    return Step(((Kind.LOST, {"count": count, "where": where}),))


def end(cpu_ms: float = 12) -> Step:
    """The orderly end of the trace; `cpu_ms` is what forktrace itself used."""
    return Step(((Kind.END, {"utime_ns": int(cpu_ms * MS), "stime_ns": 0, "count": 0}),))


def after(ms: float) -> Step:
    """Time passes."""
    return Step((), ms)


@dataclass
class _History:
    """What a step need not say because it was said before."""

    now: int = 1_000_000 * MS
    born: dict[int, int] = field(default_factory=dict)
    comm: dict[int, str | None] = field(default_factory=dict)

    def rows(self, steps: Sequence[Step]) -> Iterator[Row]:
        for step in steps:
            self.now += int(step.ms * MS)
            for kind, fields in step.rows:
                yield kind, {name: value for name, value in self._whole(kind, fields).items() if value is not None}

    def _whole(self, kind: Kind, fields: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {"ts_ns": self.now, **fields}
        if row.get("reap_ns") is ...:
            row["reap_ns"] = self.now
        pid = row.get("pid")
        if pid is None:
            return row
        row.setdefault("tid", pid)
        if kind in (Kind.FORK, Kind.EXISTING) and row["tid"] == pid:
            self.born[pid] = row.get("born_ns") or self.now - (3600 * 1000 * MS if kind is Kind.EXISTING else 0)
            self.comm[pid] = row.get("comm", self.comm.get(row["ppid"]))
            row.setdefault("comm", self.comm[pid])
            row.setdefault("parent_born_ns", self.born.get(row["ppid"], 1))
        if "comm" in row:
            self.comm[pid] = row["comm"]
        row.setdefault("born_ns", self.born.setdefault(pid, self.now))  # unheard of: born just now
        return row


def batch(*steps: Step) -> Batch:
    """The steps as one batch."""
    return Batch.from_rows(_History().rows(steps))


def tree(*steps: Step, meta: Meta = META, **changes: Any) -> ProcessTree:
    """The tree of them. `changes` are of the Meta: facts, notes, machine..."""
    result = ProcessTree(meta._replace(**changes))
    result.feed(batch(*steps))
    return result


def trace(*steps: Step, meta: Meta = META, torn: bool = False, **changes: Any) -> Trace:
    """The trace of them, as if loaded from a file."""
    whole = batch(*steps)
    return Trace(meta._replace(**changes), lambda: [whole], damage=lambda: TORN if torn else None)
