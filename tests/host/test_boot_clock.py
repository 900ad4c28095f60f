"""In a time namespace all times of a trace are of one clock: births come before ends."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracer.api.capture import open_trace
from tracer.host import boot_clock
from tracer.model.schema import NULL

ROOT = Path(__file__).parents[2]
SHIFT_S = 1_000_000


def in_time_namespace(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "-T", "--boottime", str(SHIFT_S), "--monotonic", str(SHIFT_S), "--fork", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def shifts() -> bool:
    try:
        return in_time_namespace("true").returncode == 0
    except OSError:
        return False


needs_namespace = pytest.mark.skipif(not shifts(), reason="a time namespace needs root and Linux 5.6")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("monotonic           0         0\nboottime            0         0\n", (0, 0)),
        ("monotonic           5         0\nboottime      1000000       500\n", (10**15 + 500, 5 * 10**9)),
        ("monotonic           0         0\nboottime           -2 999999999\n", (-1_000_000_001, 0)),
        ("1 0 2\n7 3 1\n", (3_000_000_001, 2)),
        ("", (0, 0)),
    ],
)
def test_an_offset(text: str, ns: tuple[int, int]) -> None:
    assert boot_clock.parse(text) == ns


@needs_namespace
@pytest.mark.parametrize(
    ("backend", "attached"),
    [("auto", False), ("netlink", False), ("strace", False), ("auto", True), ("netlink", True)],
)
def test_births_come_before_ends(backend: str, attached: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    tracer = [sys.executable, "-m", "tracer", "--backend", backend, "--as-root", "-o", str(path)]
    if attached:
        script = (
            'mkfifo "$0"; sh -c "read x <$0; /bin/true; sleep 0.3; /bin/true" & pid=$!; '
            '(until [ -s "$0.out" ]; do :; done; echo >"$0") & "$@" -p $pid --duration 3 2>"$0.out"'
        )
        done = in_time_namespace("sh", "-c", script, str(tmp_path / "fifo"), *tracer)
    else:
        done = in_time_namespace(*tracer, "--", "sh", "-c", "/bin/true; (sleep 0.1; /bin/true)")
    before = boot_clock.now_ns()
    assert path.exists(), done.stderr
    tree = open_trace(str(path)).tree

    assert len(tree) >= (1 if attached else 3), done.stderr
    seen = 0
    for row in range(len(tree)):
        born, end = tree.value(row, "born_ns"), tree.value(row, "exit_ns")
        assert 0 < born <= before
        if end is not None:
            seen += 1
            assert born <= end <= before
    assert tree.meta.wall_offset_ns is not None
    assert abs(tree.meta.wall_offset_ns + before - time.time_ns()) < 60 * 10**9
    assert tree.end is not None
    assert NULL < tree.end.ts_ns <= before
    assert attached or seen >= 3


def test_nobody_reads_the_clock_of_the_namespace() -> None:
    found = []
    for path in sorted((ROOT / "tracer").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if any(isinstance(node, ast.Attribute) and node.attr == "CLOCK_BOOTTIME" for node in ast.walk(tree)):
            found.append(path.name)

    assert found == ["boot_clock.py"]
