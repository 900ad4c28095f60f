"""`forktrace check`: statuses, sentences, limits from words and from TOML, and no terminal moved by a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import hostile
from tests.build import META, batch, end, exec_, exit_, faults, fork, root
from tests.fleet.traces import trace
from tests.strategies import PROFILE
from tracer.commands import main
from tracer.commands.check_limits import budget_of, limit_of
from tracer.errors import BadDataError, ForktraceError
from tracer.model.meta import Fact
from tracer.recording import Writer
from tracer.reports.terminal import cells

Out = pytest.CaptureFixture[str]


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "x.ftrace"
    steps = (
        root(10, "sh"),
        exec_(10, "sh", "-c", "build"),
        faults(10, cow_copies=1),
        fork(10, 11),
        exec_(11, "cc", "a.c"),
        faults(11, cow_copies=300),
        exit_(11, code=1),
        exit_(10),
        end(),
    )
    with Writer(path, META) as writer:
        writer.write(batch(*steps))
    return str(path)


def test_within_is_one_line_or_none(saved: str, capsys: Out) -> None:
    words = ["check", saved, "--max-processes", "2", "--max-cow", "2MiB", "--no-zombies"]

    assert main(words) == 0
    assert capsys.readouterr().out == ("within budget: 2 of 2 processes · 1.18 MiB of 2 MiB copied · no zombies left\n")
    assert main([*words, "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_each_reason_is_a_line(saved: str, capsys: Out) -> None:
    assert main(["check", saved, "--max-processes", "1", "--max-cow", "1MiB", "--max-depth", "1", "-q"]) == 1
    assert capsys.readouterr().out == (
        "max-processes: 2 processes, 1 at most; 1 made by pid 10 sh -c build\n"
        "max-cow: 1.18 MiB copied, 1 MiB at most; 1.17 MiB by pid 11 cc a.c\n"
    )


def test_json_has_all_limits_and_the_same_status(saved: str, capsys: Out) -> None:
    assert main(["check", saved, "--max-failures", "0", "--max-depth", "9", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)

    assert document["within"] is False
    assert [(limit["limit"], limit["measured"], limit["within"]) for limit in document["limits"]] == [
        ("max-depth", 1, True),
        ("max-failures", 1, False),
    ]
    assert document["limits"][1]["worst"] == {"pid": 11, "command": ["cc", "a.c"], "share": 1}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "there is no limit to check; give some, as --max-processes 200, or --budget TOML"),
        (["--max-processes", "many"], 2, "'many' is no number for max-processes; give it as 200"),
        (["--max-processes", "-1"], 2, "'-1' is no number for max-processes"),
        (["--max-cow", "64MB"], 2, "'64MB' is no size for max-cow; give it as 64MiB"),
        (["--max-life", "10"], 2, "'10' is no time for max-life; give it as 50ms or 10s"),
        (["--budget", "/nowhere/b.toml"], 66, "/nowhere/b.toml cannot be read: no such file or directory"),
    ],
)
def test_refusals(words: list[str], status: int, said: str, saved: str, capsys: Out) -> None:
    assert main(["check", saved, *words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_what_was_not_measured_never_passes(tmp_path: Path, capsys: Out) -> None:
    blind = trace(tmp_path / "blind.ftrace", [{"born": 1}], facts=frozenset({Fact.STATUS}))

    assert main(["check", str(blind), "--max-cow", "1GiB", "--max-failures", "9"]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "forktrace: blind.ftrace: what was copied on write was not measured in this trace, "
        "so --max-cow can not be checked; record it with --cow full\n"
    )


@pytest.mark.parametrize("more", [[], ["--max-processes", "0"], ["--format", "json"]])
def test_a_torn_trace_never_passes(more: list[str], tmp_path: Path, capsys: Out) -> None:
    torn = trace(tmp_path / "torn.ftrace", [{"born": 1}], whole=False)

    assert main(["check", str(torn), "--max-processes", "100", *more]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert "torn.ftrace has no end" in err
    assert "so no limit can be checked; record it again" in err


# TOML


def toml(tmp_path: Path, text: str, name: str = "budget.toml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_limits_of_a_file_and_options_override_it(tmp_path: Path, saved: str, capsys: Out) -> None:
    text = 'max-processes = 1\nmax-cow = "1MiB"\nmax-life = "2.5s"\nno-zombies = true\n'
    path = toml(tmp_path, text)

    assert budget_of(path) == {
        "max-processes": 1,
        "max-cow": 1 << 20,
        "max-life": 2_500_000_000,
        "no-zombies": 0,
    }
    assert main(["check", saved, "--budget", path]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["check", saved, "--budget", path, "--max-processes", "2", "--max-cow", "2MiB"]) == 0


def test_the_table_of_a_pyproject(tmp_path: Path) -> None:
    path = toml(tmp_path, "[project]\nname='x'\n[tool.forktrace.check]\nmax-depth = 5\n", "pyproject.toml")

    assert budget_of(path) == {"max-depth": 5}


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("max-fun = 1", "b.toml", "knows a limit 'max-fun' that there is not; there are max-processes, max-depth"),
        ("[tool.other]\na=1", "pyproject.toml", "has no table [tool.forktrace.check]"),
        ("[tool]\nforktrace='x'", "pyproject.toml", "has no table [tool.forktrace.check]"),
        ("max-depth = true", "b.toml", "True is no number for max-depth"),
        ("max-depth = -1", "b.toml", "-1 is no number for max-depth"),
        ("max-depth = 1.5", "b.toml", "1.5 is no number for max-depth"),
        ("max-cow = [1]", "b.toml", "[1] is no size for max-cow"),
        ("max-life = 10", "b.toml", "10 is no time for max-life"),
        ("no-zombies = 1", "b.toml", "no-zombies is 1; make it true or false"),
        ("max-depth = ", "b.toml", "is not TOML"),
        ("a = " + "[" * 100_000, "b.toml", "is not TOML"),
        ("a = " + "9" * 10_000, "b.toml", "is not TOML"),
        ("a" * (1 << 21), "b.toml", "is larger than 1 MiB"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(text: str, name: str, said: str, tmp_path: Path, capsys: Out) -> None:
    assert main(["check", "none.ftrace", "--budget", toml(tmp_path, text, name)]) == 65
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(BadDataError, match="is not TOML"):
        budget_of(str(tmp_path / "b.toml"))


@pytest.mark.parametrize(
    ("name", "word", "n"),
    [
        ("max-cow", "64MiB", 64 << 20),
        ("max-cow", "64M", 64 << 20),
        ("max-cow", 4096, 4096),
        ("max-cow", "1.5K", 1536),
        ("max-life", "50ms", 50_000_000),
        ("max-life", "10 s", 10**10),
        ("max-life", "0", 0),
        ("max-life", "2min", 12 * 10**10),
        ("max-depth", "5", 5),
        ("max-depth", 5, 5),
    ],
)
def test_words_in_numbers(name: str, word: Any, n: int) -> None:
    assert limit_of(name, word) == n


@PROFILE
@given(st.sampled_from(["max-cow", "max-life", "max-depth"]), st.text(max_size=12) | st.floats() | st.integers())
def test_any_word_is_a_number_or_a_sentence(name: str, word: Any) -> None:
    try:
        assert limit_of(name, word) >= 0
    except ValueError as e:
        assert "give it as" in str(e)


def test_names_of_an_enemy(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "h.ftrace"
    made = hostile.tree_of_names()
    with Writer(path, made.meta) as writer:
        for each in made.batches():
            writer.write(each)
    for name in hostile.NAMES:
        if "\0" not in name and len(name) < 200:
            main(["check", str(path), "--max-depth", "0", "--budget", name])
    assert main(["check", str(path), "--max-depth", "0", "--max-failures", "0", "--max-life", "0s"]) == 1
    out, err = capsys.readouterr()

    assert len(out.splitlines()) == 3
    assert all(line.isprintable() for line in [*out.splitlines(), *err.splitlines()])
    assert max(map(cells, out.splitlines())) < 200
    assert main(["check", str(path), "--max-depth", "0", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["within"] is False


def test_a_path_with_a_nul_is_a_sentence() -> None:
    with pytest.raises(ForktraceError):
        budget_of("a\0b")
