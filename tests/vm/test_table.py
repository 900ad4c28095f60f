"""docs/kernels.md, from made-up answers."""

from __future__ import annotations

from tests.vm import table
from tests.vm.inside.cells import Cell
from tests.vm.runner import Result

OLD = Result(
    "5.10",
    "5.10.0-46-cloud-amd64",
    "5.10.262-1",
    (Cell("load", False, "no maps"), Cell("tree", False, "no maps"), Cell("netlink", True, "8 facts")),
)
NEW = Result(
    "newest",
    "7.3.4+deb13-cloud-arm64",
    "7.3.4-1",
    (
        Cell("load lifecycle/on_fork", True),
        Cell("load lifecycle/on_signal", False, "R9 invalid | mem"),
        Cell("load", True),
        Cell("tree", True, "x"),
        Cell("--cow light", None, "no switch"),
        Cell("netlink", True),
    ),
)


def cells(page: str) -> dict[str, list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("|")]
    split = [[word.strip() for word in line.replace("\\|", "").strip("|").split("|")] for line in lines]
    return {words[0]: words[1:] for words in split}


def test_a_column_a_kernel_and_a_row_a_feature() -> None:
    found = cells(table.document([OLD, NEW], date="2026-01-01", version="0.1.0"))

    assert found[""] == ["5.10", "7.3 arm64"]
    assert found["netlink: tree"] == ["yes", "yes"]
    assert found["bpf: tree, statuses, flags, reaps"] == ["no [1]", "yes"]
    assert found["bpf: `--cow light`"] == ["no [3]", "- [4]"]
    assert found["probe programs that load"] == ["no [1]", "1 of 2 [2]"]


def test_what_was_said_stands_below_once() -> None:
    page = table.document([OLD, NEW], date="2026-01-01", version="0.1.0")

    assert page.count("no maps") == 1
    assert "`lifecycle/on_signal`: R9 invalid \\| mem" in page
    assert "- 5.10: `5.10.0-46-cloud-amd64` (5.10.262-1)" in page
    assert page.startswith("# Kernels\n")


def test_a_guest_that_did_not_come_up_is_a_column_of_its_sentence() -> None:
    page = table.document([Result("7.0", "", "", (), "did not come up")], date="2026-01-01", version="0.1.0")

    assert set(cells(page)["bpf: copies (`--cow full`)"]) == {"no [1]"}
    assert "1. did not come up" in page


def test_lines_of_the_table_have_one_width() -> None:
    page = table.document([OLD, NEW], date="2026-01-01", version="0.1.0")

    assert len({len(line) for line in page.splitlines() if line.startswith("|")}) == 1
