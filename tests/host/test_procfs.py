from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.host import procfs
from tracer.host.procfs import PidNamespace, Process

TICK = procfs.NS_PER_TICK


def stat_line(
    pid: int, comm: bytes, *, state: str = "S", ppid: int = 1, flags: int = 0x400000, start: int = 4711
) -> bytes:
    fields = [state, ppid, 30, 40, 34816, 50, flags, 123, 9999, 7, 88, 1, 2, 3, 4, 20, 0, 3, 0, start, 1 << 20, 250]
    return b"%d (%s) " % (pid, comm) + " ".join(map(str, [*fields, *[0] * 30])).encode() + b"\n"


def fake(
    proc: Path,
    pid: int,
    comm: bytes = b"cat",
    *,
    cmdline: bytes | None = b"cat\0-n\0\0",
    status: str = "Uid:\t1000\t0\t0\t0\nNSpid:\t{pid}\t7\n",
    state: str = "S",
    flags: int = 0x400000,
    start: int = 4711,
) -> Path:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_bytes(stat_line(pid, comm, state=state, flags=flags, start=start))
    (folder / "status").write_text("Name:\tcat\nState:\tS\n" + status.format(pid=pid))
    if cmdline is not None:
        (folder / "cmdline").write_bytes(cmdline)
    (folder / "cgroup").write_text("3:cpu:/x\n2:pids:/system.slice/cron.service\n0::/\n")
    (folder / "exe").symlink_to("/usr/bin/cat (deleted)")
    (folder / "cwd").symlink_to("/srv")
    return folder


def test_every_field_of_a_process(tmp_path: Path) -> None:
    fake(tmp_path, 812)

    assert procfs.read(812, tmp_path) == Process(
        pid=812,
        ppid=1,
        pgid=30,
        sid=40,
        state="S",
        comm="cat",
        start_ticks=4711,
        threads=3,
        kernel_thread=False,
        min_flt=123,
        maj_flt=7,
        rss_bytes=250 * os.sysconf("SC_PAGESIZE"),
        exe="/usr/bin/cat (deleted)",
        argv=["cat", "-n", ""],
        cwd="/srv",
        uid=1000,
        ns_pids=[812, 7],
        cgroup="/system.slice/cron.service",
    )


def test_the_birth_is_rounded_down_to_a_tick_both_ways(tmp_path: Path) -> None:
    fake(tmp_path, 5, start=4711)
    process = procfs.read(5, tmp_path)

    assert process is not None
    assert process.born_ns == 4711 * TICK
    assert procfs.ticks(4711 * TICK) == procfs.ticks(4712 * TICK - 1) == process.start_ticks
    assert procfs.ticks(4712 * TICK) == 4712


@pytest.mark.parametrize("comm", [b") R 1 (", b"a b", b"(sd-pam)", b"\xff\xfe", b"x\ny", b"", b")))((("])
def test_a_comm_may_hold_anything(tmp_path: Path, comm: bytes) -> None:
    fake(tmp_path, 9, comm)
    process = procfs.read(9, tmp_path)

    assert process is not None
    assert process.comm.encode("utf-8", "surrogateescape") == comm
    assert process.ppid == 1


def test_kernel_threads_and_zombies_have_no_arguments(tmp_path: Path) -> None:
    fake(tmp_path, 2, b"kthreadd", cmdline=b"", flags=0x00208040)
    fake(tmp_path, 3, b"dead", cmdline=b"", state="Z")
    thread, zombie = procfs.read(2, tmp_path), procfs.read(3, tmp_path)

    assert thread is not None
    assert (thread.kernel_thread, thread.argv) == (True, None)
    assert zombie is not None
    assert (zombie.kernel_thread, zombie.state, zombie.argv) == (False, "Z", None)


def test_what_can_not_be_read_is_none_and_not_empty(tmp_path: Path) -> None:
    folder = tmp_path / "77"
    folder.mkdir()
    (folder / "stat").write_bytes(stat_line(77, b"x"))
    process = procfs.read(77, tmp_path)

    assert process is not None
    unread = (process.exe, process.argv, process.cwd, process.uid, process.ns_pids, process.cgroup)
    assert unread == (None,) * 6


def test_a_title_without_an_end_and_an_empty_argument() -> None:
    assert procfs.split_arguments(b"nginx: worker process") == ["nginx: worker process"]
    assert procfs.split_arguments(b"sh\0-c\0\0") == ["sh", "-c", ""]
    assert procfs.split_arguments(b"\0") == [""]
    assert procfs.split_arguments(b"\xff\0") == ["\udcff"]


def test_processes_that_vanish_or_make_no_sense_are_left_out(tmp_path: Path) -> None:
    fake(tmp_path, 20)
    fake(tmp_path, 3)
    (tmp_path / "4").mkdir()
    (tmp_path / "5").mkdir()
    (tmp_path / "5/stat").write_bytes(b"5 (torn")
    for name in ("self", "tty", "6x"):
        (tmp_path / name).mkdir()

    assert procfs.pids(tmp_path) == [3, 4, 5, 20]
    assert [p.pid for p in procfs.snapshot(tmp_path)] == [3, 20]
    assert procfs.read(99, tmp_path) is None
    assert procfs.pids(tmp_path / "none") == []


