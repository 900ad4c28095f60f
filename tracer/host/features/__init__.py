"""Named features of this host: what is there, what is missing, why it matters, what mends it.

    kernel.feature("ring_buffer").ok        asked once, when first wanted; 0.1 to 5 ms each
    kernel.features()                       all of them, in the order below; some 30 ms

Backends ask by name before they start, `forktrace doctor` prints all. The kernel is asked for the thing
itself, never for its version. Refuses to know: which backend to take, and how a check is printed.

    check.py         the answer
    host.py          files, libraries, programs
    bpfcall.py       bpf(2)
    asking.py        types first, bpf(2) where they do not suffice
    bpf_checks.py    the questions of the bpf backend
    copy_checks.py   ... of its ledger of copies
    host_checks.py   ... of the other backends
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from tracer.errors import BadDataError, UsageError
from tracer.host.features import bpf_checks, copy_checks, host_checks
from tracer.host.features.check import Check
from tracer.host.features.host import Host

__all__ = ["FEATURES", "Check", "Host", "feature", "features", "group", "reads_allowed"]

FEATURES: Final[dict[str, tuple[str, Callable[[Host], Check]]]] = {
    # name: (what it is for, the question)
    "btf": ("bpf", bpf_checks.has_btf),
    "capabilities": ("bpf", bpf_checks.capabilities),
    "libbpf": ("bpf", bpf_checks.libbpf),
    "tp_btf": ("bpf", bpf_checks.tp_btf),
    "lifecycle_tracepoints": ("bpf", bpf_checks.lifecycle_tracepoints),
    "ring_buffer": ("bpf", bpf_checks.ring_buffer),
    "task_storage": ("bpf", bpf_checks.task_storage),
    "bpf_loop": ("bpf", bpf_checks.bpf_loop),
    "bpf_task_pt_regs": ("bpf", bpf_checks.bpf_task_pt_regs),
    "task_iter": ("bpf", bpf_checks.task_iter),
    "extra_tracepoints": ("bpf", bpf_checks.extra_tracepoints),
    "bpf_rdonly_cast": ("bpf", bpf_checks.bpf_rdonly_cast),
    "group_dead": ("bpf", bpf_checks.group_dead),
    "lockdown": ("bpf", bpf_checks.lockdown),
    "unprivileged_bpf": ("bpf", bpf_checks.unprivileged_bpf),
    "fault_entry": ("copies", copy_checks.fault_entry),
    "fault_tracepoints": ("copies", copy_checks.fault_tracepoints),
    "rss_stat": ("copies", copy_checks.rss_stat),
    "bpf_find_vma": ("copies", copy_checks.bpf_find_vma),
    "mm_lock_seq": ("copies", copy_checks.mm_lock_seq),
    "bcc": ("bcc", host_checks.bcc),
    "tracefs": ("bcc", host_checks.tracefs),
    "net_admin": ("netlink", host_checks.net_admin),
    "proc_connector": ("netlink", host_checks.proc_connector),
    "taskstats": ("netlink", host_checks.taskstats),
    "task_delayacct": ("netlink", host_checks.task_delayacct),
    "strace": ("strace", host_checks.strace),
    "ptrace": ("strace", host_checks.ptrace),
    "pid_namespace": ("all", host_checks.pid_namespace),
}
"""Every feature by name, in the order of a report."""


def feature(name: str, host: Host | None = None) -> Check:
    """One feature. Of this host it is asked once. Raises UsageError for a name that is not in FEATURES."""
    if name not in FEATURES:
        raise UsageError(f"no feature is called {name!r}", f"take one of: {', '.join(FEATURES)}")
    return _here(name) if host is None else _ask(name, host)


def features(host: Host | None = None) -> list[Check]:
    """Every feature, in the order of FEATURES."""
    return [feature(name, host) for name in FEATURES]


def reads_allowed() -> bool:
    """Whether programs may read kernel memory by helpers: refused only under lockdown=confidentiality."""
    return feature("lockdown").ok is not False


def group(name: str) -> str:
    """What the feature is for: bpf, copies (what bpf needs to count them), bcc, netlink, strace, or all."""
    return FEATURES[name][0]


@cache
def _this_host() -> Host:
    return Host()


@cache
def _here(name: str) -> Check:
    return _ask(name, _this_host())


def _ask(name: str, host: Host) -> Check:
    try:
        return FEATURES[name][1](host)
    except BadDataError as e:  # type information of a later format than btf.py reads
        return Check(name, ok=None, detail=e.message, why="the kernel's types could not be read", mend=e.mend)
