"""What the bpf backend asks of the kernel: types, tracepoints, maps, helpers, and leave to use them.

Asks for the thing itself, never for a version number; versions stand beside as a hint to whoever must find
a newer kernel. Each function takes the host and answers with one `Check` of its own name. Knows nothing of
the probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracer import btf
from tracer.kernel import bpfcall
from tracer.kernel.bpfcall import Answer
from tracer.kernel.check import Check, no, unknown, yes
from tracer.kernel.host import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Host, as_root, forktrace_as_root

LIFECYCLE: Final = (
    *("task_newtask", "sched_process_exec", "sched_process_exit", "sched_process_wait", "sched_process_free"),
    *("signal_generate", "task_rename", "mark_victim"),
)
FAULTS: Final = (
    *("page_fault_user", "page_fault_kernel", "mm_page_alloc", "mm_page_free"),
    "writeback_dirty_folio|writeback_dirty_page",  # renamed in Linux 5.18
)

EXTRA: Final = {"sys_exit": "-e fail", "kmem_cache_free": "--reap exact"}
"""Tracepoints of which an option asks for more; the rest works without them."""

_OTHER_BACKEND: Final = "use --backend netlink or --backend strace"
_NEWER: Final = "use a kernel of Linux {} or newer"


def has_btf(host: Host) -> Check:
    """Type information of the running kernel."""
    why = "by it the probes find the kernel's fields, whatever its version"
    if host.btf is not None:
        return yes("btf", f"{btf.VMLINUX} is there", why)
    mend = f"use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or {_OTHER_BACKEND.removeprefix('use ')}"
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
    number = _newtask(host)
    if number is None:
        detail = "unknown without BTF" if host.btf is None else "task_newtask is not in BTF"
        return Check("tp_btf", None if host.btf is None else False, detail, why, _OTHER_BACKEND)
    question = _Question("tp_btf", "a program on task_newtask", why, "5.5")
    return question.answered(host, host.bpf.tracepoint(number), known=True)


def lifecycle_tracepoints(host: Host) -> Check:
    """The tracepoints of births, execs, ends and reaps."""
    why = "births, execs, ends, reaps and signals come by them"
    return _tracepoints(host, "lifecycle_tracepoints", LIFECYCLE, why)


def ring_buffer(host: Host) -> Check:
    """The map through which records come."""
    why = "records reach user space through it, in order"
    known = _enumerated(host, "bpf_map_type", "BPF_MAP_TYPE_RINGBUF")
    question = _Question("ring_buffer", "a ring buffer", why, "5.8")
    return question.answered(host, host.bpf.ring_buffer(), known=known)


def task_storage(host: Host) -> Check:
    """The map in which the traced set is kept."""
    why = "it marks what is traced, so that everything else costs one look-up"
    known = _enumerated(host, "bpf_map_type", "BPF_MAP_TYPE_TASK_STORAGE")
    question = _Question("task_storage", "task storage", why, "5.11")
    return question.answered(host, host.bpf.task_storage(), known=known)


def bpf_loop(host: Host) -> Check:
    """Reads argv to its end."""
    question = _Question("bpf_loop", "the helper", "argv of any length is read with it", "5.17")
    return _helper(host, question, bpfcall.LOOP)


def bpf_task_pt_regs(host: Host) -> Check:
    """Tells which system call made a process."""
    why = "it tells vfork from posix_spawn and clone from clone3"
    return _helper(host, _Question("bpf_task_pt_regs", "the helper", why, "5.15"), bpfcall.TASK_PT_REGS)


def task_iter(host: Host) -> Check:
    """Walks the processes that are there when a trace begins."""
    why = "with -p and -a it finds the processes that are there already, without a race"
    if host.btf is None:
        return unknown("task_iter", "unknown without BTF", why)
    if host.btf.has("bpf_iter_task", btf.FUNC):
        return yes("task_iter", "it is in BTF", why)
    return no("task_iter", "it is not in BTF", why, _NEWER.format("5.8"))


def extra_tracepoints(host: Host) -> Check:
    """The tracepoints that only some options ask for."""
    why = "failed forks and execs (-e fail) and reaps to the microsecond (--reap exact) come by them"
    check = _tracepoints(host, "extra_tracepoints", tuple(EXTRA), why)
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
    return no("bpf_rdonly_cast", "it is not in BTF", why, _NEWER.format("6.2"))


def group_dead(host: Host) -> Check:
    """Whether sched_process_exit says which thread is the last, and comes before the memory is given back.

    Since Linux commit 3e816361e94a ("exit: move and extend sched_process_exit() tracepoint") (v6.16). The
    argument gave the event a record of its own, which BTF shows; the move came in the same change and shows
    nowhere.
    """
    why = "without it memory figures at the end are null, and the last thread is worked out"
    if host.btf is None:
        return unknown("group_dead", "unknown without BTF", why)
    if "group_dead" in host.btf.member_names("trace_event_raw_sched_process_exit"):
        detail = "sched_process_exit names the last thread, while its memory is still there"
        return yes("group_dead", detail, why)
    detail = "sched_process_exit comes when the memory is gone, and does not name the last thread"
    return no("group_dead", detail, why, _NEWER.format("6.16"))


def lockdown(host: Host) -> Check:
    """Whether the kernel keeps its memory from BPF. The file needs securityfs, which is not ours to mount."""
    why = "lockdown=confidentiality refuses bcc and reads of kernel memory; the bpf probes need none"
    mend = "boot without lockdown=confidentiality, or use the bpf backend"
    text = host.text("sys/kernel/security/lockdown")
    level = (text or "").partition("[")[2].partition("]")[0]
    if level:
        detail = {"none": "off", "integrity": "integrity: kernel memory may be read"}.get(level, level)
        bad = level == "confidentiality"
        return Check("lockdown", ok=not bad, detail=detail, why=why, mend=mend if bad else None)
    number = _newtask(host)
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


# for the ledger of copies


def fault_tracepoints(host: Host) -> Check:
    """The tracepoints of page faults and what happens inside them."""
    why = "pages copied because of a fork are told from other faults by them"
    check = _tracepoints(host, "fault_tracepoints", FAULTS, why)
    if check.ok is False and "page_fault_user" in check.detail:
        # Only x86 and riscv have exceptions:page_fault_*; they were refused for arm64 more than once.
        return no(check.name, check.detail, why, "none on this processor: --cow light")
    return check


def rss_stat(host: Host) -> Check:
    """Whether rss_stat fires at every change.

    Since Linux "mm: convert mm's rss stats into percpu_counter" (v6.2); before, a task kept up to 64
    changes to itself, in a struct task_rss_stat.
    """
    why = "by it fork's page-table copy time is known, and copies of anonymous pages are told from file pages"
    if host.btf is None:
        return unknown("rss_stat", "unknown without BTF", why)
    if not host.btf.has("btf_trace_rss_stat", btf.TYPEDEF):
        return no("rss_stat", "no such tracepoint", why, _NEWER.format("6.2"))
    if host.btf.has("task_rss_stat", btf.STRUCT):
        detail = "it fires once in 64 changes: copies are inferred from mappings"
        return no("rss_stat", detail, why, _NEWER.format("6.2"))
    return yes("rss_stat", "it fires at every change", why)


def bpf_find_vma(host: Host) -> Check:
    """Tells the mapping a copied page belongs to."""
    why = "it tells copies in the heap, in stacks and in file mappings from one another"
    return _helper(host, _Question("bpf_find_vma", "the helper", why, "5.17"), bpfcall.FIND_VMA)


def mm_lock_seq(host: Host) -> Check:
    """Whether a process' mappings carry a sequence number."""
    why = "while it stands still the last mapping need not be looked up again: copies cost 10 % less"
    if host.btf is None:
        return unknown("mm_lock_seq", "unknown without BTF", why)
    if "mm_lock_seq" in host.btf.member_names("mm_struct"):
        return yes("mm_lock_seq", "mm_struct has it", why)
    return no("mm_lock_seq", "mm_struct lacks it", why, _NEWER.format("6.4"))


