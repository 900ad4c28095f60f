"""The verb `storm`: its options, its refusals, and what it says to a pipe."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tracer.commands import main, priority


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "0"], "no number of forks a second"),
        (["--rate", "nan"], "no number of forks a second"),
        (["-p", "1", "-a"], "excludes -p"),
        (["-p", "x"], "is no pid"),
        (["-e", "cow"], "-e knows no 'cow'"),
        (["--exec", ""], "--exec needs a command"),
        (["--exec", "/no/such"], "there is no program"),
        (["--format", "xml"], "invalid choice"),
        (["--backend", "dtrace"], "invalid choice"),
        (["extra"], "unrecognized arguments"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storm", *words]) == 2
    assert said in capsys.readouterr().err


def test_its_help_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storm", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Watch for fork storms" in out
    assert "--keep-bytes" in out


def test_a_rate_may_be_written_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    from tracer.commands.storm import _rate

    assert (_rate("300/s"), _rate("0.5")) == (300.0, 0.5)


@pytest.mark.kernel
def test_seconds_as_json(capfd: pytest.CaptureFixture[str], tmp_path: object) -> None:
    need("bpf", "root")
    assert main(["storm", "--duration", "4", "--format", "jsonl", "--no-save"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    seconds = [line for line in lines if line["kind"] == "second"]
    assert len(seconds) >= 2
    assert all(line["alive"] > 1 for line in seconds)
    assert all(line["failures"] is None or line["failures"] >= 0 for line in seconds)
    assert [b["ts_ns"] - a["ts_ns"] for a, b in itertools.pairwise(seconds)] == [10**9] * (len(seconds) - 1)


def test_its_session_goes_before_others_for_as_long_as_it_watches() -> None:
    need("root")
    autogroup = Path("/proc/self/autogroup")
    if not autogroup.exists() or Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "0":
        pytest.skip("this kernel makes no groups of sessions")
    program = (
        "from tracer.commands.priority import _session_nice as said, raised\n"
        "print(said())\nwith raised(): print(said())\nprint(said())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.split() == ["0", "-10", "0"]


def test_a_priority_that_is_set_too_often_is_set_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's EAGAIN; else the session of whoever started us would stay before all others."""
    wrote: list[str] = []

    class Autogroup:
        def write_text(self, text: str) -> None:
            wrote.append(text)
            if len(wrote) < 3:
                raise BlockingIOError

        def read_text(self, encoding: str) -> str:
            return f"/autogroup-1 nice {wrote[-1]}"

    monkeypatch.setattr(priority, "_AUTOGROUP", Autogroup())
    monkeypatch.setattr(priority, "_AGAIN_S", 0)
    assert priority._session_nice(0) == 0
    assert wrote == ["0"] * 3
