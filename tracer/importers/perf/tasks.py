"""Tasks as perf's tracepoints tell of them, and the rows they become. Events come in the order of time.

sched_process_fork does not say whether it made a thread. The new task's own lines do, where they bear both of its
numbers, so a birth may have to wait for them, and what happened after it waits behind it. Knows nothing of text:
perf_script.py reads it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from tracer.model.flags import CloneFlags
from tracer.model.schema import Kind

_HOLD: Final = 65536
Row = tuple[Kind, dict[str, Any]]


class Process:
    """One life of a process; `tids` are its tasks that live, as far as known."""

    def __init__(self, pid: int, born: int) -> None:
        self.pid, self.born = pid, born
        self.ppid: int | None = None
        self.parent_born: int | None = None
        self.comm: str | None = None
        self.faults: dict[str, int] = {}
        self.whole = False  # its birth was seen, so its faults are all there
        self.tids = {pid}
        self.alive = True

    def row(self, ns: int | None, tid: int | None = None) -> dict[str, Any]:
        """The columns of identity."""
        return {"ts_ns": ns, "pid": self.pid, "tid": self.pid if tid is None else tid, "born_ns": self.born}


class At(NamedTuple):
    """Where an event stands: the task, its process if that is told, the time if it is."""

    tid: int
    tgid: int | None
    ns: int | None


class _Birth:
    """A fork; `row` is None until it is known whether it made a thread."""

    def __init__(self, creator: Process, at: At, child: int, comm: str | None, flags: int | None) -> None:
        self.creator, self.at, self.child, self.comm, self.flags = creator, at, child, comm, flags
        self.row: Row | None = None


def how_of(flags: int | None) -> str | None:
    """How a process was made. vfork and posix_spawn differ in the stack only, and that is not shown: None."""
    if flags is None or (flags & CloneFlags.CLONE_VM and flags & CloneFlags.CLONE_VFORK):
        return None
    return "clone" if flags & CloneFlags.CLONE_VM else "fork"


class Tasks:
    """The tasks of one text. `counted`: columns of faults that were recorded, so that none is 0."""

    def __init__(self, counted: frozenset[str] = frozenset()) -> None:
        self.rows: deque[Row | _Birth] = deque()
        self._counted = counted
        self._tasks: dict[int, Process] = {}
        self._undecided: dict[int, _Birth] = {}
        self._last_born: dict[int, int] = {}
        self._sequence = 0
        self._any = False

    def ready(self) -> list[Row]:
        """Take away the rows that need not wait."""
        out: list[Row] = []
        while self.rows:
            row: Row | _Birth | None = self.rows[0]
            if isinstance(row, _Birth):
                if row.row is None and len(self.rows) > _HOLD:
                    self._decide(row, thread=False)
                row = row.row
            if row is None:
                break
            out.append(row)
            self.rows.popleft()
        return out

    def of(self, at: At) -> Process:
        """The process of a task; one that was there before if it has not been seen."""
        birth = self._undecided.get(at.tid)
        if birth is not None:
            self._decide(birth, thread=at.tgid is not None and at.tgid != at.tid)
        found = self._tasks.get(at.tid)
        if found is not None and found.alive:
            return found
        pid = at.tid if at.tgid is None else at.tgid
        leader = self._tasks.get(pid)
        if leader is not None and leader.alive and leader.pid == pid:
            leader.tids.add(at.tid)
            self._tasks[at.tid] = leader
            row = leader.row(at.ns, at.tid)
            self.rows.append((Kind.FORK, {**row, "how": "clone", "comm": leader.comm, "evidence": "inferred"}))
            return leader
        process = Process(pid, self._born(pid, at.ns))
        process.tids.add(at.tid)
        self._tasks[at.tid] = self._tasks[pid] = process
        how = "existing" if self._any else "root"
        self._any = True
        self.rows.append((Kind.EXISTING, {**process.row(at.ns), "how": how, "evidence": "inferred"}))
        return process

    def knows(self, tid: int) -> bool:
        """Whether a task is there."""
        return tid in self._tasks or tid in self._undecided

    def born(self, at: At, child: int, comm: str | None, flags: int | None, *, thread: bool | None) -> None:
        """The task at `at` made `child`; `thread` None: its own lines will tell."""
        creator = self.of(at)
        if child in self._undecided:
            self._decide(self._undecided[child], thread=False)  # it never had a line
        birth = _Birth(creator, at, child, comm or creator.comm, flags)
        self.rows.append(birth)
        if thread is None:
            self._undecided[child] = birth
        else:
            self._decide(birth, thread=thread)

    def _decide(self, birth: _Birth, *, thread: bool) -> None:
        creator, at, child, flags = birth.creator, birth.at, birth.child, birth.flags
        self._undecided.pop(child, None)
        made: dict[str, Any] = {
            "creator_pid": creator.pid,
            "creator_tid": at.tid,
            "creator_born_ns": creator.born,
            "clone_flags": flags,
            "comm": birth.comm,
            "evidence": "measured",
        }
        if thread:
            creator.tids.add(child)
            self._tasks[child] = creator
            birth.row = (Kind.FORK, {**creator.row(at.ns, child), **made, "how": "clone"})
            return
        process = Process(child, self._born(child, at.ns))
        process.comm = birth.comm
        process.whole = True
        brother = flags is not None and flags & CloneFlags.CLONE_PARENT
        process.ppid = creator.ppid if brother else creator.pid
        process.parent_born = creator.parent_born if brother else creator.born
        self._tasks[child] = process
        made |= {"how": how_of(flags), "ppid": process.ppid, "parent_born_ns": process.parent_born}
        birth.row = (Kind.FORK, {**process.row(at.ns), **made})

    def exec(self, at: At, exe: str, comm: str, old_tid: int) -> None:
        """A new image. `at.tid` is the leader's, whoever called execve."""
        process = self.of(at)
        process.comm = comm
        if old_tid != process.pid and self._tasks.get(old_tid) is process:
            # A thread that takes over the leader's number has no end of its own.
            gone = {**process.row(at.ns, old_tid), "last": False, "evidence": "inferred"}
            self.rows.append((Kind.EXIT, gone))
            del self._tasks[old_tid]
        process.tids = {process.pid}
        row = {**process.row(at.ns), "exe": exe, "comm": comm, "old_tid": old_tid, "evidence": "measured"}
        self.rows.append((Kind.EXEC, row))

    def renamed(self, at: At, comm: str) -> None:
        """A task has another name; that of the leader is the process'."""
        process = self.of(at)
        if process.pid == at.tid and comm != process.comm:
            process.comm = comm
            self.rows.append((Kind.RENAME, {**process.row(at.ns), "comm": comm}))

    def fault(self, at: At, column: str, count: int) -> None:
        """Faults of a task."""
        faults = self.of(at).faults
        faults[column] = faults.get(column, 0) + count

    def ended(self, at: At, group_dead: bool | None) -> None:
        """A task ended; `group_dead`: the process with it. Older kernels do not say: then its last task's end is it."""
        process = self.of(at)
        process.tids.discard(at.tid)
        last = group_dead if group_dead is not None else not process.tids
        counters = self._counters(process, at.ns) if last else {}
        self.rows.append((Kind.EXIT, {**process.row(at.ns, at.tid), "last": last, "evidence": "measured", **counters}))
        if last:
            process.alive = False
            for tid in (*process.tids, at.tid, process.pid):
                if self._tasks.get(tid) is process:
                    del self._tasks[tid]
        elif at.tid != process.pid:
            self._tasks.pop(at.tid, None)

    def finish(self) -> None:
        """The text is over: tell what is left, and the counters of those who live."""
        for birth in list(self._undecided.values()):
            self._decide(birth, thread=False)
        for process in dict.fromkeys(self._tasks.values()):
            counters = self._counters(process, None)
            if counters:
                self.rows.append((Kind.ALIVE, {**process.row(None), **counters}))

    def _counters(self, process: Process, ns: int | None) -> dict[str, int]:
        """Tell the write-protect faults; the other counters, which the row of the end bears."""
        faults, process.faults = process.faults, {}
        if process.whole:
            faults = {**dict.fromkeys(self._counted, 0), **faults}
        wp = faults.pop("wp_faults", None)
        if wp is not None:
            self.rows.append((Kind.FAULTS, {**process.row(ns), "wp_faults": wp}))
        return faults if process.whole else {}  # of one that was there before only a part was seen

    def _born(self, pid: int, ns: int | None) -> int:
        if ns is None:
            self._sequence += 1
            ns = self._sequence
        last = self._last_born.get(pid)
        if last is not None and ns <= last:
            ns = last + 1
        self._last_born[pid] = ns
        return ns
