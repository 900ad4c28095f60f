"""The followed processes: events of the connector and taskstats in, rows of the model out.

    family = Family(ask, clock_offset_ns)
    family.add(...)                    who is there already
    family.take(events, stats)         in the order of the socket, which no effect overtakes its cause in
    family.rows                        [position, kind, values], values in the order of COLUMNS[kind]

Identity is the fork event's time: the connector tells no start time. A process ends with the last of its tasks, so
the living tids of every process that has threads are kept. Three things look like something else:

  - a task tells its end after its parent may have reaped it: a fork may bring its pid back before that. The process
    that had the pid then waits in `_late` for the end it owes.
  - exec by a thread other than the first: the first one's end is told, and the process lives on under its pid; the
    thread's own tid is never heard of again.
  - kernel helpers (io_uring) are born like threads, and are none.

Pure but for `ask`, which looks at /proc. Knows no sockets and no layouts but the order of an event's numbers.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol

from tracer.backends import _netlink_layout as layout
from tracer.backends._netlink_layout import COMM, EXEC, EXIT, FORK, UID
from tracer.backends._netlink_proc import Image, same_life
from tracer.events import NULL, Kind

Row = list[Any]  # [position in time, kind, values]

# The columns of each kind that comes of events, ts_ns first.
_WHO: Final = ("ts_ns", "pid", "tid", "born_ns")
COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
COLUMNS: Final[dict[int, tuple[str, ...]]] = {
    Kind.FORK: (*_WHO, "ppid", "parent_born_ns", "how", "uid", "comm"),
    Kind.EXEC: (
        *_WHO, "old_tid", "uid", "exe", "argv", "interpreter", "cwd", "env", "comm", "evidence", *COUNTERS,
    ),
    Kind.EXIT: (
        *_WHO, "last", "exit_code", "signal", "core_dumped", "uid", "comm", "max_rss_bytes", "evidence", *COUNTERS,
    ),
    Kind.RENAME: (*_WHO, "comm"),
    Kind.EXISTING: (*_WHO, "ppid", "parent_born_ns", "how", "uid", "comm", "evidence"),
    Kind.ALIVE: (*_WHO, "uid", "comm", "max_rss_bytes", *COUNTERS),
    Kind.LOST: ("ts_ns", "count", "where"),
}  # fmt: skip
_FORKED, _EXECED, _ENDED, _RENAMED = int(Kind.FORK), int(Kind.EXEC), int(Kind.EXIT), int(Kind.RENAME)
_WORDS: Final = tuple(COLUMNS[Kind.EXEC].index(n) for n in ("exe", "argv", "interpreter", "cwd", "env", "comm"))
_HOW: Final = COLUMNS[Kind.FORK].index("how")
_NO_COUNTERS: Final = (NULL,) * len(COUNTERS)

_FLAG, _RUNTIME, _COMM, _UID, _TID, _UTIME, _STIME, _MINFLT, _MAJFLT, _RSS, _TGID, _WPCOPY = range(12)


class Ask(Protocol):
    """What is looked up in /proc while events are taken."""

    def image(self, pid: int, born_ns: int) -> Image | None:
        """What the process runs now."""

    def is_worker(self, tgid: int, tid: int) -> bool | None:
        """Whether a task is a helper of the kernel's; None when it can not be told."""

    def now(self) -> int:
        """The time of a look, ns, on the events' clock."""


class Process:
    """A followed process that has not ended. `tids` None: it has one task, the first."""

    __slots__ = (
        "again", "born", "comm", "counted", "first_end", "last_exec", "looked", "names", "owed", "owes_leader", "pid",
        "root", "snapshot", "status", "tids", "uid",
    )  # fmt: skip

    def __init__(self, pid: int, born: int, comm: str | None, uid: int, *, counted: bool) -> None:
        self.pid = pid
        self.born = born
        self.comm = comm
        self.uid = uid
        self.counted = counted  # it has a record of delays: born while kernel.task_delayacct was on
        self.tids: set[int] | None = None
        self.again: dict[int, int] | None = None  # tids that live twice: the first still owes its end
        self.names: dict[int, str] | None = None  # of threads that have given themselves one
        self.owed = 0  # ends still to come of threads that an exec has made away with
        self.owes_leader = False  # ... among them perhaps the first one's
        self.root: tuple[int, ...] | None = None  # counters at its start, until its first exec
        self.snapshot = False  # found in /proc: the event of its fork may still be on its way
        self.first_end: tuple[int, int] | None = None  # when the first task ended before others, and its status
        self.status: int | None = None  # the process', once the kernel has marked the task that ended it
        self.last_exec: Row | None = None
        self.looked = 0


