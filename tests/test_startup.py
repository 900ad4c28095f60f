"""Nothing slow is imported before it is needed: pandas alone would take half a second of everyone's time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import need

HEAVY = frozenset({"elftools", "numpy", "pandas", "pyarrow", "pyroute2", "rich"})
ROOT = Path(__file__).parents[1]

# Runs a module as `python -m` does, in a fresh interpreter; tells on its own descriptor what is loaded then.
CODE = """
import json, os, runpy, sys
report, module, *words = sys.argv[1:]
sys.argv = [module, *words]
status = None

def leave(status):
    raise SystemExit(status)

os._exit = leave  # what is loaded shall be told first
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    status = end.code
os.write(int(report), json.dumps([status, sorted(sys.modules)]).encode())
"""


class Loaded(NamedTuple):
    """How `python -m MODULE WORDS` ended, what it printed, which top-level packages it had loaded by then."""

    status: int | None
    output: str
    packages: frozenset[str]


def run_module(module: str, *words: str) -> Loaded:
    reading, writing = os.pipe()
    with os.fdopen(reading) as report:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(writing), module, *words],
            pass_fds=[writing],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            cwd=ROOT,
            check=True,
        )
        os.close(writing)
        status, modules = json.load(report)
    return Loaded(status, done.stdout, frozenset(name.partition(".")[0] for name in modules))


def test_the_measure_itself_sees_what_is_loaded() -> None:
    assert "wave" not in run_module("timeit", "-n1", "-r1", "pass").packages
    assert "wave" in run_module("timeit", "-n1", "-r1", "import wave").packages


def test_help_is_told_before_the_model_and_what_makes_classes_are_there() -> None:
    done = run_module("tracer", "--help")

    assert "--cow" in done.output
    assert not {"dataclasses", "inspect", "pathlib"} & done.packages


@pytest.mark.parametrize("words", [["--help"], ["report", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    done = run_module("tracer", *words)

    assert "forktrace" in done.output
    assert not done.status
    assert not done.packages & HEAVY


SLOW = frozenset({"dataclasses", "inspect", "pickle", "shutil", "statistics"})


@pytest.mark.kernel
def test_a_run_without_a_report_loads_nothing_slow() -> None:
    need("bpf", "root")
    done = run_module("tracer", "-q", "--", "true")

    assert not done.status
    assert not done.packages & (HEAVY | SLOW)


@pytest.mark.kernel
@pytest.mark.parametrize("words", [["--ascii"], ["--no-color"]], ids=" ".join)
def test_a_run_and_its_report_load_nothing_heavy_but_numpy(words: list[str]) -> None:
    """That one is imported while the kernel loads the probes."""
    need("bpf", "root")
    done = run_module("tracer", *words, "--", "true")

    assert not done.status
    assert done.packages & HEAVY == {"numpy"}


def test_the_version_loads_nothing_heavy() -> None:
    done = run_module("tracer", "--version")

    assert not done.status
    assert not done.packages & HEAVY


def test_importing_the_api_loads_nothing_heavy() -> None:
    code = "import sys, tracer; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, cwd=ROOT, check=True
    )
    packages = set(done.stdout.split())

    assert "tracer" in packages
    assert not packages & HEAVY
