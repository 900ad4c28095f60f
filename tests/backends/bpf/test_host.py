"""What the probes' options are, asked of kernels that were never built, and of the one that runs."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.btf_blob import Blob
from tracer.backends.bpf import host
from tracer.errors import ProbesRefusedError
from tracer.host import btf, procfs
from tracer.host.procfs import PidNamespace


@pytest.fixture
def blob(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blob]:
    """The BTF of the kernel that `_host` sees: what a test puts into it."""
    made = Blob()
    monkeypatch.setattr(host, "_vmlinux", made.btf)
    yield made


def pointer(blob: Blob, name: str) -> int:
    return blob.add(btf.PTR, "", blob.struct(name, 8, []))


def test_exit_that_tells_the_last_thread(blob: Blob) -> None:
    assert not host.has_group_dead()

    blob.struct("trace_event_raw_sched_process_exit", 8, [("pid", blob.integer("int", 4), 0)])

    assert not host.has_group_dead()


def test_exit_that_tells_the_last_thread_since_6_16(blob: Blob) -> None:
    members = [("pid", blob.integer("int", 4), 0), ("group_dead", blob.integer("bool", 1), 32)]
    blob.struct("trace_event_raw_sched_process_exit", 8, members)

    assert host.has_group_dead()


def test_oom_victim_as_a_task_and_as_a_bare_pid(blob: Blob) -> None:
    assert not host.mark_victim_takes_task()

    blob.struct("trace_event_raw_mark_victim", 8, [("pid", blob.integer("int", 4), 0)])

    assert not host.mark_victim_takes_task()


def test_oom_victim_as_a_task(blob: Blob) -> None:
    number = blob.integer("int", 4)
    blob.struct("trace_event_raw_mark_victim", 8, [("pid", number, 0), ("uid", number, 32)])

    assert host.mark_victim_takes_task()


def test_function_that_makes_loading_fast(blob: Blob) -> None:
    blob.add(btf.STRUCT, "bpf_rdonly_cast", 8)
    assert not host.has_rdonly_cast()

    blob.add(btf.FUNC, "bpf_rdonly_cast", blob.prototype([]))
    assert host.has_rdonly_cast()


@pytest.mark.parametrize(
    ("ask", "give"),
    [
        (host.has_dirty_folio, lambda b: b.tracepoint("writeback_dirty_folio", pointer(b, "folio"))),
        (host.has_in_execve, lambda b: b.struct("task_struct", 8, [("in_execve", b.integer("unsigned", 4), 0)])),
    ],
)
def test_what_a_kernel_has_it_has(blob: Blob, ask: Callable[[], bool], give: Callable[[Blob], int]) -> None:
    assert not ask()

    give(blob)

    assert ask()


def test_size_of_the_handlers_table(blob: Blob) -> None:
    with pytest.raises(ProbesRefusedError, match="leave --reap exact out"):
        host.sighand_cache_size()

    blob.struct("sighand_struct", 2088, [])

    assert host.sighand_cache_size() == 2088


@pytest.mark.parametrize(
    ("namespace", "words"),
    [
        (PidNamespace(None, 0, proc_is_ours=True), "can not be told"),
        (PidNamespace(7, None, proc_is_ours=False), "can not be told"),
        (PidNamespace(7, 5, proc_is_ours=True), "is 5 deep"),
    ],
)
def test_pids_that_would_be_wrong_are_refused(
    namespace: PidNamespace, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "pid_namespace", lambda: namespace)

    with pytest.raises(ProbesRefusedError, match=words) as refused:
        host.pid_namespace()

    assert refused.value.mend


def test_our_own_namespace() -> None:
    level, inum = host.pid_namespace()

    assert f"pid:[{inum}]" == os.readlink("/proc/self/ns/pid")
    assert 0 <= level <= 4


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="this kernel has no BTF")
def test_the_running_kernel_is_as_its_version_says() -> None:
    version = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))

    assert host.has_group_dead() == (version >= (6, 16))
    assert host.mark_victim_takes_task() == (version >= (6, 8))
    assert host.has_dirty_folio() == (version >= (5, 16))
    assert host.has_rdonly_cast() == (version >= (6, 2))
    assert host.sighand_cache_size() > 64 * 32  # _NSIG actions of four words
