"""Who was born of whom, as far as a log tells.

A fork's result names the child; but the child's own lines may come first, its number may be that of another pid
namespace, the pid may have had a life before, and the fork line may be missing. What is undecided:

    stray      seen, and no fork has named it yet         -> a later result, SIGCHLD or wait names its parent
    tentative  a stray's only possible creator so far     -> taken if nothing better comes
    pending    a result that names nobody seen, and looks like a number of an inner namespace
               -> the next stray is meant (strace writes its own numbers before lines, the program's in results)

Knows nothing of text (syscall_handlers.py reads it) and of ends (ends.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.task import CLONE_NEWPID, CLONE_THREAD, Task
from tracer.importers.strace.values import End, ForkArgs

UNKNOWN: Final = ForkArgs(None, None, None)
_RESERVED: Final = 300  # RESERVED_PIDS, kernel/pid.c
_LOOKED_AT: Final = 16  # of undecided things, for each new one
_KIDS: Final = 65536  # of one process in an inner namespace, remembered by the number that it knows
_LIMIT: Final = 4096  # undecided things remembered at once; more than that is no log, and must not grow


class Fork(NamedTuple):
    """A fork call: by whom, which, with what, entered when; `seen` is the child's number as the creator sees it."""

    creator: Task
    syscall: str | None
    args: ForkArgs
    start_ns: int | None
    order: int  # number of the line that called it
    seen: int | None = None
    inferred: bool = False


class Wait(NamedTuple):
    """A wait that returned: by whom, the child's number, its end, and when; `exact`: that is when it returned."""

    by: Task
    number: int
    end: End
    ns: int | None
    exact: bool
    usage: dict[str, int]


def _ignore(tid: int) -> None:
    """Where each line is read there is nothing to look out for."""


