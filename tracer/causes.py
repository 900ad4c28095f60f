"""Why a fork failed: which of the bounds on making processes was reached, from how they stood just then.

    cause(errno.EAGAIN, 0, limits, host)    ("pids.max 50/50 of /system.slice/x.service", "measured")

`Limits` is what was read in the caller as the call returned (the bpf probes), or a moment later (limits.py); `Host`
is what holds for everybody, read when it is asked for. Evidence is `measured` when a bound was found reached by the
kernel's own count, `inferred` when it was read later, or nearly reached, or is what is left when no other can be.
Refuses to know: where the numbers come from, events.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracer.events import CloneFlags

RESERVED_PIDS: Final = 300  # include/linux/pid.h: once they went round, pids below it are not given out again
_NEW: Final = sum(int(f) for f in CloneFlags if f.name is not None and f.name.startswith("CLONE_NEW"))
_KEPT_S: Final = 0.05  # a reading of the host serves for a whole batch of failures
_STACK: Final = 64 << 10  # a task's kernel stack and first page tables: asked of the memory controller at each fork
_NEAR_BYTES: Final = 1 << 20
_REFUSALS: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EPERM, errno.EACCES, errno.ENOSYS})

Cause = tuple[str | None, str | None]
UNKNOWN: Final[Cause] = (None, None)


class Bound(NamedTuple):
    """How much there is of something, how much there may be, and whose bound it is; None: not known."""

    now: int
    most: int
    of: str | None = None

    @property
    def reached(self) -> bool:
        """No room for one more."""
        return self.now >= self.most

    @property
    def near(self) -> bool:
        """So little room that it may have been reached a moment ago."""
        return self.most - self.now <= max(2, self.most // 20)

    def __str__(self) -> str:
        return f"{self.now}/{self.most}" + (f" of {self.of}" if self.of else "")


class Limits(NamedTuple):
    """The bounds that one caller is under, where each stood. None: there is none, or it could not be read."""

    pids: Bound | None = None  # of the control group above it with the least room
    refused: bool = False  # the pids controller counted one more fork that it refused there
    nproc: Bound | None = None  # tasks of its user, RLIMIT_NPROC
    exempt: bool = False  # which does not hold for it
    pid_numbers: Bound | None = None  # pids in the namespace of its children; `most` 0: the host's kernel.pid_max
    dead_init: bool = False  # of that namespace
    memory: Bound | None = None  # bytes, of the control group above it with the least room
    memory_file: str = "memory.max"
    data_bytes: int | None = None  # what a fork must be promised
    seccomp: bool = False
    measured: bool = True  # read by the kernel in the caller, as the call returned


class Host:
    """What bounds everybody, from /proc, at most 20 times a second."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[str, tuple[float, Any]] = {}

    def threads(self) -> Bound | None:
        """Tasks there are, and kernel.threads-max."""
        found: Bound | None = self._kept("threads", self._threads)
        return found

    def pid_max(self) -> int | None:
        """kernel.pid_max."""
        found: int | None = self._kept("pid_max", lambda: _number(self._proc / "sys/kernel/pid_max"))
        return found

    def promises(self) -> tuple[int, int, int, int] | None:
        """(vm.overcommit_memory, CommitLimit, Committed_AS, memory and swap there is), bytes."""
        found: tuple[int, int, int, int] | None = self._kept("promises", self._promises)
        return found

    def _kept(self, name: str, read: Callable[[], Any]) -> Any:
        known = self._known.get(name)
        now = self._clock()
        if known is None or now - known[0] > _KEPT_S:
            known = self._known[name] = (now, read())
        return known[1]

    def _threads(self) -> Bound | None:
        most = _number(self._proc / "sys/kernel/threads-max")
        try:
            now = int((self._proc / "loadavg").read_text("ascii").split()[3].partition("/")[2])
        except (OSError, ValueError, IndexError):
            return None
        return None if most is None else Bound(now, most)

    def _promises(self) -> tuple[int, int, int, int] | None:
        mode = _number(self._proc / "sys/vm/overcommit_memory")
        try:
            lines = (self._proc / "meminfo").read_text("ascii").splitlines()
            sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines}
            found = sizes["CommitLimit"], sizes["Committed_AS"], sizes["MemTotal"] + sizes["SwapTotal"]
        except (OSError, ValueError, IndexError, KeyError):
            return None
        return None if mode is None else (mode, *found)


