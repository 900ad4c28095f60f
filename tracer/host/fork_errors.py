"""Why a fork failed: which limit on making processes was reached, judged from how the limits stood just then.

    found = cause(errno.EAGAIN, 0, limits, host)
    str(found), found.evidence     ("pids.max 50/50 of /system.slice/x.service", "measured")
    Cause.parse(str(found))        the same, read back from a trace's column `cause`
    Failure.parse("EAGAIN: pids.max 50/50 of /x").cause.limit is Limit.PIDS_MAX

`Limits` is what was read in the caller as the call returned (the bpf probes), or a moment later (limits.py); `Host`
is what holds for the whole host, read when it is asked for. Evidence is `measured` when a limit was found reached by
the kernel's own count, `inferred` when it was read later, or nearly reached, or is what is left when nothing else
explains the failure. The texts are written and read here alone.
"""

from __future__ import annotations

import enum
import errno
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracer.model.flags import CloneFlags

RESERVED_PIDS: Final = 300  # include/linux/pid.h: once they went round, pids below it are not given out again
_NEW: Final = sum(int(f) for f in CloneFlags if f.name is not None and f.name.startswith("CLONE_NEW"))
_KEPT_S: Final = 0.05  # a reading of the host serves for a whole batch of failures
_STACK: Final = 64 << 10  # a task's kernel stack and first page tables: asked of the memory controller at each fork
_NEAR_BYTES: Final = 1 << 20
_UNITS: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_REFUSALS: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EPERM, errno.EACCES, errno.ENOSYS})


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


class Limit(enum.StrEnum):
    """What can refuse a fork, by the name under which its manual is found."""

    PIDS_MAX = "pids.max"
    NPROC = "RLIMIT_NPROC"
    PID_MAX = "kernel.pid_max"
    THREADS_MAX = "kernel.threads-max"
    MEMORY_MAX = "memory.max"
    MEMORY_LIMIT = "memory.limit_in_bytes"  # the same in cgroup v1
    OVERCOMMIT = "vm.overcommit_memory"
    NAMESPACES = "user.max_*_namespaces"
    DEAD_INIT = "the init of its pid namespace has ended"
    SECCOMP = "a seccomp filter"

    @property
    def in_bytes(self) -> bool:
        """Its figures are sizes."""
        return self in (Limit.MEMORY_MAX, Limit.MEMORY_LIMIT)


_COUNTABLE: Final = {str(one): one for one in Limit}
_RESERVED: Final = f", {RESERVED_PIDS} reserved"
_COUNTED: Final = re.compile(r"(?P<name>\S+) (?P<now>\d+)/(?P<most>\d+)(?: of (?P<of>.*))?", re.DOTALL)
_SIZED: Final = re.compile(r"(?P<name>\S+) (?P<now>[\d.]+ \w+)/(?P<most>[\d.]+ \w+)(?: of (?P<of>.*))?", re.DOTALL)
_NAMESPACE: Final = re.compile(r"user\.max_(?P<kind>\w+|\*)_namespaces")


class Cause(NamedTuple):
    """Which limit refused a fork and how it stood. `detail`: of OVERCOMMIT and NAMESPACES, which have no bound."""

    limit: Limit
    bound: Bound | None = None
    detail: str = ""
    evidence: str | None = None  # of one read back from its text alone it is unknown

    def __str__(self) -> str:
        if self.limit is Limit.NAMESPACES:
            return f"user.max_{self.detail}_namespaces"
        if self.bound is None:
            return f"{self.limit}{self.detail}"
        now, most = self.bound[:2]
        figures = f"{size(now)}/{size(most)}" if self.limit.in_bytes else f"{now}/{most}"
        owner = f" of {self.bound.of}" if self.bound.of else ""
        # 145/301 would look as if there were room: once pids have wrapped around, those below 300 are not given out
        # again (RESERVED_PIDS, alloc_pid() in kernel/pid.c), so that of 301 there is one.
        reserved = _RESERVED if self.limit is Limit.PID_MAX and now < most - 1 else ""
        return f"{self.limit} {figures}{owner}{reserved}"

    @classmethod
    def parse(cls, text: str) -> Cause | None:
        """What `str` of a cause wrote, this program's or an earlier version's; None for anything else."""
        namespace = _NAMESPACE.fullmatch(text)
        if namespace:
            return cls(Limit.NAMESPACES, detail=namespace["kind"])
        if text in (Limit.DEAD_INIT, Limit.SECCOMP):
            return cls(Limit(text))
        if text.startswith(Limit.OVERCOMMIT):
            return cls(Limit.OVERCOMMIT, detail=text.removeprefix(Limit.OVERCOMMIT))
        plain = text.removesuffix(_RESERVED) if text.startswith(Limit.PID_MAX) else text
        found = _COUNTED.fullmatch(plain) or _SIZED.fullmatch(plain)
        limit = None if found is None else _COUNTABLE.get(found["name"])
        if found is None or limit is None:
            return None
        now, most = ((_bytes if limit.in_bytes else int)(found[name]) for name in ("now", "most"))
        return None if now is None or most is None else cls(limit, Bound(now, most, found["of"]))


