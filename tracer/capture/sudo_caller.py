"""Whether we were started by sudo for its caller, or by root for itself: decided from the processes above us.

    decide() -> Decision.CALLER | OURSELVES | UNKNOWN

SUDO_UID proves nothing alone, as it survives inside `sudo -s`, where everything is meant to be root's. From our parent
upwards, the first of these decides:

    a shell that reads commands from a terminal or its input (`sudo -s`, `sudo -i`, `sudo su`)   root itself
    su, runuser or login: somebody became root on purpose                                       root itself
    sudo: `sudo forktrace`, `sudo timeout 20 forktrace`, `sudo sh -c 'forktrace ...'`            its caller
    a process of the user SUDO_UID: sudo has executed the command in its own place               its caller

Shells with -c or with a script, timeout, nice, env, strace, make and all others pass the question on to their parent.
At the top without an answer (a daemon, a new pid namespace, a /proc that hides others) it is unknown, and the program
is not started. Decided once: later, those above us may have ended.
"""

from __future__ import annotations

import enum
import os

_SUDO = frozenset({"sudo", "sudo-rs"})
_BECOMES_ROOT = frozenset({"su", "runuser", "login"})
_SHELLS = frozenset(
    {"sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "yash", "fish", "tcsh", "csh", "busybox"}
)
_WITH_VALUE = frozenset({"-o", "+o", "-O", "+O", "--rcfile", "--init-file"})
_MOST = 200  # ancestors

_decided: dict[tuple[int, str], Decision] = {}


class Decision(enum.Enum):
    """For whom we work."""

    OURSELVES = "ourselves"
    CALLER = "caller"
    UNKNOWN = "unknown"


def decide() -> Decision:
    """For whom we work. OURSELVES where we are not root, or where sudo has not set SUDO_UID, or root called it."""
    uid = os.environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or not (uid.isascii() and uid.isdigit()) or int(uid) == 0:
        return Decision.OURSELVES
    key = (os.getpid(), uid)
    if key not in _decided:
        _decided[key] = _look(os.getppid(), int(uid))
    return _decided[key]


def _look(pid: int, uid: int) -> Decision:
    for _ in range(_MOST):
        if pid <= 1:
            break
        try:
            owner = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as f:  # noqa: PTH123
                head, _, rest = f.read().rpartition(b")")
            with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as f:  # noqa: PTH123
                words = [os.fsdecode(word) for word in f.readall().split(b"\0")[:-1]]
        except OSError:
            break
        name = _program(pid) or os.fsdecode(head.partition(b"(")[2])
        if name in _SUDO:
            return Decision.CALLER
        if name in _BECOMES_ROOT or (name in _SHELLS and reads_commands(words)):
            return Decision.OURSELVES if owner != uid else Decision.CALLER
        if owner == uid:
            return Decision.CALLER
        pid = int(rest.split()[1])
    return Decision.UNKNOWN


def _program(pid: int) -> str:
    """The name of its file; "" where that may not be read: sudo is not dumpable, and some containers hide it."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)").rpartition("/")[2]  # noqa: PTH115
    except OSError:
        return ""


def reads_commands(words: list[str]) -> bool:
    """Whether a shell with these words takes its commands from a terminal or its input: no -c, no script."""
    rest = iter(words[1:])
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif word == "-" or word.startswith("--"):
            continue
        elif word.startswith(("-", "+")):
            if "c" in word:
                return False
        else:
            return False
    return True
