"""When the kernel job of CI fails: any cell that is not as it should be, or that gave no answer."""

from __future__ import annotations

import pytest

from tests.vm import submission
from tests.vm.inside.cells import Cell, NotOfferedError, check, parse
from tests.vm.runner import Result

GOOD = tuple(Cell(name, True) for name in submission.EXPECTED)


def result(*cells: Cell, error: str = "") -> Result:
    return Result("6.1", "6.1.0-56-cloud-amd64", "6.1.192-2", cells, error)


def test_all_answers_are_good() -> None:
    assert submission.judge(result(*GOOD, Cell("load lifecycle/on_fork", True))) == []


def test_a_program_that_is_refused_fails() -> None:
    wrong = submission.judge(result(*GOOD, Cell("load lifecycle/on_signal", False, "R9 invalid mem access 'scalar'")))

    assert wrong == ["6.1.0-56-cloud-amd64: load lifecycle/on_signal: R9 invalid mem access 'scalar'"]


def test_what_is_not_offered_fails_as_well() -> None:
    assert submission.judge(result(*GOOD, Cell("copies", None, "no BTF"))) == ["6.1.0-56-cloud-amd64: copies: no BTF"]


def test_a_check_without_an_answer_fails() -> None:
    wrong = submission.judge(result(*(cell for cell in GOOD if cell.name != "pagemap")))

    assert wrong == ["6.1.0-56-cloud-amd64: pagemap: no answer"]


def test_a_guest_that_failed_is_its_sentence() -> None:
    assert submission.judge(Result("6.1", "", "", (), "did not come up")) == ["6.1: did not come up"]


def test_a_known_lack_is_none_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LACKING", {("6.1", "load a/b"): "needs 6.4"})

    assert submission.judge(result(*GOOD, Cell("load a/b", False))) == []
    assert submission.judge(result(*GOOD, Cell("load a/b", True))) == [
        "6.1.0-56-cloud-amd64: load a/b works, and LACKING says needs 6.4; remove it there"
    ]


def test_cells_come_back_as_they_were_emitted(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> str:
        raise AssertionError("3 of 4")

    def lacks() -> str:
        raise NotOfferedError("no BTF")

    check("a", lambda: "17 copies")
    check("b", fails)
    check("c", lacks)
    print("something else")
    cells = parse(capsys.readouterr().out.splitlines())

    assert [(cell.name, cell.ok, cell.note) for cell in cells] == [
        ("a", True, "17 copies"),
        ("b", False, "AssertionError: 3 of 4"),
        ("c", None, "no BTF"),
    ]
