"""What differs between machines, as the kernel names them (uname -m): which probes are theirs, and the numbers of
their system calls. The probes' side of it is probes/machine.h.

Numbers do not leave the backends: a trace holds names, so that one from another machine reads the same here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

_GENERIC: Final = {220: "clone", 435: "clone3"}


class Machine(NamedTuple):
    """`probes`: the folder in probes/build, None where none are compiled. `bpf`: the number of bpf(2)."""

    name: str
    probes: str | None
    bpf: int
    births: Mapping[int, str] = _GENERIC  # the calls that make tasks


MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine("x86-64", "x86", 321, {56: "clone", 57: "fork", 58: "vfork", 435: "clone3"}),
    "aarch64": Machine("arm64", "arm64", 280),
    "riscv64": Machine("riscv64", None, 280),
    "loongarch64": Machine("loongarch64", None, 280),
    "ppc64le": Machine("ppc64le", None, 361, {2: "fork", 120: "clone", 189: "vfork", 435: "clone3"}),
}
_PERSONALITIES: Final = {"i686": "x86_64", "i386": "x86_64", "armv8l": "aarch64"}
"""What a kernel of 64 bits says it is to a process that setarch started."""


PAGE_BYTES: Final[Mapping[str, int]] = {"x86_64": 4096, "i686": 4096, "i386": 4096, "s390x": 4096}
"""Machines whose kernels know one size of a page; of the others a trace has to say it."""


def here() -> Machine | None:
    """The machine that this kernel runs on; None for one that is in no table."""
    name = os.uname().machine
    return MACHINES.get(_PERSONALITIES.get(name, name))


def births(machine: Machine | None) -> tuple[str | None, ...]:
    """Names of the calls that make tasks, by number."""
    known = machine.births if machine is not None else {}
    return tuple(known.get(number) for number in range(max(known, default=-1) + 1))


def with_probes() -> str:
    """The machines that probes are compiled for, in a sentence."""
    return " and ".join(machine.name for machine in MACHINES.values() if machine.probes is not None)