def cause(error: int, clone_flags: int, limits: Limits, host: Host) -> Cause:
    """(which bound, how sure); (None, None) when none can be named."""
    found = UNKNOWN
    if error == errno.EAGAIN:
        found = _too_many(limits, host)
    elif error == errno.ENOMEM:
        found = _no_memory(limits, host)
    elif error == errno.ENOSPC and clone_flags & _NEW:
        found = (_namespaces(clone_flags & _NEW), "inferred")
    if found == UNKNOWN and limits.seccomp and error in _REFUSALS and not (error == errno.EPERM and clone_flags & _NEW):
        found = ("a seccomp filter", "inferred")
    text, evidence = found
    return text, "inferred" if evidence == "measured" and not limits.measured else evidence


def _too_many(limits: Limits, host: Host) -> Cause:
    """In the order in which copy_process() asks, but for what is read only later."""
    nproc = None if limits.exempt else limits.nproc
    numbers = limits.pid_numbers
    if numbers is not None and not numbers.most:
        most = host.pid_max()
        numbers = None if most is None else numbers._replace(most=most)
    if limits.refused and limits.pids is not None:
        return f"pids.max {limits.pids}", "measured"
    if nproc is not None and nproc.reached:
        return f"RLIMIT_NPROC {nproc}", "measured"
    if limits.pids is not None and limits.pids.reached:
        return f"pids.max {limits.pids}", "measured"
    if numbers is not None and numbers.now > numbers.most - RESERVED_PIDS - 2:
        return f"kernel.pid_max {numbers}", "measured"
    threads = host.threads()
    if threads is not None and threads.reached:
        return f"kernel.threads-max {threads}", "inferred"
    near = [
        (bound.most - bound.now, name, bound)
        for name, bound in (
            ("RLIMIT_NPROC", nproc), ("pids.max", limits.pids), ("kernel.pid_max", numbers),
            ("kernel.threads-max", threads),
        )
        if bound is not None and bound.near
    ]  # fmt: skip
    if near and not limits.seccomp:
        _, name, bound = min(near)
        return f"{name} {bound}", "inferred"
    return UNKNOWN


def _no_memory(limits: Limits, host: Host) -> Cause:
    if limits.dead_init:
        return "the init of its pid namespace has ended", "measured"
    memory = limits.memory
    if memory is not None and memory.most - memory.now <= _NEAR_BYTES:
        whose = f" of {memory.of}" if memory.of else ""
        words = f"{limits.memory_file} {size(memory.now)}/{size(memory.most)}{whose}"
        return words, "measured" if memory.most - memory.now < _STACK else "inferred"
    promised = host.promises()
    if promised is None or limits.data_bytes is None:
        return UNKNOWN
    mode, limit, committed, there = promised
    asked = limits.data_bytes
    if mode == 2 and committed + asked > limit:  # OVERCOMMIT_NEVER
        return (
            f"vm.overcommit_memory=2: Committed_AS {size(committed)} and {size(asked)} more"
            f" are above CommitLimit {size(limit)}"
        ), "inferred"
    if mode == 0 and asked > there:
        return f"vm.overcommit_memory=0: {size(asked)} of data are above all memory and swap, {size(there)}", "inferred"
    return UNKNOWN


def _namespaces(flags: int) -> str:
    kinds = {"NS": "mnt", "CGROUP": "cgroup", "UTS": "uts", "IPC": "ipc", "USER": "user", "PID": "pid", "NET": "net"}
    asked = [kind for word, kind in kinds.items() if flags & CloneFlags[f"CLONE_NEW{word}"]]
    return f"user.max_{asked[0] if len(asked) == 1 else '*'}_namespaces"


def size(n: int) -> str:
    """Bytes for the eye: 1.5 GiB."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n >= 1 << shift:
            return f"{n / (1 << shift):.4g} {unit}"
    return f"{n} B"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
