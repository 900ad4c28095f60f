"""Helpers for user memory under lockdown=confidentiality, which only a guest can have: tests/vm/doctor_agrees.py."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tracer.backends.bpf.user_reads import restored

ROOT = Path(__file__).parents[3]
CALL, PSEUDO_CALL, MOVE = 0x85, 1 << 12, 0xB7


def instruction(code: int, registers: int, immediate: int) -> bytes:
    return struct.pack("=BBhi", code, registers, 0, immediate)


def test_calls_of_the_old_helpers_alone_are_changed() -> None:
    kept = [
        instruction(CALL, PSEUDO_CALL >> 8, 4),  # of another function of the program, 4 instructions further on
        instruction(MOVE, 1, 4),
        instruction(MOVE, 0, 45),
        instruction(CALL, 0, 1),
        instruction(CALL, 0, 113),
        instruction(0x95, 0, 0),
    ]
    rewritten = [instruction(CALL, 0, 4), *kept, instruction(CALL, 0, 45)]

    found = restored(b"".join(rewritten))

    assert found == b"".join([instruction(CALL, 0, 112), *kept, instruction(CALL, 0, 114)])


@pytest.mark.kernel
def test_every_object_loads_through_the_handler_and_reads_no_kernel_memory() -> None:
    """A process of its own: a handler is registered for good, and asks once whether kernel memory may be read."""
    need("bpf")
    code = """
import tracer
from tracer.host import features as kernel
from tracer.backends.bpf import user_reads as _user_reads
kernel.reads_allowed = lambda: False
options = {"cow": "full", "failures": True, "reap_exact": True, "cow_stacks": 0}
trace = tracer.run(["/bin/sh", "-c", "/bin/echo a 'b c' >/dev/null; cd /; /bin/true"], backend="bpf", **options)
assert _user_reads._kept
assert "cwd" not in trace.meta.facts
assert {"argv", "cow", "stacks", "fork_failed", "reaps"} <= trace.meta.facts, trace.meta.notes
for row in range(len(trace.tree)):
    print(*(trace.tree.value(row, name) for name in ("argv", "cwd", "exit_code", "cow_copies")), sep=" | ")
for note in trace.meta.notes:
    print(note)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        """['/bin/sh', '-c', "/bin/echo a 'b c' >/dev/null; cd /; /bin/true"] | None | 0 | 0""",
        "['/bin/echo', 'a', 'b c'] | None | 0 | 0",
        "['/bin/true'] | None | 0 | 0",
        "cwd, interpreters and renames are unknown: lockdown=confidentiality forbids reads of kernel memory",
    ]
