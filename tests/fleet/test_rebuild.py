from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.traces import NOON, SECOND, trace
from tracer.fleet.rebuild import Rebuilt, rebuild, template
from tracer.model.schema import Kind


def table(rebuilt: Rebuilt, name: str) -> list[dict[str, Any]]:
    pieces = [piece for piece in rebuilt.pieces if piece.table == name]
    return [row for piece in pieces for row in pq.read_table(io.BytesIO(piece.parquet)).to_pylist()]


def test_every_process_is_a_row_with_its_wall_time(tmp_path: Path) -> None:
    path = trace(
        tmp_path / "a.ftrace",
        [{"born": 1, "lasts": 0.5, "code": 3, "copies": 7, "argv": ["/usr/bin/gcc", "-c", "a.c"]}],
    )

    made = rebuild(path.read_bytes(), "a")
    root, child = table(made, "processes")

    assert made.trouble is None
    assert made.processes == 2
    assert (root["born"], root["template"], child["born"], child["template"]) == (False, "sh", True, "gcc -c …")
    assert (child["exit_code"], child["cow_copies"], child["life_ns"]) == (3, 7, SECOND // 2)
    assert child["unit"] == "app.service"
    assert child["ts"].isoformat() == "2026-01-01T12:00:01.000001"
    assert child["cpu_ns"] is None  # not measured is not 0


def test_pages_of_another_size_are_counted_in_pages_of_4_kib(tmp_path: Path) -> None:
    lives = [{"born": 1, "lasts": 0.5, "copies": 7, "argv": ["a"]}]
    large = rebuild(trace(tmp_path / "a.ftrace", lives, page=65536).read_bytes(), "a")
    unknown = rebuild(trace(tmp_path / "b.ftrace", lives, page=0).read_bytes(), "b")

    assert table(large, "processes")[1]["cow_copies"] == 7 * 16
    assert table(unknown, "processes")[1]["cow_copies"] is None


def test_how_late_forktrace_waits_for_the_program_is_no_zombie(tmp_path: Path) -> None:
    waits = [
        (
            Kind.REAP,
            {
                "ts_ns": 9 * SECOND,
                "pid": pid,
                "tid": pid,
                "born_ns": born,
                "reap_ns": 9 * SECOND,
                "zombie_ns": 5 * SECOND,
            },
        )
        for pid, born in ((100, 1), (200, SECOND + 1000))
    ]
    path = trace(tmp_path / "a.ftrace", [{"born": 1}], more=waits)

    root, child = table(rebuild(path.read_bytes(), "a"), "processes")

    assert (root["zombie_ns"], child["zombie_ns"]) == (None, 5 * SECOND)


def test_a_trace_over_midnight_has_two_days(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.ftrace", [{"born": 1}, {"born": 86_400}], at=NOON)

    days = [(piece.table, piece.host, piece.day, piece.rows) for piece in rebuild(path.read_bytes(), "a").pieces]

    assert ("processes", "web1", "2026-01-01", 2) in days
    assert ("processes", "web1", "2026-01-02", 1) in days
    assert [day[2] for day in days if day[0] == "traces"] == ["2026-01-01"]


def test_the_same_trace_makes_the_same_bytes(tmp_path: Path) -> None:
    data = trace(tmp_path / "a.ftrace", [{"born": i / 7} for i in range(50)]).read_bytes()

    assert rebuild(data, "a") == rebuild(data, "a")


def test_failures_and_losses_are_rows_of_their_own(tmp_path: Path) -> None:
    more = [
        (
            Kind.FORK_FAILED,
            {"ts_ns": 5 * SECOND, "pid": 100, "tid": 100, "errno": 11, "error": "EAGAIN", "cause": "pids.max"},
        ),
        (Kind.LOST, {"count": 12, "where": "ring"}),
    ]
    path = trace(tmp_path / "a.ftrace", [{"born": 1}], more=more)

    failed, lost = table(rebuild(path.read_bytes(), "a"), "troubles")

    assert (failed["kind"], failed["error"], failed["cause"], failed["count"]) == (
        "fork_failed",
        "EAGAIN",
        "pids.max",
        1,
    )
    assert (lost["kind"], lost["count"]) == ("lost", 12)
    assert lost["ts"] == failed["ts"]  # found there


def test_the_folder_says_whose_it_is(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.ftrace", [{"born": 1}])

    assert {piece.host for piece in rebuild(path.read_bytes(), "a", "db7").pieces} == {"db7"}


def test_a_torn_trace_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.ftrace", [{"born": 1}], whole=False)

    made = rebuild(path.read_bytes(), "a")

    assert made.trouble is not None
    assert len(table(made, "processes")) == 2
    assert table(made, "traces")[0]["whole"] is False


@given(st.binary(max_size=200))
def test_what_is_no_trace_is_told_and_raises_nothing(data: bytes) -> None:
    made = rebuild(data, "x")

    assert made.pieces == ()
    assert made.trouble


def test_an_address_is_opened_where_the_work_is_done(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.ftrace", [{"born": 1}])

    assert rebuild(path.as_uri(), "a") == rebuild(path.read_bytes(), "a")
    assert "can not be read" in str(rebuild((tmp_path / "none").as_uri(), "x").trouble)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/usr/bin/git", "log", "--oneline", "HEAD~3"], "git log --oneline …"),
        (["sh", "-c", "echo 1"], "sh -c …"),
        (["true"], "true"),
        (["sleep", "10"], "sleep …"),
        (["mysql", "-phunter2"], "mysql …"),
        (["a", "b", "c", "d", "e"], "a b c d …"),
        ([], "comm"),
        (None, "comm"),
    ],
)
def test_templates(argv: list[str] | None, said: str) -> None:
    assert template(argv, "comm") == said


def test_odd_bytes_are_text(tmp_path: Path) -> None:
    path = trace(tmp_path / "a.ftrace", [{"born": 1, "argv": ["/bin/\udcff\x1b[2J"]}])

    assert table(rebuild(path.read_bytes(), "a"), "processes")[1]["program"] == "\\xff\x1b[2J"
