"""Signs that forks fail, from a few small files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracer.host.fork_limits import Pressure


@pytest.fixture(params=[1, 2])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    fstype, mount, options = [("cgroup", "/cg", "rw,pids"), ("cgroup2", "/cg", "rw")][request.param - 1]
    line = f"30 20 0:26 / {mount} rw - {fstype} none {options}\n"
    (tmp_path / "proc/self/mountinfo").write_text(line)
    (tmp_path / "proc/loadavg").write_text("1.00 1.00 1.00 2/300 1234\n")
    (tmp_path / "proc/sys/kernel/pid_max").write_text("32768\n")
    (tmp_path / "proc/sys/kernel/threads-max").write_text("20000\n")
    (tmp_path / "cg/a").mkdir(parents=True)
    (tmp_path / "cg/a/pids.events").write_text("max 3\n")
    return tmp_path


def test_a_limit_that_is_hit_is_seen(root: Path) -> None:
    now = [0.0]
    pressure = Pressure(root, lambda: now[0])
    assert pressure.look() is None  # it was hit before we came
    (root / "cg/a/pids.events").write_text("max 8\n")
    assert pressure.look() is None  # not time yet
    now[0] += 5
    assert pressure.look() == "pids.max of /a was hit 5 times"
    now[0] += 5
    assert pressure.look() is None


def test_a_host_that_is_nearly_full_is_seen(root: Path) -> None:
    (root / "proc/loadavg").write_text("1.00 1.00 1.00 2/18500 1234\n")

    assert Pressure(root).look() == "18,500 tasks of 20,000 that there can be"


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert Pressure(tmp_path).look() is None
