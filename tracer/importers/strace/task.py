"""A task as a log tells of it: what is known so far of its birth, its doings and its end.

Data only; births.py and ends.py fill it, event_rows.py tells it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tracer.model.flags import CloneFlags
from tracer.model.schema import NULL

# Plain integers: to test a bit of an IntFlag takes a microsecond.
CLONE_VM, CLONE_VFORK, CLONE_PARENT, CLONE_THREAD, CLONE_NEWPID = (
    int(CloneFlags[f"CLONE_{name}"]) for name in ("VM", "VFORK", "PARENT", "THREAD", "NEWPID")
)


class _Itself:
    """The leader of a task that has been given none: itself. No attribute, or each task would refer to itself."""

    def __get__(self, task: Task, owner: type) -> Task:
        return task


class Task:
    """One life of one tid. Defaults stand on the class: a million births should set few attributes each."""

    tid: int | None = None  # None: the log has not said it (yet)
    # birth
    ready = False  # its birth may be told
    placed = False  # its birth was told
    nameless = False  # it will be told without a pid
    kind: str | None = None  # "process", "thread", None: not yet known
    creator: Task | None = None
    tentative: Task | None = None  # who alone had a fork call open when it first appeared
    tentative_call: Any = None
    syscall: str | None = None
    flags: int | None = None
    exit_signal: int | None = None
    own_stack: bool | None = None
    evidence = "measured"
    start_ns: int | None = None  # when its fork was called
    first_ns: int | None = None  # its first line
    order = 0  # the number of that line
    followers: list[Task] | None = None  # threads it made, while it was not known whether it is a thread itself
    host: Task | None = None  # the process it would be a thread of, if it turns out to be one
    execs_first = False
    announced = False
    seen = False  # has a line of its own, or a notice
    in_ns = False  # its pid namespace is not strace's
    outer = False  # it is strace's: a child bears the number that its fork returned
    # identity, once placed
    pid: int = NULL  # its tid as rows bear it: fixed when its birth is told, even if the log names it later
    born = 0
    ppid: int = NULL
    parent_born: int = NULL
    comm: str | None = None
    born_comm: str | None = None
    former_comm: str | None = None  # before its last exec
    # now
    open: tuple[bytes, bytes, int | None] | None = None  # an unfinished call: name, text, when
    last_ns: int | None = None
    kids: OrderedDict[int, Task] | None = None  # children by the pid that their creator sees, where that differs
    children = 0  # edges that lead away from it
    exec_thread: Task | None = None  # a thread of this process that has called execve
    old_tid: int | None = None  # the thread whose exec took over this leader's tid
    moved = False  # by such an exec, whose result is still to come
    senders: dict[int, int | None] | None = None  # signal -> pid that sent it
    # end
    leaving: list[Task] | None = None  # its threads that called exit, and whose +++ line may not be shown
    called_group_exit = False
    called_exit = False  # itself called exit or exit_group
    dying: Any = None  # End: what exit_group said
    dying_ns: int | None = None
    final = False  # no further line of this life can come
    dead = False  # its EXIT was told
    exit_line = False  # by a +++ line
    exit_ns: int | None = None
    over_ns: int | None = None  # the latest time at which this life is known to have been over
    chld: Any = None  # End: what SIGCHLD said
    chld_from: Task | None = None
    chld_ns: int | None = None
    reaped = False
    pending_reap: Any = None
    detached = False
    kids_usage: dict[str, int] | None = None
    kids_blind = False  # it reaped a child without asking for rusage

    def __init__(self, tid: int | None) -> None:
        self.tid = tid
        self.lead = self  # the first task of its process

    def forget(self) -> None:
        """Break the circles that would keep it: the importer runs without a garbage collector."""
        self.chld_from = None  # its parent may know it (`kids`)
        if self.lead is self:
            del self.__dict__["lead"]


Task.lead = _Itself()  # type: ignore[assignment]


def how_of(task: Task) -> str | None:
    """How a process was made, by the call, the flags and the stack. None where the flags were not shown."""
    flags = task.flags
    if task.syscall == "vfork":
        return "vfork"
    if flags is None:
        return "fork" if task.syscall == "fork" else None
    if flags & CLONE_VM and flags & CLONE_VFORK:
        # A vfork shares its parent's stack; posix_spawn gives the child one of its own.
        return "posix_spawn" if task.own_stack else "vfork"
    if flags & CLONE_VM or task.exit_signal != 17:
        return "clone"
    return "fork"
