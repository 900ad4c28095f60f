"""Why forks fail, on the real kernel: each bound is provoked by a program that ends by itself, and named."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import tracer
from tests.conftest import need
from tests.programs.cow import build
from tests.terminals import wait_until
from tracer.backends.bpf.failures import explain
from tracer.host.btf import Btf
from tracer.host.cgroups import hierarchy
from tracer.host.fork_errors import Host
from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind

UID = 61237  # nobody else is this user


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of the pids controller, removed afterwards."""
    need("root")
    found = hierarchy()
    if found is None or not (found.mount / "cgroup.procs").exists():
        pytest.skip("no control groups")
    made = found.mount / f"forktrace-test-{os.getpid()}"
    inner = made / "x.service"
    made.mkdir()
    with suppress(OSError):  # of v2, where it is not on for children
        (found.mount / "cgroup.subtree_control").write_text("+pids")
    with suppress(OSError):
        (made / "cgroup.subtree_control").write_text("+pids")
    inner.mkdir()
    if not (made / "pids.max").exists():
        inner.rmdir()
        made.rmdir()
        pytest.skip("the pids controller is not to be had")
    yield made
    for one in (inner, made):
        for pid in (one / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        one.rmdir()


def failures(folder: Path, *words: object, through: Sequence[str] = ()) -> list[Event]:
    """Of its forks that failed. That they are as many as forkfail counted itself is checked here.

    `through`: a command that starts it.
    """
    said = folder / "said"
    command = [*through, "sh", "-c", 'exec "$0" "$@" >said', str(build("forkfail")), *map(str, words)]
    trace = tracer.run(command, backend="bpf", failures=True, cow="off", cwd=str(folder))
    assert trace.status is not None
    assert trace.status.exit_code == 0, said.read_text()
    found = [event for event in trace.events() if event.kind == Kind.FORK_FAILED]
    errors = [int(line.split()[1]) for line in said.read_text().splitlines() if line.startswith("failed")]
    assert [event.errno for event in found[-len(errors) :]] == errors
    assert len(found) - len(errors) in (0, 1)  # and the one that ended its filling
    return found


@pytest.mark.parametrize("where", ["x.service", ""])
def test_pids_max_of_the_group_or_of_one_above_it(where: str, group: Path, tmp_path: Path) -> None:
    need("bpf", "cc")
    (group / "pids.max").write_text("7")
    found = failures(tmp_path, 30, 3, f"join={group / where / 'cgroup.procs'}")

    assert len(found) == 4
    for event in found:
        assert (event.error, event.cause) == ("EAGAIN", f"pids.max 7/7 of /{group.name}")
        assert event.evidence == "measured"


def test_the_limit_of_a_user(tmp_path: Path) -> None:
    need("bpf", "cc", "root")
    found = failures(tmp_path, 30, 3, f"uid={UID}", "nproc=5")

    assert len(found) == 4
    assert {event.cause for event in found} == {f"RLIMIT_NPROC 5/5 of uid {UID}"}
    assert {event.evidence for event in found} == {"measured"}


def test_root_is_under_no_limit_of_processes(tmp_path: Path) -> None:
    need("bpf", "cc", "root")
    assert failures(tmp_path, 3, 0, "nproc=1") == []


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EPERM])
def test_a_seccomp_filter_is_what_is_left(error: int, tmp_path: Path) -> None:
    need("bpf", "cc")
    found = failures(tmp_path, 5, 2, f"seccomp={error}")

    assert [(event.errno, event.cause, event.evidence) for event in found] == [
        (error, "a seccomp filter", "inferred")
    ] * 3


def test_nobody_is_born_into_a_pid_namespace_whose_init_has_ended(tmp_path: Path) -> None:
    need("bpf", "cc", "root")
    found = failures(tmp_path, 5, 1, "dead")

    assert [(event.error, event.cause) for event in found] == [
        ("ENOMEM", "the init of its pid namespace has ended")
    ] * 2
    assert found[0].evidence == "measured"


@pytest.fixture
def small_memory() -> Iterator[tuple[Path, list[str]]]:
    """A group of the memory controller with 8 MiB, and what forkfail must be told so that nobody is killed in it."""
    need("root")
    found = hierarchy(controller="memory")
    if found is None:
        pytest.skip("no control groups")
    group = found.mount / f"forktrace-test-{os.getpid()}"
    group.mkdir()
    limit, most = group / ("memory.limit_in_bytes" if found.version == 1 else "memory.max"), 8 << 20
    if found.version == 2:
        with suppress(OSError):
            (found.mount / "cgroup.subtree_control").write_text("+memory")
    try:
        if not limit.exists():
            pytest.skip("the memory controller is not to be had")
        limit.write_text(str(most))
        if found.version == 1:
            (group / "memory.oom_control").write_text("1")
        yield group, [] if found.version == 1 else ["unkillable"]
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        wait_until("the group is empty", lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_the_memory_of_a_group(small_memory: tuple[Path, list[str]], tmp_path: Path) -> None:
    need("bpf", "cc")
    group, words = small_memory
    found = failures(tmp_path, 1, 3, *words, f"join={group / 'cgroup.procs'}", "fill")

    assert len(found) == 4
    for event in found:
        assert event.error == "ENOMEM"
        assert re.fullmatch(rf"memory\.(max|limit_in_bytes) (8|7\.9\d*) MiB/8 MiB of /{group.name}", event.cause), event


def test_pids_of_a_namespace_of_its_own(tmp_path: Path) -> None:
    """Since Linux commit 7863dcc72d0f ("pid: allow pid_max to be set per pid namespace") (v6.14)."""
    need("bpf", "cc", "root", "unshare")
    if "pid_max" not in Btf.vmlinux().member_names("pid_namespace"):
        pytest.skip("kernel.pid_max is the whole host's here")
    ours = Path("/proc/sys/kernel/pid_max").read_text()
    inside = 'echo 310 >/proc/sys/kernel/pid_max && exec "$0" "$@"'
    through = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inside]
    found = failures(tmp_path, 30, 3, "burn=310", through=through)

    assert len(found) == 4
    for event in found:
        assert (event.error, event.evidence) == ("EAGAIN", "measured")
        assert re.fullmatch(r"kernel\.pid_max \d+/310 of its pid namespace, 300 reserved", event.cause), event
    assert Path("/proc/sys/kernel/pid_max").read_text() == ours


