"""What the probes' options depend on, asked of this host at start: signatures from BTF, namespace, control groups.

Cheap: one BTF search each, nothing loaded. The reasons and the mends are kernel/'s; this only decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from tracer.errors import ProbesRefusedError
from tracer.host import btf, features, procfs
from tracer.host.cgroups import hierarchy

DEEPEST_LEVEL: Final = 4  # pid_nr() in probes/marks.h


@cache
def _vmlinux() -> btf.Btf:
    return btf.Btf.vmlinux()


# What a tracepoint is given is asked of its record, which is found by name. Its arguments have numbers in the place of
# names, and to find a type by its number all that come before it must be walked: 10 ms.


def has_group_dead() -> bool:
    """sched_process_exit tells which thread was the last: since 3e816361e94a (v6.16)."""
    return "group_dead" in _vmlinux().member_names("trace_event_raw_sched_process_exit")


def mark_victim_takes_task() -> bool:
    """oom:mark_victim passed a bare pid before 72ba14deb40a (v6.8), which put more than that into its record."""
    return "uid" in _vmlinux().member_names("trace_event_raw_mark_victim")


def has_rdonly_cast() -> bool:
    """bpf_rdonly_cast(), since v6.2: with it the probes load ten times faster (probes/plain.h)."""
    return _vmlinux().has("bpf_rdonly_cast", btf.FUNC)


def has_preemptible_tracepoints() -> bool:
    """Programs on tracepoints can be preempted, and are skipped where one is (probes/once.h): since v7.0.

    Tracepoints were protected by SRCU up to 6.14 as well, for other reasons; then they had no member `ext` yet.
    """
    return "ext" in _vmlinux().member_names("tracepoint") and _vmlinux().has("tracepoint_srcu_srcu_data", btf.VAR)


def has_mapping_walk() -> bool:
    """bpf_iter_task_vma_new(), since v6.7: a probe can say what is mapped where; it reads kernel memory besides."""
    return _vmlinux().has("bpf_iter_task_vma_new", btf.FUNC) and features.reads_allowed()


def has_dirty_folio() -> bool:
    """writeback_dirty_folio, which was writeback_dirty_page before b9b0ff61eef5 (v5.16)."""
    return _vmlinux().has("btf_trace_writeback_dirty_folio", btf.TYPEDEF)


def has_in_execve() -> bool:
    """task->in_execve, by which a rename inside exec is told from others."""
    return "in_execve" in _vmlinux().member_names("task_struct")


def counts_wpcopies() -> bool:
    """kernel.task_delayacct: tasks born while it is on have the kernel's own count of copies."""
    try:
        return Path("/proc/sys/kernel/task_delayacct").read_text("ascii").strip() != "0"
    except OSError:
        return False


def merges_pages() -> bool:
    """KSM runs, or has left pages that are merged."""
    folder = Path("/sys/kernel/mm/ksm")
    try:
        return any((folder / name).read_text("ascii").strip() != "0" for name in ("run", "pages_sharing"))
    except OSError:
        return False


def uses_cgroup_v1() -> bool:
    """Whether the pids controller of v1 places processes here."""
    found = hierarchy()
    return found is not None and found.version == 1


def subsystem(controller: str) -> int:
    """The running kernel's number of a cgroup controller. Raises ProbesRefusedError if it has none of that name."""
    # blkio is called io inside, and each with _cgrp_id
    numbers = _vmlinux().enum("cgroup_subsys_id") or {}
    found = numbers.get(f"{'io' if controller == 'blkio' else controller}_cgrp_id")
    if found is None:
        raise ProbesRefusedError(f"this kernel's BTF has no control group controller {controller}", "use one of pids")
    return found


def sighand_cache_size() -> int:
    """Object size of the slab that signal handlers' tables live in. Raises ProbesRefusedError if BTF does not say."""
    found = _vmlinux().struct("sighand_struct")
    if found is None:
        raise ProbesRefusedError("this kernel's BTF has no sighand_struct", "leave --reap exact out")
    return found.size


def pid_namespace(ask: Callable[[int], int | None] = lambda inum: None) -> tuple[int, int]:
    """(level, inum) of our own. Raises ProbesRefusedError when the level can not be found out.

    `ask`: the kernel itself, for the level of a namespace; where /proc does not tell, as in a container.
    """
    namespace = procfs.pid_namespace()
    if namespace.inum is not None and namespace.level is None:
        namespace = namespace._replace(level=ask(namespace.inum))
    if namespace.inum is None or namespace.level is None:
        raise ProbesRefusedError(
            "the depth of this pid namespace can not be told, so pids would be wrong",
            "run forktrace in the host's pid namespace, or mount /proc of it",
        )
    if namespace.level > DEEPEST_LEVEL:
        raise ProbesRefusedError(
            f"this pid namespace is {namespace.level} deep, and the probes know pids down to {DEEPEST_LEVEL}",
            "run forktrace further out",
        )
    return namespace.level, namespace.inum