class StatsBox:
    """taskstats that wait for the event of their task's end, by tid, first come first served."""

    def __init__(self) -> None:
        self._waiting: dict[int, Any] = {}  # a message, or a list of them
        self._fresh: list[int] = []
        self._stale: list[int] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, messages: Iterable[tuple[Any, ...]]) -> None:
        """Messages as layout.StatsLayout cuts them."""
        waiting, fresh = self._waiting, self._fresh
        for message in messages:
            tid = message[_TID]
            if tid in waiting:
                have = waiting[tid]
                waiting[tid] = [*have, message] if isinstance(have, list) else [have, message]
            else:
                waiting[tid] = message
                fresh.append(tid)

    def pop(self, tid: int) -> tuple[Any, ...] | None:
        """The oldest one of that tid."""
        found = self._waiting.pop(tid, None)
        if isinstance(found, list):
            first, *rest = found
            self._waiting[tid] = rest if len(rest) > 1 else rest[0]
            return first  # type: ignore[no-any-return]
        return found  # type: ignore[no-any-return]

    def peek(self, tid: int) -> tuple[Any, ...] | None:
        """The same, left where it is."""
        found = self._waiting.get(tid)
        return found[0] if isinstance(found, list) else found

    def settle(self, processes: dict[int, Process]) -> None:
        """Drop those of strangers. A stranger may be a child whose fork was not read yet: they wait for one round."""
        for tid in self._stale:
            found = self.peek(tid)
            if found is not None and not _is_of(found[_TGID], tid, processes):
                del self._waiting[tid]
        self._stale, self._fresh = self._fresh, []

    def clear(self) -> None:
        """After a loss nobody knows which end they belong to."""
        self._waiting.clear()
        self._fresh.clear()
        self._stale.clear()


