"""strace's lines while it writes them, to batches: the importer's reader, on the clock that all traces have.

Adds what only a live run knows: when Unix time was which CLOCK_BOOTTIME, whose child the program is, that we reap it
ourselves, how much of argv and which variables were asked for. Knows nothing of files and of strace's process.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from tracer.host import boot_clock, procfs
from tracer.importers.strace import lexer, values
from tracer.importers.strace.clock import Clock
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.line_attribution import Skipped
from tracer.importers.strace.line_reader import LineReader
from tracer.importers.strace.task import Task
from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind

_STEP_NS: Final = 2_000_000  # a change of the clocks' distance by more is no error of measurement
_SLACK_NS: Final = 50_000_000
_EXECS: Final = (b" execve(", b" execveat(")


class BootClock(Clock):
    """Stamps of Unix time as CLOCK_BOOTTIME, by the distance between the two; a clock that is set is noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = lexer.TIME_EPOCH
        self.times_set = 0
        self._offset = self._offset_before = procfs.wall_offset_ns()
        self._since = self._until = boot_clock.now_ns()

    def look(self) -> None:
        """Before lines are read: compare the clocks."""
        self._offset_before = self._offset
        self._since, self._until = self._until, boot_clock.now_ns()
        if abs(procfs.wall_offset_ns() - self._offset) > _STEP_NS:
            now = procfs.wall_offset_ns()  # twice: the first may have been held up between its readings
            if abs(now - self._offset) > _STEP_NS:
                self._offset = now
                self.times_set += 1

    def at(self, prefix: lexer.Prefix, task_ns: int | None) -> int | None:
        """The time of a line, never before its task's line before."""
        if prefix.clock != lexer.TIME_EPOCH:
            return None
        ns = self.boottime(prefix.ns)
        if task_ns is not None and ns < task_ns:
            ns = task_ns
        if self.latest is None or ns > self.latest:
            self.latest = ns
        return ns

    def peek(self, prefix: lexer.Prefix) -> int | None:
        """As `at`, for comparing only."""
        return self.boottime(prefix.ns) if prefix.clock == lexer.TIME_EPOCH else None

    def boottime(self, stamp: int) -> int:
        """A stamp since the last `look` but one."""
        ns = stamp - self._offset
        if self._offset_before != self._offset and not self._since - _SLACK_NS <= ns <= self._until + _SLACK_NS:
            return stamp - self._offset_before  # written before the clock was set
        return ns


