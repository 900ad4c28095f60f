"""The rows that tasks become, in an order that makes sense.

A child may run, exec and end before its parent's fork line returns, and a log may never say whose child it was. So
a birth waits in a queue until it is known (`Task.ready`), and what happened after it waits behind it:

    born A | exec A | born B (whose?) | exec B | exit A        A's rows went out; the rest waits for B's parent

The queue is short: past `hold` rows its head is decided by what is known so far. Knows nothing of strace's text.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tracer.importers.strace.task import CLONE_PARENT, Task, how_of
from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind

_HEAD: Final = ("ts_ns", "pid", "tid", "born_ns")
COLUMNS: Final[dict[int, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    Kind.FORK: (
        (
            *_HEAD,
            "creator_pid",
            "creator_tid",
            "creator_born_ns",
            "ppid",
            "parent_born_ns",
            "clone_flags",
            "exit_signal",
        ),
        ("how", "syscall", "comm", "evidence"),
    ),
    Kind.EXISTING: (_HEAD, ("how", "comm", "evidence")),
    Kind.EXEC: ((*_HEAD, "old_tid"), ("exe", "argv", "comm", "cwd", "evidence")),
    Kind.EXEC_FAILED: ((*_HEAD, "errno"), ("exe", "argv", "error")),
    Kind.EXIT: ((*_HEAD, "exit_code", "signal", "core_dumped", "last", "killed_by"), ("evidence",)),
    Kind.REAP: (
        (*_HEAD, "reaped_by", "reap_ns", "zombie_ns", "min_flt", "maj_flt", "utime_ns", "stime_ns", "max_rss_bytes"),
        ("evidence",),
    ),
    Kind.FORK_FAILED: ((*_HEAD, "clone_flags", "errno"), ("syscall", "error", "cause")),
    Kind.RENAME: (_HEAD, ("comm",)),
    Kind.LOST: (("ts_ns", "count"), ("where",)),
}
"""Columns of a row by kind: first those of integers, then those of text."""
_FORK, _EXISTING, _LOST = int(Kind.FORK), int(Kind.EXISTING), int(Kind.LOST)
_AGAIN: Final = 0
_REAP, _EXIT = int(Kind.REAP), int(Kind.EXIT)
_EXEC, _RENAME = int(Kind.EXEC), int(Kind.RENAME)


class Rows:
    """Takes what happened, gives batches (`out`). A pid that the log never says is null."""

    def __init__(self, hold: int = 16384, size: int = 4096) -> None:
        self.hold = hold
        self.size = size
        self.queue: deque[tuple[int, Any, int, tuple[Any, ...], tuple[Any, ...]]] = deque()
        self.kinds = bytearray()
        # Row after row, all integer columns of a kind in one array: an append for each column would be twice as slow.
        self.ints: dict[int, array[int]] = {int(k): array("q") for k in COLUMNS}
        self.texts: dict[int, list[Any]] = {int(k): [] for k in COLUMNS}
        self.whole = False  # rows are counted: no batch may be made of them now
        self.sequence = 0
        self.last_born: dict[int | None, int] = {}
        self.unknown_pids = 0
        self.decide: Callable[[Task], None] = lambda task: None  # called with a task whose birth may wait no longer
        self.out: list[Batch] = []
        self._stack: list[Task] = []
        self._climbed: set[Task] = set()

    def birth(self, task: Task) -> None:
        """The place of a birth in the stream: where the task first appeared."""
        self.queue.append((_FORK, task, NULL, (), ()))
        if task.ready:
            self.drain()

    def add(self, kind: int, task: Task, ns: int | None, ints: tuple[Any, ...], texts: tuple[Any, ...]) -> None:
        """A row of `kind` about `task`: the columns after the four of identity, integers (NULL for null), then text."""
        ts = NULL if ns is None else ns
        if self.queue or not task.placed:
            self.queue.append((kind, task, ts, ints, texts))
            if len(self.queue) > self.hold:
                self.drain()
                if len(self.queue) > self.hold:
                    self._force()
        else:
            self._row(kind, task, ts, ints, texts)

    def lost(self, ns: int | None, count: int, where: str) -> None:
        """Text that could not be read stood here."""
        ints = (NULL if ns is None else ns, count)
        if self.queue:
            self.queue.append((_LOST, None, NULL, ints, (where,)))
        else:
            self.append(_LOST, ints, (where,))

    def drain(self) -> None:
        """Let go what need not wait."""
        queue = self.queue
        while queue:
            kind, task, ts, ints, texts = queue[0]
            if kind == _LOST:
                self.append(_LOST, ints, texts)
            elif kind == _AGAIN:
                maker = task.creator.lead if task.creator is not None else task
                if not maker.placed and maker is not task and not self._climb(maker):
                    return
                self._tell_fork(task)
                task.creator = None
            else:
                if not task.placed and not self._climb(task):
                    return
                if kind != _FORK:
                    self._row(kind, task, ts, ints, texts)
            queue.popleft()

    def finish(self) -> None:
        """Decide all that waits."""
        self.drain()
        while self.queue:
            self._force()

    def cut(self) -> None:
        """Make a batch of what has been told since the last."""
        if not self.kinds:
            return
        parts: dict[int, dict[str, Any]] = {}
        for kind, flat in self.ints.items():
            if not flat:
                continue
            names, texts = COLUMNS[kind]
            n = len(names)
            part: dict[str, Any] = {name: flat[i::n] for i, name in enumerate(names)}
            n = len(texts)
            words = self.texts[kind]
            for i, name in enumerate(texts):
                part[name] = words[i::n]
            parts[kind] = part
        self.out.append(Batch(bytes(self.kinds), parts))
        self.clear()

    def clear(self) -> None:
        """Forget the rows since the last batch. What holds them is emptied, not replaced: others hold on to it."""
        for flat in self.ints.values():
            del flat[:]
        for words in self.texts.values():
            words.clear()
        self.kinds.clear()

    def append(self, kind: int, ints: tuple[Any, ...], texts: tuple[Any, ...]) -> None:
        """A finished row, all of its columns."""
        if kind == _EXEC and self.ints[_RENAME]:
            self.cut()  # within a batch a reader may take names after execs
        self.kinds.append(kind)
        self.ints[kind].extend(ints)
        self.texts[kind].extend(texts)
        if len(self.kinds) >= self.size and not self.whole:
            self.cut()

    def correct(self, task: Task) -> None:
        """Tell the birth of a process again, now that its fork is known: a reader takes the fork's word."""
        self.queue.append((_AGAIN, task, NULL, (), ()))
        self.drain()

    # -- inside

    def _row(self, kind: int, task: Task, ts: int, ints: tuple[Any, ...], texts: tuple[Any, ...]) -> None:
        lead = task.lead
        if kind == _REAP:
            ints = (ints[0].lead.pid, *ints[1:])  # who waited may have got its pid after the row was made
        elif kind == _EXIT and lead is not task:
            ints = (*ints[:3], 0, *ints[4:])  # it may have turned out to be a thread since
        self.append(kind, (ts, lead.pid, task.pid, lead.born, *ints), texts)

    def _force(self) -> None:
        entry = self.queue[0]
        while self.queue and self.queue[0] is entry:
            if self._stack:
                task = self._stack[-1]
                if not task.ready:
                    self.decide(task)
                    task.ready = True
                elif not task.placed:
                    task.nameless = True
                    self.unknown_pids += 1
            self.drain()

    def _climb(self, task: Task) -> bool:
        """Tell the birth of `task`, after those that must stand before it; False if one is not known yet.

        The way up is kept until the next call: to walk it anew each time would be quadratic in its height.
        """
        stack = self._stack
        if not stack:
            stack.append(task)
            self._climbed.add(task)
        while stack:
            t = stack[-1]
            if not t.placed:
                if not t.ready or (t.tid is None and not t.nameless):
                    return False
                first = t.lead if t.lead is not t else t.creator.lead if t.creator is not None else None
                if first is not None and not first.placed:
                    if first in self._climbed:
                        t.creator, t.lead = None, t  # two that wait for each other: a forged log
                    else:
                        stack.append(first)
                        self._climbed.add(first)
                    continue
                self._place(t)
            stack.pop()
        self._climbed.clear()
        return True

    def _born(self, task: Task) -> int:
        ns = task.start_ns if task.start_ns is not None else task.first_ns
        if ns is None:
            self.sequence += 1
            ns = self.sequence
        last = self.last_born.get(task.tid)
        if last is not None and ns <= last:
            ns = last + 1
        self.last_born[task.tid] = ns
        return ns

    def _place(self, task: Task) -> None:
        task.placed = True
        lead, creator = task.lead, task.creator
        if task.tid is not None:
            task.pid = task.tid
        if lead is task:
            task.born = self._born(task)
        if creator is None and lead is task:
            root = task.execs_first or task.announced or task.children or task.kind == "root"
            how = "root" if root else "existing"
            # Its first line is no birth, and the time from there no life, unless it begins with its program.
            ts = NULL if task.first_ns is None or not task.execs_first else task.first_ns
            self.append(_EXISTING, (ts, task.pid, task.pid, task.born), (how, task.born_comm, task.evidence))
            return
        self._tell_fork(task)
        # The chain of ancestors must not be kept alive by it: a log may hold a million generations.
        task.creator = task.tentative = task.tentative_call = task.host = None

    def _tell_fork(self, task: Task) -> None:
        lead, creator = task.lead, task.creator
        ts = NULL if task.start_ns is None else task.start_ns  # a first line is no birth
        made = (NULL, NULL, NULL)
        if creator is not None:
            maker = creator.lead
            if task.born_comm is None:
                # Its fork returned before its maker's own did: nobody knew the name that both have.
                task.born_comm = maker.born_comm
                task.comm = task.comm or task.born_comm
            by = creator.tid if not creator.placed and creator.tid is not None else creator.pid
            made = (maker.pid, by, maker.born)
            if lead is task:
                # Under CLONE_PARENT the new one is its creator's brother.
                brother = task.flags is not None and task.flags & CLONE_PARENT
                task.ppid = maker.ppid if brother else maker.pid
                task.parent_born = maker.parent_born if brother else maker.born
        flags = NULL if task.flags is None else task.flags
        signal = NULL if task.exit_signal is None else task.exit_signal
        self.append(
            _FORK,
            (ts, lead.pid, task.pid, lead.born, *made, task.ppid, task.parent_born, flags, signal),
            ("clone" if lead is not task else how_of(task), task.syscall, task.born_comm, task.evidence),
        )
