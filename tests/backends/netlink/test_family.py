"""Which task is whose, and what has ended: events of the connector by hand, no kernel asked."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import pytest

from tracer.backends.netlink import layout
from tracer.backends.netlink.family import Family
from tracer.backends.netlink.layout import Stats
from tracer.backends.netlink.proc import TICK_NS, Image
from tracer.backends.netlink.process import Process
from tracer.backends.netlink.rows import cut
from tracer.model.batch import Event
from tracer.model.schema import Kind

MS = 1_000_000
ROOT, BORN = 10, 500 * MS
AGROUP = layout.AGROUP


class Proc:
    """A /proc of the test's making. `at` is the time of every look."""

    def __init__(self) -> None:
        self.images: dict[int, str] = {}
        self.workers: dict[int, bool | None] = {}
        self.looked: list[int] = []
        self.at = 0

    def image(self, pid: int, born_ns: int) -> Image | None:
        self.looked.append(pid)
        path = self.images.get(pid)
        return None if path is None else Image(path, [path], None, "/", None, path.rpartition("/")[2])

    def is_worker(self, tgid: int, tid: int) -> bool | None:
        return self.workers.get(tid, False)

    def now(self) -> int:
        return self.at


class World:
    """A family with a root, and the events that are told it; each a millisecond after the one before."""

    def __init__(self, *, stats: bool = True, everyone: bool = False, delays: bool = True) -> None:
        self.proc = Proc()
        self.family = Family(self.proc, everyone=everyone, delays=delays, ignore_tid=999)
        self.family.has_stats = stats
        root = Process(ROOT, BORN, "sh", 0, counted=True)
        self.family.add(root)
        self.now = BORN
        self._seq = {0: 7, 1: 1001}
        self._events: list[tuple[int, ...]] = []

    def event(self, what: int, *words: int, cpu: int = 0, after: int = MS, lose: int = 0) -> World:
        """`lose`: how many events of that CPU nobody got before this one."""
        self.now += after
        seq = self._seq[cpu] + lose & 0xFFFFFFFF
        self._seq[cpu] = seq + 1
        self._events.append((seq, 0, what, cpu, self.now, *words, *[0] * (6 - len(words))))
        return self

    def fork(self, parent: int, child: int, tid: int | None = None, **how: int) -> World:
        """`tid`: the thread that forked."""
        return self.event(layout.FORK, tid or parent, parent, child, child, **how)

    def thread(self, pid: int, tid: int, **how: int) -> World:
        """The kernel names the parent of the process, not of the thread."""
        return self.event(layout.FORK, 1, 1, tid, pid, **how)

    def exec(self, pid: int, path: str | None = None, **how: int) -> World:
        if path is not None:
            self.proc.images[pid] = path
        return self.event(layout.EXEC, pid, pid, **how)

    def exit(self, pid: int, status: int = 0, tid: int | None = None, **how: Any) -> World:
        """With figures of the task, unless `stats` is False; `flag` AGROUP: it ended the process."""
        tid = tid or pid
        if how.pop("stats", self.family.has_stats):
            self.stats(tid, pid, **{k: how.pop(k) for k in list(how) if k in {*Stats._fields, "flag"}})
        return self.event(layout.EXIT, tid, pid, status, 17, 1, 1, **how)

    def stats(self, tid: int, tgid: int, flag: int = 0, **fields: Any) -> World:
        known: dict[str, Any] = dict.fromkeys(Stats._fields, 0) | {
            "ac_pid": tid,
            "ac_tgid": tgid,
            "ac_flag": flag,
            "ac_comm": b"sh".ljust(32, b"\0"),
            "cpu_run_virtual_total": 3000,
            **fields,
        }
        self.family.stats.add([tuple(Stats(**known))])
        return self

    def read(self) -> list[Event]:
        """What comes of the events so far."""
        self.family.take(self._events)
        self._events = []
        self.family.stats.settle(self.family.processes)
        batch = cut(self.family.rows, None)
        return [] if batch is None else list(batch.events())


def steps(events: Iterable[Event]) -> list[tuple[str, int, int]]:
    return [(e.kind.name, e.pid, e.tid) for e in events]


def only(events: Iterable[Event], kind: Kind, tid: int) -> Event:
    (found,) = [e for e in events if e.kind == kind and e.tid == tid]
    return found


def test_children_of_children_and_no_strangers() -> None:
    world = World()
    world.fork(ROOT, 11).fork(3, 4).exec(4).exit(4, 256).fork(11, 12).exit(12, 3 << 8).exit(11, 9)

    events = world.read()

    assert steps(events) == [("FORK", 11, 11), ("FORK", 12, 12), ("EXIT", 12, 12), ("EXIT", 11, 11)]
    child = only(events, Kind.FORK, 12)
    assert (child.ppid, child.parent_born_ns) == (11, only(events, Kind.FORK, 11).born_ns)
    assert (child.creator_pid, child.how, child.comm) == (None, None, "sh")
    ends = [(e.exit_code, e.signal, e.last) for e in events if e.kind == Kind.EXIT]
    assert ends == [(3, None, True), (None, 9, True)]
    assert world.family.alive() == 1
    assert world.proc.looked == []