def test_no_comm_can_forge_a_line_of_status(tmp_path: Path) -> None:
    fake(tmp_path, 8, status="Groups:\tUid:\t5\nXUid:\t6\nUid:\t42\t1\t1\t1\nNSpid:\t8\n")
    process = procfs.read(8, tmp_path)

    assert process is not None
    assert process.uid == 42


@given(st.binary(max_size=200))
def test_any_bytes_for_a_stat_line(line: bytes) -> None:
    procfs.parse_stat(line)


@given(st.binary(max_size=15), st.integers(0, 1 << 62))
def test_stat_lines_read_as_they_were_written(comm: bytes, start: int) -> None:
    found = procfs.parse_stat(stat_line(1, comm, start=start))

    assert found is not None
    assert (found.comm.encode("utf-8", "surrogateescape"), found.start_ticks, found.ppid) == (comm, start, 1)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (b"0::/user.slice\n", "/user.slice"),
        (b"0::/\n9:pids,cpu:/docker/x\n1:name=systemd:/init\n", "/docker/x"),
        (b"9:pids:/docker/x\n0::/unified\n", "/docker/x"),
        (b"4:memory:/m\n0::/gone (deleted)\n", "/gone"),
        (b"4:memory:/m\n", None),
        (b"0::/a:b:c\n", "/a:b:c"),
        (b"0::/\xff\n", "/\udcff"),
        (b"", None),
        (b"rubbish\n", None),
    ],
)
def test_the_group_that_places_a_process(groups: bytes, expected: str | None) -> None:
    assert procfs.cgroup_path(groups) == expected


def test_counters_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 5\nprocesses 70123\nprocs_running 1\n")
    (tmp_path / "sys/kernel/random/boot_id").write_text("9da13106\n")

    assert procfs.forks_total(tmp_path) == 70123
    assert procfs.boot_id(tmp_path) == "9da13106"
    assert procfs.forks_total(tmp_path / "none") is None
    assert procfs.boot_id(tmp_path / "none") == ""


def namespace(proc: Path, inum: int, ns_pids: str, shown: int, kthreadd: bool) -> PidNamespace:
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/pid").symlink_to(f"pid:[{inum}]")
    (proc / "self/status").write_text(f"Name:\tx\nNSpid:\t{ns_pids}\n")
    folder = proc / str(shown)
    (proc / "self").rename(folder)
    (proc / "self").symlink_to(str(shown))
    fake(proc, 2, b"kthreadd", flags=0x00200000 if kthreadd else 0)
    return procfs.pid_namespace(proc)


@pytest.mark.parametrize(
    ("inum", "depth", "kthreadd", "level", "initial"),
    [
        (procfs.INITIAL_PID_NS, 0, True, 0, True),
        (4026532999, 0, False, None, False),  # a container: nothing in sight tells how deep
        (4026532999, 2, True, 2, False),  # a container that has the host's /proc
        (4026532999, 1, False, None, False),  # ... or the /proc of a container around it
    ],
)
def test_our_own_pid_namespace(
    tmp_path: Path, *, inum: int, depth: int, kthreadd: bool, level: int | None, initial: bool
) -> None:
    shown = 71000 if depth else os.getpid()
    ns_pids = "\t".join(map(str, [shown, *range(900, 900 + depth)]))

    found = namespace(tmp_path, inum, ns_pids, shown, kthreadd)

    assert found == PidNamespace(inum, level, proc_is_ours=depth == 0)
    assert found.initial is initial


def test_without_proc_the_namespace_is_unknown(tmp_path: Path) -> None:
    assert procfs.pid_namespace(tmp_path) == PidNamespace(None, None, proc_is_ours=False)
    assert procfs.pid_namespace(tmp_path).initial is None


# against the real /proc


def test_a_real_child() -> None:
    """Held on a pipe while we look. It speaks first: Popen returns inside the exec, before argv is in place."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    odd = "x\udcff) Z 1 ("
    argv = [sys.executable, "-Ic", "print(flush=True); input()", odd, ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        process = procfs.read(child.pid)
        listed = {p.pid: p for p in procfs.snapshot()}
        child.communicate(b"\n")

    assert process is not None
    assert process.ppid == os.getpid()
    assert process.argv == argv
    assert (process.cwd, process.uid, process.threads) == ("/", os.getuid(), 1)
    assert process.exe == os.path.realpath(sys.executable)
    assert before - TICK <= process.born_ns <= after
    assert process.ns_pids is not None
    assert process.ns_pids[0] == child.pid
    assert process.cgroup == procfs.read(os.getpid()).cgroup  # type: ignore[union-attr]
    assert listed[child.pid].argv == process.argv
    assert listed[os.getpid()].comm == Path("/proc/self/comm").read_text().strip()
    assert procfs.read(child.pid) is None, "it has been reaped"


def test_forks_are_counted_threads_included() -> None:
    before = procfs.forks_total()
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    after = procfs.forks_total()

    assert before is not None
    assert after is not None
    assert after > before


def test_the_offset_between_the_clocks() -> None:
    wall = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + procfs.wall_offset_ns()

    assert abs(wall - time.time_ns()) < 50_000_000
    assert len(procfs.boot_id()) == 36


def test_our_real_namespace_has_its_number() -> None:
    found = procfs.pid_namespace()

    assert found.inum == Path("/proc/self/ns/pid").stat().st_ino
    assert found.proc_is_ours
