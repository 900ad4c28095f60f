from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.host.features.fakes import FakeHost
from tracer.host import features
from tracer.host.features.host import CAP_NET_ADMIN, CAP_SYS_PTRACE

SUDO = "" if os.geteuid() == 0 else "sudo "


def test_bcc_is_found_by_path_in_any_distribution(tmp_path: Path) -> None:
    def without(folder: str) -> FakeHost:
        return FakeHost(tmp_path / folder).drop("usr/lib/python3/dist-packages/bcc/table.py")

    missing = features.feature("bcc", without("a"))
    no_bcc = without("b").put("usr/lib/python3/dist-packages/bcc/__init__.py", "")  # another package of that name
    other = features.feature("bcc", no_bcc)
    fedora = features.feature("bcc", without("c").put("usr/lib/python3.13/site-packages/bcc/table.py", ""))

    assert (missing.ok, other.ok, fedora.ok) == (False, False, True)
    assert missing.mend == f"{SUDO}apt-get install -y python3-bpfcc"
    assert "python3.13/site-packages/bcc" in fedora.detail


def test_bcc_without_its_library(tmp_path: Path) -> None:
    check = features.feature("bcc", FakeHost(tmp_path).drop("usr/lib/x86_64-linux-gnu/libbcc.so.0"))

    assert (check.ok, check.detail) == (False, "libbcc.so.0 is missing")


def test_bcc_is_for_one_machine(tmp_path: Path) -> None:
    check = features.feature("bcc", FakeHost(tmp_path, machine="aarch64"))

    assert (check.ok, "x86-64" in check.detail, check.mend) == (False, True, "use another backend")


def test_tracefs_in_either_place(tmp_path: Path) -> None:
    host = FakeHost(tmp_path).drop("sys/kernel/tracing/events/sched/enable")
    (tmp_path / "sys/kernel/tracing/events/sched").rmdir()
    missing = features.feature("tracefs", host)
    found = features.feature("tracefs", host.put("sys/kernel/debug/tracing/events/sched/enable", ""))

    assert (missing.ok, missing.mend) == (False, f"{SUDO}mount -t tracefs tracefs /sys/kernel/tracing")
    assert (found.ok, found.detail) == (True, "/sys/kernel/debug/tracing")


def test_tracefs_is_not_to_be_mounted_where_lockdown_keeps_it_empty(tmp_path: Path) -> None:
    host = FakeHost(tmp_path).drop("sys/kernel/tracing/events/sched/enable")
    (tmp_path / "sys/kernel/tracing/events/sched").rmdir()
    check = features.feature("tracefs", host.put("sys/kernel/security/lockdown", "none integrity [confidentiality]"))

    assert check.ok is False
    assert "mount" not in str(check.mend)
    assert "boot without lockdown=confidentiality" in str(check.mend)


def test_netlinks_needs(tmp_path: Path) -> None:
    host = FakeHost(tmp_path).holding(CAP_SYS_PTRACE).drop("proc/net/connector")
    host.knows = False

    assert features.feature("net_admin", host).ok is False
    assert features.feature("net_admin", FakeHost(tmp_path / "b").holding(CAP_NET_ADMIN)).ok is True
    assert features.feature("proc_connector", host).ok is False
    assert features.feature("proc_connector", host.put("proc/net/connector", "Name ID\n")).ok is False
    assert features.feature("taskstats", host).ok is False
    host.knows = None
    assert features.feature("taskstats", host).ok is None


def test_task_delayacct(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    off = features.feature("task_delayacct", host.put("proc/sys/kernel/task_delayacct", "0\n"))
    none = features.feature("task_delayacct", host.drop("proc/sys/kernel/task_delayacct"))

    assert (off.ok, off.mend) == (False, f"{SUDO}sysctl kernel.task_delayacct=1")
    assert none.ok is False
    assert "CONFIG_TASK_DELAY_ACCT" in str(none.mend)


@pytest.mark.parametrize(
    ("version", "detail"),
    [
        ((4, 26), "version 4.26, without --seccomp-bpf, --decode-pids=pidns, --kill-on-exit"),
        ((5, 3), "version 5.3, with --seccomp-bpf, without --decode-pids=pidns, --kill-on-exit"),
        ((5, 10), "version 5.10, with --seccomp-bpf, --decode-pids=pidns, without --kill-on-exit"),
        ((6, 6), "version 6.6, with --seccomp-bpf, --decode-pids=pidns, --kill-on-exit"),
        ((7, 0), "version 7.0, with --seccomp-bpf, --decode-pids=pidns, --kill-on-exit"),
    ],
)
def test_strace_by_version(tmp_path: Path, version: tuple[int, int], detail: str) -> None:
    host = FakeHost(tmp_path)
    host.strace_version = version
    check = features.feature("strace", host)

    assert (check.ok, check.detail) == (True, detail)


def test_no_strace_and_one_that_does_not_tell(tmp_path: Path) -> None:
    without, silent = FakeHost(tmp_path / "a"), FakeHost(tmp_path / "b")
    without.strace_version, silent.strace_version = None, (0, 0)

    assert features.feature("strace", without).ok is False
    assert features.feature("strace", without).mend == f"{SUDO}apt-get install -y strace"
    assert features.feature("strace", silent).ok is None


@pytest.mark.parametrize(
    ("scope", "privileged", "ok"),
    [
        ("0", False, True),
        ("1", False, True),
        ("2", False, False),
        ("2", True, True),
        ("3", True, False),
        (None, False, True),
    ],
)
def test_ptrace_as_yama_has_it(tmp_path: Path, scope: str | None, privileged: bool, ok: bool) -> None:
    host = FakeHost(tmp_path).holding(*[CAP_SYS_PTRACE] * privileged)
    path = "proc/sys/kernel/yama/ptrace_scope"
    check = features.feature("ptrace", host.drop(path) if scope is None else host.put(path, scope))

    assert check.ok is ok
    if (scope, privileged) == ("1", False):
        assert check.mend == "for -p: sudo forktrace"


def test_the_pid_namespace(tmp_path: Path) -> None:
    inner = FakeHost(tmp_path / "a").link("proc/self/ns/pid", "pid:[4026532700]")
    inner.put("proc/2/stat", "2 (x) S " + "0 " * 40)
    check = features.feature("pid_namespace", inner)
    unknown = features.feature("pid_namespace", FakeHost(tmp_path / "b").drop("proc/self/ns/pid"))

    assert check.ok is False
    assert "how deep it lies can not be told" in check.detail
    assert unknown.ok is None
