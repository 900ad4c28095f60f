"""What the ledger of copies asks of the kernel, besides what the bpf backend does.

Each function takes the host and answers with one `Check` of its own name. Knows nothing of the probes.
"""

from __future__ import annotations

from typing import Final

from tracer.host import btf
from tracer.host.features import bpfcall
from tracer.host.features.check import Check, no, unknown, yes
from tracer.host.features.feature_probe import NEWER, Question, helper, tracepoints
from tracer.host.features.host import Host
from tracer.model.machines import MACHINES

OTHER_LEVEL: Final = "use --cow light"

ENTRY: Final = ("page_fault_user", "page_fault_kernel")
FAULTS: Final = (
    *("mm_page_alloc", "mm_page_free"),
    "writeback_dirty_folio|writeback_dirty_page",  # renamed in Linux 5.18
)
ABORT: Final = "do_mem_abort"
"""arm64 has no exceptions:page_fault_*, they were refused more than once: every fault comes by this function."""


def fault_entry(host: Host) -> Check:
    """Whether a program can be run where a page fault begins, and is told why it was one."""
    why = "a page copied because of a fork is told from others by the fault that it was made for"
    if host.machine is not MACHINES["aarch64"]:
        return tracepoints(host, "fault_entry", ENTRY, why)
    if host.btf is None:
        return unknown("fault_entry", "unknown without BTF", why)
    if not host.btf.has(ABORT, btf.FUNC):
        return no("fault_entry", f"this kernel's BTF has no function {ABORT}", why, OTHER_LEVEL)
    # Linux commit 2aa6ac03516d ("arm64: ftrace: Add direct call support") (v6.4); the member is there with it
    if "direct_call" not in host.btf.member_names("ftrace_ops"):
        detail = f"this kernel cannot run a program at {ABORT}, and has no tracepoint of page faults"
        return no("fault_entry", detail, why, f"{NEWER.format('6.4')}, or {OTHER_LEVEL}")
    return yes("fault_entry", f"a program can be run at {ABORT}", why)


def fault_tracepoints(host: Host) -> Check:
    """The tracepoints of what happens inside page faults."""
    why = "pages copied because of a fork are told from other faults by them"
    return tracepoints(host, "fault_tracepoints", FAULTS, why)


def rss_stat(host: Host) -> Check:
    """Whether rss_stat fires at every change.

    Since Linux "mm: convert mm's rss stats into percpu_counter" (v6.2); before, a task kept up to 64
    changes to itself, in a struct task_rss_stat.
    """
    why = "by it fork's page-table copy time is known, and copies of anonymous pages are told from file pages"
    if host.btf is None:
        return unknown("rss_stat", "unknown without BTF", why)
    if not host.btf.has("btf_trace_rss_stat", btf.TYPEDEF):
        return no("rss_stat", "no such tracepoint", why, NEWER.format("6.2"))
    if host.btf.has("task_rss_stat", btf.STRUCT):
        detail = "it fires once in 64 changes: copies are inferred from mappings"
        return no("rss_stat", detail, why, NEWER.format("6.2"))
    return yes("rss_stat", "it fires at every change", why)


def bpf_find_vma(host: Host) -> Check:
    """Tells the mapping a copied page belongs to."""
    why = "it tells copies in the heap, in stacks and in file mappings from one another"
    return helper(host, Question("bpf_find_vma", "helper bpf_find_vma", why, "5.17"), bpfcall.FIND_VMA)


def mm_lock_seq(host: Host) -> Check:
    """Whether a process' mappings carry a sequence number."""
    why = "while it stands still the last mapping need not be looked up again: copies cost 10 % less"
    if host.btf is None:
        return unknown("mm_lock_seq", "unknown without BTF", why)
    if "mm_lock_seq" in host.btf.member_names("mm_struct"):
        return yes("mm_lock_seq", "mm_struct has it", why)
    return no("mm_lock_seq", "mm_struct lacks it", why, NEWER.format("6.4"))
