"""Five thousand mutations of traces, logs and rules: no traceback, bounded time and memory, whatever the command.

Most are of a fixed seed; the rest are new in each run, and their seed is in the message of a failure.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.mutations import ROOT, go

ADDRESS_SPACE = 3 << 30
PEAK = 768 << 20  # of all mutations one after the other
FRESH = os.environ.get("FORKTRACE_MUTATIONS_SEED") or os.urandom(6).hex()
COUNTS = {"traces": (2800, 700), "strace": (700, 200), "perf": (250, 50), "toml": (240, 60)}


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


@pytest.mark.parametrize("family", COUNTS)
@pytest.mark.parametrize("seed", ["fixed", "fresh"])
def test_no_mutation_is_a_traceback(family: str, seed: str, tmp_path: Path) -> None:
    n = COUNTS[family][seed == "fresh"]
    words = [family, "1" if seed == "fixed" else FRESH, "0", str(n)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.mutations", *words],
        cwd=ROOT,
        preexec_fn=limit,
        timeout=600,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, f"mutations {words}: {done.stderr[-2000:]}"
    result = json.loads(done.stdout)

    assert result["failures"] == []
    assert result["mutations"] == n
    assert result["commands"] >= n
    assert result["peak"] < PEAK


@pytest.mark.parametrize(("family", "seed", "number"), [("strace", "fd28bf77b6ed", 93)])
def test_what_was_found_by_fresh_seeds(family: str, seed: str, number: int) -> None:
    """Here, where a debugger can follow."""
    assert go(family, seed, number, 1, print)["failures"] == []


def test_all_of_them() -> None:
    assert sum(map(sum, COUNTS.values())) == 5000
