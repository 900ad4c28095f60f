"""Take from the calling process everything that the reading of given descriptors does not need, for good.

    confine(memory=256 << 20, cpu_s=60)

Root's uid and all capabilities, new privileges, memory, CPU time, files and processes, and with seccomp(2) all system
calls but some twenty. For a process of one thread, with everything imported. libseccomp and its Python module are not
used: most systems lack the module, and the filter has one list and two checks.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 4, 22, 38, 47
_SIGKILL: Final = 9
_CLEAR_ALL: Final = 4
_NOBODY: Final = 65534
_CAPABILITY_VERSION_3: Final = 0x20080522
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # EPERM
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD+W+ABS, BPF_JMP+JEQ+K, BPF_JMP+JSET+K, BPF_RET+K
_NUMBER, _ARCH, _PROTECTION = 0, 4, 16 + 2 * 8  # offsets in struct seccomp_data; the third argument's low word
_PROT_EXEC: Final = 4

# read write close fstat lseek munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 madvise mremap sched_yield
# sendto recvfrom sendmsg recvmsg exit exit_group futex clock_gettime setitimer restart_syscall
_CALLS: Final = {
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 8, 11, 12, 13, 14, 15, 17, 28, 25, 24, 44, 45, 46, 47, 60, 231, 202, 228, 38, 219),
        (9, 10),  # mmap, mprotect: not executable
    ),
    "aarch64": (
        0xC00000B7,
        (63, 64, 57, 80, 62, 215, 214, 134, 135, 139, 67, 233, 216, 124, 206, 207, 211, 212, 93, 94, 98, 113, 103, 128),
        (222, 226),
    ),
}


def confine(memory: int, cpu_s: int) -> None:
    """Raises OSError where the kernel refuses. `memory`: bytes beyond what is mapped now.

    On a machine other than x86_64 and aarch64 there is no filter of system calls, and all the rest.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError:  # root of a user namespace that has no such user; its capabilities go below
            pass
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_CAP_AMBIENT, _CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(libc, _PR_SET_DUMPABLE, 0)  # no other process of this user may trace it
    _prctl(libc, _PR_SET_PDEATHSIG, _SIGKILL)  # after the change of uid, which clears it
    program = _filter()
    if program:
        steps = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
        _prctl(libc, _PR_SET_SECCOMP, 2, ctypes.c_char_p(described))


def _prctl(libc: ctypes.CDLL, option: int, value: int, pointer: ctypes.c_char_p | None = None) -> None:
    nothing = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), nothing if pointer is None else pointer, nothing, nothing) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _filter() -> bytes:
    """struct sock_filter[]; empty where the numbers of this machine's system calls are not known."""
    arch, calls, mappings = _CALLS.get(platform.machine(), (0, (), ()))
    if not arch:
        return b""
    steps = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for number in calls:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number in mappings:
        steps += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _PROTECTION),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("@HBBI", *step) for step in steps)