class Failure(NamedTuple):
    """How a fork failed: the error's name, and the cause where one is known."""

    error: str | None
    cause: Cause | None = None

    def __str__(self) -> str:
        return failure_words(self.error, None if self.cause is None else str(self.cause))

    @classmethod
    def parse(cls, text: str) -> Failure:
        """What `failure_words` wrote."""
        error, _, cause = text.partition(": ")
        return cls(None if error == "?" else error, Cause.parse(cause))


def failure_words(error: str | None, cause: str | None) -> str:
    """EAGAIN: pids.max 50/50 of /x; from a trace's columns `error` and `cause`."""
    return f"{error or '?'}: {cause}" if cause else error or "?"


class Limits(NamedTuple):
    """The bounds that one caller is under, where each stood. None: there is none, or it could not be read."""

    pids: Bound | None = None  # of the control group above it with the least room
    refused: bool = False  # the pids controller counted one more fork that it refused there
    nproc: Bound | None = None  # tasks of its user, RLIMIT_NPROC
    exempt: bool = False  # which does not hold for it
    pid_numbers: Bound | None = None  # pids in the namespace of its children; `most` 0: the host's kernel.pid_max
    dead_init: bool = False  # of that namespace
    memory: Bound | None = None  # bytes, of the control group above it with the least room
    memory_limit: Limit = Limit.MEMORY_MAX
    data_bytes: int | None = None  # what a fork must be promised
    seccomp: bool = False
    tasks: int | None = None  # of the host
    tasks_counted: bool = False  # by the kernel; else they are the pids in use
    committed_bytes: int | None = None  # promised to all processes
    measured: bool = True  # read by the kernel in the caller, as the call returned


class Promises(NamedTuple):
    """The host's memory as overcommit sees it: vm.overcommit_memory, and bytes."""

    mode: int
    limit: int  # CommitLimit
    committed: int  # Committed_AS
    there: int  # memory and swap