class Births:
    """The tasks of one log and the edges between them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        rows.decide = self.decide
        self.tasks: dict[int, Task] = {}
        self.live: dict[Task, None] = {}  # traced and not ended, as far as known: who writes unprefixed lines
        self.unseen: dict[Task, None] = {}  # named by a fork, no line yet
        self.strays: dict[Task, None] = {}
        self.open_forks: dict[Task, Fork] = {}
        self.pending: list[Fork] = []
        self.early: dict[tuple[Task, int], Wait] = {}  # waits for children that are yet to be named
        self.one_file_each = False  # -ff
        self.whole_lines = True  # no call was seen in two parts: calls stand at their start (-ff, strace-log-merge)
        self.follows = False  # children have lines of their own (-f)
        self.threads_announced = 0  # by `attached with N threads`
        self.attached: Task | None = None  # the process they belong to
        self.first: Task | None = None
        self.line = 0  # lines read so far: what came before what
        self.change: Callable[[int], object] = _ignore  # called with a tid whose next line may mean something new

    # -- appearing

    def appear(self, tid: int | None, ns: int | None, *, execs: bool = False, announced: bool = False) -> Task:
        """A new life of `tid` that no fork has named: a root, a child before its parent's result, or an old task."""
        task = Task(tid)
        task.first_ns = ns
        task.announced = announced
        task.order = self.line
        if tid is not None:
            self.tasks[tid] = task
        alone = not self.live and not self.open_forks and not self.pending
        if self.first is None:
            self.first = task
        task.execs_first = execs
        if tid is None or (alone and execs and not any(not t.dead for t in self.unseen)):
            # strace starts a program with an exec, and there is nobody who could have made it.
            task.ready, task.kind, task.execs_first = True, "root", True
            self.rows.birth(task)
            return task
        self.strays[task] = None
        if len(self.strays) > _LIMIT:
            old = next(iter(self.strays))
            self.decide(old)
            old.ready = True
        if self.threads_announced > 0 and not announced:
            self.threads_announced -= 1
            task.host = self.attached
        elif len(self.live) == 1:
            task.host = next(iter(self.live)).lead
        if len(self.open_forks) == 1 and not self.pending:
            task.tentative_call = next(iter(self.open_forks.values()))
            task.tentative = task.tentative_call.creator
        self.rows.birth(task)
        self.match_pending(task)
        return task

    def suppose(self, task: Task, creator: Task) -> None:
        """A notice says who made a stray; the fork's own line says more, if it comes."""
        call = self.open_forks.get(creator)
        task.tentative = creator
        task.tentative_call = call if call is not None else Fork(creator, None, UNKNOWN, None, self.line)

    def match_pending(self, task: Task) -> None:
        """A stray meets the result that named it, or the earliest one that named nobody."""
        if not self.pending:
            return
        found = next((i for i, f in enumerate(self.pending) if f.seen == task.tid), None)
        if found is not None:
            self.pending[found].creator.lead.outer = True
        if found is None and not self._maker_open(task):
            found = 0
        if found is None:
            found = next((i for i, f in enumerate(self.pending) if f.creator.lead.in_ns), None)
        if found is not None:
            self.bind(task, self.pending.pop(found))

    def _maker_open(self, task: Task) -> bool:
        """Whether a fork call is open whose child is not there yet: `task` may be that."""
        if len(self.open_forks) > _LOOKED_AT:
            return True
        taken = [stray.tentative_call for stray in islice(self.strays, _LOOKED_AT) if stray is not task]
        return any(not any(fork is call for call in taken) for fork in self.open_forks.values())

    # -- edges

    def bind(self, task: Task, fork: Fork) -> None:
        """`task` was made by `fork`."""
        creator = fork.creator
        self.strays.pop(task, None)
        task.creator = creator
        creator.lead.children += 1
        if task.born_comm is None:
            task.born_comm = creator.lead.comm
            task.comm = task.comm or task.born_comm
        task.syscall, task.start_ns = fork.syscall, fork.start_ns
        task.flags, task.exit_signal, task.own_stack = fork.args
        if task.first_ns is not None and task.start_ns is not None and task.start_ns > task.first_ns:
            task.start_ns = task.first_ns
        if fork.inferred:
            task.evidence = "inferred"
        flags = task.flags
        early = self.early.pop((creator.lead, fork.seen), None) if self.early and fork.seen is not None else None
        if fork.seen is not None and fork.seen != task.tid:
            task.in_ns = True
            creator.lead.in_ns = True
            self._know_inside(creator.lead, fork.seen, task)
        elif creator.lead.in_ns or (flags is not None and flags & CLONE_NEWPID):
            task.in_ns = True
        if flags is None:
            # Old straces do not show clone3's arguments; what the task does will tell.
            if task.kind is None and fork.syscall in ("clone3", None) and fork.seen is not None:
                task.host = creator.lead
                if task.called_exit and not task.called_group_exit:
                    self.be_thread(task, creator.lead)
                return
            task.kind = task.kind or "process"
        elif flags & CLONE_THREAD:
            self.be_thread(task, creator.lead)
            return
        else:
            task.kind = "process"
        task.ready = True
        self.rows.drain()
        if early is not None:
            self.waited(early)

    def _know_inside(self, lead: Task, number: int, task: Task) -> None:
        """`lead` will speak of `task` by a number of its own namespace, as long as it may be waited for."""
        if lead.kids is None:
            lead.kids = OrderedDict()
        lead.kids[number] = task
        if len(lead.kids) > _KIDS:
            first, old = lead.kids.popitem(last=False)
            if not old.dead:
                lead.kids[first] = old

    def waited(self, wait: Wait) -> None:
        """A wait returned a child."""

    def be_thread(self, task: Task, lead: Task) -> None:
        """It is a thread of `lead`."""
        self.strays.pop(task, None)
        self.joins(task, lead)
        task.ready = True
        self.rows.drain()

    def joins(self, task: Task, lead: Task) -> None:
        """What was taken for a process is one of the threads of `lead`; so are the threads that it has made."""
        lead = lead.lead
        task.kind = "thread"
        if lead is task:
            return
        for thread in (task, *(task.followers or ())):
            thread.lead = lead
            if not lead.ready:  # it may turn out to be a thread itself
                lead.followers = [*(lead.followers or ()), thread]
        task.followers = None
        lead.leaving = [*(lead.leaving or ()), *(task.leaving or ())]
        if task.kids:
            lead.kids = OrderedDict({**(lead.kids or {}), **task.kids})
        lead.children += task.children
        if task.called_group_exit:
            lead.dying, lead.dying_ns = task.dying, task.dying_ns
        elif task.called_exit and not task.dead:
            lead.leaving = [*(lead.leaving or ()), task]

    def be_process(self, task: Task) -> None:
        """It did what only a process does; its fork is known."""
        if task.kind is None and task.creator is not None:
            task.kind, task.ready = "process", True
            self.rows.drain()

    def adopt(self, task: Task, lead: Task) -> None:
        """Somebody took notice of the end of a stray as its parent does."""
        self.bind(task, Fork(lead, None, UNKNOWN, None, self.line, task.tid, inferred=True))
        task.kind, task.ready = "process", True
        self.rows.drain()

    def child(self, fork: Fork, real: int | None) -> Task | None:
        """A fork returned `fork.seen`, in strace's namespace `real` if the log says so. None: a number of nobody."""
        creator, seen = fork.creator, fork.seen
        assert seen is not None
        tid = real if real is not None else seen
        task = self.tasks.get(tid)
        if task is not None and task.syscall is None and task not in self.strays and self._meant(task, fork):
            # It was taken for a root, or its parent was known from less than this: SIGCHLD, a wait, a notice of 4.5's.
            if task.lead is task:
                task.ready, task.evidence, task.kind = False, "measured", None
                self.bind(task, fork)
                if task.placed:
                    self.rows.correct(task)
            return task
        # What one in an inner namespace is told is never a number of strace's, though one may be the same.
        inner = creator.lead.in_ns
        if real is None and (inner or task is None or not (task in self.strays or task.final or task.reaped)):
            if task is not None and task.creator is creator and not task.seen and task.start_ns == fork.start_ns:
                return task
            found = self._foreign(fork, task)
            if found is not None:
                return found
            if self.pending and self.pending[-1] is fork:
                return None
            if task is not None and (creator.lead.in_ns or (creator.tid or 0) > tid):
                return None
        if task is not None and task in self.strays and self._same_life(task, fork):
            if tid == seen:
                creator.lead.outer = True
            self.bind(task, fork)
            return task
        if task is not None:
            self.replace(task)
        task = Task(tid)
        self.tasks[tid] = task
        self.change(tid)
        self.unseen[task] = None
        # Creator first: rows.birth places what is ready at once.
        self.strays[task] = None
        self.rows.birth(task)
        self.bind(task, fork)
        return task

    def _meant(self, task: Task, fork: Fork) -> bool:
        """Whether a fork made a task of which less was known: it was called before, by the lines or by the clock."""
        if fork.order <= task.order or (self.one_file_each and task.seen and fork.start_ns is None):
            return True
        first = task.first_ns if task.first_ns is not None else task.over_ns
        return fork.start_ns is not None and first is not None and fork.start_ns <= first

    def replace(self, task: Task) -> None:
        """The pid of `task` has a new life: whatever is still to be said of the old one must be said now."""

    def _same_life(self, task: Task, fork: Fork) -> bool:
        """Whether a stray that bears the pid can be the child that this fork made."""
        if (not task.final and not task.dead) or self.one_file_each:
            return True
        # It has ended. Its whole life may stand before its birth where the fork was called before its first line, or
        # where lines are printed on return (-z); else the pid is used anew.
        if fork.order <= task.order:
            return True
        return fork.start_ns is not None and task.first_ns is not None and fork.start_ns <= task.first_ns

    def _foreign(self, fork: Fork, task: Task | None) -> Task | None:
        """Match a result that may be of an inner pid namespace; else put it aside if it looks like one."""
        creator, seen = fork.creator, fork.seen
        assert seen is not None
        # Inner numbers lag behind outer ones. (The kernel itself never comes back below 300 when pids wrap.)
        inner = creator.lead.in_ns or (
            not creator.lead.outer and seen < (creator.tid if creator.tid is not None else _RESERVED)
        )
        for stray in islice(self.strays, _LOOKED_AT):
            if not inner or stray.tid is None or (stray.order < fork.order and not self._told_before(stray)):
                continue
            if stray.tentative in (creator, None):
                self.bind(stray, fork)
                return stray
        if inner and len(self.pending) < _LIMIT:
            self.pending.append(fork)
        return None

    def _told_before(self, stray: Task) -> bool:
        """Whether a notice may have told of it before its fork's own line: -z, where lines come on return.

        Not where strace attached to what was there (-p): these are told of first.
        """
        first = self.first
        return stray.announced and stray.tentative is None and first is not None and first.execs_first

    # -- decisions that can wait no longer

    def decide(self, task: Task) -> None:
        """Say of a stray what is most likely."""
        self.strays.pop(task, None)
        if task.creator is not None:  # made by a clone3 that was not shown
            if task.called_group_exit or task.execs_first:
                task.kind = "process"
            else:
                self.joins(task, task.creator.lead)
            return
        if self.pending and not task.children and task.order >= self.pending[0].order:
            self.bind(task, self.pending.pop(0))
            return
        call: Fork | None = task.tentative_call
        if task.called_exit and not task.called_group_exit and task.host is not None and task.host is not task:
            self.joins(task, task.host)
            task.evidence = "inferred"
            return
        if call is None and task.tentative is not None:
            self.adopt(task, task.tentative)
            return
        if call is not None and not task.children:
            self.bind(task, call._replace(inferred=True))
            return
        if task.host is not None and task.host is self.attached and not task.children:
            self.joins(task, task.host)
            task.evidence = "inferred"
            return
        task.kind = "root" if task is self.first else "process"
