"""The reason in verifier logs. The logs are those of real refusals, recorded on the kernels they are named for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracer.backends.bpf import verifier

LOGS = Path(__file__).parent / "verifier"
REASONS = {
    "6.1-on_newtask": "Type 'atomic_long_t' is not a struct",
    "6.1-on_signal": "Unreleased reference id=4 alloc_insn=76",
    "6.1-find_level": "math between ptr_ pointer and register with unbounded min value is not allowed",
    "6.1-on_sighand_free": "func 'kmem_cache_free' arg1 type UNKNOWN is not a struct",
    "6.1-on_exit": "func 'sched_process_exit' doesn't have 2-th argument",
    "6.12.118-on_signal": "R9 invalid mem access 'scalar'",
    "6.12.118-on_sighand_free": "func 'kmem_cache_free' arg1 type UNKNOWN is not a struct",
    "7.2-on_signal": "R9 invalid mem access 'scalar'",
    "7.3-on_signal": "R9 invalid mem access 'scalar'",
}


def test_every_recorded_log_is_judged() -> None:
    assert {path.stem for path in LOGS.iterdir()} == REASONS.keys()


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_is_the_verifiers_error(name: str) -> None:
    assert verifier.reason((LOGS / f"{name}.log").read_text("ascii")) == REASONS[name]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", ""),
        ("processed 3 insns (limit 1000000) max_states_per_insn 0\n", ""),
        ("0: (b7) r0 = 0\n1: (95) exit\n", ""),
        ("0: (85) call bpf_loop#181\nunknown func bpf_loop#181\nprocessed 1 insns ", "unknown func bpf_loop#181"),
        ("BPF program is too large. Processed 1000001 insn\n", "BPF program is too large. Processed 1000001 insn"),
        ("a word of a kernel to come\nprocessed 1 insns ", "a word of a kernel to come"),
    ],
)
def test_short_and_unknown_logs(log: str, reason: str) -> None:
    assert verifier.reason(log) == reason
