"""What forktrace gives up of root's power once it is attached, and before it reports.

    after_attach(backend, nice=..., no_new_privs=...)   the capabilities that are kept are few
    before_report()                                     the caller of sudo from now on, or root that may only read

For the commands alone: a program that uses forktrace as a library keeps what it has. The traced program is forked
before, and is not touched by this. Tried on Linux 6.18, one by one: reading the rings and maps of bpf and bcc needs
none; the probes that are loaded later (failed forks, what the living had used) need CAP_BPF and CAP_PERFMON; taskstats
needs CAP_NET_ADMIN at each request; /proc of another user CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; a signal that is
passed on to the program CAP_KILL. Capabilities are those of a thread: threads that libraries have started before keep
theirs, so this comes before the libraries that start some.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from contextlib import suppress
from typing import Final

from tracer.capture.privileges import as_caller, capabilities, drop, output_identity

_VERSION_3: Final = 0x20080522
_PR_SET_NO_NEW_PRIVS: Final = 38
DAC_OVERRIDE, DAC_READ_SEARCH, KILL, SETGID, SETUID, NET_ADMIN = 1, 2, 5, 6, 7, 12
SYS_PTRACE, SYS_ADMIN, SYS_NICE, PERFMON, BPF = 19, 21, 23, 38, 39
_ALWAYS: Final = frozenset({DAC_READ_SEARCH, KILL, SYS_PTRACE})
_OF_BACKEND: Final = {"bpf": {BPF, PERFMON}, "bcc": {BPF}, "netlink": {NET_ADMIN}}


def needed(backend: str, *, nice: bool) -> frozenset[int]:
    """Those that a capture needs to its end. `nice`: its priority is changed meanwhile."""
    wanted = set(_ALWAYS | _OF_BACKEND.get(backend, set()))
    if output_identity() is not None:
        wanted |= {SETUID, SETGID}  # files are the caller's, by their fsuid and groups
    else:
        wanted.add(DAC_OVERRIDE)  # root's outputs and temporary files may be in any folder
    if nice:
        wanted.add(SYS_NICE)
    held = capabilities(b"CapPrm")
    for each in (BPF, PERFMON):  # some containers give CAP_SYS_ADMIN in place of these, as kernels before 5.8 did
        if each in wanted and not held >> each & 1:
            wanted.add(SYS_ADMIN)
    return frozenset(wanted)


def after_attach(backend: str, *, nice: bool = False, no_new_privs: bool = True) -> None:
    """Keep what is needed to the end. `no_new_privs`: nothing that is started from now on can have more again."""
    _keep(needed(backend, nice=nice))
    if no_new_privs:
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def before_report() -> None:
    """All that was captured is read and drawn as the caller of sudo; else as root that may read, and no more.

    Modules are still to be imported. Where the caller may not read them (an installation below /root) it stays root.
    """
    who = output_identity()
    if who is not None and _can_import():
        with suppress(OSError):  # a user namespace may not know them
            drop(who)
            return
    _keep(frozenset({DAC_READ_SEARCH}))


def _can_import() -> bool:
    """Whether the caller of sudo may read the standard library, rich and this package."""
    rich = importlib.util.find_spec("rich")
    files = [os.__file__, __file__, *([rich.origin] if rich is not None and rich.origin else [])]
    try:
        with as_caller():
            for path in files:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _keep(wanted: frozenset[int]) -> None:
    held = capabilities(b"CapPrm")
    if held <= 0:  # none, or /proc does not tell
        return
    bits = held & sum(1 << each for each in wanted)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))
