"""The netlink backend: the proc connector for births, execs and ends, taskstats for what each task had used.

Needs no BPF. Sees threads, exit statuses, CPU time, faults and peak memory; argv, exe and cwd as /proc has them a
moment after the exec; copies of pages by the kernel's own count while kernel.task_delayacct is on. Can not see clone
flags and who called clone, who waited, who killed. Without CAP_NET_ADMIN, where the kernel (6.6) gives the connector
to anyone, there are no taskstats.

    _netlink_layout.py    the messages, byte by byte        _netlink_family.py   which task is whose, what has ended
    _netlink_sockets.py   set-up, reading in bulk           _netlink_process.py  what is known of a process
    _netlink_pace.py      when to look                      _netlink_census.py   whom /proc shows
    _netlink_rows.py      rows, columns                     _netlink_proc.py     what is read from it

Identity is the time of the fork event (of what was there before: the start time of /proc, in ticks of 10 ms). Rows
come sorted by time: events of two CPUs reach the socket up to 0.1 ms out of order (measured), so the last
millisecond waits for the next look. Knows no tree and does not start the program.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tracer.backends import Options, Readiness
from tracer.backends.netlink import rows
from tracer.backends.netlink.census import Census, or_null
from tracer.backends.netlink.family import Family
from tracer.backends.netlink.layout import EVENT
from tracer.backends.netlink.pace import Pace
from tracer.backends.netlink.proc import Looks
from tracer.backends.netlink.process import Process
from tracer.backends.netlink.sockets import Bell, Connector, TaskStats, own_tid, ring_every_cpu
from tracer.errors import NoPermissionError, ProbesRefusedError
from tracer.host import boot_clock, features, procfs
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import NULL

_HOLD_NS: Final = 1_000_000
_END_NS: Final = 50_000_000  # in which the end of a task that is gone must have come
_MOST_RUNS: Final = 64  # of 512 messages, in one look
_RESYNC_S: Final = 1.0
_CHECK_S: Final = 2.0
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
        self._bell: Bell | None = None
        self._pace: Pace | None = None
        self._looks = Looks(options.argv_max, options.env)
        self._family = Family(self._looks)
        self._census = Census(self._family, self._looks.now, everyone=options.everyone)
        self._notes: list[str] = []
        self._overflow = self._stats_overflow = False
        self._stale = False  # something was lost, and /proc has not been asked since
        self._synced = self._checked = self._busy = 0.0  # when

    @classmethod
    def readiness(cls) -> Readiness:
        """Whether the connector would have us. That it answers is found out at the start."""
        if importlib.util.find_spec("pyroute2") is None:
            return Readiness(False, "pyroute2 is not installed", "pip install pyroute2")
        for feature in ("proc_connector", "pid_namespace"):
            check = features.feature(feature)
            if check.ok is False:
                return Readiness(False, check.detail, check.mend)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11) as probe:  # NETLINK_CONNECTOR
                probe.bind((0, 1))
        except OSError as e:
            why = f"this kernel gives the proc connector to root alone ({(e.strerror or '').lower()})"
            return Readiness(False, why, features.feature("net_admin").mend, privilege=True)
        return Readiness(True)

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        """Only the connector without CAP_NET_ADMIN: taskstats are not given to anyone else."""
        if options.match.filters:
            return frozenset()
        if features.feature("net_admin").ok is False or features.feature("taskstats").ok is False:
            return _FACTS
        counts = options.cow != "off" and (options.delayacct or _counts_delays())
        return _FACTS | _STATS_FACTS | ({Fact.WPCOPY} if counts else set())

    @property
    def facts(self) -> frozenset[str]:
        """Narrower without taskstats."""
        if not self._family.has_stats:
            return _FACTS
        return _FACTS | _STATS_FACTS | ({Fact.WPCOPY} if self._family.delays else set())

    @property
    def notes(self) -> tuple[str, ...]:
        """What this capture can not know."""
        missed = self._family.execs_missed
        if not missed:
            return tuple(self._notes)
        return (*self._notes, f"{missed} of {self._family.execs} programs had gone when /proc was read for their argv")

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Nothing stands before the program."""
        return list(argv)

    # the beginning

    def start(self) -> None:
        """Open the sockets, and wait for the connector's answer."""
        options, notes = self._options, self._notes
        room = 2 * options.buffer_bytes
        self._connector = Connector(room)
        self._connector.listen()
        delays = False
        notes.append("argv, exe and cwd are what /proc had a moment after each exec")
        try:
            self._stats = TaskStats(room)
            delays = options.cow != "off" and "wpcopy_count" in self._stats.layout.names and _counts_delays()
        except (ProbesRefusedError, NoPermissionError) as e:
            notes.append(f"faults, CPU time and memory are unknown: {e.message}")
        if delays:
            notes.append(
                "wpcopy_count is the kernel's own: pages copied because of a fork, zero pages replaced, and private"
                " file pages that were read before they were written"
            )
        elif options.cow != "off" and self._stats is not None:
            notes.append("copies were not counted: kernel.task_delayacct is off (--delayacct)")
        if options.failures:
            notes.append("failed forks and execs were not seen: the proc connector tells only what came about")
        family = self._family = Family(self._looks, everyone=options.everyone, delays=delays, ignore_tid=own_tid())
        family.has_stats = self._stats is not None
        family.offset = _clock_offset()
        self._census = Census(family, self._looks.now, everyone=options.everyone)
        self._bell = Bell()
        self._pace = Pace(self._bell)
        ring_every_cpu()
        self._drain()
        if options.everyone:
            self._census.find()

    def follow(self, pid: int, pidfd: int) -> None:
        """The held child. Its figures begin here, some twenty faults before its first exec."""
        self._started()
        found = procfs.read(pid)
        if found is None:
            return  # it was killed while it was held
        family = self._family
        root = Process(pid, found.born_ns, found.comm, or_null(found.uid), counted=family.delays)
        root.snapshot = True
        used = self._stats.of(pid) if self._stats is not None else None
        if used is not None:
            root.root = family.counters(used, counted=True)
            self._notes.append("the program's own figures begin where forktrace let it go, just before its first exec")
        family.add(root)
        own = procfs.read(os.getpid())
        if own is not None:
            family.above = Process(own.pid, own.born_ns, own.comm, or_null(own.uid), counted=False)
        self._census.tell(found, "root")

    def attach(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError when there is none, or it is just ending."""
        self._started()
        self._census.join(pid)
        self._notes.append(
            f"what {pid} had started before was found by its parents in /proc: orphans of that time are missing,"
            " and so are children that it makes for its own parent (CLONE_PARENT)"
        )

    # reading

    def descriptors(self) -> list[int]:
        """Readable when somebody execs, or when it is time to look again."""
        return [self._pace.fileno()] if self._pace is not None else []

    def read(self) -> list[Batch]:
        """All that is complete, sorted by time, as at most one batch."""
        if self._pace is None:
            return []
        family, now = self._family, time.monotonic()
        self._pace.woken()
        execs = family.execs
        n = self._drain()
        self._mind_losses()
        if n:
            self._busy = now
        elif now - max(self._busy, self._checked) > _CHECK_S:
            self._checked = now
            self._census.check(self._drain)
        batch = rows.cut(family.rows, self._until(everything=n == 0))
        self._pace.rest(execs=family.execs - execs, unfinished=bool(family.rows) or self._stale)
        return [] if batch is None else [batch]

    def _drain(self) -> int:
        """Empty the sockets into the family. Returns how many events there were.

        The connector first: a task's figures are sent before its end is, so for every end read they are there.
        """
        assert self._connector is not None
        family = self._family
        events: list[tuple[int, ...]] = []
        inbox = self._connector.inbox
        for _ in range(_MOST_RUNS):
            run = inbox.take()
            if run is None:
                self._overflow = True
                continue
            events += EVENT.iter_unpack(run)
            if len(run) < inbox.full:
                break
        if self._stats is not None:
            inbox, cut = self._stats.inbox, self._stats.layout.cut
            for _ in range(2 * _MOST_RUNS):
                run = inbox.take()
                if run is None:
                    self._stats_overflow = True
                    continue
                family.stats.add(cut.iter_unpack(run))
                if len(run) < inbox.full:
                    break
        family.offset = _clock_offset(family.offset)
        family.take(events)
        family.stats.settle(family.processes)
        return len(events)

    def _until(self, *, everything: bool) -> int | None:
        """Up to where rows are complete: a millisecond before the newest, and before any that may yet be corrected."""
        family = self._family
        settled = self._looks.now() - _HOLD_NS
        family.looks = [look for look in family.looks if look[1] > settled]
        if family.unsure:
            family.unsure = {k: v for k, v in family.unsure.items() if v[1] > settled - _END_NS}
        limits = [at for at, _ in family.looks] + [row[0] for row, _ in family.unsure.values()]
        if not everything:
            limits.append(max((row[0] for row in family.rows), default=0) - _HOLD_NS)
        return min(limits, default=None)

    def alive(self) -> int | None:
        """Followed tasks that have not ended; None for the whole host."""
        return None if self._options.everyone else self._family.alive()

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
                family.add_loss(self._looks.now() + family.offset, NULL, "netlink")
            family.lost = None
            self._stale = True
        elif self._stats_overflow:  # else it is the same stall
            family.add_loss(self._looks.now() + family.offset, family.missing_stats or NULL, "taskstats")
        self._stats_overflow = False
        family.missing_stats = 0
        if self._stale and time.monotonic() - self._synced > _RESYNC_S:
            self._stale = False
            self._census.resync(self._drain)
            self._synced = time.monotonic()

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
        at = self._looks.now() + family.offset
        for process in family.processes.values():
            for tid in sorted(process.tids or (process.pid,)):
                used = self._stats.of(tid) if self._stats is not None else None
                if used is not None:
                    figures = (used.hiwater_rss * 1024 or NULL, *family.counters(used, counted=process.counted))
                    values = (at, process.pid, tid, process.born, process.uid, process.comm, *figures)
                    family.rows.append([at, rows.ALIVE, values])
        if family.delays and not _counts_delays():
            self._notes.append("kernel.task_delayacct was switched off meanwhile: wpcopy_count is too low")
        batch = rows.cut(family.rows, None)
        return [] if batch is None else [batch]

    def close(self) -> None:
        """The sockets, and the kernel's listening."""
        for each in (self._pace, self._bell, self._connector, self._stats):
            if each is not None:
                each.close()
        self._pace = self._bell = self._connector = self._stats = None

    def _started(self) -> None:
        if self._connector is None:
            raise RuntimeError("start() comes first")


def _clock_offset(before: int | None = None) -> int:
    """From CLOCK_MONOTONIC, the connector's, to CLOCK_BOOTTIME: the time spent suspended.

    `before`: what it was; it is kept unless there was a suspend, so that births do not jitter.
    """
    first = boot_clock.monotonic_ns()
    boot = boot_clock.now_ns()
    second = boot_clock.monotonic_ns()
    offset = boot - (first + second) // 2
    return before if before is not None and abs(offset - before) < _HOLD_NS else offset


def _counts_delays() -> bool:
    try:
        return _DELAYACCT.read_text("ascii").strip() == "1"
    except OSError:
        return False
