"""What BCC needs to find in place of the running kernel's headers: a folder of a dozen tiny files, in memory.

The folder is a tmpfs that is mounted nowhere: it has no name but /proc/self/fd/N and ends with its descriptor, so that
a kill leaves nothing. Where that cannot be made (before Linux 5.2, or without CAP_SYS_ADMIN) it is one in TMPDIR, which
the next start removes if it was left behind (leftovers.py).

BCC looks for headers of the running kernel, also where there are none or those of another version. Its own part asks
for no more than types and a version; the probes ask for nothing at all, so that no field of a struct can be read at
the wrong place. Knows no BCC beyond the names of the files.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tracer.host import leftovers

SOURCE: Final = "BCC_KERNEL_SOURCE"
"""The variable that BCC takes the folder from."""

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # system calls, the same number on every machine

_TYPES: Final = """\
#pragma once
typedef signed char __s8, s8; typedef unsigned char __u8, u8; typedef short __s16, s16;
typedef unsigned short __u16, u16; typedef int __s32, s32; typedef unsigned int __u32, u32;
typedef long long __s64, s64; typedef unsigned long long __u64, u64;
typedef __u16 __le16, __be16, __sum16; typedef __u32 __le32, __be32, __wsum; typedef __u64 __le64, __be64;
typedef __SIZE_TYPE__ size_t; typedef unsigned long uintptr_t; typedef _Bool bool;
typedef int pid_t, key_t, clockid_t, timer_t, mqd_t; typedef unsigned int uid_t, gid_t, qid_t; typedef u32 dev_t;
typedef unsigned short umode_t, sa_family_t; typedef long long loff_t; typedef u64 sector_t, phys_addr_t, dma_addr_t;
typedef unsigned int gfp_t; typedef long key_serial_t, off_t, ssize_t; typedef s32 rwf_t; typedef int aio_context_t;
enum { false, true };
#define NULL ((void *)0)
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __always_inline inline __attribute__((always_inline))
"""
_EMPTY: Final = (
    "linux/log2.h",
    "linux/bpf.h",
    "linux/bpf_common.h",
    "linux/stddef.h",
    "uapi/linux/bpf.h",
    "uapi/linux/if_packet.h",
    "uapi/linux/if_ether.h",
    "uapi/linux/ptrace.h",
    "uapi/linux/in.h",
    "uapi/linux/types.h",
)


def version_code(release: str) -> tuple[int, int, int]:
    """(6, 18, 44) of "6.18.44-1-amd64"; (0, 0, 0) of what is no version."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    return (int(found[1]), int(found[2]), min(int(found[3] or 0), 255)) if found else (0, 0, 0)


def write(folder: Path, release: str) -> None:
    """Fill `folder` for a kernel of that release."""
    a, b, c = version_code(release)
    files = {
        "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
        "linux/types.h": _TYPES,
        "linux/version.h": "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({a}, {b}, {c})\n",
        "asm/page.h": "#define PAGE_SIZE 4096UL\n",
        **dict.fromkeys(_EMPTY, ""),
    }
    for name, text in files.items():
        path = folder / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


@contextmanager
def private(release: str) -> Iterator[None]:
    """BCC finds a folder of ours while the block runs."""
    before = os.environ.get(SOURCE)
    fd = _detached_tmpfs()
    folder = f"/proc/self/fd/{fd}" if fd >= 0 else leftovers.make("forktrace-bcc", tempfile.gettempdir())
    try:
        write(Path(folder), release)
        os.environ[SOURCE] = folder
        yield
    finally:
        if before is None:
            os.environ.pop(SOURCE, None)
        else:
            os.environ[SOURCE] = before
        if fd >= 0:
            os.close(fd)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _detached_tmpfs() -> int:
    """The root of a new tmpfs that is mounted nowhere; -1 where the kernel makes none for us."""
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_FSOPEN, b"tmpfs", 1)  # FSOPEN_CLOEXEC
    if context < 0:
        return -1
    try:
        # FSCONFIG_SET_STRING: others may reach it by our /proc/PID/fd, if they may look in there at all
        if libc.syscall(_FSCONFIG, context, 1, b"mode", b"0700", 0) < 0:
            return -1
        if libc.syscall(_FSCONFIG, context, 6, None, None, 0) < 0:  # FSCONFIG_CMD_CREATE
            return -1
        return int(libc.syscall(_FSMOUNT, context, 1, 0))  # FSMOUNT_CLOEXEC
    finally:
        os.close(context)


def matching(release: str) -> bool:
    """Whether this kernel's own headers are installed, in the place where BCC looks."""
    return (Path("/lib/modules") / release / "build" / "include/linux/kconfig.h").exists()
