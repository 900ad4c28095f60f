"""Compiled probes with a program that no kernel's verifier takes, for tests of refusals."""

from __future__ import annotations

from pathlib import Path

from tracer.backends.bpf.objects import probe_object
from tracer.host.btf import _elf_section

REASON = "R3 !read_ok"
_SET_R0, _EXIT = bytes.fromhex("b400000000000000"), bytes.fromhex("9500000000000000")
_READ_R3 = bytes.fromhex("7930000000000000")


def refused_object(folder: Path, name: str, section: str) -> Path:
    """NAME.bpf.o, the program in `section` of which ends with a read of a register that was never set."""
    path = folder / f"{name}.bpf.o"
    data = probe_object(name).read_bytes()
    code = _elf_section(data, section.encode(), path.name)
    assert _SET_R0 + _EXIT in code
    path.write_bytes(data.replace(code, code.replace(_SET_R0 + _EXIT, _READ_R3 + _EXIT)))
    return path