@dataclass(frozen=True)
class _Question:
    """Something bpf(2) is asked for: the check's name, the thing in words, why, and since which Linux."""

    name: str
    what: str
    why: str
    since: str

    def answered(self, host: Host, answer: Answer, *, known: bool | None) -> Check:
        """From the kernel's answer; where it refused to give one, from what it knows of (`known`)."""
        if answer.ok:
            return yes(self.name, f"{self.what}: tried, works", self.why)
        if answer.ok is False or known is False:
            error = f" ({answer.error})" if answer.ok is False else ""
            detail = f"{self.what}: not in this kernel{error}"
            return no(self.name, detail, self.why, _NEWER.format(self.since))
        may = host.capable(CAP_BPF, CAP_SYS_ADMIN) and host.capable(CAP_PERFMON, CAP_SYS_ADMIN)
        if answer.error and may:
            detail = f"{self.what}: refused ({answer.error}) though the capabilities are held"
            mend = "look for a seccomp filter (a container's) or a security module that forbids bpf(2)"
            return no(self.name, detail, self.why, mend)
        if not answer.error:
            return unknown(self.name, "unknown without BTF", self.why)
        detail = f"{self.what}: {'known to this kernel; ' if known else ''}to try it takes privileges"
        return unknown(self.name, detail, self.why, None if host.in_user_namespace else forktrace_as_root("doctor"))


def _newtask(host: Host) -> int | None:
    return None if host.btf is None else host.btf.type_id("btf_trace_task_newtask", btf.TYPEDEF)


def _enumerated(host: Host, enum: str, name: str) -> bool | None:
    return None if host.btf is None else name in (host.btf.enum(enum) or {})


def _tracepoints(host: Host, name: str, wanted: tuple[str, ...], why: str) -> Check:
    """Whether each of `wanted` is in BTF; "a|b" is either of the two."""
    types = host.btf
    if types is None:
        return unknown(name, "unknown without BTF", why)
    missing = [
        point
        for point in wanted
        if not any(types.has(f"btf_trace_{either}", btf.TYPEDEF) for either in point.split("|"))
    ]
    if not missing:
        return yes(name, f"all {len(wanted)} are in BTF", why)
    return no(name, f"missing: {', '.join(missing)}", why, _OTHER_BACKEND)


def _helper(host: Host, question: _Question, number: int) -> Check:
    task = _newtask(host)
    answer = Answer(None) if task is None else host.bpf.helper(number, task)
    known = _enumerated(host, "bpf_func_id", "BPF_FUNC_" + question.name.removeprefix("bpf_"))
    return question.answered(host, answer, known=known)
