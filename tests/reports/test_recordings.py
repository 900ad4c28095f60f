"""Whole reports of saved traces, byte for byte; and what each of the samples of advice deserves to be told.

The recordings were made by samples/advice/record.py. Those that deserve nothing must be told nothing.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import tracer
from tests.conftest import need
from tracer.analyses.findings.advice import advise
from tracer.reports.console.report import Console
from tracer.reports.terminal import Terminal

SAMPLES: Final = Path(__file__).parents[2] / "samples"
RECORDINGS: Final = SAMPLES / "recordings"
DESERVED: Final = {
    "big_spawn": ["fork_exec"],
    "spawn": [],
    "snapshot": ["snapshot"],
    "workers": ["workers_copy"],
    "workers_frozen": [],
    "respawn": ["respawn"],
    "polling": [],
    "zombies": ["unreaped"],
    "threads": ["threads"],
    "searching": ["shell", "path_search"],
    "healthy": [],
}


def test_every_recording_is_looked_at() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.ftrace")} == set(DESERVED)


@pytest.mark.parametrize("name", DESERVED)
def test_the_report(name: str, golden: Callable[[str, str], None]) -> None:
    page = io.StringIO()
    Console(Terminal(width=100), page, how_to_see_all="--full").report(tracer.load(str(RECORDINGS / f"{name}.ftrace")))
    golden(f"recording-{name}", page.getvalue())


@pytest.mark.parametrize("name", DESERVED)
def test_what_it_deserves(name: str) -> None:
    found = advise(tracer.load(str(RECORDINGS / f"{name}.ftrace")).tree)

    assert [finding.kind for finding in found] == DESERVED[name]


@pytest.mark.kernel
@pytest.mark.parametrize("name", DESERVED)
def test_here_and_now_too(name: str, tmp_path: Path) -> None:
    need("bpf", "root", "bash", "python3", "gzip")
    sys.path.insert(0, str(SAMPLES / "advice"))
    try:
        from record import RUNS, record  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(SAMPLES / "advice"))
    assert set(RUNS) == set(DESERVED)

    assert record(SAMPLES / "advice", name, tmp_path) == 0

    found = advise(tracer.load(str(tmp_path / f"{name}.ftrace")).tree)
    assert [finding.kind for finding in found] == DESERVED[name]


def test_a_report_is_of_its_file_alone() -> None:
    """The same in another process, with another hash seed: nothing hangs on the order of a set."""
    code = (
        "import io, sys, tracer\n"
        "from tracer.reports.console.report import Console\n"
        "from tracer.reports.terminal import Terminal\n"
        "page = io.StringIO()\n"
        "Console(Terminal(width=100), page).report(tracer.load(sys.argv[1]))\n"
        "sys.stdout.write(page.getvalue())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(RECORDINGS / "searching.ftrace")],
            cwd=SAMPLES.parent,
            check=True,
            text=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(said) == 1