class Live:
    """`feed` lines, `take` batches. `root` is our own child, if there is one; `env` names variables to keep."""

    def __init__(self, *, argv_max: int, env: tuple[str, ...] = (), root: int | None = None) -> None:
        self.fed = 0  # lines
        self.clock = BootClock()
        self.skipped = Skipped()
        self.rows = Rows()
        self.rows.sequence = boot_clock.now_ns()
        self.stream = LineReader(self.rows, self.skipped, "strace")
        self.stream.clock = self.clock
        self.stream.numbered = self.stream.ends = self.stream.signals = True
        self.machine = self.stream.machine
        self.machine.follows, self.machine.whole_lines = True, False  # -f -o: a call's line ends when it has returned
        self._argv_max = argv_max
        self._env_names = frozenset(env)
        self._env: dict[int, deque[tuple[int, list[str]]]] = {}
        self._root = root
        self._rooted = root is None
        self._ours: dict[int, int] = {}  # children of ours that live, and their births
        self._ended: dict[int, int] = {}  # those that have ended and that we have not reaped

    def existing(self, processes: dict[int, procfs.Process], tids: dict[int, list[int]], named: list[int]) -> Batch:
        """Processes that strace was attached to, parents first, with all of their threads: known before any line."""
        rows = []
        now = boot_clock.now_ns()
        for process in processes.values():
            above = processes.get(process.ppid)
            task = self._known(process.pid, None, process.born_ns)
            task.kind, task.comm, task.ppid = "root", process.comm, process.ppid
            task.parent_born = NULL if above is None else above.born_ns
            for tid in tids.get(process.pid, ()):
                if tid != process.pid:
                    self._known(tid, task, process.born_ns).kind = "thread"
            self.machine.first = self.machine.first or task
            row = {
                "ts_ns": now,
                "pid": process.pid,
                "tid": process.pid,
                "born_ns": process.born_ns,
                "ppid": process.ppid,
                "parent_born_ns": None if above is None else above.born_ns,
                "how": "root" if process.pid in named else "existing",
                "comm": process.comm,
                "evidence": "snapshot",
            }
            rows.append((Kind.EXISTING, row))
        return Batch.from_rows(rows)

    def _known(self, tid: int, lead: Task | None, born: int) -> Task:
        task = Task(tid)
        task.lead = lead or task
        task.pid, task.born = tid, born
        task.ready = task.placed = task.seen = task.announced = True
        self.rows.last_born[tid] = born
        self.machine.tasks[tid] = task
        self.machine.live[task] = None
        return task

    def feed(self, raw: Iterable[bytes]) -> None:
        """Whole lines, in order."""
        self.clock.look()
        # Who is known from its parent's wait alone has no time of birth; its identity is a time all the same.
        self.rows.sequence = max(self.rows.sequence, self.clock.latest or 0)
        feed = self.stream.feed
        for line in raw:
            self.fed += 1
            if self._env_names and any(name in line for name in _EXECS):
                self._note_env(line)
            feed(line)
            if not self._rooted and self.machine.first is not None:
                self._rooted = True
                self.machine.first.ppid = os.getpid()  # before its children are told: a brother's parent is we, too

    def take(self) -> list[Batch]:
        """What is known by now; a birth whose parent may still be named waits."""
        self.rows.cut()
        out, self.rows.out = self.rows.out, []
        for batch in out:
            self._complete(batch)
        return out + self._reaps()

    def end(self) -> list[Batch]:
        """No more lines will come: decide what waits."""
        self.stream.close()
        self.rows.finish()
        return self.take()

    def living(self) -> list[int]:
        """Pids of processes whose end has not been written."""
        return list({t.lead.tid for t in self.machine.live if not t.dead and t.lead.tid is not None})

    # -- what only a live run knows

    def _complete(self, batch: Batch) -> None:
        parts: Any = batch.parts
        me = os.getpid()
        if Kind.EXISTING in parts and self._root is not None:
            part = parts[Kind.EXISTING]
            part["ppid"] = array("q", [me if pid == self._root else NULL for pid in part["pid"]])
            self._ours |= {p: born for p, born in zip(part["pid"], part["born_ns"], strict=True) if p == self._root}
        if Kind.FORK in parts and self._root is not None:
            part = parts[Kind.FORK]
            births = zip(part["ppid"], part["pid"], part["born_ns"], strict=True)
            self._ours |= {pid: born for ppid, pid, born in births if ppid == me}
        if Kind.EXIT in parts and self._ours:
            part = parts[Kind.EXIT]
            for pid, last in zip(part["pid"], part["last"], strict=True):
                if last == 1 and pid in self._ours:
                    self._ended[pid] = self._ours.pop(pid)
        if Kind.EXEC in parts:
            part = parts[Kind.EXEC]
            part["argv"] = [None if argv is None else cut(argv, self._argv_max) for argv in part["argv"]]
            if self._env_names:
                tids = (pid if old == NULL else old for pid, old in zip(part["pid"], part["old_tid"], strict=True))
                part["env"] = [self._env_of(tid, at) for tid, at in zip(tids, part["ts_ns"], strict=True)]

    def _reaps(self) -> list[Batch]:
        """Children of ours are reaped by us, which strace does not see: known when they are gone."""
        rows = []
        for pid, born in list(self._ended.items()):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                now = boot_clock.now_ns()
                del self._ended[pid]
                rows.append((Kind.REAP, _reap(pid, born, now)))
            except PermissionError:
                continue
        return [Batch.from_rows(rows)] if rows else []

    def _note_env(self, line: bytes) -> None:
        prefix = lexer.prefix(line)
        if prefix.pid is None or not line.startswith(tuple(name[1:] for name in _EXECS), prefix.end):
            return
        _, end = values.first_string(line, prefix.end)
        _, end = values.string_list(line, end)
        found, _ = values.string_list(line, end)
        kept = [word for word in found or () if word.partition("=")[0] in self._env_names]
        self._env.setdefault(prefix.pid, deque()).append((self.clock.boottime(prefix.ns), kept))

    def _env_of(self, tid: int, at: int) -> list[str] | None:
        """What the last exec of `tid` that was called before `at` was given."""
        noted, found = self._env.get(tid, deque()), None
        while noted and noted[0][0] <= at:
            found = noted.popleft()[1]
        if not noted:
            self._env.pop(tid, None)
        return found


def _reap(pid: int, born: int, now: int) -> dict[str, Any]:
    return {
        "ts_ns": now,
        "pid": pid,
        "tid": pid,
        "born_ns": born,
        "reaped_by": os.getpid(),
        "reap_ns": now,
        "evidence": "inferred",
    }


def cut(argv: list[str], most: int) -> list[str]:
    """argv of at most `most` bytes, NULs counted; the string that is cut ends in "...", and "..." follows it."""
    if 3 * sum(map(len, argv)) + len(argv) <= most and "..." not in argv[-1:]:
        return argv
    left = most
    for i, word in enumerate(argv):
        raw = word.encode("utf-8", "surrogateescape")
        if len(raw) + 1 > left or (word == "..." and i == len(argv) - 1):
            piece = raw[:left].decode("utf-8", "surrogateescape")
            return [*argv[:i], *([piece + "..."] if left and word != "..." else []), "..."]
        left -= len(raw) + 1
    return argv