class Family:
    """`above`: whose children are followed too: forktrace's own, which the root makes with CLONE_PARENT."""

    def __init__(self, ask: Ask, *, everyone: bool = False, delays: bool = False, ignore_tid: int = 0) -> None:
        self.rows: list[Row] = []
        self.processes: dict[int, Process] = {}
        self.above: Process | None = None
        self.offset = 0  # from the events' clock, CLOCK_MONOTONIC, to CLOCK_BOOTTIME
        self.stats = StatsBox()
        self.has_stats = False
        self.missing_stats = 0
        self.execs = self.execs_missed = 0
        self.looks: list[tuple[int, int]] = []
        """(time of the exec's row, when /proc was read for it) of rows that a later exec may still correct."""
        self.unsure: dict[int, tuple[Row, int]] = {}
        """Births of tasks that were gone when they were looked at, by tid: their end tells what they were."""
        self.lost: Row | None = None  # the row of the loss that is going on
        self.lost_total = 0
        self._ask = ask
        self._everyone = everyone
        self.delays = delays
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

    def take(self, events: Iterable[tuple[int, ...]]) -> None:
        """Events as layout.EVENT cuts them; `stats` must hold what came with them."""
        following = self._next
        processes, rows, offset = self.processes, self.rows, self.offset
        get, append = processes.get, rows.append
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
                    comm = parent.comm if a == b else _thread_name(parent, a)
                    processes[c] = Process(c, born, comm, parent.uid, counted=self.delays)
                    append([born, _FORKED, (born, c, c, born, b, parent.born, None, parent.uid, comm)])
                else:
                    owner = get(d)
                    if owner is not None:
                        self._thread(owner, c, at + offset)
            elif what == EXIT:
                owner = get(b)
                if owner is not None:
                    self._exit(owner, a, c, at + offset)
                elif self._late and b in self._late:
                    self._exit(self._late[b][0], a, c, at + offset)
            elif what == EXEC:
                owner = get(b)
                if owner is not None:
                    self._exec(owner, at)
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
        if self.above is not None and ppid == self.above.pid:
            return self.above
        if self._everyone and ppid != _KTHREADD:
            return Process(ppid, NULL, None, NULL, counted=False)
        return None

    def _again(self, old: Process, born: int, parent: Process) -> bool:
        """A pid that we know is born. True: it is the process we know, found in /proc before its fork was read."""
        if old.snapshot and same_life(old.born // _TICK, born):
            old.snapshot = False
            self.rows.append(
                [born, _FORKED, (born, old.pid, old.pid, old.born, parent.pid, parent.born, None, old.uid, old.comm)]
            )
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
        worker = self._ask.is_worker(owner.pid, tid)
        comm = None if owner.names else owner.comm
        row = [at, _FORKED, [at, owner.pid, tid, owner.born, NULL, NULL, None, owner.uid, comm]]
        self.rows.append(row)
        if worker:
            row[2][_HOW] = "io_worker"
        elif worker is None and self.has_stats:  # it is gone; its name comes with its end
            self.unsure[tid] = row, self._ask.now()

    # images and names

    def _exec(self, owner: Process, at: int) -> None:
        """A new image. Only the calling task is left: those that lived owe their ends, where they did not tell yet."""
        last = owner.last_exec
        if last is not None and at < owner.looked + _SETTLED_NS:
            for i in _WORDS:  # what was read then may already have been this image
                last[2][i] = None
        old_tid = owner.pid
        tids = owner.tids
        if tids is not None:
            owner.owed = len(tids) - 1
            owner.owes_leader = owner.owed > 0 and owner.pid in tids
            old_tid = NULL if owner.owed else next(iter(tids), NULL)
            owner.tids = owner.again = None
        owner.names = None
        found = self._ask.image(owner.pid, owner.born)
        owner.looked = self._ask.now()
        ts = at + self.offset
        counters = owner.root or _NO_COUNTERS
        owner.root = None
        words = (None,) * 6 if found is None else (
            found.exe, found.argv, found.interpreter, found.cwd, found.env, found.comm,
        )  # fmt: skip
        owner.comm = words[-1]
        owner.last_exec = [
            ts, _EXECED, [ts, owner.pid, owner.pid, owner.born, old_tid, owner.uid, *words, "snapshot", *counters],
        ]  # fmt: skip
        self.rows.append(owner.last_exec)
        self.looks.append((ts, owner.looked))
        self.execs += 1
        self.execs_missed += found is None or found.argv is None

    def _rename(self, owner: Process, tid: int, raw: bytes, at: int) -> None:
        comm = self._text(raw)
        if tid == owner.pid:
            owner.comm = comm
            self.rows.append([at, _RENAMED, (at, owner.pid, tid, owner.born, comm)])
        else:
            owner.names = owner.names or {}
            owner.names[tid] = comm

    # ends

    def _exit(self, owner: Process, tid: int, status: int, at: int) -> None:
        """The end of a task, and of the process if it was the last."""
        late = self._late.get(owner.pid) if self._late else None
        if late:
            owner = late[0]  # ends come in the order of lives
        used = self.stats.pop(tid)
        if self.unsure and tid in self.unsure:
            row, _ = self.unsure.pop(tid)
            if used is not None and used[_COMM].startswith((b"iou-", b"vhost-")):
                row[2][_HOW] = "io_worker"
        if used is None and self.has_stats:
            self.missing_stats += 1
        last = False
        if tid == owner.pid and owner.owes_leader and not _ended_group(used, status):
            owner.owed -= 1
            owner.owes_leader = False
        else:
            if tid == owner.pid and used is not None:
                owner.comm = self._text(used[_COMM])
                owner.uid = used[_UID]
            tids = owner.tids
            if owner.again and tid in owner.again:
                owner.again[tid] -= 1
                if not owner.again[tid]:
                    del owner.again[tid]
            elif tids is None:
                last = tid == owner.pid
                owner.owed = max(0, owner.owed - (not last))
            else:
                if owner.owed and tid not in tids:
                    owner.owed -= 1
                tids.discard(tid)
                last = not tids
                if tid == owner.pid:
                    owner.first_end = at, status
                if used is not None and used[_FLAG] & layout.AGROUP:
                    owner.status = status
                status = _status(owner, status, at)
        self.rows.append([at, _ENDED, self._end(owner, tid, status if last else None, used, at)])
        if last:
            if late:
                late.popleft()
                if not late:
                    del self._late[owner.pid]
            else:
                del self.processes[owner.pid]

    def _end(
        self, owner: Process, tid: int, status: int | None, used: tuple[Any, ...] | None, at: int
    ) -> tuple[Any, ...]:
        """Values of an EXIT row; `status` None: the process lives on."""
        if status is not None:
            signal = status & 0x7F
            code = NULL if signal else status >> 8 & 0xFF
            what: tuple[int, ...] = (1, code, signal or NULL, status >> 7 & 1)
        else:
            what = (0, NULL, NULL, NULL)
        rss = NULL if used is None or not used[_RSS] else used[_RSS] * 1024
        counters = _NO_COUNTERS if used is None else self.counters(used, counted=owner.counted)
        return (at, owner.pid, tid, owner.born, *what, owner.uid, owner.comm, rss, "measured", *counters)

    def counters(self, used: tuple[Any, ...], *, counted: bool) -> tuple[int, ...]:
        """COUNTERS of a task. A run time of 0 means that the scheduler never looked: then no CPU time is known."""
        runtime, copies = used[_RUNTIME], used[_WPCOPY]
        return (
            used[_MINFLT],
            used[_MAJFLT],
            used[_UTIME] * 1000 if runtime else NULL,
            used[_STIME] * 1000 if runtime else NULL,
            runtime or NULL,
            copies if copies or (counted and self.delays) else NULL,
        )

    # losses

    def _gap(self, cpu: int, seq: int, at: int) -> None:
        missing = seq - self._next[cpu] & 0xFFFFFFFF
        if missing >= 1 << 31:
            return  # numbers went back: an older kernel starts them anew
        if self.lost is None:
            ts = at + self.offset
            self.lost = [ts, int(Kind.LOST), [ts, 0, "netlink"]]
            self.rows.append(self.lost)
            self.stats.clear()
        self.lost[2][1] += missing
        self.lost_total += missing

    def gone(self, processes: Iterable[Process]) -> None:
        """Followed processes that turn out to have ended: when and how was not seen."""
        at = self._ask.now() + self.offset
        for process in processes:
            self.rows.append(
                [at, _ENDED, (NULL, process.pid, process.pid, process.born, 1, NULL, NULL, NULL, process.uid, process.comm,
                         NULL, "snapshot", *_NO_COUNTERS)]
            )  # fmt: skip
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


_KTHREADD: Final = 2
_TICK: Final = 10_000_000
_SETTLED_NS: Final = 1_000_000
_TOGETHER_NS: Final = 5_000_000


def _is_of(tgid: int, tid: int, processes: dict[int, Process]) -> bool:
    """Whether a task is of a followed process; `tgid` is 0 where the kernel does not tell it."""
    if tgid or tid in processes:
        return (tgid or tid) in processes
    return any(p.tids is not None and tid in p.tids for p in processes.values())


def _thread_name(owner: Process, tid: int) -> str | None:
    """The name a child gets from the thread that forks it: its own, or the one they all had at the beginning."""
    if not owner.names:
        return owner.comm
    return owner.names.get(tid)


def _status(owner: Process, status: int, at: int) -> int:
    """A process' status by that of its last task, which need not have ended it.

    A thread that is joined by the first one may tell its own end after exit_group() by that one. The kernel marks the
    task with which the process ended; where it does not, an end by its side within milliseconds is taken for such.
    """
    if owner.status is not None:
        return owner.status
    if owner.first_end is not None and at - owner.first_end[0] < _TOGETHER_NS:
        return owner.first_end[1] or status
    return status


def _ended_group(used: tuple[Any, ...] | None, status: int) -> bool:
    """Whether a first thread's end is its process' end, where an exec by another thread may have ended it too."""
    if used is not None and used[_TGID]:  # a kernel that knows tgids here marks the last task of a group
        return bool(used[_FLAG] & layout.AGROUP)
    return status != 0
