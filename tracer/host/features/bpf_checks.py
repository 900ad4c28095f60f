"""What the bpf backend asks of the kernel: types, tracepoints, maps, helpers, and leave to use them.

Asks for the thing itself, never for a version number; versions stand beside as a hint to whoever must find
a newer kernel. Each function takes the host and answers with one `Check` of its own name. Knows nothing of
the probes.
"""

from __future__ import annotations

from typing import Final

from tracer.host import btf
from tracer.host.features import bpfcall
from tracer.host.features.bpfcall import Answer
from tracer.host.features.check import Check, no, unknown, yes
from tracer.host.features.feature_probe import NEWER, OTHER_BACKEND, Question, enumerated, helper, newtask, tracepoints
from tracer.host.features.host import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Host, as_root, forktrace_as_root

LIFECYCLE: Final = (
    *("task_newtask", "sched_process_exec", "sched_process_exit", "sched_process_wait", "sched_process_free"),
    *("signal_generate", "task_rename", "mark_victim", "cgroup_mkdir"),
)
EXTRA: Final = {"sys_exit": "-e fail", "kmem_cache_free": "--reap exact", "cgroup_attach_task": "--cgroup"}
"""Tracepoints of which an option asks for more; the rest works without them."""


def has_btf(host: Host) -> Check:
    """Type information of the running kernel."""
    why = "by it the probes find the kernel's fields, whatever its version"
    if host.btf is not None:
        return yes("btf", f"{btf.VMLINUX} is there", why)
    mend = f"use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or {OTHER_BACKEND.removeprefix('use ')}"
    return no("btf", f"{btf.VMLINUX} is missing or damaged", why, mend)


def capabilities(host: Host) -> Check:
    """CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, over the whole host."""
    why = "the kernel loads tracing programs only for those who hold both"
    bpf, perfmon = host.capable(CAP_BPF, CAP_SYS_ADMIN), host.capable(CAP_PERFMON, CAP_SYS_ADMIN)
    if bpf is None:
        return unknown("capabilities", "/proc/self/status can not be read", why)
    if bpf and perfmon:
        return yes("capabilities", "CAP_BPF and CAP_PERFMON are held", why)
    if host.in_user_namespace:
        detail = "we are in a user namespace, where no capability reaches the host's kernel"
        return no("capabilities", detail, why, "run forktrace outside the container")
    missing = " and ".join(name for name, held in (("CAP_BPF", bpf), ("CAP_PERFMON", perfmon)) if not held)
    return no("capabilities", f"{missing} not held", why, forktrace_as_root())


def libbpf(host: Host) -> Check:
    """The library that loads the probes."""
    why = "the bpf backend loads its probes with it"
    if host.libbpf is not None:
        return yes("libbpf", f"libbpf.so.1, version {host.libbpf}", why)
    if host.library("libbpf.so.0"):
        detail = "only libbpf.so.0 is here, which lacks the calls that are needed"
        return no("libbpf", detail, why, "install libbpf 1.0 or newer, or --backend bcc")
    return no("libbpf", "libbpf.so.1 is missing", why, host.install("libbpf"))


def tp_btf(host: Host) -> Check:
    """Whether a program may be loaded on a tracepoint with typed arguments: tried on task_newtask."""
    why = "all probes are of this sort"
    number = newtask(host)
    if number is None:
        detail = "unknown without BTF" if host.btf is None else "task_newtask is not in BTF"
        return Check("tp_btf", None if host.btf is None else False, detail, why, OTHER_BACKEND)
    question = Question("tp_btf", "a program on task_newtask", why, "5.5")
    return question.answered(host, host.bpf.tracepoint(number), known=True)


def lifecycle_tracepoints(host: Host) -> Check:
    """The tracepoints of births, execs, ends and reaps."""
    why = "births, execs, ends, reaps and signals come by them"
    return tracepoints(host, "lifecycle_tracepoints", LIFECYCLE, why)


def ring_buffer(host: Host) -> Check:
    """The map through which records come."""
    why = "records reach user space through it, in order"
    known = enumerated(host, "bpf_map_type", "BPF_MAP_TYPE_RINGBUF")
    question = Question("ring_buffer", "a ring buffer", why, "5.8")
    return question.answered(host, host.bpf.ring_buffer(), known=known)


def task_storage(host: Host) -> Check:
    """The map in which the traced set is kept."""
    why = "it marks what is traced, so that everything else costs one look-up"
    known = enumerated(host, "bpf_map_type", "BPF_MAP_TYPE_TASK_STORAGE")
    question = Question("task_storage", "task storage", why, "5.11")
    return question.answered(host, host.bpf.task_storage(), known=known)


