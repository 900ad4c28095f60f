"""What the ledger of copies asks of the kernel, besides what the bpf backend does.

Each function takes the host and answers with one `Check` of its own name. Knows nothing of the probes.
"""

from __future__ import annotations

from typing import Final

from tracer import btf
from tracer.kernel import bpfcall
from tracer.kernel.asking import NEWER, Question, helper, tracepoints
from tracer.kernel.check import Check, no, unknown, yes
from tracer.kernel.host import Host

FAULTS: Final = (
    *("page_fault_user", "page_fault_kernel", "mm_page_alloc", "mm_page_free"),
    "writeback_dirty_folio|writeback_dirty_page",  # renamed in Linux 5.18
)


def fault_tracepoints(host: Host) -> Check:
    """The tracepoints of page faults and what happens inside them."""
    why = "pages copied because of a fork are told from other faults by them"
    check = tracepoints(host, "fault_tracepoints", FAULTS, why)
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
