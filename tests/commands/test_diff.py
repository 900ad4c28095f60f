"""`forktrace diff`: two files or two sides, statuses, JSON, and what is said of files that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import hostile
from tests.fleet.traces import trace
from tracer.commands import main
from tracer.model.meta import Fact
from tracer.model.schema import Kind
from tracer.recording import Writer

Out = pytest.CaptureFixture[str]
DATE = {"born": 1, "argv": ["/bin/date"], "copies": 2}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        trace(Path(f"a{i}.ftrace"), [DATE] * 3)
        trace(Path(f"b{i}.ftrace"), [DATE, {**DATE, "code": 1}])


def test_one_line_where_nothing_differs_and_none_with_q(files: None, capsys: Out) -> None:
    assert main(["diff", "a0.ftrace", "a1.ftrace", "--exit-code"]) == 0
    assert capsys.readouterr().out == "no difference in 4 processes of 2 commands; not compared: CPU time\n"
    assert main(["diff", "a0.ftrace", "a1.ftrace", "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_a_difference_is_no_failure_unless_asked(files: None, capsys: Out) -> None:
    assert main(["diff", "a0.ftrace", "b0.ftrace"]) == 0
    text = capsys.readouterr().out
    assert main(["diff", "a0.ftrace", "b0.ftrace", "--exit-code"]) == 1
    assert capsys.readouterr().out == text
    assert "~      3 → 2   0 → 1  date       exit 1: 0 → 1, fork: 3 → 2" in text
    assert "one run each" in text


@pytest.mark.parametrize("options", [[], ["--format", "json"], ["-v"]])
def test_sides_apart_by_two_dashes(options: list[str], files: None, capsys: Out) -> None:
    words = ["diff", *options, "a0.ftrace", "a1.ftrace", "a2.ftrace", "--", "b0.ftrace", "b1.ftrace"]

    assert main([*words]) == 0
    out = capsys.readouterr().out
    if "json" in options:
        document = json.loads(out)
        assert (document["a"], document["b"]) == (words[-6:-3], words[-2:])
        assert document["total"]["processes"] == {"a": [4, 4, 4], "b": [3, 3], "differs": True}
        (change,) = document["changes"]
        assert (change["kind"], change["command"], change["below"]) == ("changed", "date", [])
        assert change["ends"] == {"exit 1": {"a": [0, 0, 0], "b": [1, 1], "differs": True}}
        assert change["cpu_ns"] == {"a": [None] * 3, "b": [None] * 2, "differs": None}
    else:
        assert "A  3 runs, a0.ftrace to a2.ftrace" in out
        assert "3 against 2 runs: ranges that do not overlap" in out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["a0.ftrace"], 2, "which of 1 traces"),
        (["a0.ftrace", "a1.ftrace", "b0.ftrace"], 2, "which of 3 traces are compared with which?; put `--` between"),
        (["a0.ftrace", "--"], 2, "one side has no trace; name some on both sides of `--`"),
        (["--", "a0.ftrace"], 2, "one side has no trace"),
        ([], 2, "required: FILE"),
        (["a0.ftrace", "none.ftrace"], 66, "none.ftrace"),
        (
            ["a0.ftrace", "--", "b0.ftrace", "--format", "json"],
            2,
            "'--format' stands behind `--`, where only traces do",
        ),
    ],
)
def test_refusals(words: list[str], status: int, said: str, files: None, capsys: Out) -> None:
    assert main(["diff", *words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_whole_is_told(files: None, capsys: Out) -> None:
    trace(Path("torn.ftrace"), [DATE] * 3, whole=False)
    trace(Path("lossy.ftrace"), [DATE] * 3, more=[(Kind.LOST, {"ts_ns": 5, "count": 7, "where": "ring"})])

    assert main(["diff", "torn.ftrace", "lossy.ftrace"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "torn.ftrace has no end" in err[0]
    assert err[1] == "forktrace: lossy.ftrace: records were lost; what is missing looks like a difference"


def test_what_one_side_did_not_measure_is_said(files: None, capsys: Out) -> None:
    trace(Path("blind.ftrace"), [DATE], facts=frozenset({Fact.STATUS, Fact.FLAGS}))

    assert main(["diff", "a0.ftrace", "blind.ftrace", "--width", "200"]) == 0
    assert "not compared, as not known on both sides: copied pages, fork time" in capsys.readouterr().out


def test_names_of_an_enemy(tmp_path: Path, capsys: Out) -> None:
    made = hostile.tree_of_names()
    path = tmp_path / "\x1b[2J.ftrace"
    with Writer(path, made.meta) as writer:
        for each in made.batches():
            writer.write(each)
    other = trace(tmp_path / "x.ftrace", [DATE])

    for options in ([], ["-v"], ["--ascii", "--width", "60"]):
        assert main(["diff", str(path), str(other), *options]) == 0
        out = capsys.readouterr().out
        assert all(line.isprintable() for line in out.splitlines())
        assert out.isascii() or "--ascii" not in options
    assert main(["diff", str(path), str(other), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["changes"]) > 30
