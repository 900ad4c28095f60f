"""What this process was given by its caller and Python has changed since: the environment and ignored signals.

    environment()   the environment as a list of bytes, in order, as execve(2) takes it
    ignored()       which of the signals that Python ignores at its start the caller had ignored

os.environ is no copy of the environment: it drops entries without `=` and repeated names, and PEP 538 adds
LC_CTYPE=C.UTF-8 where no locale is set, so that `wc -m` or `grep -c .` in the program would give other results. The
kernel keeps the original block in /proc/self/environ.

Python ignores SIGPIPE and SIGXFSZ before the first line of Python runs, and the kernel does not keep what was there
before. `./run` reads it in the shell and passes it by `-X forktrace_ignored=MASK`: exact. Without that, what the parent
process ignores stands for it where the parent is of a kind that never changes it for its children (a shell, make,
systemd and the like), so that `trap '' PIPE`, a CI runner and a systemd service are as without forktrace. Unknown is
only what a program set in this very process before it executed forktrace (`env --ignore-signal=PIPE forktrace ...`);
there, and below other parents, these signals have their defaults.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

IGNORED_BY_PYTHON: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
OPTION: Final = "forktrace_ignored"
_COERCED: Final = (b"C.UTF-8", b"C.utf8", b"UTF-8")  # PEP 538's locales, in the order in which they are tried
_PASS_ON: Final = frozenset(
    {
        "sh",
        "dash",
        "bash",
        "ash",
        "zsh",
        "ksh",
        "ksh93",
        "mksh",
        "yash",
        "busybox",
        "env",
        "time",
        "timeout",
        "nice",
        "xargs",
        "make",
        "gmake",
        "ninja",
        "setsid",
        "su",
        "runuser",
        "setpriv",
        "strace",
        "systemd",
        "systemd-executor",
    }
)
_SUDO: Final = frozenset({"sudo", "sudo-rs"})  # ignores SIGPIPE itself, and gives its command what it was given
_HOPS: Final = 8


def environment() -> list[bytes]:
    """The environment that we were started with, byte for byte, plus what this process has changed itself."""
    now = {name: value for name, value in os.environb.items() if name}
    try:
        with open("/proc/self/environ", "rb", buffering=0) as f:  # noqa: PTH123
            block = f.readall()
    except OSError:  # no /proc
        return [name + b"=" + value for name, value in now.items()]
    entries = block.removesuffix(b"\0").split(b"\0") if block else []
    given: dict[bytes, bytes] = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if name and equals:
            given.setdefault(name, value)  # as getenv(3), and os.environ: the first of equal names counts
    if b"LC_CTYPE" not in given and now.get(b"LC_CTYPE") in _COERCED:
        del now[b"LC_CTYPE"]
    for name in given.keys() - now.keys():
        unset(entries, name)
    for name, value in now.items():
        if given.get(name) != value:
            put(entries, name, value)
    return entries


def value_of(entries: Iterable[bytes], name: bytes) -> bytes | None:
    """What getenv(3) would find."""
    return next((entry[len(name) + 1 :] for entry in entries if entry.startswith(name + b"=")), None)


def put(entries: list[bytes], name: bytes, value: bytes) -> None:
    """Set a variable, in place of the first of that name."""
    new = name + b"=" + value
    at = next((i for i, entry in enumerate(entries) if entry.startswith(name + b"=")), None)
    if at is None:
        entries.append(new)
        return
    entries[at] = new
    entries[at + 1 :] = [entry for entry in entries[at + 1 :] if not entry.startswith(name + b"=")]


def unset(entries: list[bytes], name: bytes) -> None:
    """Remove every entry of that name."""
    entries[:] = [entry for entry in entries if not entry.startswith(name + b"=")]


def ignored() -> frozenset[int]:
    """Of SIGPIPE and SIGXFSZ those that the caller had ignored, as far as that can be known."""
    mask = _mask(sys._xoptions.get(OPTION))
    if mask is None:
        mask = _of_caller()
    return frozenset(signo for signo in IGNORED_BY_PYTHON if mask >> (signo - 1) & 1)


def _mask(word: str | bool | None) -> int | None:
    try:
        return int(word) if isinstance(word, str) else None
    except ValueError:
        return None


def _of_caller() -> int:
    """SigIgn of the process that started us, if it is of a kind that hands it on unchanged."""
    pid = os.getppid()
    for _ in range(_HOPS):
        status = _status(pid)
        name = _program(pid, status)
        if name in _SUDO:
            pid = int(status.get(b"PPid", b"0"))
            continue
        return int(status.get(b"SigIgn", b"0"), 16) if name in _PASS_ON else 0
    return 0


def _program(pid: int, status: dict[bytes, bytes]) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)").rpartition("/")[2]  # noqa: PTH115
    except OSError:  # another user's, or not dumpable
        return os.fsdecode(status.get(b"Name", b""))


def _status(pid: int) -> dict[bytes, bytes]:
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as f:  # noqa: PTH123
            lines = f.read().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
