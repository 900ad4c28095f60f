"""The followed processes: events of the connector and taskstats in, rows out.

    family = Family(ask)
    family.add(process)        one that is there already
    family.take(events)        in the order of the socket, in which no effect overtakes its cause
    family.rows                what has come of it, _netlink_rows.py's

Identity is the fork event's time: the connector tells no start time. A process ends with the last of its tasks, so
the living tids of every process that has threads are kept. Four things look like something else:

  - a task tells its end after its parent may have reaped it: a fork may bring its pid back before that. The process
    that had the pid then waits in `_late` for the end it owes.
  - exec by a thread other than the first: the first one's end is told, and the process lives on under its pid; the
    thread's own tid is never heard of again.
  - the last task to tell its end need not be the one that ended the process.
  - kernel helpers (io_uring) are born like threads, and are none.

Pure but for `ask`, which looks at /proc. Knows no sockets, and of layouts only the order of the numbers.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol

from tracer.backends.netlink import process as stat
from tracer.backends.netlink.layout import AGROUP, COMM, EXEC, EXIT, FORK, UID
from tracer.backends.netlink.proc import Image, same_life
from tracer.backends.netlink.process import Process, StatsBox
from tracer.backends.netlink.rows import COLUMNS, COUNTERS, ENDED, EXECED, FORKED, LOST, RENAMED, Row
from tracer.host.procfs import ticks
from tracer.model.schema import NULL, Kind

_WHAT: Final = itemgetter(2)
_HOW: Final = COLUMNS[Kind.FORK].index("how")
_EXE: Final = COLUMNS[Kind.EXEC].index("exe")
_WORDS: Final = range(_EXE, _EXE + len(Image._fields))
_NO_WORDS: Final = (None,) * len(Image._fields)
_NO_COUNTERS: Final = (NULL,) * len(COUNTERS)
_KTHREADD: Final = 2
_SETTLED_NS: Final = 1_000_000  # from the change of the address space to the event that tells of the exec
_TOGETHER_NS: Final = 5_000_000
_WORKERS: Final = (b"iou-", b"vhost-")  # the names of kernel helpers


class Ask(Protocol):
    """What is looked up in /proc while events are taken."""

    def image(self, pid: int, born_ns: int) -> Image | None:
        """What the process runs now."""

    def is_worker(self, tgid: int, tid: int) -> bool | None:
        """Whether a task is a helper of the kernel's; None when it can not be told."""

    def now(self) -> int:
        """The time of a look, ns, on the events' clock."""


