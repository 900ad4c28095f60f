"""Asks the kernel by bpf(2) what it can do, by doing it and undoing it at once.

A map is made, a program of two instructions is loaded; nothing is attached and nothing stays. Needs neither
libbpf nor a compiled object, so it can tell which of them is to blame. Knows nothing of what the answers
are for.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from typing import NamedTuple

from tracer.model import machines

# include/uapi/linux/bpf.h
BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_BTF_LOAD = 0, 5, 18
BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_TASK_STORAGE = 27, 29
BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP = 26, 23
BPF_F_NO_PREALLOC = 1
PROBE_READ_KERNEL, TASK_PT_REGS, FIND_VMA, LOOP = 113, 175, 180, 181

_MOV_R0_0, _EXIT = struct.pack("=BBhi", 0xB7, 0, 0, 0), struct.pack("=BBhi", 0x95, 0, 0, 0)


class Answer(NamedTuple):
    """`ok` None: refused (EPERM), so nothing was learnt; `error` is the error number's name, "" if none."""

    ok: bool | None
    error: str = ""


class BpfCall:
    """Questions to the running kernel. Each takes 0.1 to 1 ms."""

    def ring_buffer(self) -> Answer:
        """Can a BPF_MAP_TYPE_RINGBUF be made (Linux 5.8)?"""
        return _made(*_bpf(BPF_MAP_CREATE, _map(BPF_MAP_TYPE_RINGBUF, entries=mmap.PAGESIZE)))

    def task_storage(self) -> Answer:
        """Can a BPF_MAP_TYPE_TASK_STORAGE be made (Linux 5.11)? It takes BTF to describe one: an int."""
        names = b"\0int\0"
        integer = struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32)
        raw = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(integer), len(integer), len(names))
        blob = ctypes.create_string_buffer(raw + integer + names)
        size = len(blob) - 1
        btf, error = _bpf(BPF_BTF_LOAD, struct.pack("=QQIII", ctypes.addressof(blob), 0, size, 0, 0))
        if btf < 0:
            return _made(btf, error)
        try:
            attr = _map(BPF_MAP_TYPE_TASK_STORAGE, 4, flags=BPF_F_NO_PREALLOC, btf=btf)
            return _made(*_bpf(BPF_MAP_CREATE, attr))
        finally:
            os.close(btf)

    def tracepoint(self, type_id: int) -> Answer:
        """Can a program be loaded for a tracepoint? `type_id`: of its `btf_trace_*` typedef in vmlinux."""
        fd, error, _ = _load(_MOV_R0_0 + _EXIT, type_id)
        return _made(fd, error)

    def helper(self, number: int, type_id: int) -> Answer:
        """Does the kernel give helper `number` to programs on that tracepoint?

        The program calls it with nothing in its arguments, so it is refused in any case: the log says for
        what.
        """
        fd, error, log = _load(struct.pack("=BBhi", 0x85, 0, 0, number) + _EXIT, type_id)
        if fd >= 0 or error in (0, errno.EPERM, errno.ENOSYS):
            return _made(fd, error)
        # "invalid func unknown#181" where it does not exist; "unknown func bpf_loop#181", or on newer kernels
        # "program of this type cannot use helper bpf_loop#181", where such a program may not have it.
        absent = any(words in log for words in (b"invalid func", b"unknown func", b"cannot use helper"))
        known = bool(log) and not absent
        return Answer(known, "" if known else _name(error))


def _made(fd: int, error: int) -> Answer:
    if fd >= 0:
        os.close(fd)
        return Answer(ok=True)
    return Answer(None if error == errno.EPERM else False, _name(error))


def _name(error: int) -> str:
    return errno.errorcode.get(error, str(error))


def _map(kind: int, size: int = 0, *, entries: int = 0, flags: int = 0, btf: int | None = None) -> bytes:
    """Attributes of a map with keys and values of `size` bytes each."""
    head = struct.pack("=IIIIIII16sI", kind, size, size, entries, flags, 0, 0, b"ft_question", 0)
    return head + struct.pack("=III", btf, 1, 1) if btf is not None else head


def _load(instructions: bytes, type_id: int) -> tuple[int, int, bytes]:
    """(descriptor or -1, errno, the verifier's log) of a tp_btf program."""
    code = ctypes.create_string_buffer(instructions)
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(65536)
    attr = struct.pack(
        "=IIQQIIQII16sIIIIQIIQIII",
        *(BPF_PROG_TYPE_TRACING, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(1, len(log), ctypes.addressof(log), 0, 0, b"ft_question", 0, BPF_TRACE_RAW_TP),
        *(0, 0, 0, 0, 0, 0, 0, type_id, 0),
    )
    fd, error = _bpf(BPF_PROG_LOAD, attr)
    return fd, error, log.value


def _bpf(command: int, attr: bytes) -> tuple[int, int]:
    """(result or -1, errno). The kernel takes any length of `attr` and reads the rest as zero."""
    machine = machines.here()
    if machine is None:
        return -1, errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    call, size = ctypes.c_long(machine.bpf), ctypes.c_long(len(attr))
    result = libc.syscall(call, ctypes.c_long(command), ctypes.byref(buffer), size)
    return (result, 0) if result >= 0 else (-1, ctypes.get_errno())
