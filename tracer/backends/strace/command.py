"""strace's command line, by what its version knows, and what is lost without.

    any    -f -ttt -T -o -e trace=process    microseconds
    5.3    --seccomp-bpf                     only the calls that are asked for stop the program: 30 times faster
    5.4    -DDD                              a session of its own; before, Ctrl-C reaches it too, and -I4 ignores that
    5.6    --absolute-timestamps, --syscall-times: nanoseconds
    5.9    --pidns-translation               results of fork as our own pid namespace numbers them
    6.6    --kill-on-exit, implied by --seccomp-bpf

Knows nothing of files and processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Version = tuple[int, int]
"""(0, 0): it does not tell."""

SECCOMP: Final[Version] = (5, 3)
SESSION: Final[Version] = (5, 4)
LONG: Final[Version] = (5, 6)
PIDNS: Final[Version] = (5, 9)
KILLS: Final[Version] = (6, 6)
"""From here on strace's death is the death of what it traces with --seccomp-bpf; before, they get ENOSYS."""

# `process` has the calls of the kill family from 5.8 on, and never prctl, which names threads.
_CALLS: Final = "trace=process,kill,tkill,tgkill,prctl"


def options(version: Version, path: str, *, seccomp: bool, string_size: int, environment: bool) -> list[str]:
    """Options that make the log at `path` one that the importer reads best.

    `string_size`: bytes of each argument, and how many of them. `environment`: show it at each exec.
    """
    stamps = ["-ttt", "-T"]
    if version >= LONG:
        stamps = ["--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"]
    whole = "wait4,waitid,execve,execveat" if environment else "wait4,waitid"
    # -q: no notice of its own may reach the program's stderr, which is strace's too.
    words = ["-f", "-q", *stamps, "-o", path, "-s", str(max(1, string_size)), "-e", _CALLS]
    words += ["-e", f"abbrev=!{whole}"]  # all of struct rusage, which has the faults, and of nothing else
    words += ["--pidns-translation"] if version >= PIDNS else []
    return words + (["--seccomp-bpf"] if seccomp and version >= SECCOMP else [])


def start(strace: str, version: Version, found: Sequence[str]) -> list[str]:
    """The command that a program is appended to.

    With -D strace is a grandchild of the process it was started as, which becomes the program: with its pid, parent,
    group and terminal. -I4: no signal but SIGKILL makes it leave, which under seccomp would cripple the program.
    """
    return [strace, "-DDD" if version >= SESSION else "-D", "-I4", *found, "--"]


def attach(strace: str, found: Sequence[str], pids: Sequence[int]) -> list[str]:
    """The command that follows living processes."""
    return [strace, *found, *(word for pid in pids for word in ("-p", str(pid)))]
