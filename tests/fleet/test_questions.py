from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.traces import FACTS, NOON, SECOND, trace
from tracer.errors import BadDataError, UsageError
from tracer.fleet.dataset import update
from tracer.fleet.places import Place
from tracer.fleet.questions import Answer, Fleet
from tracer.model.meta import Fact
from tracer.model.schema import Kind


def fleet(tmp_path: Path, **window: Any) -> Fleet:
    data = Place.of(str(tmp_path / "data"))
    update(Place.of(str(tmp_path / "traces")), data)
    return Fleet(data, **window)


def by(answer: Answer, key: str) -> dict[Any, dict[str, Any]]:
    return {row[key]: row for row in answer.dicts()}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    quick = [{"born": i, "argv": ["/bin/date"], "copies": 2, "code": i % 2} for i in range(10)]
    trace(tmp_path / "traces/a.ftrace", quick, host="web1")
    trace(tmp_path / "traces/b.ftrace", [{"born": 3, "argv": ["/bin/date"], "signal": 9}], host="web2")
    return tmp_path


def test_hosts(two: Path) -> None:
    hosts = by(fleet(two).overview(), "host")

    assert (hosts["web1"]["forks"], hosts["web1"]["failed"], hosts["web1"]["copied_pages"]) == (10, 5, 20)
    assert (hosts["web2"]["forks"], hosts["web2"]["failed"], hosts["web2"]["copied_pages"]) == (1, 1, None)
    assert hosts["web1"]["peak_per_s"] == 1
    assert hosts["web1"]["watched_s"] == pytest.approx(9, abs=0.1)
    assert hosts["web1"]["forks_per_s"] == pytest.approx(10 / 9, abs=0.05)
    assert hosts["web1"]["failed_forks"] == 0


def test_what_no_trace_could_see_is_null(tmp_path: Path) -> None:
    trace(tmp_path / "traces/a.ftrace", [{"born": 1}], facts=FACTS - {Fact.FORK_FAILED})

    (host,) = fleet(tmp_path).overview().dicts()

    assert host["failed_forks"] is None
    assert host["copied_pages"] is None
    assert host["cpu_ns"] is None


def test_time_that_two_traces_watched_counts_once(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 5), ("c", 100)):
        trace(tmp_path / f"traces/{name}.ftrace", [{"born": start, "lasts": 10}], at=NOON)

    (host,) = fleet(tmp_path).overview().dicts()

    # The roots are there from the beginning of each
    assert host["watched_s"] == pytest.approx(110, abs=0.1)


def test_a_window_cuts_what_is_counted_and_the_time_too(two: Path) -> None:
    noon = datetime.datetime(2026, 1, 1, 12)
    asked = fleet(two, since=noon + datetime.timedelta(seconds=2), until=noon + datetime.timedelta(seconds=6))

    host = by(asked.overview(), "host")["web1"]

    assert host["forks"] == 4
    assert host["watched_s"] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("host", {"web1": 10, "web2": 1}),
        ("unit", {"app.service": 11}),
        ("user", {"33": 11, "-": 0}),
        ("program", {"date": 11, "sh": 0}),
        ("container", {"-": 11}),
        ("template", {"date": 11, "sh": 0}),
    ],
)
def test_groups(two: Path, name: str, groups: dict[str, int]) -> None:
    asked = fleet(two).groups(name)

    assert {row["group"]: row["forks"] for row in asked.dicts()} == groups


def test_over_time(two: Path) -> None:
    rows = fleet(two).over_time("host", 5).rows

    assert [(group, at.second, forks) for group, at, forks, _ in rows] == [
        ("web1", 0, 5),
        ("web1", 5, 5),
        ("web2", 0, 1),
    ]


def test_failures_name_the_cause(tmp_path: Path) -> None:
    failed = {"ts_ns": SECOND, "pid": 100, "tid": 100, "errno": 11, "error": "EAGAIN", "cause": "pids.max 50/50 of /x"}
    trace(tmp_path / "traces/a.ftrace", [{"born": 1, "code": 3}], more=[(Kind.FORK_FAILED, failed)] * 2)

    rows = fleet(tmp_path).failures().dicts()

    assert [(row["what"], row["how"], row["cause"], row["times"]) for row in rows] == [
        ("fork_failed", "EAGAIN", "pids.max 50/50 of /x", 2),
        ("exit", "exit 3", None, 1),
    ]


def test_copies(two: Path) -> None:
    (row,) = fleet(two).copies().dicts()

    assert (row["host"], row["program"], row["copied_pages"], row["most_pages"]) == ("web1", "date", 20, 2)


def storm(seconds: int, first: float = 30, rate: int = 200) -> list[dict[str, Any]]:
    usual = [{"born": i / 2, "argv": ["/bin/date"]} for i in range(120)]
    bad = {"argv": ["/bin/ps", "x"], "cgroup": "/system.slice/bad.service"}
    return usual + [{"born": first + i / rate, **bad} for i in range(seconds * rate)]


def test_a_storm_is_found_with_its_leader(tmp_path: Path) -> None:
    trace(tmp_path / "traces/a.ftrace", storm(5))

    (found,) = fleet(tmp_path).storms().dicts()

    assert (found["host"], found["template"], found["unit"], found["began"]) == (
        "web1",
        "ps x",
        "bad.service",
        "2026-01-01T12:00:30Z",
    )
    assert found["lasted_s"] == pytest.approx(5, abs=1)
    assert 200 <= found["peak_per_s"] <= 203
    assert found["share"] > 0.95


@pytest.mark.parametrize("lives", [storm(2), storm(5, rate=90), [{"born": i / 200} for i in range(2000)]])
def test_short_small_or_usual_is_no_storm(tmp_path: Path, lives: list[dict[str, Any]]) -> None:
    trace(tmp_path / "traces/a.ftrace", lives)

    assert fleet(tmp_path).storms().rows == ()


def test_an_empty_place_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="is no data set"):
        Fleet(Place.of(str(tmp_path)))


def test_groups_that_there_are_not(two: Path) -> None:
    with pytest.raises(UsageError, match="can not be grouped"):
        fleet(two).groups("1; drop table x")
