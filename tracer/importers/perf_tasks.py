"""Tasks as perf's tracepoints tell of them, and the rows they become. Events come in the order of time.

Knows nothing of text: perf_script.py reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracer.events import CloneFlags, Kind


class Process:
    """One life of a process; `tids` are its tasks that have been seen."""

    def __init__(self, pid: int, born: int) -> None:
        self.pid, self.born = pid, born
        self.ppid: int | None = None
        self.parent_born: int | None = None
        self.comm: str | None = None
        self.faults: dict[str, int] = {}
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


def how_of(flags: int | None) -> str | None:
    """How a process was made. vfork and posix_spawn have the same flags, and the stacks are not shown."""
    if flags is None:
        return None
    if flags & CloneFlags.CLONE_VM and flags & CloneFlags.CLONE_VFORK:
        return "vfork"
    return "clone" if flags & CloneFlags.CLONE_VM else "fork"


class Tasks:
    """The tasks of one text; `rows` are what has happened, to be taken away."""

    def __init__(self) -> None:
        self.rows: list[tuple[Kind, dict[str, Any]]] = []
        self._tasks: dict[int, Process] = {}
        self._last_born: dict[int, int] = {}
        self._sequence = 0
        self._any = False

    def of(self, at: At) -> Process:
        """The process of a task; one that was there before if it has not been seen."""
        found = self._tasks.get(at.tid)
        if found is not None and found.alive:
            return found
        pid = at.tid if at.tgid is None else at.tgid
        leader = self._tasks.get(pid)
        if leader is not None and leader.alive and leader.pid == pid:
            leader.tids.add(at.tid)
            self._tasks[at.tid] = leader
            return leader
        process = Process(pid, self._born(pid, at.ns))
        self._tasks[at.tid] = self._tasks[pid] = process
        how = "existing" if self._any else "root"
        self._any = True
        self.rows.append((Kind.EXISTING, {**process.row(at.ns), "how": how, "evidence": "inferred"}))
        return process

    def knows(self, tid: int) -> bool:
        """Whether a task is there."""
        return tid in self._tasks

    def born(self, at: At, child: int, comm: str | None, flags: int | None, *, thread: bool) -> None:
        """The task at `at` made `child`."""
        creator = self.of(at)
        made: dict[str, Any] = {
            "creator_pid": creator.pid, "creator_tid": at.tid, "creator_born_ns": creator.born, "clone_flags": flags,
            "comm": comm or creator.comm, "evidence": "measured",
        }  # fmt: skip
        if thread:
            creator.tids.add(child)
            self._tasks[child] = creator
            self.rows.append((Kind.FORK, {**creator.row(at.ns, child), **made, "how": "clone"}))
            return
        process = Process(child, self._born(child, at.ns))
        process.comm = comm or creator.comm
        brother = flags is not None and flags & CloneFlags.CLONE_PARENT
        process.ppid = creator.ppid if brother else creator.pid
        process.parent_born = creator.parent_born if brother else creator.born
        self._tasks[child] = process
        made |= {"how": how_of(flags), "ppid": process.ppid, "parent_born_ns": process.parent_born}
        self.rows.append((Kind.FORK, {**process.row(at.ns), **made}))

    def exec(self, at: At, exe: str, comm: str, old_tid: int) -> None:
        """A new image. `at.tid` is the leader's, whoever called execve."""
        process = self.of(at)
        process.comm = comm
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
        """A task ended; `group_dead`: the process with it. Older kernels do not say: then it is the leader's end."""
        process = self.of(at)
        last = group_dead if group_dead is not None else at.tid == process.pid
        counters = self._counters(process, at.ns) if last else {}
        self.rows.append((Kind.EXIT, {**process.row(at.ns, at.tid), "last": last, "evidence": "measured", **counters}))
        process.tids.discard(at.tid)
        if last:
            process.alive = False
            for tid in (*process.tids, at.tid, process.pid):
                if self._tasks.get(tid) is process:
                    del self._tasks[tid]
        elif at.tid != process.pid:
            self._tasks.pop(at.tid, None)

    def finish(self) -> None:
        """The text is over: tell the counters of those who live."""
        for process in dict.fromkeys(self._tasks.values()):
            counters = self._counters(process, None)
            if counters:
                self.rows.append((Kind.ALIVE, {**process.row(None), **counters}))

    def _counters(self, process: Process, ns: int | None) -> dict[str, int]:
        """Tell the write-protect faults; the other counters, which the row of the end bears."""
        faults, process.faults = process.faults, {}
        wp = faults.pop("wp_faults", None)
        if wp is not None:
            self.rows.append((Kind.FAULTS, {**process.row(ns), "wp_faults": wp}))
        return faults

    def _born(self, pid: int, ns: int | None) -> int:
        if ns is None:
            self._sequence += 1
            ns = self._sequence
        last = self._last_born.get(pid)
        if last is not None and ns <= last:
            ns = last + 1
        self._last_born[pid] = ns
        return ns
