"""Words of the command line that `--help` names: a module of its own, as what they stand for takes 30 ms to import.

Knows nothing of what they mean: tracer.backends does.
"""

from __future__ import annotations

from typing import Final

BACKENDS: Final[tuple[str, ...]] = ("bpf", "bcc", "netlink", "strace")
"""Module names in tracer.backends, in order of preference; each has a class `Backend`.

bcc stands before netlink although LLVM makes it start slower, by a third of a second: it tells fork from vfork, and
misses no argv however short a program lives, which is what one looks for first in a tree. netlink has CPU time, faults
and the kernel's count of copies; who wants those says so (--need cpu). Last is strace, which slows its program down.
"""

COW_LEVELS: Final = ("full", "fork", "light", "off")
STACKS_USUAL: Final = 1000
"""Stacks a second and CPU: under 1 % of it."""
