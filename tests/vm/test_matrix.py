"""What a matrix run keeps between runs, and which guest a word means."""

from __future__ import annotations

from tests.vm import matrix
from tests.vm.inside.cells import Cell
from tests.vm.runner import Result


def test_answers_are_kept_whole() -> None:
    result = Result("6.1", "6.1.0-56-cloud-amd64", "6.1.192-2", (Cell("tree", None, "no BTF", 1.5),), "", 12.5)

    assert matrix.restore(matrix.dump(result)) == result


def test_a_word_may_name_a_machine() -> None:
    assert matrix.job("arm64:newest")[:3:2] == ("newest", "arm64")
    assert matrix.job("6.12")[:3:2] == ("6.12", "amd64")


def test_state_is_of_the_sources() -> None:
    assert matrix.state() == matrix.state()
    assert len(matrix.state()) == 12
