"""A full disk is said to be one: no healthy program is called dead, and nothing unread is called nothing.

In a mount namespace of its own, with file systems of some hundred KiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.mutations import ROOT

LOOP = "i=0; while [ $i -lt 211 ]; do /bin/true {}; i=$((i+1)); done; echo done; exit 3".format("x" * 3000)
SCRIPT = """
set -e
mount -t tmpfs -o size={size} none "$1"
[ -z "$2" ] || head -c "$2" /dev/zero > "$1/ballast" || true
export TMPDIR="$1"
shift 2
exec "$@"
"""


def in_small_tmpdir(folder: Path, size: str, ballast: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run forktrace with TMPDIR a file system of that size, with that many bytes of it taken."""
    command = ["unshare", "-m", "sh", "-c", SCRIPT.format(size=size), "sh", str(folder), ballast]
    return subprocess.run(
        [*command, sys.executable, "-m", "tracer", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def mounts() -> bool:
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )


needs_mounts = pytest.mark.skipif(not mounts(), reason="a mount namespace needs root")


@needs_mounts
def test_strace_takes_a_place_with_room(tmp_path: Path) -> None:
    done = in_small_tmpdir(tmp_path, "256k", "230000", "--backend", "strace", "--as-root", "--", "sh", "-c", LOOP)

    assert (done.returncode, done.stdout) == (3, "done\n")
    assert "LOST" not in done.stderr
    assert "212 " in done.stderr
    assert len(done.stderr.splitlines()) < 60


@needs_mounts
@pytest.mark.parametrize("more", [[], ["--strace-safe"]])
def test_where_strace_runs_out_of_room_the_program_is_not_called_dead(more: list[str], tmp_path: Path) -> None:
    """All places are the small one."""
    everywhere = 'mount --bind "$TMPDIR" /var/tmp; mount --bind /var/tmp /tmp; export TMPDIR=/tmp; exec'
    script = SCRIPT.replace("exec", everywhere)
    command = ["unshare", "-m", "sh", "-c", script.format(size="16k"), "sh", str(tmp_path), ""]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tracer", "--backend", "strace", "--as-root", *more, "--", "sh", "-c", LOOP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout) == (3, "done\n")
    assert "should be" not in done.stderr
    assert "cannot fork" not in done.stderr.replace("can not", "cannot")
    assert "still running" not in done.stderr
    assert "LOST" in done.stderr
    assert "is full: lines are missing" in done.stderr