class Host:
    """What bounds everybody, from /proc, at most 20 times a second."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[str, tuple[float, Any]] = {}

    def tasks(self) -> int | None:
        """Tasks there are."""
        found: int | None = self._kept("tasks", self._tasks)
        return found

    def threads_max(self) -> int | None:
        """kernel.threads-max."""
        found: int | None = self._kept("threads-max", lambda: _number(self._proc / "sys/kernel/threads-max"))
        return found

    def pid_max(self) -> int | None:
        """kernel.pid_max."""
        found: int | None = self._kept("pid_max", lambda: _number(self._proc / "sys/kernel/pid_max"))
        return found

    def promises(self) -> Promises | None:
        """What overcommit is judged by."""
        found: Promises | None = self._kept("promises", self._promises)
        return found

    def reserve(self, asked: int) -> int:
        """Bytes of CommitLimit that a fork of `asked` bytes may not use (__vm_enough_memory())."""
        admin, user = self._kept("reserves", self._reserves)
        return int(admin) + min(asked // 32, int(user))

    def _kept(self, name: str, read: Callable[[], Any]) -> Any:
        known = self._known.get(name)
        now = self._clock()
        if known is None or now - known[0] > _KEPT_S:
            known = self._known[name] = (now, read())
        return known[1]

    def _tasks(self) -> int | None:
        try:
            return int((self._proc / "loadavg").read_text("ascii").split()[3].partition("/")[2])
        except (OSError, ValueError, IndexError):
            return None

    def _reserves(self) -> tuple[int, int]:
        names = ("admin_reserve_kbytes", "user_reserve_kbytes")
        admin, user = ((_number(self._proc / "sys/vm" / name) or 0) << 10 for name in names)
        return admin, user

    def _promises(self) -> Promises | None:
        mode = _number(self._proc / "sys/vm/overcommit_memory")
        try:
            lines = (self._proc / "meminfo").read_text("ascii").splitlines()
            sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines}
            found = sizes["CommitLimit"], sizes["Committed_AS"], sizes["MemTotal"] + sizes["SwapTotal"]
        except (OSError, ValueError, IndexError, KeyError):
            return None
        return None if mode is None else Promises(mode, *found)


def cause(error: int, clone_flags: int, limits: Limits, host: Host) -> Cause | None:
    """Which limit, and how sure that is; None when none can be named."""
    found = None
    if error == errno.EAGAIN:
        found = _too_many(limits, host)
    elif error == errno.ENOMEM:
        found = _no_memory(limits, host)
    elif error == errno.ENOSPC and clone_flags & _NEW:
        found = _namespaces(clone_flags & _NEW)
    if found is None and limits.seccomp and error in _REFUSALS and not (error == errno.EPERM and clone_flags & _NEW):
        found = Cause(Limit.SECCOMP, evidence="inferred")
    if found is not None and not limits.measured:
        found = found._replace(evidence="inferred")
    return found


def _too_many(limits: Limits, host: Host) -> Cause | None:
    """In the order in which copy_process() asks, but for what is read only later."""
    nproc = None if limits.exempt else limits.nproc
    numbers = limits.pid_numbers
    if numbers is not None and not numbers.most:
        most = host.pid_max()
        numbers = None if most is None else numbers._replace(most=most)
    if limits.refused and limits.pids is not None:
        return Cause(Limit.PIDS_MAX, limits.pids, evidence="measured")
    if nproc is not None and nproc.reached:
        return Cause(Limit.NPROC, nproc, evidence="measured")
    if limits.pids is not None and limits.pids.reached:
        return Cause(Limit.PIDS_MAX, limits.pids, evidence="measured")
    if numbers is not None and numbers.now > numbers.most - RESERVED_PIDS - 2:
        return Cause(Limit.PID_MAX, numbers, evidence="measured")
    threads = _threads(limits, host)
    if threads is not None and threads.reached:
        return Cause(Limit.THREADS_MAX, threads, evidence="measured" if limits.tasks_counted else "inferred")
    near = [
        (bound.most - bound.now, i, limit, bound)
        for i, (limit, bound) in enumerate(
            (
                (Limit.NPROC, nproc),
                (Limit.PIDS_MAX, limits.pids),
                (Limit.PID_MAX, numbers),
                (Limit.THREADS_MAX, threads),
            )
        )
        if bound is not None and bound.near
    ]
    if near and not limits.seccomp:
        _, _, limit, bound = min(near)
        return Cause(limit, bound, evidence="inferred")
    return None


def _threads(limits: Limits, host: Host) -> Bound | None:
    now, most = host.tasks() if limits.tasks is None else limits.tasks, host.threads_max()
    return None if now is None or most is None else Bound(now, most)


def _no_memory(limits: Limits, host: Host) -> Cause | None:
    if limits.dead_init:
        return Cause(Limit.DEAD_INIT, evidence="measured")
    memory = limits.memory
    if memory is not None and memory.most - memory.now <= _NEAR_BYTES:
        sure = memory.most - memory.now < _STACK
        return Cause(limits.memory_limit, memory, evidence="measured" if sure else "inferred")
    promised = host.promises()
    if promised is None or limits.data_bytes is None:
        return None
    asked, now = limits.data_bytes, limits.committed_bytes
    mode, limit, committed, there = promised if now is None else promised._replace(committed=now)
    if mode == 2 and committed + asked > limit - host.reserve(asked):  # OVERCOMMIT_NEVER
        figures = f"Committed_AS {size(committed)} and {size(asked)} more are above CommitLimit {size(limit)}"
        reserved = "" if committed + asked > limit else " less vm.admin_reserve_kbytes and vm.user_reserve_kbytes"
        sure = now is not None and not reserved
        return Cause(Limit.OVERCOMMIT, detail=f"=2: {figures}{reserved}", evidence="measured" if sure else "inferred")
    if mode == 0 and asked > there:
        figures = f"{size(asked)} of data are above all memory and swap, {size(there)}"
        return Cause(Limit.OVERCOMMIT, detail=f"=0: {figures}", evidence="inferred")
    return None


def _namespaces(flags: int) -> Cause:
    kinds = {"NS": "mnt", "CGROUP": "cgroup", "UTS": "uts", "IPC": "ipc", "USER": "user", "PID": "pid", "NET": "net"}
    asked = [kind for word, kind in kinds.items() if flags & CloneFlags[f"CLONE_NEW{word}"]]
    return Cause(Limit.NAMESPACES, detail=asked[0] if len(asked) == 1 else "*", evidence="inferred")


def size(n: int) -> str:
    """Bytes for the eye: 1.5 GiB."""
    for unit, bytes_ in _UNITS.items():
        if n >= bytes_ > 1:
            return f"{n / bytes_:.4g} {unit}"
    return f"{n} B"


def _bytes(text: str) -> int | None:
    """What `size` wrote."""
    number, _, unit = text.partition(" ")
    try:
        return round(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
