"""Whose line it is: the task that a line of strace belongs to, made if it is new, and the line's time.

On a terminal strace writes `[pid N]` only while it traces more than one task, so a line without belongs to the only
task alive then: first the root, whose pid is still unknown, later whoever is left. A pid may have a life after another;
a notice may tell of a task before its first line.

Knows the prefix of a line and its kind, not its meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tracer.importers.strace import lexer
from tracer.importers.strace.clock import Clock
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.lexer import Prefix
from tracer.importers.strace.syscall_handlers import EXECS, EXITS, FORKS, SyscallHandlers
from tracer.importers.strace.task import Task
from tracer.importers.strace.values import text

_MAX_LIVE: Final = 64
MOST_PIDS: Final = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
_MAX_SAMPLES: Final = 1000
_SAMPLE: Final = 200


@dataclass
class Skipped:
    """What was not understood: how many lines, and the first of them as (file, line number, text)."""

    lines: int = 0
    cut: int = 0  # lines of strace's own among them
    samples: list[tuple[str, int, bytes]] = field(default_factory=list)


class LineAttribution:
    """The tasks of one log by its lines. `pid`: whose lines they are, where they do not say (-ff)."""

    def __init__(self, rows: Rows, skipped: Skipped, name: str = "") -> None:
        self.rows = rows
        self.machine = SyscallHandlers(rows)
        self.clock = Clock()
        self.clocks: dict[int, Clock] = {}  # -ff: one for each file
        self.skipped = skipped
        self.name = name
        self.line = 0  # the number of the line that is read, in its file
        self.pid: int | None = None
        self.numbered = False  # most lines begin with a pid (-o)
        self.closed = False  # all lines of strace do: one without is no line of a task
        self.timed = True  # False: the stamps of these files do not add up
        self.notices = False  # the tracer announces each new task here
        self.ends = self.signals = False  # `+++ exited` and `---` lines are shown
        self._root: Task | None = None  # a first task whose pid is not known yet
        self._told: int | None = None  # and that pid, if it was told before the task's first line

    def skip(self, raw: bytes, *, cut: bool = False, number: int | None = None) -> None:
        """A line was not understood; `cut`: it is strace's own."""
        self.skipped.lines += 1
        self.skipped.cut += cut
        if len(self.skipped.samples) < _MAX_SAMPLES:
            self.skipped.samples.append((self.name, number or self.line, raw[:_SAMPLE]))

    def notice(self, m: re.Match[bytes]) -> None:
        """A notice of the tracer (the groups of lexer.NOTICE)."""
        machine = self.machine
        pid, what, parent, threads, mode_pid = m.groups()
        if mode_pid is not None:
            self.name_root(int(mode_pid))
            return
        self.notices = True
        tid = int(pid)
        task = machine.tasks.get(tid)
        if what == b"attached":
            if task is None or task.final or task.dead:
                if task is not None:
                    machine.replace(task)
                task = machine.appear(tid, self.clock.latest, announced=True)
            task.announced = task.seen = True
            machine.unseen.pop(task, None)
            machine.live[task] = None
            if threads is not None:
                machine.threads_announced, machine.attached = int(threads) - 1, task
        elif task is not None and what == b"resumed" and parent is not None:
            self.name_root(int(parent))
            above = machine.tasks.get(int(parent)) or self._root
            if above is None:  # its lines are still to come
                above = self._root = machine.appear(int(parent), self.clock.latest)
                machine.live[above] = None
            if above is not None and task in machine.strays:
                machine.suppose(task, above)
        elif task is None and what == b"detached":
            self.name_root(tid)
        elif task is not None and what == b"detached":
            machine.live.pop(task, None)
            if task.lead.dying is not None:
                task.final = True
                machine.settle(task)  # up to 4.6 this is how an end looks
            else:
                task.detached = True

    def _time(self, prefix: Prefix, task: Task | None) -> int | None:
        return self.clock.at(prefix, task.last_ns if task is not None else None) if self.timed else None

    def task_of(self, prefix: Prefix, kind: str, name: bytes, body: bytes) -> tuple[Task | None, int | None]:
        """The task that a line is of, made if it is new, and the line's time."""
        machine = self.machine
        pid = prefix.pid if prefix.pid is not None else self.pid
        if pid is not None and not 0 < pid < MOST_PIDS:
            return None, None
        if pid is None and self.closed:
            return None, None
        execs, child = False, None
        if kind == "call" and name in EXECS:
            got = lexer.result(body)
            execs = got is not None and got.value == 0
        if pid is None:
            if kind == "call" and name in FORKS:
                got = lexer.result(body)
                child = got.value if got is not None else None
            task = None if self.numbered and not self._sure(kind, name, body) else self.only_one(kind, name, child)
            ns = self._time(prefix, task)
            if task is None:
                if any(not t.dead for t in machine.live) or (self.numbered and not execs):
                    return None, ns
                task = self._root = machine.appear(None, ns, execs=execs)
                task.execs_first = True
                if self._told is not None:
                    self.name_root(self._told)
                    self._told = None
        else:
            task = machine.tasks.get(pid)
            if prefix.bracketed and self._alone(task, kind):
                return None, None
            if task is None and prefix.bracketed and self._is_root(pid, kind, name):
                self.name_root(pid)
                task = machine.tasks.get(pid)
            new = task is None or self._another_life(task, kind, name, prefix)
            ns = self._time(prefix, None if new else task)
            if new:
                if task is None and prefix.bracketed and self.notices and kind in ("exit", "signal"):
                    return None, ns  # a task that was never announced has no end: the program wrote this
                if task is not None:
                    machine.replace(task)
                task = machine.appear(pid, ns, execs=execs)
        assert task is not None
        task.last_ns = ns
        if not task.seen:
            task.seen = True
            machine.unseen.pop(task, None)
            machine.follows = machine.follows or task is not machine.first
            if task.first_ns is None:
                task.first_ns = ns
        if not task.final or kind != "exit":
            machine.live[task] = None
        if prefix.comm is not None and kind != "exit" and name not in EXECS:
            comm = text(prefix.comm)
            if comm != task.former_comm:  # strace may go on showing the name from before an exec (seen in 6.1)
                machine.renamed(task, comm, ns)
        return task, ns

    def _another_life(self, task: Task, kind: str, name: bytes, prefix: Prefix) -> bool:
        """Whether a line can not be of the task that had this pid."""
        if self.machine.one_file_each and task.seen:
            return False
        if kind == "exit":
            return task.exit_line
        ns = self.clock.peek(prefix) if task.over_ns is not None and self.timed else None
        if ns is not None and task.over_ns is not None and ns < task.over_ns:
            return False  # out of order, and from before its end
        if not (task.final or task.dead) or (kind == "resumed" and name in EXITS):
            return False
        opened = task.open[0] if task.open is not None else None
        if kind == "resumed" and (name not in self.machine.handlers or opened == name):
            return False
        if kind == "resumed" and name in EXECS and task.exec_thread is not None:
            return False  # a thread's exec goes on under the leader's number, even if that had called exit
        # A wait that stands before the end it reports makes nobody dead.
        return task.final or task.exit_line or not self.machine.whole_lines

    def _alone(self, task: Task | None, kind: str) -> bool:
        """Whether strace follows one task only, so that it writes no `[pid N]`: the program has written this line.

        With -z a call of that task may have begun when there was another.
        """
        machine = self.machine
        if not self.notices or self._root is None or machine.attached is not None or len(machine.live) != 1:
            return False
        only = next(iter(machine.live))
        if only.dead or machine.open_forks or any(not other.dead for other in islice(machine.unseen, _MAX_LIVE)):
            return False
        may_be = task is only or (task is None and only.tid is None)
        return not may_be or kind == "exit" or not machine.whole_lines

    def _sure(self, kind: str, name: bytes, body: bytes) -> bool:
        """Whether an unprefixed line must be strace's, though the log bears pids: it is one of life and death."""
        return kind != "call" or (name in self.machine.handlers and lexer.result(body) is not None)

    def only_one(self, kind: str, name: bytes, child: int | None = None) -> Task | None:
        """Whose an unprefixed line is. `child`: what a fork returned, which is not the task itself."""
        machine = self.machine
        live = list(islice(machine.live, _MAX_LIVE + 1))
        if len(live) > _MAX_LIVE:
            return None
        fitting = [t for t in live if self._fits(t, kind, name) and (child is None or t.tid != child)]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) > 1:
            # Somebody's text, for strace prefixes its lines now; unless not all ends are shown (-qq, -e signal=none),
            # so that who seems to live may be long dead.
            root = self._root
            hidden = not (self.ends and self.signals)
            return root if root in fitting and root is not None and (root.tid is None or hidden) else None
        if len(live) == 1 and kind != "call" and not live[0].dead:
            return live[0]
        waiting = [t for t in islice(machine.unseen, _MAX_LIVE) if not t.dead]
        return waiting[0] if len(waiting) == 1 else None

    def _fits(self, task: Task, kind: str, name: bytes) -> bool:
        if task.dead and kind != "exit":
            return False
        if kind == "call":
            return task.open is None and not task.final
        if kind == "resumed":
            return task.open is not None and task.open[0] == name
        if kind == "exit":
            return not task.exit_line
        return not task.final

    def _is_root(self, pid: int, kind: str, name: bytes) -> bool:
        """Whether a pid seen for the first time is that of the first task, whose lines had no prefix until now."""
        root, machine = self._root, self.machine
        if root is None or root.tid is not None or not self._fits(root, kind, name):
            return False
        # Without notices (-q) it may be a child that runs before its fork returns; a root is older than its children.
        if root in machine.open_forks:
            return kind == "resumed"
        return not machine.open_forks or pid < min(islice(machine.tasks, 64), default=0)

    def name_root(self, pid: int) -> None:
        """The first task's pid has become known."""
        root = self._root
        if root is None:
            self._told = pid
        elif root.tid is None and pid not in self.machine.tasks:
            root.tid = pid
            self.machine.tasks[pid] = root
            self.machine.change(pid)
            self.rows.drain()
