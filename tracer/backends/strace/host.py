"""What this host and our own process let strace do, and what that costs the program, in sentences.

Knows nothing of files, lines and strace's process.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

NOTES: Final = (
    "From strace: pages copied, page-table copy time, memory sizes and adoption can not be seen by it.",
    "Times are those of the tracer, which slows the program down.",
    "Faults, CPU time and peak memory are known where a wait asked for them.",
)
CLOCK_SET: Final = "The host's clock was set during the run: times around that are inferred."
FULL: Final = "The file system that strace writes to is full: lines are missing. Set TMPDIR to one with room."
ENDS_LOST: Final = "strace had no room to write how some processes ended; whether they still run is not known."
LIMITED: Final = "The program has a limit (ulimit -f or -t) that may end strace too, so --seccomp-bpf is not used."
_CAP_SYS_PTRACE: Final = 19


def costs(*, capable: bool, seccomp: bool) -> list[str]:
    """What the program pays. `capable`: strace has CAP_SYS_PTRACE."""
    found = []
    if not seccomp:
        found.append("Without --seccomp-bpf strace stops the program at every system call, which slows it down much.")
    if not capable:  # cap_bprm_creds_from_file(): LSM_UNSAFE_PTRACE, unless the tracer could have had it all anyway
        found.append(
            "Set-uid programs (sudo, su, ping) run without their bit: the kernel allows them none under a tracer"
            " without privilege."
        )
    elif seccomp:  # a filter needs no_new_privs, which strace sets for root too
        found.append(
            "Set-uid programs run without their bit under strace's --seccomp-bpf; --strace-safe does without that."
        )
    return found


def death(*, seccomp: bool, kills: bool) -> str:
    """What strace's death means to what it traced. `kills`: this version takes it along."""
    if not seccomp:
        return "strace was killed: the program goes on, and what it did since was not seen."
    if kills:
        return "strace was killed, and took with it what it traced."
    return (
        "strace was killed: what it traced can not fork, exec, wait or exit any more (ENOSYS) and should be"
        " ended; with --strace-safe this can not happen."
    )


def limited() -> bool:
    """Whether we, and so strace, have a limit that the kernel ends processes by."""
    limits = (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
    return any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits)


def identity(pid: int) -> tuple[int, int, bool]:
    """Effective uid and gid of a process, and whether it has CAP_SYS_PTRACE."""
    with open(f"/proc/{pid}/status", "rb") as f:  # noqa: PTH123
        words = {line.split(b":")[0]: line.split()[1:] for line in f if b":" in line}
    return int(words[b"Uid"][1]), int(words[b"Gid"][1]), bool(int(words[b"CapEff"][0], 16) >> _CAP_SYS_PTRACE & 1)


def has_proc() -> bool:
    """Whether /proc shows processes."""
    return os.path.exists("/proc/self/status")  # noqa: PTH110


def own_tracer() -> str | None:
    """Who traces us: then it traces our children too. None if nobody does, or /proc does not say."""
    try:
        with open("/proc/self/status", "rb") as f:  # noqa: PTH123
            pid = next((int(line.split()[1]) for line in f if line.startswith(b"TracerPid:")), 0)
    except OSError:
        return None
    if not pid:
        return None
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:  # noqa: PTH123
            return f"{f.read().strip()} ({pid})"
    except OSError:
        return f"process {pid}"


def may_trace() -> bool:
    """Whether a child of ours may ask to be traced: tried."""
    libc = ctypes.CDLL(None)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if libc.ptrace(0, 0, None, None) == 0 else 1)
    try:
        return os.waitpid(pid, 0)[1] == 0
    except ChildProcessError:  # reaped by somebody who waits for any child
        return True
