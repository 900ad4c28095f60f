"""What is true of a whole trace: its source, what that source can see, and what must be said of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from tracer.model.machines import PAGE_BYTES


class Fact(enum.StrEnum):
    """What a source is able to see. A fact that is absent makes its columns null, and reports say so."""

    THREADS = "threads"  # threads as tasks
    FLAGS = "flags"  # clone flags, and so vfork/posix_spawn told apart
    SYSCALL = "syscall"  # which system call
    NS_PIDS = "ns_pids"  # pids inside namespaces
    ARGV = "argv"
    CWD = "cwd"
    EXEC_FAILED = "exec_failed"  # failed execs
    FORK_FAILED = "fork_failed"  # failed forks
    STATUS = "status"  # exit codes and signals
    KILLER = "killer"  # who sent the fatal signal
    REAPS = "reaps"  # who waited, and when
    ZOMBIES = "zombies"  # how long a zombie waited
    ADOPTION = "adoption"  # orphans' new parents
    CPU = "cpu"
    MAX_RSS = "max_rss"
    FAULTS = "faults"  # min_flt, maj_flt
    FORK_COST = "fork_cost"  # page-table copy time
    SIZES = "sizes"  # page tables and resident memory at the fork
    UID = "uid"
    CGROUP = "cgroup"
    SESSIONS = "sessions"  # pgid, sid
    COW = "cow"  # the fault ledger
    WP_FAULTS = "wp_faults"  # write-protect faults, whatever came of them
    WPCOPY = "wpcopy"  # the kernel's own count of copies (kernel.task_delayacct)
    STACKS = "stacks"  # which code copied


class Meta(NamedTuple):
    """What is true of a whole trace. JSON-safe by `as_dict`; stored in the file's schema metadata."""

    source: str  # bpf, bcc, netlink, strace, strace-log, perf-script
    facts: frozenset[str] = frozenset()
    wall_offset_ns: int | None = None  # add to ts_ns for the Unix time; null when the source has no clock
    version: str = ""
    host: str = ""
    kernel: str = ""
    boot_id: str = ""
    machine: str = ""
    command: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()  # sentences a report must repeat: what this trace can not know, and why

    @property
    def page_size(self) -> int | None:
        """Bytes of a page where the trace was made. None: it does not say, and its machine has several."""
        said = self.options.get("page_size")
        if isinstance(said, int) and 1 << 10 <= said <= 1 << 24 and not said & (said - 1):
            return said
        return PAGE_BYTES.get(self.machine)

    def as_dict(self) -> dict[str, Any]:
        """A dict of JSON types, keys as the attributes."""
        return {
            "source": self.source,
            "facts": sorted(self.facts),
            "wall_offset_ns": self.wall_offset_ns,
            "version": self.version,
            "host": self.host,
            "kernel": self.kernel,
            "boot_id": self.boot_id,
            "machine": self.machine,
            "command": list(self.command),
            "options": dict(self.options),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Meta:
        """The inverse of `as_dict`; unknown keys are ignored, missing ones take their default."""
        return cls(
            source=str(d.get("source", "")),
            facts=frozenset(map(str, d.get("facts", ()))),
            wall_offset_ns=d.get("wall_offset_ns"),
            version=str(d.get("version", "")),
            host=str(d.get("host", "")),
            kernel=str(d.get("kernel", "")),
            boot_id=str(d.get("boot_id", "")),
            machine=str(d.get("machine", "")),
            command=tuple(map(str, d.get("command", ()))),
            options=dict(d.get("options", {})),
            notes=tuple(map(str, d.get("notes", ()))),
        )