class Family:
    """`delays`: kernel.task_delayacct is on. `ignore_tid`: whose new names are no news."""

    def __init__(self, ask: Ask, *, everyone: bool = False, delays: bool = False, ignore_tid: int = 0) -> None:
        self.rows: list[Row] = []
        self.processes: dict[int, Process] = {}
        self.above: Process | None = None  # forktrace: the root makes children for it with CLONE_PARENT
        self.offset = 0  # from the events' clock, CLOCK_MONOTONIC, to CLOCK_BOOTTIME
        self.stats = StatsBox()
        self.has_stats = False
        self.missing_stats = 0  # ends without figures
        self.execs = self.execs_missed = 0
        self.looks: list[tuple[int, int]] = []
        """(time of the exec's row, when /proc was read for it) of rows that a later exec may still correct."""
        self.unsure: dict[int, tuple[Row, int]] = {}
        """Births of tasks that were gone when they were looked at, by tid: their end tells what they were."""
        self.lost: Row | None = None  # the row of the loss that is going on
        self.delays = delays
        self._ask = ask
        self._everyone = everyone
        self._ignore = ignore_tid
        self._late: dict[int, deque[Process]] = {}
        self._next: dict[int, int] = {}  # the number of the next event of each CPU
        self._comms: dict[bytes, str] = {}

    def alive(self) -> int:
        """Tasks of followed processes that have not ended."""
        threads = sum(len(p.tids) if p.tids is not None else 1 for p in self.processes.values())
        return threads + sum(map(len, self._late.values()))

    def add(self, process: Process) -> None:
        """A process that is there already. Its row is the caller's."""
        self.processes[process.pid] = process

    def take(self, events: Sequence[tuple[int, ...]]) -> None:
        """Events as layout.EVENT cuts them; `stats` must hold what came with them."""
        newest: dict[int, int] = {}  # of each process' images and ends the last: who has ended need not be looked up
        if EXEC in map(_WHAT, events):
            for event in events:
                if event[2] == EXEC or (event[2] == EXIT and event[5] == event[6]):
                    newest[event[6]] = event[4]
        processes, offset, following, late = self.processes, self.offset, self._next, self._late
        get, pop, append = processes.get, self.stats.pop, self.rows.append
        for seq, _, what, cpu, at, a, b, c, d, e, f in events:
            if following.get(cpu, seq) != seq:
                self._gap(cpu, seq, at)
            following[cpu] = seq + 1 & 0xFFFFFFFF
            if what == FORK:
                if c == d:
                    parent = get(b)
                    if parent is None:
                        parent = self._outside(b)
                        if parent is None:
                            continue
                    born = at + offset
                    if c in processes and self._again(processes[c], born, parent):
                        continue
                    comm = parent.comm if a == b else _name_of(parent, a)
                    processes[c] = Process(c, born, comm, parent.uid, counted=self.delays)
                    append([born, FORKED, (born, c, c, born, b, parent.born, None, parent.uid, comm)])
                else:
                    owner = get(d)
                    if owner is not None:
                        self._thread(owner, c, at + offset)
            elif what == EXIT:
                owner = get(b)
                if owner is not None:
                    if owner.tids is None and a == b and not (owner.owed or late or self.unsure):
                        append([at + offset, ENDED, self._end(owner, a, c, pop(a), at + offset)])
                        del processes[a]
                    else:
                        self._exit(owner, a, c, at + offset)
                elif late and b in late:
                    self._exit(late[b][0], a, c, at + offset)
            elif what == EXEC:
                owner = get(b)
                if owner is not None:
                    self._exec(owner, at, late=newest[b] != at)
            elif what == COMM:
                owner = get(b)
                if owner is not None and a != self._ignore:
                    self._rename(owner, a, struct.pack("=4I", c, d, e, f), at + offset)
            elif what == UID:
                owner = get(b)
                if owner is not None and a == b:
                    owner.uid = c

    # births

    def _outside(self, ppid: int) -> Process | None:
        """The parent of a fork that is followed although its parent is not; None for a stranger's."""
        if self.above is not None and ppid == self.above.pid and threading.active_count() == 1:
            return self.above  # nobody else here could have forked
        if self._everyone and ppid != _KTHREADD:
            return Process(ppid, NULL, None, NULL, counted=False)
        return None

    def _again(self, old: Process, born: int, parent: Process) -> bool:
        """A pid that we know is born. True: it is the process we know, found in /proc before its fork was read."""
        if old.snapshot and same_life(ticks(old.born), born):
            old.snapshot = False
            if parent is not self.above:  # else it is the root, which has its row
                values = (born, old.pid, old.pid, old.born, parent.pid, parent.born, None, old.uid, old.comm)
                self.rows.append([born, FORKED, values])
            return True
        self._late.setdefault(old.pid, deque()).append(old)
        return False

    def _thread(self, owner: Process, tid: int, at: int) -> None:
        if owner.tids is None:
            owner.tids = {owner.pid}
        if tid in owner.tids:
            if owner.snapshot:
                return  # found in /proc before its birth was read
            owner.again = owner.again or {}
            owner.again[tid] = owner.again.get(tid, 0) + 1
        owner.tids.add(tid)
        comm = None if owner.names else owner.comm
        row: Row = [at, FORKED, [at, owner.pid, tid, owner.born, NULL, NULL, None, owner.uid, comm]]
        self.rows.append(row)
        worker = self._ask.is_worker(owner.pid, tid)
        if worker:
            row[2][_HOW] = "io_worker"
        elif worker is None and self.has_stats:  # it is gone; its name comes with its end
            self.unsure[tid] = row, self._ask.now()

    # images and names

    def _exec(self, owner: Process, at: int, *, late: bool) -> None:
        """A new image. Only the calling task is left: those that lived owe their ends, where they did not tell yet."""
        before = owner.last_exec
        if before is not None and at < owner.looked + _SETTLED_NS:
            for i in _WORDS:  # what was read then may already have been this image
                before[2][i] = None
        old_tid = owner.pid
        tids = owner.tids
        if tids is not None:
            owner.owed = len(tids) - 1
            owner.owes_leader = owner.owed > 0 and owner.pid in tids
            old_tid = NULL if owner.owed else next(iter(tids), NULL)
            owner.tids = owner.again = owner.names = None
        found = None if late else self._ask.image(owner.pid, owner.born)
        words = _NO_WORDS if found is None else found
        owner.comm = words[-1]
        ts = at + self.offset
        row = owner.last_exec = [
            ts,
            EXECED,
            [ts, owner.pid, owner.pid, owner.born, old_tid, owner.uid, *words, "snapshot"],
        ]
        if owner.root is not None:
            row[2] += owner.root
            owner.root = None
        self.rows.append(row)
        self.execs += 1
        self.execs_missed += found is None or found.argv is None
        owner.looked = 0
        if not late:
            owner.looked = self._ask.now()
            self.looks.append((ts, owner.looked))

    def _rename(self, owner: Process, tid: int, raw: bytes, at: int) -> None:
        comm = self._text(raw)
        if tid == owner.pid:
            owner.comm = comm
            self.rows.append([at, RENAMED, (at, owner.pid, tid, owner.born, comm)])
        else:
            owner.names = owner.names or {}
            owner.names[tid] = comm

    # ends

    def _exit(self, owner: Process, tid: int, status: int, at: int) -> None:
        """The end of a task, and of the process if it was the last."""
        waiting = self._late.get(owner.pid)
        if waiting:
            owner = waiting[0]  # ends come in the order of lives
        used = self.stats.pop(tid)
        if tid in self.unsure:
            row, _ = self.unsure.pop(tid)
            if used is not None and used[stat.COMM].startswith(_WORKERS):
                row[2][_HOW] = "io_worker"
        last = self._was_last(owner, tid, used, status)
        if last:
            status = owner.status if owner.status is not None else _status(owner, status, at)
        elif tid == owner.pid and owner.tids is not None:
            owner.first_end = at, status
        self.rows.append([at, ENDED, self._end(owner, tid, status if last else None, used, at)])
        if last and waiting:
            waiting.popleft()
            if not waiting:
                del self._late[owner.pid]
        elif last:
            del self.processes[owner.pid]

    def _was_last(self, owner: Process, tid: int, used: tuple[Any, ...] | None, status: int) -> bool:
        """Strike a task off. Whether nobody is left."""
        if tid == owner.pid and owner.owes_leader and not _ended_group(used, status):
            owner.owed -= 1
            owner.owes_leader = False
            return False
        if owner.again and tid in owner.again:
            owner.again[tid] -= 1
            if not owner.again[tid]:
                del owner.again[tid]
            return False
        if used is not None and used[stat.FLAG] & AGROUP:
            owner.status = status
        if owner.tids is None or tid not in owner.tids:
            if owner.tids is None and tid == owner.pid:
                return True
            owner.owed = max(0, owner.owed - 1)
            return False
        owner.tids.discard(tid)
        return not owner.tids

    def _end(
        self, owner: Process, tid: int, status: int | None, used: tuple[Any, ...] | None, at: int
    ) -> tuple[Any, ...]:
        """Values of an EXIT row; `status` None: the process lives on."""
        if status is None:
            what: tuple[int, ...] = (0, NULL, NULL, NULL)
        elif status & 0x7F:
            what = (1, NULL, status & 0x7F, status >> 7 & 1)
        else:
            what = (1, status >> 8 & 0xFF, NULL, status >> 7 & 1)
        if used is None:
            self.missing_stats += self.has_stats
            rss, counters = NULL, _NO_COUNTERS
        else:
            if tid == owner.pid and not owner.owed:
                owner.comm = self._text(used[stat.COMM])
                owner.uid = used[stat.UID]
            rss, counters = used[stat.RSS] * 1024 or NULL, self.counters(used, counted=owner.counted)
        return (at, owner.pid, tid, owner.born, *what, owner.uid, owner.comm, rss, *counters)

    def counters(self, used: tuple[Any, ...], *, counted: bool) -> tuple[int, ...]:
        """COUNTERS of a task. A run time of 0 means that the scheduler never looked: then no CPU time is known."""
        runtime, copies = used[stat.RUNTIME], used[stat.WPCOPY]
        return (
            used[stat.MINFLT],
            used[stat.MAJFLT],
            used[stat.UTIME] * 1000 if runtime else NULL,
            used[stat.STIME] * 1000 if runtime else NULL,
            runtime or NULL,
            copies if self.delays and (copies or counted) else NULL,
        )

    # losses

    def _gap(self, cpu: int, seq: int, at: int) -> None:
        missing = seq - self._next[cpu] & 0xFFFFFFFF
        if missing >= 1 << 31:
            return  # numbers went back: nobody has listened for a while
        if self.lost is None:
            self.lost = self.add_loss(at + self.offset, 0, "netlink")
            self.stats.clear()
        self.lost[2][1] += missing

    def add_loss(self, at: int, count: int, where: str) -> Row:
        """A LOST row; `count` NULL: nobody knows how many."""
        row: Row = [at, LOST, [at, count, where]]
        self.rows.append(row)
        return row

    def gone(self, processes: Iterable[Process]) -> None:
        """Followed processes that turn out to have ended: when and how was not seen."""
        at = self._ask.now() + self.offset
        for process in processes:
            unseen = (1, NULL, NULL, NULL, process.uid, process.comm, NULL, *_NO_COUNTERS, "snapshot")
            self.rows.append([at, ENDED, (NULL, process.pid, process.pid, process.born, *unseen)])
            if self.processes.get(process.pid) is process:
                del self.processes[process.pid]

    def forget_late(self) -> None:
        """After a loss: the ends that were still owed may never come."""
        late = [process for waiting in self._late.values() for process in waiting]
        self._late.clear()
        self.gone(late)

    def _text(self, raw: bytes) -> str:
        text = self._comms.get(raw)
        if text is None:
            text = raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            if len(self._comms) < 65536:  # hostile programs rename themselves without end
                self._comms[raw] = text
        return text


def _name_of(owner: Process, tid: int) -> str | None:
    """The name a child gets from the thread that forks it: its own, or the one they all had at the beginning."""
    return owner.names.get(tid) if owner.names else owner.comm


def _status(owner: Process, status: int, at: int) -> int:
    """A process' status by that of its last task, where the kernel has not marked the one that ended it.

    A thread that the first one joins may tell its own end after exit_group() by that one: an end by its side within
    milliseconds is taken for such.
    """
    if owner.first_end is not None and at - owner.first_end[0] < _TOGETHER_NS:
        return owner.first_end[1] or status
    return status


def _ended_group(used: tuple[Any, ...] | None, status: int) -> bool:
    """Whether a first thread's end is its process' end, where an exec by another thread may have ended it too."""
    if used is not None and used[stat.TGID]:  # a kernel that knows tgids here marks the last task of a group
        return bool(used[stat.FLAG] & AGROUP)
    return status != 0