def bpf_loop(host: Host) -> Check:
    """Reads argv to its end."""
    question = Question("bpf_loop", "helper bpf_loop", "argv of any length is read with it", "5.17")
    return helper(host, question, bpfcall.LOOP)


def bpf_task_pt_regs(host: Host) -> Check:
    """Tells which system call made a process."""
    why = "it tells vfork from posix_spawn and clone from clone3"
    return helper(host, Question("bpf_task_pt_regs", "helper bpf_task_pt_regs", why, "5.15"), bpfcall.TASK_PT_REGS)


def task_iter(host: Host) -> Check:
    """Walks the processes that are there when a trace begins."""
    why = "with -p and -a it finds the processes that are there already, without a race"
    if host.btf is None:
        return unknown("task_iter", "unknown without BTF", why)
    if host.btf.has("bpf_iter_task", btf.FUNC):
        return yes("task_iter", "it is in BTF", why)
    return no("task_iter", "it is not in BTF", why, NEWER.format("5.8"))


def extra_tracepoints(host: Host) -> Check:
    """The tracepoints that only some options ask for."""
    why = "failed forks and execs (-e fail), exact reaps (--reap exact) and who is moved (--cgroup) come by them"
    check = tracepoints(host, "extra_tracepoints", tuple(EXTRA), why)
    if check.ok is False:
        options = " and ".join(option for point, option in EXTRA.items() if point in check.detail)
        return no(check.name, check.detail, why, f"leave out {options}")
    return check


def bpf_rdonly_cast(host: Host) -> Check:
    """Typed pointers made without a call at run time; a function of the kernel, so that BTF lists it."""
    why = "with it the probes load several times faster"
    if host.btf is None:
        return unknown("bpf_rdonly_cast", "unknown without BTF", why)
    if host.btf.has("bpf_rdonly_cast", btf.FUNC):
        return yes("bpf_rdonly_cast", "it is in BTF", why)
    return no("bpf_rdonly_cast", "it is not in BTF", why, NEWER.format("6.2"))


def group_dead(host: Host) -> Check:
    """Whether sched_process_exit says which thread is the last, and comes before the memory is given back.

    Since Linux commit 3e816361e94a ("exit: move and extend sched_process_exit() tracepoint") (v6.16). The
    argument gave the event a record of its own, which BTF shows; the move came in the same change and shows
    nowhere.
    """
    why = "without it the last thread is inferred, and the peak memory of the program that forktrace starts is null"
    if host.btf is None:
        return unknown("group_dead", "unknown without BTF", why)
    if "group_dead" in host.btf.member_names("trace_event_raw_sched_process_exit"):
        detail = "sched_process_exit says which thread is the last"
        return yes("group_dead", detail, why)
    detail = "sched_process_exit does not say which thread is the last"
    return no("group_dead", detail, why, NEWER.format("6.16"))


def lockdown(host: Host) -> Check:
    """Whether the kernel keeps its memory from BPF. The file needs securityfs, which is not ours to mount."""
    why = (
        "confidentiality refuses bcc, --cgroup, --unit, --container and --exe; the bpf backend works, without cwd, "
        "interpreters and renames"
    )
    mend = "boot without lockdown=confidentiality, or use the bpf backend without these options"
    text = host.text("sys/kernel/security/lockdown")
    level = (text or "").partition("[")[2].partition("]")[0]
    if level:
        detail = {"none": "off", "integrity": "integrity: kernel memory may be read"}.get(level, level)
        bad = level == "confidentiality"
        return Check("lockdown", ok=not bad, detail=detail, why=why, mend=mend if bad else None)
    number = newtask(host)
    answer = Answer(None) if number is None else host.bpf.helper(bpfcall.PROBE_READ_KERNEL, number)
    if answer.ok is None:
        shown = as_root("mount -t securityfs securityfs /sys/kernel/security")
        return unknown("lockdown", "securityfs, which shows the level, is not mounted", why, shown)
    detail = f"reads of kernel memory are {'allowed' if answer.ok else 'refused'} (tried; level not shown)"
    return Check("lockdown", answer.ok, detail, why, None if answer.ok else mend)


def unprivileged_bpf(host: Host) -> Check:
    """kernel.unprivileged_bpf_disabled."""
    why = "it does not matter here: tracing programs take both capabilities whatever it says"
    text = host.text("proc/sys/kernel/unprivileged_bpf_disabled")
    if text is None:
        return unknown("unprivileged_bpf", "kernel.unprivileged_bpf_disabled can not be read", why)
    meaning = "anyone may load simple programs" if text == "0" else "none without capabilities"
    return yes("unprivileged_bpf", f"kernel.unprivileged_bpf_disabled = {text}: {meaning}", why)
