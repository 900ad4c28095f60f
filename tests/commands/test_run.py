"""The bare command's own words, before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from tracer.commands import parser_for
from tracer.commands.run import COMMAND
from tracer.errors import UsageError


def planned(*words: str, program: list[str] | None = None) -> Any:
    args, _ = parser_for("run", COMMAND).parse_known_args(list(words))
    args.program = program
    return COMMAND._plan(args).options


def test_stacks_are_sampled_at_a_pace_unless_all_are_wanted() -> None:
    assert planned(program=["x"]).cow_stacks is None
    assert planned("--cow-stacks", program=["x"]).cow_stacks == 1000
    assert planned("--cow-stacks", "50", program=["x"]).cow_stacks == 50
    assert planned("--cow-stacks=all", program=["x"]).cow_stacks == 0
    assert planned("--cow-stacks", "-p", "1").cow_stacks == 1000
    assert planned("-a", "--cow", "full", "--cow-stacks").cow_stacks == 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cow-stacks", "--cow", "fork"], "stacks are taken at copies, which --cow fork does not watch; use"),
        (["--cow-stacks", "--cow", "off"], "which --cow off does not watch"),
        (["--cow-stacks", "9999999"], "9999999 stacks a second can not be had; give up to 1000000, or all"),
        (["--cow-stacks", "0"], "'0' is not a number of samples a second; use a number, or all"),
        (["--cow-stacks", "-1"], "'-1' is not a number of samples a second"),
        (["--cow-stacks=fast"], "'fast' is not a number of samples a second"),
    ],
)
def test_stacks_that_can_not_be_had_are_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        planned(*words, program=["x"])


def test_a_whole_host_is_watched_lightly_and_so_has_no_stacks() -> None:
    with pytest.raises(UsageError, match="--cow light does not watch"):
        planned("-a", "--cow-stacks")