def test_identity_is_the_time_of_the_fork_on_the_clock_of_boot() -> None:
    world = World()
    world.family.offset = 1000 * MS
    world.fork(ROOT, 11)

    (event,) = world.read()

    assert event.born_ns == event.ts_ns == world.now + 1000 * MS


def test_core_and_signal() -> None:
    events = World().fork(ROOT, 11).exit(11, 11 | 128).read()

    assert (events[1].exit_code, events[1].signal, events[1].core_dumped) == (None, 11, True)


def test_figures_come_with_the_end() -> None:
    world = World().fork(ROOT, 11)
    world.exit(
        11,
        ac_minflt=23,
        ac_majflt=2,
        ac_utime=4000,
        ac_stime=1,
        cpu_run_virtual_total=77,
        hiwater_rss=5,
        wpcopy_count=3,
        ac_uid=65534,
        ac_comm=b"\xffname\n".ljust(32, b"\0"),
    )

    end = world.read()[1]

    assert (end.min_flt, end.maj_flt, end.utime_ns, end.stime_ns, end.runtime_ns) == (23, 2, 4_000_000, 1000, 77)
    assert (end.max_rss_bytes, end.wpcopy_count, end.uid, end.comm) == (5120, 3, 65534, "\udcffname\n")


def test_a_task_that_the_scheduler_never_looked_at_has_no_cpu_time() -> None:
    end = World().fork(ROOT, 11).exit(11, cpu_run_virtual_total=0, ac_minflt=1).read()[1]

    assert (end.min_flt, end.utime_ns, end.stime_ns, end.runtime_ns) == (1, None, None, None)


def test_without_figures_they_are_null() -> None:
    world = World()
    end = world.fork(ROOT, 11).exit(11, stats=False).read()[1]

    assert (end.min_flt, end.max_rss_bytes, end.wpcopy_count) == (None, None, None)
    assert world.family.missing_stats == 1


@pytest.mark.parametrize(
    ("delays", "counted", "kernel", "told"),
    [(True, True, 0, 0), (True, True, 5, 5), (True, False, 0, None), (True, False, 5, 5), (False, True, 5, None)],
)
def test_copies_of_a_task_without_a_record_of_delays_are_unknown(
    delays: bool, counted: bool, kernel: int, told: int | None
) -> None:
    world = World(delays=delays)
    world.family.processes[ROOT].counted = counted

    assert world.exit(ROOT, wpcopy_count=kernel).read()[0].wpcopy_count == told


def test_figures_of_strangers_are_dropped_and_those_of_the_unborn_wait() -> None:
    world = World()
    world.stats(77, 77).stats(11, 11).read()
    world.fork(ROOT, 11).read()
    world.exit(11, stats=False)

    assert world.read()[0].runtime_ns == 3000
    assert len(world.family.stats) == 0


# threads


def test_a_process_ends_with_its_last_task() -> None:
    world = World()
    world.fork(ROOT, 11).thread(11, 12).thread(11, 13).exit(11).exit(11, 0, 13).exit(11, 5 << 8, 12, flag=AGROUP)

    events = world.read()

    assert steps(events) == [
        ("FORK", 11, 11),
        ("FORK", 11, 12),
        ("FORK", 11, 13),
        ("EXIT", 11, 11),
        ("EXIT", 11, 13),
        ("EXIT", 11, 12),
    ]
    assert [e.last for e in events[3:]] == [False, False, True]
    assert (events[3].exit_code, events[5].exit_code) == (None, 5)
    assert world.family.alive() == 1


@pytest.mark.parametrize("stats", [True, False])
def test_a_joined_thread_may_tell_its_end_after_the_one_that_ended_the_process(stats: bool) -> None:
    world = World(stats=stats)
    world.fork(ROOT, 11).thread(11, 12)
    # However late it is, where the kernel marks who ended the process.
    world.exit(11, 3 << 8, **({"flag": AGROUP} if stats else {})).exit(11, 0, 12, after=900 * MS if stats else 100)

    last = world.read()[-1]

    assert (last.tid, last.last, last.exit_code) == (12, True, 3)


def test_without_figures_a_thread_that_lived_on_has_the_last_word() -> None:
    world = World(stats=False)
    world.fork(ROOT, 11).thread(11, 12).exit(11, 3 << 8).exit(11, 5 << 8, 12, after=100 * MS)

    assert world.read()[-1].exit_code == 5


