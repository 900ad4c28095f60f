"""Losses are said for what they are: how many of what, and where; and what is unknown because of them is said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import hostile
from tracer.analyses.summary import summarize
from tracer.commands import main
from tracer.commands.loss import LOSS_STATUS
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

Row = tuple[Kind, dict[str, Any]]
WITHOUT_ENDS: list[Row] = [hostile.row(1, None, 10, comm="root"), *(hostile.row(i, 1, i * 10) for i in range(2, 9))]
END: Row = (Kind.EXIT, {"ts_ns": 100, "pid": 1, "tid": 1, "born_ns": 10, "last": 1, "exit_code": 0})
ALIVE: Row = (Kind.ALIVE, {"ts_ns": 101, "pid": 3, "tid": 3, "born_ns": 30})


def lost(count: int | None, where: str | None) -> Row:
    return Kind.LOST, {"ts_ns": 50, "count": count, "where": where}


def report(tmp_path: Path, capsys: pytest.CaptureFixture[str], *rows: Row, words: list[str] | None = None) -> str:
    path = tmp_path / "x.ftrace"
    path.write_bytes(hostile.saved([*WITHOUT_ENDS, *rows, END]))
    main(["report", str(path), *(words or ["--width", "200"])])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("losses", "alive", "unsure"),
    [
        ([], 7, 0),
        ([(192, "events ring")], 1, 6),
        ([(192, "events ring: ends")], 1, 6),
        ([(None, None)], 1, 6),
        ([(5, "skipped by the kernel: births")], 7, 0),
        ([(5, "events ring: births"), (1, "skipped by the kernel: ends")], 1, 6),
    ],
)
def test_who_has_no_end_runs_only_where_no_end_was_lost(
    losses: list[tuple[int | None, str | None]], alive: int, unsure: int
) -> None:
    tree = ProcessTree(hostile.META)
    tree.feed(Batch.from_rows([*WITHOUT_ENDS, *(lost(*each) for each in losses), END, ALIVE]))
    summary = summarize(tree)

    assert (summary.alive, summary.unsure) == (alive, unsure)


def test_an_end_that_may_be_lost_is_not_said_to_be_a_life(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "7 still running" in report(tmp_path, capsys)
    out = report(tmp_path, capsys, lost(7, "events ring: ends"))

    assert "running" not in out
    assert "7 whose end was not seen, as records were lost" in out


def test_losses_are_summed_by_what_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        lost(3, "events ring: births"),
        lost(4, "events ring: births"),
        lost(2, "events ring: ends"),
        lost(9, "skipped by the kernel: copies"),
        lost(None, "spool"),
        lost(1, None),
    ]
    said = [line for line in report(tmp_path, capsys, *rows).splitlines() if "LOST" in line]

    assert len(said) == 1
    for words in (
        "7 births (events ring)",
        "2 ends (events ring)",
        "9 copies (skipped by the kernel)",
        "an unknown number of records (spool)",
        "1 record (somewhere)",
    ):
        assert words in said[0]


@pytest.mark.parametrize("command", [["report"], ["report", "--as", "dot"], ["export", "--as", "jsonl"]])
def test_a_loss_has_a_status_of_its_own(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, lossy, torn = (tmp_path / f"{name}.ftrace" for name in ("whole", "lossy", "torn"))
    whole.write_bytes(hostile.saved([*WITHOUT_ENDS, END]))
    lossy.write_bytes(hostile.saved([*WITHOUT_ENDS, lost(1, "events ring"), END]))
    torn.write_bytes(lossy.read_bytes()[:-400])

    verb, *more = command
    assert [main([verb, str(path), *more]) for path in (whole, lossy, torn)] == [0, 0, 0]
    assert [main([verb, str(path), *more, "--fail-on-loss"]) for path in (whole, lossy, torn)] == [
        0,
        LOSS_STATUS,
        LOSS_STATUS,
    ]


def test_the_status_of_a_loss_is_nothing_else() -> None:
    from tracer import errors

    statuses = {value.exit_status for value in vars(errors).values() if hasattr(value, "exit_status")}

    assert LOSS_STATUS not in statuses | {0, 1, 126, 127}
