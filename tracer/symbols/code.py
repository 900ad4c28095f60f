"""What can be seen in a machine's code: where a function sets its frame pointer, and whether a call stands before an
address. For machines that are not here nothing can be seen, and all is believed.

Knows bytes, and no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple


class Code(NamedTuple):
    """`frame_set`: behind which of these bytes, a function's first, it has its frame pointer; None: nowhere.

    `is_call`: whether the last of `call_bytes` bytes are a call. `link`: calls leave the return address in a register,
    which the next call overwrites, so that it is the caller's only in a function that has called nobody yet.
    """

    frame_set: Callable[[bytes], int | None]
    is_call: Callable[[bytes], bool]
    call_bytes: int
    link: bool


# mov %rsp,%rbp in both encodings. gcc may put it behind an early way out, so it is looked for beyond the first bytes.
_X86_SETS_FRAME: Final = (b"\x48\x89\xe5", b"\x48\x8b\xec")
_X86_CALL_BYTES: Final = 7


def _x86_frame_set(code: bytes) -> int | None:
    ends = [at + 3 for at in (code.find(p) for p in _X86_SETS_FRAME) if at >= 0]
    return min(ends, default=None)


def _x86_is_call(code: bytes) -> bool:
    """E8 rel32, or FF /2 of 2 to 7 bytes. Where there are fewer bytes nothing is known against it."""
    if len(code) < _X86_CALL_BYTES or code[-5] == 0xE8:
        return True
    return any(code[-n] == 0xFF and code[1 - n] & 0x38 == 0x10 for n in (2, 3, 4, 6, 7))


def _arm64_frame_set(code: bytes) -> int | None:
    """Behind add x29, sp, #n, of which mov x29, sp is one."""
    for at in range(0, len(code) - 3, 4):
        if int.from_bytes(code[at : at + 4], "little") & 0xFFC003FF == 0x910003FD:
            return at + 4
    return None


def _arm64_is_call(code: bytes) -> bool:
    """BL, or BLR with or without authentication of the pointer."""
    if len(code) < 4:
        return True
    word = int.from_bytes(code[-4:], "little")
    return word & 0xFC000000 == 0x94000000 or word & 0xFEFFF000 == 0xD63F0000


X86: Final = Code(_x86_frame_set, _x86_is_call, _X86_CALL_BYTES, link=False)
ARM64: Final = Code(_arm64_frame_set, _arm64_is_call, 4, link=True)
OTHER: Final = Code(lambda _: 0, lambda _: True, 1, link=False)

_MACHINES: Final = {"EM_X86_64": X86, 62: X86, "EM_AARCH64": ARM64, 183: ARM64}


def of(machine: str | int) -> Code:
    """By e_machine of an ELF file, which pyelftools has a name for where it knows one."""
    return _MACHINES.get(machine, OTHER)