def test_a_child_of_a_thread_has_the_threads_name() -> None:
    world = World()
    world.fork(ROOT, 11).thread(11, 12).thread(11, 13)
    world.event(layout.COMM, 12, 11, *struct.unpack("=4I", b"worker\xff".ljust(16, b"\0")))
    world.fork(11, 14, tid=12).fork(11, 15, tid=13)

    events = world.read()

    assert only(events, Kind.FORK, 14).comm == "worker\udcff"
    assert only(events, Kind.FORK, 15).comm is None
    assert Kind.RENAME not in {e.kind for e in events}  # a thread's name is not the process'


def test_the_kernels_helpers_are_no_threads() -> None:
    world = World()
    world.proc.workers = {12: True, 13: None, 14: None}
    world.thread(ROOT, 12).thread(ROOT, 13).thread(ROOT, 14)
    world.exit(ROOT, tid=13, ac_comm=b"iou-wrk-10".ljust(32, b"\0")).exit(ROOT, tid=14)

    births = [e for e in world.read() if e.kind == Kind.FORK]

    assert [(e.tid, e.how) for e in births] == [(12, "io_worker"), (13, "io_worker"), (14, None)]
    assert world.family.unsure == {}


def test_a_thread_id_that_comes_back_before_its_end_is_told() -> None:
    world = World()
    world.thread(ROOT, 12).thread(ROOT, 12).exit(ROOT, 0, 12).read()
    tids = set(world.family.processes[ROOT].tids or ())
    world.exit(ROOT, 0, 12).exit(ROOT)

    assert tids == {ROOT, 12}
    assert [(e.tid, e.last) for e in world.read()] == [(12, False), (ROOT, True)]


# exec by a thread: 12 calls it, the first thread 11 and 13 are made away with, and 12 becomes 11


def test_exec_by_a_thread_when_all_ends_are_told_before() -> None:
    world = World()
    world.fork(ROOT, 11).thread(11, 12).thread(11, 13).exit(11, 0, 13).exit(11).exec(11, "/bin/x").exit(11, 17 << 8)

    events = world.read()

    assert only(events, Kind.EXEC, 11).old_tid == 12
    assert [(e.tid, e.last, e.exit_code) for e in events if e.kind == Kind.EXIT] == [
        (13, False, None),
        (11, False, None),
        (11, True, 17),
    ]


@pytest.mark.parametrize("stats", [True, False])
def test_exec_by_a_thread_when_ends_are_told_after(stats: bool) -> None:
    flags = {"flag": AGROUP} if stats else {}
    world = World(stats=stats)
    world.fork(ROOT, 11).thread(11, 12).thread(11, 13).exec(11, "/bin/x").exit(11, 0, 13).exit(11)
    first = world.read()
    alive = world.family.alive()
    world.exit(11, 17 << 8, **flags)

    assert only(first, Kind.EXEC, 11).old_tid is None
    assert [(e.tid, e.last) for e in first if e.kind == Kind.EXIT] == [(13, False), (11, False)]
    assert alive == 2
    assert [(e.last, e.exit_code) for e in world.read()] == [(True, 17)]


def test_exec_by_the_first_thread_and_an_end_at_once() -> None:
    world = World()
    world.fork(ROOT, 11).thread(11, 12).exec(11, "/bin/x").exit(11, 0, flag=AGROUP).exit(11, 0, 12)

    assert [(e.tid, e.last) for e in world.read() if e.kind == Kind.EXIT] == [(11, True)]
    assert world.family.alive() == 1


# images


def test_words_are_a_snapshot_and_the_uid_is_known() -> None:
    world = World().fork(ROOT, 11)
    world.event(layout.UID, 11, 11, 65534, 65534).exec(11, "/bin/x")

    exec_ = only(world.read(), Kind.EXEC, 11)

    assert (exec_.exe, exec_.argv, exec_.cwd, exec_.comm) == ("/bin/x", ["/bin/x"], "/", "x")
    assert (exec_.uid, exec_.old_tid, exec_.evidence) == (65534, 11, "snapshot")
    assert exec_.min_flt is None


def test_who_has_ended_is_not_looked_for() -> None:
    world = World()
    exec_ = only(world.fork(ROOT, 11).exec(11, "/bin/x").exit(11).read(), Kind.EXEC, 11)

    assert world.proc.looked == []
    assert (exec_.exe, exec_.argv, exec_.evidence) == (None, None, "snapshot")
    assert world.family.execs_missed == 1


def test_of_two_execs_only_the_last_is_looked_up() -> None:
    events = World().fork(ROOT, 11).exec(11, "/bin/x").exec(11, "/bin/y").read()

    assert [e.exe for e in events if e.kind == Kind.EXEC] == [None, "/bin/y"]


