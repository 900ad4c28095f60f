"""Arguments of megabytes: time and memory grow with the text and no faster, at import and in redaction."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.importers.strace.seen import story
from tracer.importers import open_log
from tracer.importers.log_source import MAX_LINE
from tracer.importers.strace import values
from tracer.redact import MARK, redact

SHAPES = {"digits": b"7", "escapes": b"\\33", "backslashes": b"\\\\", "spaces": b" ", "brackets": b"["}
_MOST_S = 20.0  # of CPU, for 50 MB; what is quadratic, or a call for each escape, takes minutes
_BYTES = 4  # of memory for each of input

READ = """
import sys
from tracer.importers import open_log
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
def read(path):
    _, run = open_log([path])
    found = [argv for batch in run for part in batch.parts.values() for argv in part.get("argv", ())]
    return [len(argv[1]) for argv in found if len(argv) > 1]
read(sys.argv[1])
before = peak()
print(read(sys.argv[2]), peak() - before)
"""


def log(argument: bytes) -> bytes:
    return (
        b'100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        b'100 execve("/bin/x", ["x", "' + argument + b'"], 0x7f /* 3 vars */) = 0\n100 +++ exited with 0 +++\n'
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_is_a_small_multiple_of_the_line(shape: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(log(b"7" * 2_000_000))
    piece = SHAPES[shape]
    text = log(piece * (15_000_000 // len(piece)))
    (tmp_path / "large").write_bytes(text)

    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "small", tmp_path / "large"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )

    found, _, peak = done.stdout.strip().rpartition(" ")
    assert found == f"[{15_000_000 // len(piece)}]"
    assert int(peak) <= _BYTES * len(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_fifty_megabytes_of_one_line(shape: str, tmp_path: Path) -> None:
    """Longer than any line of strace's: it is skipped, and what stands behind it is read."""
    piece = SHAPES[shape]
    (tmp_path / "log").write_bytes(log(piece * (50_000_000 // len(piece))))
    assert MAX_LINE < 50_000_000
    start = time.process_time()

    _, run = open_log([str(tmp_path / "log")])

    assert story(run) == ["100 root; /bin/sh [sh]; exit 0"]
    assert run.skipped.lines == 1
    assert time.process_time() - start < _MOST_S


@pytest.mark.parametrize("shape", SHAPES)
def test_fifty_megabytes_are_unescaped_and_redacted_in_linear_time(shape: str) -> None:
    piece = SHAPES[shape]
    start = time.process_time()

    text = values.text(piece * (50_000_000 // len(piece)))
    words, count = redact(["x", text, "--password", "hunter2"])

    assert (words[1], words[3], count) == (text, MARK, 1)
    assert time.process_time() - start < _MOST_S


def test_escapes_that_strace_does_not_write_are_read_as_before() -> None:
    assert values.unescape(rb"\q\477\x4\18\1") == b"q" + bytes((0o477 & 0xFF, 4, 1)) + b"8\1"
