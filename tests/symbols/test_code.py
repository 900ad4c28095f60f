"""Instructions as llvm-mc encodes them."""

from __future__ import annotations

import pytest

from tracer.symbols import code

PUSH = bytes.fromhex("fd7bbea9")  # stp x29, x30, [sp, #-32]!
MOVE = bytes.fromhex("fd030091")  # mov x29, sp
ADD = bytes.fromhex("fd430091")  # add x29, sp, #16
OTHER = bytes.fromhex("fc430091")  # add x28, sp, #16
RET = bytes.fromhex("c0035fd6")


@pytest.mark.parametrize(
    ("function", "at"),
    [(PUSH + MOVE + RET, 8), (PUSH + RET + ADD, 12), (OTHER + RET, None), (b"\0" + MOVE, None), (b"", None)],
)
def test_where_an_arm64_function_has_its_frame(function: bytes, at: int | None) -> None:
    assert code.ARM64.frame_set(function) == at


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("02000094", True),  # bl
        ("00013fd6", True),  # blr x8
        ("09093fd7", True),  # blraa x8, x9
        ("7f083fd6", True),  # blraaz x3
        ("02000014", False),  # b
        ("00011fd6", False),  # br x8
        ("c0035fd6", False),  # ret
        ("9400", True),  # the beginning of the file: nothing is known against it
    ],
)
def test_calls_of_arm64(before: str, call: bool) -> None:
    assert code.ARM64.is_call(bytes.fromhex(before)) is call


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("9090e8fbffffff", True),  # call rel32
        ("9090909090ffd0", True),  # call *%rax
        ("90ff1500000000", True),  # call *0(%rip)
        ("9090909090ffe0", False),  # jmp *%rax
        ("90909090909090", False),
    ],
)
def test_calls_of_x86(before: str, call: bool) -> None:
    assert code.X86.is_call(bytes.fromhex(before)) is call


def test_machines_go_by_number_or_name_and_of_others_all_is_believed() -> None:
    assert code.of("EM_AARCH64") is code.of(183) is code.ARM64
    assert code.of(62) is code.X86
    assert (code.of("EM_RISCV").frame_set(RET), code.of(243).is_call(RET)) == (0, True)
