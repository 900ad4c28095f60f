"""The netlink backend: the proc connector for births, execs and ends, taskstats for what each task had used.

Needs no BPF. Sees threads, exit statuses, CPU time, faults and peak memory; argv, exe and cwd as /proc has them a
moment after the exec; copies of pages by the kernel's own count while kernel.task_delayacct is on. Can not see clone
flags, who waited, who killed. Without CAP_NET_ADMIN, where the kernel (6.6) allows the connector to anyone, there
are no taskstats.

    _netlink_layout.py    the messages, byte by byte        _netlink_family.py   which task is whose, what has ended
    _netlink_sockets.py   set-up, reading in bulk           _netlink_proc.py     what is asked of /proc
    _netlink_pace.py      when to look

Rows come sorted by time: events of two CPUs reach the socket up to 0.1 ms out of order (measured), so the last
millisecond waits for the next look. Knows no tree and does not start the program.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from array import array
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from tracer import kernel, procfs
from tracer.backends import Options, Readiness
from tracer.backends import _netlink_proc as proc
from tracer.backends._netlink_family import COLUMNS, Family, Process
from tracer.backends._netlink_layout import EVENT
from tracer.backends._netlink_pace import Pace
from tracer.backends._netlink_sockets import Connector, TaskStats, own_tid, ring_every_cpu
from tracer.errors import NoInputError, NoPermissionError, ProbesRefusedError
from tracer.events import NULL, Batch, Fact, Kind, Part, is_list

_HOLD_NS: Final = 1_000_000
_END_NS: Final = 50_000_000  # in which the end of a task that is gone must have come
_MOST_RUNS: Final = 64  # of 512 messages, in one look
_RESYNC_S: Final = 1.0
_CHECK_S: Final = 2.0
_MOST_CHECKS: Final = 200
_FACTS: Final = frozenset({Fact.THREADS, Fact.ARGV, Fact.CWD, Fact.STATUS, Fact.UID})
_STATS_FACTS: Final = frozenset({Fact.CPU, Fact.MAX_RSS, Fact.FAULTS})
_DELAYACCT: Final = Path("/proc/sys/kernel/task_delayacct")


class Backend:
    """One capture by netlink."""

    name = "netlink"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connector: Connector | None = None
        self._stats: TaskStats | None = None
        self._pace: Pace | None = None
        self._family = Family(self)
        self._notes: list[str] = []
        self._overflow = self._stats_overflow = False
        self._stale = False  # something was lost, and /proc has not been asked since
        self._synced = self._checked = 0.0
        self._quiet_since = 0.0

    @classmethod
    def readiness(cls) -> Readiness:
        """Whether the connector would have us. That it answers is found out at the start."""
        if importlib.util.find_spec("pyroute2") is None:
            return Readiness(False, "pyroute2 is not installed", "pip install pyroute2")
        for feature in ("proc_connector", "pid_namespace"):
            check = kernel.feature(feature)
            if check.ok is False:
                return Readiness(False, check.detail, check.mend)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11) as probe:  # NETLINK_CONNECTOR
                probe.bind((0, 1))
        except OSError as e:
            check = kernel.feature("net_admin")
            return Readiness(False, f"the proc connector is not for you here: {(e.strerror or '').lower()}", check.mend)
        return Readiness(True)

    @property
    def facts(self) -> frozenset[str]:
        """Narrower without taskstats."""
        return _FACTS | _STATS_FACTS if self._stats is not None or self._family.has_stats else _FACTS

    @property
    def notes(self) -> tuple[str, ...]:
        """What this capture can not know."""
        missed = self._family.execs_missed
        if not missed:
            return tuple(self._notes)
        return (*self._notes, f"{missed} of {self._family.execs} execs were over before /proc could be read")

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Nothing stands before the program."""
        return list(argv)

    # start

    def start(self) -> None:
        """Open the sockets, and wait for the connector's answer."""
        options = self._options
        room = 2 * options.buffer_bytes
        self._connector = Connector(room)
        self._connector.listen()
        delays = False
        try:
            self._stats = TaskStats(room)
        except (ProbesRefusedError, NoPermissionError) as e:
            self._notes.append(f"faults, CPU time and memory are unknown: {e.message}")
        else:
            delays = options.cow != "off" and "wpcopy_count" in self._stats.layout.names and _counts_delays()
        self._family = Family(self, everyone=options.everyone, delays=delays, ignore_tid=own_tid())
        self._family.has_stats = self._stats is not None
        self._family.offset = _clock_offset()
        self._pace = Pace(self._connector.fileno())
        self._say_what_is_missing(delays)
        ring_every_cpu()
        self._drain()
        if options.everyone:
            self._find_tasks(())

    def _say_what_is_missing(self, delays: bool) -> None:
        options, notes = self._options, self._notes
        notes.append("argv, exe and cwd were read from /proc a moment after each exec, and are unknown where that was late")
        if delays:
            notes.append(
                "wpcopy_count is the kernel's own: pages copied because of a fork, zero pages replaced, and private"
                " file pages that were read before they were written"
            )
        elif options.cow != "off" and self._stats is not None:
            notes.append("copies were not counted: kernel.task_delayacct is off (--delayacct)")
        if options.failures:
            notes.append("failed forks and execs were not seen: the proc connector tells only what came about")

    def follow(self, pid: int, pidfd: int) -> None:
        """The held child. Its figures begin here, some twenty faults before its first exec."""
        self._started()
        found = procfs.read(pid)
        if found is None:
            return  # it was killed while it was held
        family = self._family
        root = Process(pid, found.born_ns, found.comm, _or_null(found.uid), counted=family.delays)
        used = self._stats.of(pid) if self._stats is not None else None
        if used is not None:
            root.root = family.counters(used, counted=True)
            self._notes.append("the program's own figures begin at its start by forktrace, a moment before its first exec")
        family.add(root)
        own = procfs.read(os.getpid())
        if own is not None:
            family.above = Process(own.pid, own.born_ns, own.comm, _or_null(own.uid), counted=False)
        self._existing(found, "root", None)

    def attach(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError when there is none, or it is just ending."""
        self._started()
        if pid in self._family.processes:
            return  # named twice, or found below another
        found = proc.living(pid) if pid in procfs.pids() else None
        if found is None:
            raise proc.no_process(pid)
        if found.zombie and found.threads <= 1:
            raise NoInputError(f"process {pid} has just ended", "name one that lives")
        self._find_tasks((pid,))
        if pid not in self._family.processes:
            raise proc.no_process(pid)
        self._notes.append(
            f"what {pid} had started before was found by its parents in /proc: orphans of that time are missing,"
            " and so are children that it makes for its own parent (CLONE_PARENT)"
        )

    def _find_tasks(self, roots: Iterable[int]) -> None:
        """Everyone, or the roots and what is below them: passes over /proc, until one finds none that is new.

        The connector listens already, so whoever is born meanwhile is told by it, or found here, or both.
        """
        family = self._family
        for root in roots:
            for found in proc.known((root,)):
                self._join(found, "root")
        while True:
            seen = proc.everyone()
            if self._options.everyone:
                pids = [pid for pid, found in seen.items() if not found.kernel_thread]
            else:
                pids = proc.below(family.processes.keys(), seen)
            new = [pid for pid in pids if pid not in family.processes and not seen[pid].zombie]
            for found in proc.known(new):
                self._join(found, "existing")
            if not new or self._options.everyone:
                return

    def _join(self, found: procfs.Process, how: str) -> None:
        """A process found in /proc, with its threads."""
        process = Process(found.pid, found.born_ns, found.comm, _or_null(found.uid), counted=False)
        process.snapshot = True
        tids = proc.tids(found.pid)
        if len(tids) > 1:
            process.tids = tids
        self._family.add(process)
        self._existing(found, how, process.tids)

    def _existing(self, found: procfs.Process, how: str, tids: Iterable[int] | None) -> None:
        """Rows of a process that is there, and of its threads."""
        at = self.now() + self._family.offset
        parent = self._family.processes.get(found.ppid)
        above = None if parent is not None else proc.living(found.ppid)
        parent_born = parent.born if parent is not None else above.start_ticks * procfs.NS_PER_TICK if above else NULL
        for tid in sorted({found.pid, *(tids or ())}, key=lambda tid: (tid != found.pid, tid)):
            kind = how if tid == found.pid else "io_worker" if proc.is_worker(found.pid, tid) else "existing"
            self._family.rows.append(
                [
                    at,
                    int(Kind.EXISTING),
                    (at, found.pid, tid, found.born_ns, found.ppid, parent_born, kind, _or_null(found.uid), found.comm,
                     "snapshot"),
                ]
            )  # fmt: skip

    # what the family asks

    def image(self, pid: int, born_ns: int) -> proc.Image | None:
        """What a process runs now."""
        return proc.image(pid, born_ns, self._options.argv_max, self._options.env)

    def is_worker(self, tgid: int, tid: int) -> bool | None:
        """Whether a task is a helper of the kernel's."""
        return proc.is_worker(tgid, tid)

    def now(self) -> int:
        """On the connector's clock."""
        return time.monotonic_ns()

    # reading

    def descriptors(self) -> list[int]:
        """Readable when an event waits, or when it is time to look again."""
        return [self._pace.fileno()] if self._pace is not None else []

    def read(self) -> list[Batch]:
        """All that is complete, sorted by time, as at most one batch."""
        if self._pace is None:
            return []
        self._pace.woken()
        n = self._drain()
        self._mind_losses()
        now = time.monotonic()
        if n:
            self._quiet_since = now
        elif now - self._quiet_since > _CHECK_S and now - self._checked > _CHECK_S:
            self._check_the_living()
        batch = self._deliver(everything=n == 0)
        self._pace.rest(unfinished=bool(self._family.rows) or self._stale)
        return [] if batch is None else [batch]

    def _drain(self) -> int:
        """Empty the sockets into the family. Returns how many events there were.

        The connector first: a task's figures are sent before its end is, so for every end read they are there.
        """
        assert self._connector is not None
        events: list[tuple[int, ...]] = []
        for _ in range(_MOST_RUNS):
            run = self._connector.take()
            if run is None:
                self._overflow = True
            elif run:
                events += EVENT.iter_unpack(run)
            else:
                break
        family = self._family
        if self._stats is not None:
            cut = self._stats.layout.cut
            for _ in range(2 * _MOST_RUNS):
                run = self._stats.take()
                if run is None:
                    self._stats_overflow = True
                elif run:
                    family.stats.add(cut.iter_unpack(run))
                else:
                    break
        family.offset = _clock_offset(family.offset)
        family.take(events)
        family.stats.settle(family.processes)
        return len(events)

    def _deliver(self, *, everything: bool) -> Batch | None:
        """Rows up to a millisecond before the newest, and none whose words may still be taken back."""
        family = self._family
        rows = family.rows
        settled = self.now() - _HOLD_NS
        family.looks = [look for look in family.looks if look[1] > settled]
        family.unsure = {k: v for k, v in family.unsure.items() if v[1] > settled - _END_NS}
        if not rows:
            return None
        rows.sort(key=itemgetter(0))
        until = rows[-1][0] + 1 if everything else rows[-1][0] - _HOLD_NS
        until = min([until, *(at for at, _ in family.looks), *(row[0] for row, _ in family.unsure.values())])
        n = len(rows)
        while n and rows[n - 1][0] >= until:
            n -= 1
        ready, family.rows[:n] = rows[:n], []
        return _batch(ready) if ready else None

    def alive(self) -> int | None:
        """Followed tasks that have not ended; None for the whole host."""
        return None if self._options.everyone else self._family.alive()

    # losses

    def _mind_losses(self) -> None:
        """One row for what was lost, however many messages and CPUs it was; then /proc is asked what has changed."""
        family = self._family
        if self._overflow or family.lost is not None:
            for _ in range(5):
                self._overflow = False
                ring_every_cpu()
                self._drain()
                if not self._overflow:
                    break
            if family.lost is None:
                at = self.now() + family.offset
                family.rows.append([at, int(Kind.LOST), (at, NULL, "netlink")])
            family.lost = None
            self._stale = True
        if self._stats_overflow:
            self._stats_overflow = False
            at = self.now() + family.offset
            family.rows.append([at, int(Kind.LOST), (at, family.missing_stats or NULL, "taskstats")])
        family.missing_stats = 0
        if self._stale and time.monotonic() - self._synced > _RESYNC_S:
            self._resync()

    def _resync(self) -> None:
        """After a loss: who is there that we do not know, and whom do we know that is not there."""
        family = self._family
        self._stale = False
        seen = proc.everyone()
        doubtful = []
        for process in family.processes.values():
            found = seen.get(process.pid)
            if found is None or (found.zombie and found.threads <= 1) or not proc.same_life(found.start_ticks, process.born):
                doubtful.append(process)
            elif found.threads > 1 or process.tids is not None:
                process.tids = proc.tids(process.pid) or process.tids
                process.again, process.owed, process.owes_leader = None, 0, False
                process.snapshot = True
        self._find_tasks(())
        self._drain()  # their ends may have been waiting
        family.forget_late()
        family.gone(p for p in doubtful if family.processes.get(p.pid) is p)
        self._synced = time.monotonic()

    def _check_the_living(self) -> None:
        """While nothing happens: nobody may be taken for alive whose end was missed, or we should wait for ever."""
        self._checked = time.monotonic()
        family = self._family
        gone = []
        for process in list(family.processes.values())[:_MOST_CHECKS]:
            found = proc.living(process.pid)
            if found is None or (found.zombie and found.threads <= 1):
                gone.append(process)
        if gone and not self._drain():
            family.gone(p for p in gone if family.processes.get(p.pid) is p)

    # the end

    def finish(self) -> list[Batch]:
        """What is left, and what those that live have used so far."""
        if self._connector is None:
            return []
        ring_every_cpu()  # a loss at the very end shows only now
        self._drain()
        self._synced = 0.0
        self._mind_losses()
        family = self._family
        at = self.now() + family.offset
        for process in family.processes.values():
            for tid in sorted(process.tids or (process.pid,)):
                used = self._stats.of(tid) if self._stats is not None else None
                if used is not None:
                    counters = family.counters(used, counted=process.counted)
                    rss = used.hiwater_rss * 1024 or NULL
                    family.rows.append(
                        [at, int(Kind.ALIVE), (at, process.pid, tid, process.born, process.uid, process.comm, rss,
                                               *counters)]
                    )  # fmt: skip
        family.looks.clear()
        family.unsure.clear()
        if family.delays and not _counts_delays():
            self._notes.append("kernel.task_delayacct was switched off meanwhile: wpcopy_count is too low")
        batch = self._deliver(everything=True)
        return [] if batch is None else [batch]

    def close(self) -> None:
        """The sockets, and the kernel's listening."""
        for each in (self._pace, self._connector, self._stats):
            if each is not None:
                each.close()
        self._pace = self._connector = self._stats = None

    def _started(self) -> None:
        if self._connector is None:
            raise RuntimeError("start() comes first")


def _batch(rows: list[list[Any]]) -> Batch:
    """Columns of rows that are in order."""
    grouped: dict[int, list[Any]] = {}
    for _, kind, values in rows:
        try:
            grouped[kind].append(values)
        except KeyError:
            grouped[kind] = [values]
    parts: dict[int, Part] = {}
    for kind, values in grouped.items():
        part: Part = {}
        for name, column in zip(COLUMNS[kind], zip(*values, strict=True), strict=True):
            if is_list(name):
                if any(v is not None for v in column):
                    part[name] = list(column)
            else:
                part[name] = array("q", column)
        parts[kind] = part
    return Batch(bytes([kind for _, kind, _ in rows]), parts)


def _clock_offset(before: int | None = None) -> int:
    """From CLOCK_MONOTONIC, the connector's, to CLOCK_BOOTTIME: the time spent suspended.

    `before`: what it was; it is kept unless there was a suspend, so that births do not jitter.
    """
    first = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    second = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    offset = boot - (first + second) // 2
    return before if before is not None and abs(offset - before) < _HOLD_NS else offset


def _counts_delays() -> bool:
    try:
        return _DELAYACCT.read_text("ascii").strip() == "1"
    except OSError:
        return False


def _or_null(value: int | None) -> int:
    return NULL if value is None else value
