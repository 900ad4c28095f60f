"""How each task ended, and who took notice, from whatever a log has of it.

Best first: the `+++` line, the status that a wait reported, SIGCHLD, exit_group's argument. With -qq there is no
`+++` line, with -e signal=none no `+++ killed`; strace-log-merge puts a wait (at its start) before the end that it
reports. So an end is told at the first of: its `+++` line; the parent's notice; a new life of the pid; the log's end.

Knows nothing of text and of births' riddles.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

from tracer.importers.strace.births import Births, Fork, Wait
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.task import Task
from tracer.importers.strace.values import End
from tracer.model.flags import CloneFlags
from tracer.model.schema import NULL, Kind

_EXIT, _REAP = int(Kind.EXIT), int(Kind.REAP)
_REMEMBERED: Final = 8192  # dead tasks kept, so that a late line of theirs is not taken for a new life
_MEASURED: Final = ("measured",)
_INFERRED: Final = ("inferred",)
_USAGE: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "max_rss_bytes")


def _null(value: int | bool | None) -> int:
    return NULL if value is None else int(value)


def _may_be_its(fork: Fork, lead: Task) -> bool:
    """Whether a fork that has not returned may be making a child of `lead`: its own, or a brother of its child."""
    flags = fork.args.flags
    return fork.creator.lead is lead or (flags is not None and bool(flags & CloneFlags.CLONE_PARENT))


class Ends(Births):
    """Births, and ends."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        # Who is reaped leaves the second for the first: the garbage collector walks all that is kept, again and again.
        self.buried: OrderedDict[Task, None] = OrderedDict()
        self.unreaped: OrderedDict[Task, None] = OrderedDict()
        self.usage: tuple[str, ...] = _USAGE  # which figures of a wait's rusage are told

    def _changed(self, task: Task) -> None:
        if task.tid is not None:
            self.change(task.tid)

    # -- the task itself

    def exit_called(self, task: Task, name: bytes, code: int | None, ns: int | None) -> None:
        """exit ends the calling thread, exit_group (and the exit of an only thread) the process."""
        task.called_exit = task.final = True
        self._changed(task)
        task.dying, task.dying_ns = End(code=code, core=False), ns
        lead = task.lead
        if name == b"exit_group":
            task.called_group_exit = True
            lead.dying, lead.dying_ns = task.dying, ns
            if lead is task:
                self.be_process(task)
        elif lead is not task:
            lead.leaving = [*(t for t in lead.leaving or () if not t.dead), task]
        elif task.kind is None and task.creator is not None:
            self.be_thread(task, task.creator.lead)  # of a clone3 not shown: only threads call exit
        # A leader's exit is the process' end only if no other thread lives; its +++ line waits for them.

    def exit_line(self, task: Task, end: End, ns: int | None) -> None:
        """`+++ exited` or `+++ killed`: the best there is."""
        task.exit_line = task.final = True
        self._changed(task)
        self.live.pop(task, None)
        if task.kind is None and task.creator is not None and not task.called_group_exit and end.signal is None:
            # Of a clone3 that was not shown, ended without a word of its own: a thread, by another's exit_group.
            self.be_thread(task, task.creator.lead)
        if task.lead is task:
            self.end(task, end, ns, measured=True)
            if task.pending_reap is not None:
                self._reap_now(task)
        else:
            self._thread_end(task, end, ns, _MEASURED)

    def _thread_end(self, task: Task, end: End, ns: int | None, evidence: tuple[str]) -> None:
        if not task.dead:
            task.dead = True
            self._changed(task)
            self.rows.add(_EXIT, task, ns, (_null(end.code), _null(end.signal), _null(end.core), 0, NULL), evidence)
            self.bury(task)

    def end(self, task: Task, end: End, ns: int | None, *, measured: bool = False) -> None:
        """The process of `task` has ended; told once."""
        lead = task.lead
        if lead.dead:
            return
        lead.dead = True
        self._changed(lead)
        lead.exit_ns = lead.over_ns = ns
        for thread in lead.leaving or ():
            self._thread_end(thread, thread.dying, thread.dying_ns, _INFERRED)
        killer = lead.senders.get(end.signal or 0) if lead.senders and end.signal else None
        self.live.pop(lead, None)
        self.unseen.pop(lead, None)
        ints = (_null(end.code), _null(end.signal), _null(end.core), 1, _null(killer))
        self.rows.add(_EXIT, lead, ns, ints, _MEASURED if measured else _INFERRED)
        if measured:
            self.bury(lead)

    def bury(self, task: Task) -> None:
        """A task that is over is remembered for a while: longer if it may still be waited for."""
        graves, most = self.unreaped, 8 * _REMEMBERED
        if task.reaped:
            self.unreaped.pop(task, None)
            graves, most = self.buried, _REMEMBERED
        graves[task] = None
        if len(graves) > most:
            self.forget(graves, most)

    def forget(self, graves: OrderedDict[Task, None], most: int) -> None:
        """Forget the oldest of those that are over."""
        while len(graves) > most:
            old, _ = graves.popitem(last=False)
            old.forget()
            if old.tid is not None and self.tasks.get(old.tid) is old:
                del self.tasks[old.tid]
                self.change(old.tid)
                self.unseen.pop(old, None)

    def settle(self, task: Task) -> None:
        """Say of a life that is over, or whose log is, what has not been said of its end."""
        lead = task.lead
        if lead is not task:
            return
        best = self._best(lead) if not lead.dead else None
        if best is not None:
            ns = lead.dying_ns if lead.dying_ns is not None else lead.chld_ns
            if lead.pending_reap is not None and ns is None:
                ns = lead.pending_reap.ns
            self.end(lead, best, ns)
        if lead.pending_reap is not None:
            self._reap_now(lead)

    def replace(self, task: Task) -> None:
        """Its pid has a new life."""
        self._changed(task)
        self.settle(task)
        self.live.pop(task, None)
        self.unseen.pop(task, None)

    def _best(self, lead: Task) -> End | None:
        shown = lead.pending_reap.end if lead.pending_reap is not None else None
        for end in (shown, lead.chld, lead.dying):
            if end is not None and (end.code is not None or end.signal is not None):
                return end  # type: ignore[no-any-return]
        return End() if shown is not None else None

    # -- who took notice

    def lookup(self, task: Task, number: int) -> Task | None:
        """The child that `task` calls `number`; None if nobody known."""
        lead = task.lead
        if lead.kids is not None and number in lead.kids:
            return lead.kids[number]
        for i, fork in enumerate(self.pending):
            if fork.creator.lead is lead and fork.seen == number:
                if lead.in_ns:
                    return None
                del self.pending[i]
                return self._plain(fork)
        found = self.tasks.get(number)
        return found.lead if found is not None and not lead.in_ns else None

    def _plain(self, fork: Fork) -> Task:
        """A result put aside turns out to be an ordinary pid, of a child that was not traced."""
        assert fork.seen is not None
        task = Task(fork.seen)
        self.tasks[fork.seen] = task
        self.change(fork.seen)
        self.rows.birth(task)
        self.bind(task, fork)
        return task

    def known(self, task: Task, number: int) -> Task | None:
        """As `lookup`; a child that no line has named is made, with an inferred edge. None for a foreign number."""
        child = self.lookup(task, number)
        lead = task.lead
        if child is None:
            if lead.in_ns or number <= 0 or (lead.tid is not None and number < min(lead.tid, 300)):
                return None
            child = Task(number)
            child.order = self.line
            self.tasks[number] = child
            self.change(number)
            self.strays[child] = None
            self.rows.birth(child)
        if child in self.strays and child.lead is not lead:
            if any(f.order <= child.order and _may_be_its(f, lead) for f in islice(self.open_forks.values(), 64)):
                child.tentative, child.tentative_call = lead, None  # one of these will name it, and say more
                return child
            self.adopt(child, lead)
        self.be_process(child)
        return child

    def child_signal(self, task: Task, number: int, end: End, ns: int | None) -> None:
        """SIGCHLD: `task`'s process was told that its child `number` has ended."""
        child = self.known(task, number)
        if child is None:
            return
        if child.dead and child.chld_from is task.lead and not child.exit_line and not child.reaped:
            self.replace(child)  # one child, one end: this is another of the same pid
            self.tasks.pop(number, None)  # of a pid namespace, it may be known by another number
            child = self.known(task, number)
            if child is None:
                return
        child.chld, child.chld_from, child.chld_ns = end, task.lead, ns
        if not child.dead:
            self.end(child, self._best(child) or end, child.dying_ns if child.dying_ns is not None else ns)

    def waited(self, wait: Wait) -> None:
        """A wait returned: that reaps the child, and tells its end if nothing better has."""
        task, number = wait.by, wait.number
        if self.whole_lines and self.follows and len(self.early) < _REMEMBERED:
            # Calls stand where they began: another thread may have made the child since.
            child = self.lookup(task, number)
            if child is None or child.reaped:
                self.early[task.lead, number] = wait
                return
        child = self.known(task, number)
        if child is None or child.reaped or child.lead is task.lead:
            return
        child.reaped = True
        self.unseen.pop(child, None)
        kids = task.lead.kids
        if kids is not None and kids.get(number) is child:
            del kids[number]  # nobody means it by that number any more
        child.pending_reap = wait
        if child.dead:
            self._reap_now(child)
        elif not (self.whole_lines and self.follows and not child.final):  # else its end stands further down
            self.settle(child)

    def _reap_now(self, child: Task) -> None:
        wait: Wait = child.pending_reap
        child.pending_reap = None
        ns = wait.ns
        if ns is not None and (child.over_ns is None or ns > child.over_ns):
            child.over_ns = ns
        zombie = NULL
        if ns is not None and child.exit_ns is not None:
            ns = max(ns, child.exit_ns)
            # Without its duration a wait shows when it began: if the child was dead by then, it ended there too.
            if (child.exit_line or child.chld is not None) and (wait.exact or ns > child.exit_ns):
                zombie = ns - child.exit_ns
        own = self._own_usage(wait.by.lead, child, wait.usage)
        figures = [_null(own.get(name)) if name in self.usage else NULL for name in _USAGE]
        ints = (wait.by, _null(ns), zombie, *figures)
        self.rows.add(_REAP, child, ns, ints, _MEASURED if wait.exact else _INFERRED)
        self.bury(child)

    def _own_usage(self, parent: Task, child: Task, usage: dict[str, int]) -> dict[str, int]:
        """What the child used itself: wait4 reports it together with all that the child has waited for."""
        if not usage:
            parent.kids_blind = True
            return {}
        total = parent.kids_usage if parent.kids_usage is not None else {}
        for name, value in usage.items():
            total[name] = total.get(name, 0) + value
        parent.kids_usage = total
        if child.kids_blind or not child.seen:
            return {}
        below = child.kids_usage
        if below is None:
            return usage
        # A peak is no sum: of the two only the larger one is known.
        return {
            name: value - below.get(name, 0)
            for name, value in usage.items()
            if name != "max_rss_bytes" and value >= below.get(name, 0)
        }

    def killer(self, task: Task, signal: int, sender: int | None) -> None:
        """A signal was sent to the process of `task`: remembered, should it die of it."""
        lead = task.lead
        if lead.senders is None:
            lead.senders = {}
        lead.senders[signal] = sender

    def kill_called(self, task: Task, number: int, signal: int) -> None:
        """`kill(number, SIGKILL)` worked: of that the victim shows no signal line, with -e signal=none of none."""
        if signal > 0 and number > 0 and not task.lead.in_ns:
            victim = self.tasks.get(number)
            if victim is not None and not victim.lead.dead and task.lead.tid is not None:
                self.killer(victim, signal, task.lead.tid)

    def finish(self) -> None:
        """The log is over."""
        self.whole_lines = False
        for wait in list(self.early.values()):
            self.waited(wait)
        for fork in self.pending:
            if not fork.creator.lead.in_ns:
                self._plain(fork)
        self.pending.clear()
        for task in (*self.tasks.values(), *((self.first,) if self.first is not None else ())):
            self.settle(task)
            for thread in task.leaving or ():
                self._thread_end(thread, thread.dying, thread.dying_ns, _INFERRED)
        self.rows.finish()
