"""How a program ended, and how to end the same way ourselves.

    Status.from_wait(raw, rusage)    what wait4() said
    pass_on(status)                  leave with the program's exit code, or die of its signal

Knows nothing of how the program was started or traced.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

# `import typing` is 1 MiB and 3 ms that the held child would carry; type checkers know this name without it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage
    from typing import NoReturn

_PR_SET_DUMPABLE = 4


class Status:
    """The end of a process: `exit_code` 0..255 or `signal` (a number), the other is None.

    `core_dumped` is the kernel's word. `rusage` (resource.struct_rusage of it and of the children it waited
    for) is None before it was reaped. Its ru_maxrss can be ours: the kernel carries the forked image's peak
    over exec.
    """

    __slots__ = ("core_dumped", "exit_code", "rusage", "signal")

    def __init__(
        self,
        exit_code: int | None,
        signal: int | None = None,
        core_dumped: bool = False,
        rusage: struct_rusage | None = None,
    ) -> None:
        self.exit_code = exit_code
        self.signal = signal
        self.core_dumped = core_dumped
        self.rusage = rusage

    @classmethod
    def from_wait(cls, raw: int, rusage: struct_rusage | None = None) -> Status:
        """From the status word of wait4 for a process that has ended."""
        if os.WIFSIGNALED(raw):
            return cls(None, os.WTERMSIG(raw), os.WCOREDUMP(raw), rusage)
        return cls(os.WEXITSTATUS(raw), None, False, rusage)

    @property
    def shell_code(self) -> int:
        """The one number a shell would give: the exit code, or 128 + signal."""
        if self.exit_code is not None:
            return self.exit_code
        return 128 + (self.signal or 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Status):
            return NotImplemented
        mine = (self.exit_code, self.signal, self.core_dumped)
        return mine == (other.exit_code, other.signal, other.core_dumped)

    def __hash__(self) -> int:
        return hash((self.exit_code, self.signal, self.core_dumped))

    def __repr__(self) -> str:
        core = ", core_dumped=True" if self.core_dumped else ""
        return f"Status(exit_code={self.exit_code}, signal={self.signal}{core})"


def pass_on(status: Status) -> NoReturn:
    """End as the program did: its exit code, or death by the same signal without a second core file.

    A shell tells `exit 143` from a death by SIGTERM (a loop goes on or ends), so the death is real. Only pid
    1, which the kernel does not let die of its own signals, exits with 128 + signal. Raises SystemExit unless
    it dies.
    """
    _flush()
    if status.signal is not None and os.getpid() != 1:
        _die_of(status.signal)
    sys.exit(status.shell_code)


def _die_of(signo: int) -> None:
    """Take the default action of `signo`; returns only if that did not end us."""
    import ctypes
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    # A core_pattern that is a pipe (systemd-coredump, apport) ignores the limit; not being dumpable stops it.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no disposition; 32 and 33 belong to libc
        signal.signal(signo, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signo])
    os.kill(os.getpid(), signo)


def _flush() -> None:
    """Flush stdout and stderr; one whose reader has gone becomes /dev/null, else Python exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
