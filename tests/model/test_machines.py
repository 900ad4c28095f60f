"""Machines by what the kernel calls them. The numbers are those of the kernel's headers, where these are at hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tracer.model import machines
from tracer.model.machines import MACHINES

HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


def at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.12", "#1", name)))


@pytest.mark.parametrize(
    ("name", "probes"),
    [("x86_64", "x86"), ("i686", "x86"), ("aarch64", "arm64"), ("armv8l", "arm64"), ("riscv64", None)],
)
def test_a_personality_of_32_bits_is_the_same_machine(
    monkeypatch: pytest.MonkeyPatch, name: str, probes: str | None
) -> None:
    at(monkeypatch, name)
    found = machines.here()

    assert found is not None
    assert found.probes == probes


def test_of_a_machine_that_nobody_knows_no_call_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "vax")

    assert machines.here() is None
    assert machines.births(None) == ()


@pytest.mark.parametrize("name", HEADERS)
def test_numbers_of_calls_are_the_kernels(name: str) -> None:
    header = Path("/usr/include") / HEADERS[name]
    if not header.exists():
        pytest.skip(f"there is no {header}")
    numbers = {call: int(n) for call, n in re.findall(r"define __NR_(\w+) (\d+)$", header.read_text(), re.MULTILINE)}
    machine = MACHINES[name]

    assert {number: numbers[call] for number, call in machine.births.items()} == {n: n for n in machine.births}
    assert machine.bpf == numbers["bpf"]
    assert {call for call in ("fork", "vfork", "clone", "clone3") if call in numbers} == set(machine.births.values())


def test_names_by_number() -> None:
    x86, arm = machines.births(MACHINES["x86_64"]), machines.births(MACHINES["aarch64"])

    assert (x86[56], x86[57], x86[58], x86[435], x86[59]) == ("clone", "fork", "vfork", "clone3", None)
    assert (arm[220], arm[435], arm[57], arm[58]) == ("clone", "clone3", None, None)


def test_the_probes_know_the_same_numbers() -> None:
    text = (Path(__file__).parents[2] / "probes/machine.h").read_text()
    x86, arm = text.partition("#if defined(__TARGET_ARCH_x86)")[2].split("#elif", 1)
    for part, name in ((x86, "x86_64"), (arm, "aarch64")):
        births = MACHINES[name].births
        said = {call: int(n) for call, n in re.findall(r"define NR_(\w+) (\d+)\b", part + text[-200:])}
        assert {call.upper(): number for number, call in births.items()}.items() <= said.items()


def test_the_sentence() -> None:
    assert machines.with_probes() == "x86-64 and arm64"
