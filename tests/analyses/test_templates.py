"""Commands that are alike."""

from __future__ import annotations

import pytest

from tracer.analyses.templates import Commands, common, templates


def alike(*commands: str) -> list[set[str]]:
    """Command lines as sets of like ones, in order of the first of each."""
    known = Commands([tuple(c.split()) for c in commands], [None] * len(commands))
    groups: dict[int, set[str]] = {}
    for command, number in zip(commands, known.of, strict=True):
        groups.setdefault(templates(known)[number], set()).add(command)
    return list(groups.values())


def test_few_are_as_they_are() -> None:
    assert alike("cc a", "cc b", "cc c") == [{"cc a"}, {"cc b"}, {"cc c"}]


def test_words_that_do_not_repeat_are_left_out() -> None:
    assert alike("cc a", "cc b", "cc c", "cc d") == [{"cc a", "cc b", "cc c", "cc d"}]
    assert alike(*["true"] * 9, "false") == [{"true"}, {"false"}]


def test_words_that_repeat_tell_apart() -> None:
    logs, shows = [f"git log {i}" for i in range(8)], [f"git show {i}" for i in range(8)]

    assert alike(*logs, *shows) == [set(logs), set(shows)]


def test_uses_count_not_kinds() -> None:
    assert alike(*["sleep 1"] * 50, *["sleep 2"] * 50) == [{"sleep 1"}, {"sleep 2"}]
    assert alike("sleep 1", "sleep 2", "sleep 3", "sleep 3") == [{"sleep 1", "sleep 2", "sleep 3"}]


def test_a_name_is_not_a_command() -> None:
    known = Commands([None, ("sh",), None, ()], ["sh", "x", None, "y"])

    assert known.table == ["sh", ("sh",), None, ()]
    assert len(set(templates(known))) == 4


def test_many_different_words_cost_no_time() -> None:
    known = Commands([("tool", "-x", str(i), str(-i)) for i in range(200_000)], [None] * 200_000)

    assert set(templates(known)) == {0}


@pytest.mark.parametrize(
    ("argvs", "words"),
    [
        ([["a", "b"]], ["a", "b"]),
        ([["cc", "-c", "a", "-o", "x"], ["cc", "-c", "b", "-o", "y"]], ["cc", "-c", None, "-o", None]),
        ([["a", "1", "2"], ["a", "3", "4"]], ["a", None]),
        ([["a", "b"], ["c", "d"]], [None]),
        ([["a", "1", "z"], ["a", "z"]], ["a", None, "z"]),
        ([["a", "1"], ["a"]], ["a", None]),
        ([["a", "a", "a"], ["a", "a"]], ["a", "a", None]),
        ([["x", "a"], ["y", "z", "a"]], [None, "a"]),
        ([[], ["a"]], [None]),
        ([[]], []),
    ],
)
def test_common(argvs: list[list[str]], words: list[str | None]) -> None:
    assert common(argvs) == words
