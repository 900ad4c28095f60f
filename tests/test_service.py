"""The unit file of samples/: its command is one that forktrace takes, and its two capabilities suffice."""

from __future__ import annotations

import configparser
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import need
from tracer.commands import load, parser_for, split

ROOT: Final = Path(__file__).parents[1]
UNIT: Final = ROOT / "samples/forktrace-storm.service"


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def words() -> list[str]:
    return shlex.split(service()["ExecStart"])[1:]


def test_its_command_is_one() -> None:
    verb, own, program = split(words())

    args = parser_for(verb, load(verb)).parse_args(own)

    assert (verb, program, args.metrics, args.format) == ("storm", None, "127.0.0.1:9464", "jsonl")
    assert args.save == "/var/lib/" + service()["StateDirectory"]


@pytest.mark.kernel
def test_its_capabilities_suffice(tmp_path: Path) -> None:
    need("bpf", "root", "setpriv")
    given = service()["CapabilityBoundingSet"].split()
    assert given == service()["AmbientCapabilities"].split()
    bounds = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in given)])
    command = [word.replace("/var/lib/forktrace", str(tmp_path)).replace(":9464", ":0") for word in words()]

    done = subprocess.run(
        [
            "setpriv",
            "--inh-caps=-all",
            f"--bounding-set={bounds}",
            sys.executable,
            "-m",
            "tracer",
            *command,
            "--backend",
            "bpf",
            "--duration",
            "3",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "metrics at http://127.0.0.1:" in done.stderr
    seconds = [json.loads(line) for line in done.stdout.splitlines()]
    assert seconds
    assert all(second["kind"] == "second" for second in seconds[:1])
