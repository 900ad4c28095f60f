"""Who sent a signal and whom it was meant for; job control itself is in test_target.py, on real terminals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.terminals import DEADLINE_S, state, wait_until
from tracer.capture.terminal import Caught, is_stopped

USER, KERNEL = 0, 0x80


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "100"])
    yield process.pid
    process.kill()
    process.wait(DEADLINE_S)


@pytest.fixture
def apart() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "100"], process_group=0)
    yield process.pid
    process.kill()
    process.wait(DEADLINE_S)


def test_from_the_programs_tree(child: int) -> None:
    assert Caught(signal.SIGTERM, USER, child).reached_group(child)
    assert Caught(signal.SIGTERM, USER, child).reached_group(os.getpid())  # an ancestor


def test_from_another_process_of_the_group(child: int) -> None:
    assert not Caught(signal.SIGTERM, USER, os.getpid()).reached_group(child)


def test_from_another_group(apart: int) -> None:
    assert not Caught(signal.SIGTERM, USER, apart).reached_group(apart)


def test_from_outside_our_pid_namespace_or_from_one_that_has_ended(child: int) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(DEADLINE_S)
    assert not Caught(signal.SIGTERM, USER, 0).reached_group(child)
    assert not Caught(signal.SIGTERM, USER, gone.pid).reached_group(child)


def test_ctrl_c_is_for_all(child: int) -> None:
    assert Caught(signal.SIGINT, KERNEL, 0).reached_group(child)


def test_a_hang_up_is_for_the_session_leader(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid())
    assert not Caught(signal.SIGHUP, KERNEL, 0).reached_group(child)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid() + 1)
    assert Caught(signal.SIGHUP, KERNEL, 0).reached_group(child)


def test_is_stopped(child: int) -> None:
    assert not is_stopped(child)
    os.kill(child, signal.SIGSTOP)
    wait_until("it is stopped", lambda: state(child) == "T")
    assert is_stopped(child)
    assert not is_stopped(2**22 + 1)  # above any pid_max
