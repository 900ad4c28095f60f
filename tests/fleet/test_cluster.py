"""The same data set from a Dask cluster as from here, though a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fleet.traces import trace
from tests.terminals import wait_until

ROOT: Final = Path(__file__).parents[2]
TRACES: Final = 32
PATIENCE_S: Final = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, Any]]:
    pytest.importorskip("distributed")
    program = [sys.executable, "-m", "tests.fleet.local_cluster"]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())
        running.stdin.close()


def fleet(traces: Path, data: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "tracer", "fleet", str(traces), "--into", str(data), "--format", "json", *more]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path, cluster: dict[str, Any]) -> None:
    traces = tmp_path / "traces"
    for i in range(TRACES):
        trace(traces / f"host=web{i % 3}" / f"{i}.ftrace", [{"born": n / 50, "copies": n} for n in range(2000)])
    here, there = tmp_path / "here", tmp_path / "there"
    alone = subprocess.run(fleet(traces, here), cwd=ROOT, check=True, capture_output=True, text=True)

    command = fleet(traces, there, "--scheduler", cluster["address"])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_until("a trace is done", lambda: any(files(there / "traces")) or running.poll() is not None, PATIENCE_S)
        done = len(files(there / "traces"))
        os.kill(cluster["pids"][0], signal.SIGKILL)
        answered, said = running.communicate(timeout=PATIENCE_S)

    assert 0 < done < TRACES, "it was killed in the middle"
    assert running.returncode == 0, said
    assert files(there) == files(here)
    assert json.loads(answered) == json.loads(alone.stdout)


def test_no_scheduler_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    trace(tmp_path / "traces/a.ftrace", [{"born": 1}])

    command = fleet(tmp_path / "traces", tmp_path / "data", "--scheduler", "tcp://127.0.0.1:9")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 70
    assert done.stderr.startswith("forktrace: no scheduler answers at tcp://127.0.0.1:9")
    assert done.stderr.count("\n") == 1
