"""A command in a few words: the same in every run, and without secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.analyses.labels import label


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/bin/ls"], "ls"),
        (["gcc", "-c", "a.c"], "gcc -c …"),
        (["sh", "-c", "ls | wc"], "sh -c …"),
        (["bash", "/tmp/build.sh", "all"], "bash build.sh all"),
        (["python3.11", "x.py", "7"], "python3.11 x.py …"),
        (["git", "log", "-1"], "git log …"),
        (["a", "b", "c", "d", "e"], "a b c d …"),
        (["mysql", "--password", "hunter"], "mysql --password …"),
        ([""], ""),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(argv: list[str], words: str) -> None:
    assert label(argv) == words


@pytest.mark.parametrize("argv", [["sh", "build.sh", "all"], ["/bin/bash", "/tmp/build.sh", "all"]])
def test_a_script_may_be_left_out_too(argv: list[str]) -> None:
    assert label(argv).endswith(" build.sh all")
    assert label(argv, scripts=False).endswith("sh …")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=30), st.booleans())
def test_keeps_no_secret_and_is_short(argv: list[str], scripts: bool) -> None:
    said = label([*argv[:1], "--password", "hunter", *argv[1:]], scripts=scripts)

    assert "hunter" not in said.split(" ")[1:]
    assert len(said) <= len(argv[0]) + 4 * 34


def test_a_program_in_a_folder_that_is_a_secret() -> None:
    assert label(["/tmp/ghp_123456789abc/x", "run"]) == "x run"
    assert label(["/tmp/ghp_123456789abc", "run"]) == "[redacted] run"
