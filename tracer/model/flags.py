"""clone(2) flags and their names."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final


class CloneFlags(enum.IntFlag):
    """clone(2) flags, include/uapi/linux/sched.h. The low byte of clone()'s flags is the exit signal, not here."""

    CLONE_VM = 0x00000100
    CLONE_FS = 0x00000200
    CLONE_FILES = 0x00000400
    CLONE_SIGHAND = 0x00000800
    CLONE_PIDFD = 0x00001000
    CLONE_PTRACE = 0x00002000
    CLONE_VFORK = 0x00004000
    CLONE_PARENT = 0x00008000
    CLONE_THREAD = 0x00010000
    CLONE_NEWNS = 0x00020000
    CLONE_SYSVSEM = 0x00040000
    CLONE_SETTLS = 0x00080000
    CLONE_PARENT_SETTID = 0x00100000
    CLONE_CHILD_CLEARTID = 0x00200000
    CLONE_DETACHED = 0x00400000
    CLONE_UNTRACED = 0x00800000
    CLONE_CHILD_SETTID = 0x01000000
    CLONE_NEWCGROUP = 0x02000000
    CLONE_NEWUTS = 0x04000000
    CLONE_NEWIPC = 0x08000000
    CLONE_NEWUSER = 0x10000000
    CLONE_NEWPID = 0x20000000
    CLONE_NEWNET = 0x40000000
    CLONE_IO = 0x80000000
    CLONE_CLEAR_SIGHAND = 0x100000000
    CLONE_INTO_CGROUP = 0x200000000


_FLAG_NAMES: Final = tuple((int(f), str(f.name)) for f in CloneFlags)


def flag_names(flags: int) -> list[str]:
    """CLONE_* names set in `flags`, lowest bit first; bits without a name as one 0x... word."""
    names = [name for bit, name in _FLAG_NAMES if flags & bit]
    rest = flags & ~sum(bit for bit, _ in _FLAG_NAMES)
    return [*names, hex(rest)] if rest else names


def flag_bits(names: Iterable[str]) -> int:
    """The inverse of `flag_names`. Raises ValueError for a word that is neither a flag nor a number."""
    bits = 0
    for name in names:
        bits |= int(CloneFlags[name]) if name in CloneFlags.__members__ else int(name, 0)
    return bits
