"""What files this process has open, so that a test can see whether something was left behind."""

from __future__ import annotations

import gc
import os
from contextlib import suppress


def open_files() -> list[str]:
    """Their names. Without the kernel's types, which are kept open from the first look at them on."""
    gc.collect()  # a trace that nobody has any more holds its file until then
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the folder itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(name for name in found if name != "/sys/kernel/btf/vmlinux" and not name.startswith("/proc/"))