def test_more_data_than_there_is_memory(tmp_path: Path) -> None:
    """Nothing of it is touched. vm.overcommit_memory and kernel.threads-max are the host's, and left alone."""
    need("bpf", "cc")
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "0":
        pytest.skip("vm.overcommit_memory is not 0")
    found = failures(tmp_path, 1, 3, "big")

    assert len(found) == 4
    for event in found:
        assert (event.error, event.evidence) == ("ENOMEM", "inferred")
        assert re.fullmatch(
            r"vm\.overcommit_memory=0: \S+ GiB of data are above all memory and swap, \S+ GiB", event.cause
        ), event


@pytest.fixture
def own_kernel() -> Iterator[str]:
    """Skips where the kernel is shared: what these set, all its processes are under. How sure a cause can be."""
    need("bpf", "cc", "root")
    if not Path("/run/vm/job").exists():
        pytest.skip(
            "needs a kernel of its own: ./run guest newest 'python3 -m pytest tests/backends/bpf/test_failures.py'"
        )
    settings = [Path("/proc/sys") / name for name in ("vm/overcommit_memory", "kernel/threads-max", "kernel/pid_max")]
    before = [path.read_text() for path in settings]
    yield "measured" if " vm_committed_as\n" in Path("/proc/kallsyms").read_text() else "inferred"
    for path, text in zip(settings, before, strict=True):
        path.write_text(text)


def test_more_than_may_be_promised_by_a_program_that_ends_at_once(own_kernel: str, tmp_path: Path) -> None:
    """Committed_AS is that of the moment: a second later the program's own part of it is gone."""
    found = failures(tmp_path, 1, 3, "sysctl=vm/overcommit_memory=2", "commit")

    assert len(found) == 4
    for event in found:
        assert (event.error, event.evidence) == ("ENOMEM", own_kernel)
        figures = r"vm\.overcommit_memory=2: Committed_AS \S+ \wiB and \S+ \wiB more are above CommitLimit \S+ \wiB"
        assert re.fullmatch(figures, event.cause), event


def test_as_many_tasks_as_the_host_may_have(own_kernel: str, tmp_path: Path) -> None:
    found = failures(tmp_path, 1, 3, "sysctl=kernel/threads-max=20")

    assert len(found) == 4
    for event in found:
        assert (event.error, event.evidence) == ("EAGAIN", own_kernel)
        assert re.fullmatch(r"kernel\.threads-max \d+/20", event.cause), event


@pytest.mark.usefixtures("own_kernel")
def test_a_host_of_one_pid_that_is_not_reserved(tmp_path: Path) -> None:
    found = failures(tmp_path, 3, 3, "sysctl=kernel/pid_max=301", "burn=400")

    assert len(found) == 4
    for event in found:
        assert (event.error, event.evidence) == ("EAGAIN", "measured")
        assert re.fullmatch(r"kernel\.pid_max \d+/301, 300 reserved", event.cause), event


@contextmanager
def held(*words: object) -> Iterator[int]:
    """forkfail after its tries, as it stands; its pid."""
    command = [str(build("forkfail")), *map(str, words), "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        assert said[1] == f"failed {errno.EAGAIN}\n"
        yield process.pid


def explained(pid: int) -> tuple[str | None, str | None]:
    row = {"ts_ns": 1, "pid": pid, "tid": pid, "born_ns": 1, "errno": errno.EAGAIN, "error": "EAGAIN"}
    batch = Batch.from_rows([(Kind.FORK_FAILED, row)])
    explain([batch], Host())
    [event] = batch.events()
    return event.cause, event.evidence


def test_sources_that_do_not_see_why_have_it_from_proc(group: Path) -> None:
    need("cc")
    with held(30, 1, f"uid={UID}", "nproc=5") as pid:
        assert explained(pid) == (f"RLIMIT_NPROC 5/5 of uid {UID}", "inferred")
    with held(5, 1, f"seccomp={errno.EAGAIN}") as pid:
        assert explained(pid) == ("a seccomp filter", "inferred")
    (group / "pids.max").write_text("7")
    with held(30, 1, f"join={group / 'x.service/cgroup.procs'}") as pid:
        assert explained(pid) == (f"pids.max 7/7 of /{group.name}", "inferred")
    assert explained(pid) == (None, None)  # it has gone
