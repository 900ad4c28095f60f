"""Which shells read commands, and so stand for a session of root's. The rest needs sudo: test_privileges.py."""

from __future__ import annotations

import pytest

from tracer.capture.sudo_caller import reads_commands


@pytest.mark.parametrize(
    "words",
    [
        "sh",
        "-bash",
        "bash -l",
        "bash --login",
        "bash -i",
        "zsh -il",
        "bash -o vi",
        "bash --rcfile /x -i",
        "sh -",
        "-sh -i",
    ],
)
def test_these_do(words: str) -> None:
    assert reads_commands(words.split())


@pytest.mark.parametrize(
    "words",
    [
        "sh -c x",
        "bash -lc x",
        "bash -ec x",
        "-bash --login -c x",
        "sh script",
        "bash -x script arg",
        "bash -o vi -c x",
        "sh /dev/stdin",
        "bash -- script",
    ],
)
def test_these_do_not(words: str) -> None:
    assert not reads_commands(words.split())
