"""A host made of files below a folder and of answers given by hand. All is there until a test takes it away."""

from __future__ import annotations

import os
from collections.abc import Container
from functools import cached_property
from pathlib import Path

from tests.btf_blob import Blob
from tracer.host import btf
from tracer.host.features.bpf_checks import EXTRA, LIFECYCLE
from tracer.host.features.bpfcall import Answer, BpfCall
from tracer.host.features.copy_checks import ABORT, ENTRY, FAULTS
from tracer.host.features.host import Host
from tracer.model.machines import MACHINES, Machine

YES, REFUSED, NO = Answer(ok=True), Answer(None, "EPERM"), Answer(False, "EINVAL")
ALL_CAPABILITIES = (1 << 41) - 1
INITIAL_PID_NS, INITIAL_USER_NS = 4026531836, 4026531837


class FakeCall(BpfCall):
    """Answers what it was told to, all alike unless named in `others`."""

    def __init__(self, answer: Answer, **others: Answer) -> None:
        self.answer = answer
        self.others = others

    def ring_buffer(self) -> Answer:
        return self.others.get("ring_buffer", self.answer)

    def task_storage(self) -> Answer:
        return self.others.get("task_storage", self.answer)

    def tracepoint(self, type_id: int) -> Answer:
        assert type_id
        return self.others.get("tracepoint", self.answer)

    def helper(self, number: int, type_id: int) -> Answer:
        assert type_id
        return self.others.get(f"helper_{number}", self.answer)


class FakeHost(Host):
    """`strace_version` None is no strace; `knows` the generic netlink families; `without` types left out of
    BTF."""

    strace_version: tuple[int, int] | None = (6, 1)
    knows: bool | None = True

    def __init__(
        self, root: Path, *, machine: str = "x86_64", without: Container[str] = (), types: bool = True
    ) -> None:
        super().__init__(root)
        self.on = machine
        self.bpf = FakeCall(YES)
        self.link("proc/self", str(os.getpid()))
        (root / "proc" / str(os.getpid())).mkdir(exist_ok=True)
        self.put("proc/self/status", f"Name:\tx\nCapEff:\t{ALL_CAPABILITIES:016x}\nNSpid:\t1\n")
        self.link("proc/self/ns/user", f"user:[{INITIAL_USER_NS}]")
        self.link("proc/self/ns/pid", f"pid:[{INITIAL_PID_NS}]")
        self.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
        self.put("proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
        self.put("proc/sys/kernel/task_delayacct", "1\n")
        self.put("proc/sys/kernel/yama/ptrace_scope", "1\n")
        self.put("proc/net/connector", "Name            ID\ncn_proc         1:1\n")
        self.put("sys/kernel/tracing/events/sched/enable", "0")
        self.put("etc/os-release", 'NAME="Some Linux"\nID=debian\nVERSION_ID="12"\n')
        self.put("usr/lib/x86_64-linux-gnu/libbpf.so.1", "")
        self.put("usr/lib/x86_64-linux-gnu/libbcc.so.0", "")
        self.put("usr/lib/python3/dist-packages/bcc/table.py", "")
        self.blob = kernel_types(without, machine)
        if types:
            self.put("sys/kernel/btf/vmlinux", self.blob.bytes())

    def put(self, path: str, content: str | bytes) -> FakeHost:
        """Write a file."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def link(self, path: str, target: str) -> FakeHost:
        """Make a symbolic link."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        return self

    def drop(self, path: str) -> FakeHost:
        """Take a file away."""
        (self.root / path).unlink()
        return self

    def holding(self, *capabilities: int) -> FakeHost:
        """Hold these capabilities and no others."""
        return self.put("proc/self/status", f"CapEff:\t{sum(1 << bit for bit in capabilities):016x}\nNSpid:\t1\n")

    def answering(self, answer: Answer, **others: Answer) -> FakeHost:
        """Give these answers to bpf(2)."""
        self.bpf = FakeCall(answer, **others)
        return self

    @cached_property
    def machine(self) -> Machine | None:
        return MACHINES.get(self.on)

    @cached_property
    def strace(self) -> tuple[int, int] | None:
        return self.strace_version

    def generic_netlink(self, family: str) -> bool | None:
        assert family == "TASKSTATS"
        return self.knows


def kernel_types(without: Container[str] = (), machine: str = "x86_64") -> Blob:
    """The types of a kernel that has everything, less those named."""
    blob = Blob()
    number = blob.integer("int", 4)
    task = blob.add(btf.PTR, "", blob.struct("task_struct", 8, [("pid", number, 0)]))
    entry = () if machine == "aarch64" else ENTRY
    for point in (*LIFECYCLE, *entry, *FAULTS, *EXTRA, "rss_stat"):
        name = point.partition("|")[0]
        if name not in without:
            blob.tracepoint(name, task)
    structs = {
        "trace_event_raw_sched_process_exit": "group_dead",
        "mm_struct": "mm_lock_seq",
        "ftrace_ops": "direct_call",
    }
    for name, member in structs.items():
        members = [("other", number, 0)] + ([(member, number, 32)] if member not in without else [])
        blob.struct(name, 8, members)
    for name in ("bpf_iter_task", "bpf_rdonly_cast", *([ABORT] if machine == "aarch64" else [])):
        if name not in without:
            blob.add(btf.FUNC, name, blob.prototype([]))
    enums = {
        "bpf_map_type": ("BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_TASK_STORAGE"),
        "bpf_func_id": ("BPF_FUNC_loop", "BPF_FUNC_find_vma", "BPF_FUNC_task_pt_regs"),
    }
    for enum, names in enums.items():
        blob.enum(enum, [(name, i) for i, name in enumerate(names) if name not in without])
    return blob