@pytest.mark.parametrize(("after", "told"), [(MS // 2, None), (3 * MS, "/bin/x")])
def test_words_that_may_be_the_next_images_are_taken_back(after: int, told: str | None) -> None:
    world = World().fork(ROOT, 11).exec(11, "/bin/x")
    world.proc.at = world.now
    world.family.take(world._events)
    world._events = []
    world.exec(11, "/bin/y", after=after)

    first, second = (e for e in world.read() if e.kind == Kind.EXEC)

    assert (first.exe, first.comm, second.exe) == (told, told and "x", "/bin/y")


def test_the_roots_figures_before_its_first_exec() -> None:
    world = World()
    world.family.processes[ROOT].root = (265, 1, 0, 4_000_000, 950_000, 12)

    first, second = world.exec(ROOT, "/bin/x").read(), world.exec(ROOT).read()

    assert (first[0].min_flt, first[0].stime_ns, first[0].wpcopy_count) == (265, 4_000_000, 12)
    assert second[0].min_flt is None


def test_a_name_of_any_bytes() -> None:
    world = World()
    world.event(layout.COMM, ROOT, ROOT, *struct.unpack("=4I", b"\x1b[31m\xff\n".ljust(16, b"\0")))
    world.event(layout.COMM, 999, ROOT, 1, 1, 1, 1)  # our own, which says nothing
    world.fork(ROOT, 11)

    rename, fork = world.read()

    assert (rename.kind, rename.comm, fork.comm) == (Kind.RENAME, "\x1b[31m\udcff\n", "\x1b[31m\udcff\n")


# pids again


def test_a_pid_that_comes_back_before_its_end_is_told() -> None:
    world = World()
    world.fork(ROOT, 11).fork(ROOT, 11).exit(11, 1 << 8).fork(11, 12).exit(11, 2 << 8).exit(12)

    events = world.read()
    first, second = (e.born_ns for e in events if e.kind == Kind.FORK and e.pid == 11)

    ends = [(e.born_ns, e.exit_code) for e in events if e.kind == Kind.EXIT and e.pid == 11]
    assert ends == [(first, 1), (second, 2)]
    assert only(events, Kind.FORK, 12).parent_born_ns == second
    assert world.family.alive() == 1


def test_who_was_found_in_proc_is_born_once() -> None:
    world = World()
    found = Process(11, (world.now + MS) // TICK_NS * TICK_NS, "x", 0, counted=False)
    found.snapshot = True
    world.family.add(found)
    events = world.fork(ROOT, 11).fork(ROOT, 11, after=1000 * MS).read()

    assert [e.born_ns == found.born for e in events] == [True, False]


def test_children_made_for_us_are_followed() -> None:
    world = World()
    world.family.above = Process(5, 1, "forktrace", 0, counted=False)

    (event,) = world.fork(5, 11).read()

    assert (event.ppid, event.parent_born_ns) == (5, 1)


def test_everyone() -> None:
    events = World(everyone=True).fork(3, 4).fork(2, 6).exit(4).exit(6).read()

    assert steps(events) == [("FORK", 4, 4), ("EXIT", 4, 4)]  # 2 makes threads of the kernel
    assert (events[0].ppid, events[0].parent_born_ns) == (3, None)


# losses


def test_one_row_for_what_two_cpus_lost() -> None:
    world = World()
    world.fork(ROOT, 11).fork(ROOT, 12, cpu=1).read()
    world.stats(11, 11)
    world.fork(ROOT, 13, lose=23).fork(ROOT, 14, cpu=1, lose=7).fork(ROOT, 15)

    events = world.read()

    assert [(e.kind, e.count, e.where) for e in events if e.kind == Kind.LOST] == [(Kind.LOST, 30, "netlink")]
    assert events[0].kind == Kind.LOST
    assert len(world.family.stats) == 0


def test_numbers_wrap_and_start_anew_without_a_loss() -> None:
    world = World()
    world._seq[0] = 0xFFFFFFFF
    world.fork(ROOT, 11).fork(ROOT, 12)
    world._seq[0] = 0
    world.fork(ROOT, 13)

    assert [e.kind for e in world.read()] == [Kind.FORK] * 3


def test_who_is_gone_has_ended_we_do_not_know_how() -> None:
    world = World()
    world.fork(ROOT, 11).fork(ROOT, 11).read()
    world.family.forget_late()
    world.family.gone(list(world.family.processes.values()))

    events = list(world.read())

    assert [(e.pid, e.ts_ns, e.exit_code, e.signal, e.last, e.evidence) for e in events] == [
        (11, None, None, None, True, "snapshot"),
        (ROOT, None, None, None, True, "snapshot"),
        (11, None, None, None, True, "snapshot"),
    ]
    assert world.family.alive() == 0
