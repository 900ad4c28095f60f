"""Keep bpf_probe_read_user() in the programs where reads of kernel memory are refused (lockdown=confidentiality).

libbpf tries bpf_probe_read_kernel() once. Where the kernel refuses it, libbpf takes the kernel to be older than 5.5 and
rewrites every bpf_probe_read_user() to the bpf_probe_read() of that time (bpf_object__sanitize_prog()), which lockdown
refuses as well, though reads of user memory are allowed there. A section handler's prog_prepare_load_fn, called after
that rewrite and right before the load, puts the right helpers back. The programs ask for kernel memory behind
opt.kernel_reads alone, and the verifier does not look at code that cannot run, so what is rewritten there is harmless.
"""

from __future__ import annotations

import array
import ctypes as C  # noqa: N812 - as in _libbpf.py
from typing import Any, Final

SECTION: Final = "tp_btf/"
_BPF_PROG_TYPE_TRACING, _BPF_TRACE_RAW_TP = 26, 23
_CALL: Final = 0x85  # BPF_JMP | BPF_CALL, registers 0: a helper, by its number
# BPF_FUNC_probe_read -> _user, and the same of strings
_HELPERS: Final = {_CALL | 4 << 32: _CALL | 112 << 32, _CALL | 45 << 32: _CALL | 114 << 32}
_PREPARE: Final = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.c_long)


class _HandlerOpts(C.Structure):
    """struct libbpf_prog_handler_opts."""

    _fields_ = (
        ("sz", C.c_size_t),
        ("cookie", C.c_long),
        ("prog_setup_fn", C.c_void_p),
        ("prog_prepare_load_fn", _PREPARE),
        ("prog_attach_fn", C.c_void_p),
    )


def restored(code: bytes) -> bytes:
    """The instructions with the helpers for user memory put back."""
    return array.array("Q", [_HELPERS.get(one, one) for one in array.array("Q", code)]).tobytes()


_kept: list[Any] = []  # ctypes callbacks must outlive every call


def register(lib: C.CDLL) -> None:
    """Take the section tp_btf over; before the first object is opened. Once a process."""
    if _kept:
        return
    lib.bpf_program__insns.restype = C.c_void_p
    lib.bpf_program__insns.argtypes = [C.c_void_p]
    lib.bpf_program__insn_cnt.restype = C.c_size_t
    lib.bpf_program__insn_cnt.argtypes = [C.c_void_p]
    lib.bpf_program__set_attach_target.argtypes = [C.c_void_p, C.c_int, C.c_char_p]

    def prepare(program: int, _opts: int, _cookie: int) -> int:
        at, size = lib.bpf_program__insns(program), 8 * lib.bpf_program__insn_cnt(program)
        C.memmove(at, restored(C.string_at(at, size)), size)
        return 0

    callback = _PREPARE(prepare)
    opts = _HandlerOpts(sz=C.sizeof(_HandlerOpts), prog_prepare_load_fn=callback)
    handler = lib.libbpf_register_prog_handler
    handler.argtypes = [C.c_char_p, C.c_int, C.c_int, C.POINTER(_HandlerOpts)]
    handler(f"{SECTION[:-1]}+".encode(), _BPF_PROG_TYPE_TRACING, _BPF_TRACE_RAW_TP, C.byref(opts))
    _kept.extend((callback, opts))


def target(lib: C.CDLL, program: int, section: str) -> None:
    """Name the tracepoint of a program, which libbpf's own handler of the section would do; before the load."""
    if section.startswith(SECTION):
        lib.bpf_program__set_attach_target(program, 0, section.removeprefix(SECTION).encode())
