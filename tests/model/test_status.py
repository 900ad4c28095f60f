"""Ends taken apart, and passed on where a driver is not needed; the signals are in test_target.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S
from tracer.model.status import Status

ROOT = Path(__file__).parents[2]


def pass_on(status: str, *prefix: str, before: str = "pass", **kwargs: object) -> subprocess.Popen[bytes]:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tracer.model.status import *; {before}; pass_on({status})"
    )
    kwargs["env"] = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.Popen([*prefix, sys.executable, "-c", program], **kwargs)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("raw", "status", "shell_code"),
    [
        (0, Status(0), 0),
        (3 << 8, Status(3), 3),
        (255 << 8, Status(255), 255),
        (15, Status(None, 15), 143),
        (11 | 0x80, Status(None, 11, True), 139),
    ],
)
def test_from_wait(raw: int, status: Status, shell_code: int) -> None:
    made = Status.from_wait(raw)
    assert (made, made.shell_code) == (status, shell_code)


def test_unequal() -> None:
    assert len({Status(0), Status(1), Status(None, 1), Status(None, 1, True), Status(0)}) == 4


def test_a_reader_that_left_does_not_change_the_code() -> None:
    read, write = os.pipe()
    os.close(read)
    one = pass_on("Status(5)", before="sys.stdout.write('x' * 100)", stdout=write)
    os.close(write)

    assert one.wait(DEADLINE_S) == 5


def test_what_was_printed_comes_out_before_the_death() -> None:
    one = pass_on("Status(None, 9)", before="sys.stdout.write('text')", stdout=subprocess.PIPE)
    assert one.communicate(timeout=DEADLINE_S)[0] == b"text"
    assert one.returncode == -signal.SIGKILL


@pytest.mark.programs
def test_pid_1_exits_with_the_number() -> None:
    need("root", "unshare")
    one = pass_on("Status(None, 15)", str(shutil.which("unshare")), "--pid", "--fork", "--kill-child")
    assert one.wait(DEADLINE_S) == 143
