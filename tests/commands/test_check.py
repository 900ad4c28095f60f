"""`forktrace check`: kept to, not kept to, and never a pass of what was not measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.build import META, Step, after, batch, end, exec_, exec_failed, exit_, faults, fork, lost, root, zombie
from tracer.commands import main
from tracer.events import Fact, Meta
from tracer.recording import Writer

STEPS = [
    root(1, "make"), fork(1, 2, fork_ns=2_000_000), fork(2, 3, fork_ns=1_000_000), exec_failed(3, "/x"), exec_(3, "cc"),
    faults(2, cow_copies=256), exit_(3, 1), exit_(2), fork(1, 4, fork_ns=1), exit_(4), zombie(4), after(5), exit_(1),
    end(),
]  # fmt: skip


def save(path: Path, *steps: Step, meta: Meta = META, torn: bool = False) -> str:
    writer = Writer(str(path), meta)
    writer.write(batch(*(steps or STEPS)))
    writer.flush()
    writer.abandon() if torn else writer.close()
    return str(path)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return save(tmp_path / "a.ftrace")


Ran = tuple[int, str, str]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Ran:
    status = main(["check", *words])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    "case",
    [
        ("processes", 4, "4", "count"), ("depth", 2, "2", "count"), ("failures", 1, "1", "count"),
        ("failed-forks", 0, "0", "count"), ("failed-execs", 1, "1", "count"), ("cow", 1 << 20, "1MiB", "bytes"),
        ("forks-ms", 3_000_001, "3.000001", "ns"),
    ],
)  # fmt: skip
def test_each_limit(saved: str, capsys: pytest.CaptureFixture[str], case: tuple[str, int, str, str]) -> None:
    option, value, enough, unit = case
    status, out, err = run(capsys, saved, f"--max-{option}", enough, "--format", "json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "ok": True,
        "checks": [{"limit": f"max_{option.replace('-', '_')}", "unit": unit, "value": value, "most": value,
                    "ok": True, "why": None}],
    }  # fmt: skip
    if value:
        status, out, _ = run(capsys, saved, f"--max-{option}", "0", "-q")
        assert status == 1
        assert out.startswith(f"OVER  max_{option.replace('-', '_')} ")


def test_reasons_are_said_and_what_is_kept_to_is_quiet_on_demand(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (saved, "--max-processes", "3", "--max-cow", "64MiB", "--no-zombies")

    assert run(capsys, *words) == (
        1,
        "OVER  max_processes     4, 3 allowed: processes\n"
        "ok    max_cow           1 MiB, 64 MiB allowed: copied on write\n"
        "OVER  no_zombies        1, 0 allowed: children that nobody waited for\n",
        "",
    )
    assert "ok" not in run(capsys, *words, "-q")[1]


def test_what_was_not_measured_is_an_error_and_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = save(tmp_path / "b.ftrace", meta=replace(META, facts=frozenset({Fact.ARGV})))

    for words in (("--max-cow", "1TiB"), ("--max-failures", "9"), ("--max-forks-ms", "99"), ("--no-zombies",)):
        status, out, err = run(capsys, blind, *words)
        assert (status, out) == (65, "")
        assert "can not be checked: what is asked for was not measured" in err
    assert run(capsys, blind, "--max-processes", "9")[0] == 0
    assert run(capsys, blind, "--max-processes", "1", "--max-cow", "1TiB") == (
        1,
        "OVER  max_processes     4, 1 allowed: processes\n"
        "?     max_cow           -, 1 TiB allowed: copied on write was not measured\n",
        "",
    )


@pytest.mark.parametrize("torn", [True, False])
def test_a_trace_that_lacks_records_can_fail_but_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], torn: bool
) -> None:
    path = save(tmp_path / "l.ftrace", *(STEPS[:-1] if torn else [*STEPS, lost(7)]), torn=torn)

    assert run(capsys, path, "--max-processes", "9")[0] == 65
    assert run(capsys, path, "--max-processes", "3")[0] == 1
    assert json.loads(run(capsys, path, "--max-processes", "9", "--format", "json")[1])["ok"] is None


def test_limits_from_toml_and_the_command_line_goes_before(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, project = tmp_path / "budget.toml", tmp_path / "pyproject.toml"
    limits = 'max_processes = 3\nmax-cow = "64MiB"\nno_zombies = false\n'
    plain.write_text(limits)
    project.write_text("[project]\nname = 'x'\n[tool.forktrace.check]\n" + limits)

    for path in (plain, project):
        status, out, _ = run(capsys, saved, "--budget", str(path))
        assert (status, out.count("\n")) == (1, 2)
        assert run(capsys, saved, "--budget", str(path), "--max-processes", "4")[0] == 0


@pytest.mark.parametrize(
    ("text", "status"),
    [("max_proceses = 3", 2), ("max_processes = 'many'", 2), ("max_processes = true", 2), ("max_cow = '1XB'", 2),
     ("no_zombies = 1", 2), ("max_processes = 1.5", 2), ("= 3", 65), ("", 2)],
)  # fmt: skip
def test_a_budget_that_makes_no_sense(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, status: int
) -> None:
    (tmp_path / "b.toml").write_text(text)

    found = run(capsys, saved, "--budget", str(tmp_path / "b.toml"))
    assert (found[0], found[1]) == (status, "")
    assert found[2].startswith("forktrace: ")


def test_no_limit_no_file_and_no_table(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\n")

    assert run(capsys, saved)[0] == 2
    assert run(capsys, saved, "--max-processes", "-1")[0] == 2
    assert run(capsys, saved, "--budget", str(tmp_path / "none.toml"))[0] == 66
    assert run(capsys, saved, "--budget", str(tmp_path / "pyproject.toml"))[0] == 65
