from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from tests.fleet.traces import trace
from tracer.commands import main
from tracer.commands.fleet import _BY, _fitting, _span, _when
from tracer.fleet.questions import BY, Answer


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trace(
        tmp_path / "traces/a.ftrace", [{"born": i, "argv": ["/bin/date"], "copies": 2, "code": i % 2} for i in range(9)]
    )
    return tmp_path / "traces"


def test_tables_and_the_data_set_in_the_cache(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", str(traces), "--width", "100", "--no-color"]) == 0
    first = capsys.readouterr().out
    assert main(["fleet", str(traces), "--width", "100", "--no-color"]) == 0

    assert capsys.readouterr().out == first
    assert "web1" in first
    assert "exit 1  date" in first
    assert list((traces.parent / "cache/forktrace/fleet").glob("*/processes/host=web1/day=2026-01-01/a-*.parquet"))
    assert max(map(len, first.splitlines())) <= 100


def test_json_and_a_data_set_asked_by_its_own_name(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    main(["fleet", str(traces), "--into", data, "--format", "json"])
    first = json.loads(capsys.readouterr().out)
    main(["fleet", data, "--format", "json"])
    second = json.loads(capsys.readouterr().out)

    assert first.pop("unreadable") == []
    assert first == second
    assert first["hosts"][0]["forks"] == 9
    assert first["storms"] == []


def test_traces_that_can_not_be_read_are_named(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(8):
        (traces / f"bad{i}.ftrace").write_bytes(b"\x1b[2J")

    assert main(["fleet", str(traces)]) == 0

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6
    assert "bad0.ftrace: " in said[0]
    assert said[-1] == "forktrace: and 3 more like these; -v lists them"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nowhere"], 66, "is not there"),
        (["."], 66, "no .ftrace file"),
        ([".", "--every", "soon"], 2, "'soon' is no span of time"),
        ([".", "--since", "now"], 2, "'now' is no time"),
        ([".", "--top", "0"], 2, "'0' is no number"),
    ],
)
def test_refusals(words: list[str], status: int, said: str, empty: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", *words]) == status
    assert said in capsys.readouterr().err


def test_the_choices_are_those_there_are() -> None:
    assert set(_BY) == set(BY)


def test_spans_and_times() -> None:
    assert [_span(word) for word in ("10", "10s", "5m", "1h", "2d")] == [10, 10, 300, 3600, 172_800]
    assert _when("2026-01-31T12:00+01:00") == datetime.datetime(2026, 1, 31, 11)
    began = datetime.datetime(2026, 1, 1)
    hours = Answer("hosts", ("began", "ended"), ((began, began + datetime.timedelta(hours=5)),))
    assert _fitting(hours) == 300
