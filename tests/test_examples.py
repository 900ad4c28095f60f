"""The worked examples of samples/ run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fleet.traces import trace

ROOT: Final = Path(__file__).parents[1]


def test_asking_with_pandas(tmp_path: Path) -> None:
    lives = [{"born": i / 4, "argv": ["/usr/bin/cc1"], "copies": i} for i in range(9)]
    path = trace(tmp_path / "a.ftrace", lives)
    program = [sys.executable, "-W", "error", str(ROOT / "samples/ask_frames.py"), str(path)]

    done = subprocess.run(program, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "cc1" in done.stdout
    assert "births by second: 0: 4, 1: 4, 2: 1" in done.stdout
