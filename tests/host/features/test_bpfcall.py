from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.conftest import need
from tracer.host import btf
from tracer.host.features import bpfcall
from tracer.host.features.bpfcall import Answer, BpfCall

OTHERS = {"EINVAL", "E2BIG", "EOPNOTSUPP"}


def newtask() -> int:
    number = btf.Btf.vmlinux().type_id("btf_trace_task_newtask", btf.TYPEDEF)
    assert number is not None
    return number


@pytest.mark.kernel
def test_the_kernel_makes_and_loads_what_it_can() -> None:
    need("bpf")
    call = BpfCall()

    assert call.ring_buffer() == Answer(ok=True)
    assert call.task_storage() == Answer(ok=True)
    assert call.tracepoint(newtask()) == Answer(ok=True)


@pytest.mark.kernel
def test_a_number_that_is_no_tracepoint_is_refused() -> None:
    need("bpf")
    answer = BpfCall().tracepoint(1)

    assert answer.ok is False
    assert answer.error in OTHERS


@pytest.mark.kernel
def test_helpers_that_are_there_and_ones_that_are_not() -> None:
    need("bpf")
    call, task = BpfCall(), newtask()
    names = btf.Btf.vmlinux().enum("bpf_func_id") or {}

    for name in ("task_pt_regs", "find_vma", "loop", "map_update_elem", "trace_printk"):
        assert call.helper(names[f"BPF_FUNC_{name}"], task).ok is True, name
    for name in ("skb_store_bytes", "redirect_map"):  # of this kernel, and not for tracing
        assert call.helper(names[f"BPF_FUNC_{name}"], task).ok is False, name
    assert call.helper(100_000, task).ok is False


@pytest.mark.kernel
def test_the_numbers_of_the_helpers_are_the_kernels() -> None:
    need("bpf")
    names = btf.Btf.vmlinux().enum("bpf_func_id") or {}

    assert names["BPF_FUNC_probe_read_kernel"] == bpfcall.PROBE_READ_KERNEL
    assert names["BPF_FUNC_task_pt_regs"] == bpfcall.TASK_PT_REGS
    assert names["BPF_FUNC_find_vma"] == bpfcall.FIND_VMA
    assert names["BPF_FUNC_loop"] == bpfcall.LOOP


@pytest.mark.kernel
def test_nothing_is_left_open() -> None:
    need("bpf")
    call, task = BpfCall(), newtask()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        call.ring_buffer()
        call.task_storage()
        call.tracepoint(task)
        call.helper(bpfcall.LOOP, task)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_privilege_nothing_is_learnt() -> None:
    """In a child that has given up its rights: a refusal must not look like a missing feature."""
    if Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip() == "0":
        pytest.skip("kernel.unprivileged_bpf_disabled is 0 here: a ring buffer is for anyone")
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
            call = BpfCall()
            answers = {call.ring_buffer(), call.tracepoint(5), call.helper(bpfcall.LOOP, 5)}
            os._exit(0 if answers == {Answer(None, "EPERM")} else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_unknown_processor_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "sparc64")))

    assert BpfCall().ring_buffer() == Answer(False, errno.errorcode[errno.ENOSYS])
