"""A fork tree in few lines, in which every process is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import Step, end, exec_, existing, exit_, fork, root, tree, vfork
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.folding import GUIDES, LIMIT, Fold, Line, Sort, fold, unfolded
from tracer.model.batch import Batch
from tracer.model.flags import CloneFlags
from tracer.tree.tree import ProcessTree


def drawn(tree: ProcessTree, lines: Iterable[Line]) -> list[str]:
    """Lines as text: guides, how many, the pid of the first."""
    out = []
    for line in lines:
        guides = "".join("|" if more else " " for more in line.guides[:-1]) + ("+" if line.guides else "")
        first = tree.value(line.rows[0], "pid")
        what = f"more {line.processes}" if line.sort is Sort.MORE else f"{len(line.rows)}x{first}"
        out.append(guides + what + (f" levels {line.levels}" if line.sort is Sort.CHAIN else ""))
    return out


def folded(*steps: Step, limit: int = LIMIT) -> list[str]:
    made = tree(*steps)
    return drawn(made, fold(made, limit=limit).lines)


def children(n: int, *, first: int = 2, code: int = 0, parent: int = 1) -> list[Step]:
    return [step for i in range(first, first + n) for step in (fork(parent, i), exec_(i, "true"), exit_(i, code))]


def test_a_few_like_siblings_stand_alone() -> None:
    assert folded(root(1, "sh"), *children(3)) == ["1x1", "+1x2", "+1x3", "+1x4"]


def test_many_are_one_line() -> None:
    assert folded(root(1, "sh"), *children(300)) == ["1x1", "+300x2"]


def test_they_need_not_stand_together() -> None:
    steps = [root(1, "sh")]
    for i in range(10, 50, 2):
        steps += [fork(1, i), exec_(i, "ls"), exit_(i), fork(1, i + 1), exec_(i + 1, "wc"), exit_(i + 1)]

    assert folded(*steps) == ["1x1", "+20x10", "+20x11"]


@pytest.mark.parametrize(
    "other",
    [
        (fork(1, 99), exec_(99, "false"), exit_(99)),
        (fork(1, 99), exec_(99, "true"), exit_(99, 1)),
        (fork(1, 99), exec_(99, "true"), exit_(99, signal=9)),
        (fork(1, 99), exec_(99, "true")),
        (fork(1, 99), exit_(99)),
        (vfork(1, 99), exec_(99, "true"), exit_(99)),
        (fork(1, 99, CloneFlags.CLONE_NEWPID), exec_(99, "true"), exit_(99)),
        (fork(1, 99, exit_signal=0), exec_(99, "true"), exit_(99)),
        (fork(1, 99), exec_(99, "true"), fork(99, 98), exit_(98), exit_(99)),
    ],
    ids=["command", "status", "signal", "alive", "no exec", "how", "flags", "exit signal", "children"],
)
def test_what_tells_siblings_apart(other: Sequence[Step]) -> None:
    assert folded(root(1, "sh"), *children(9), *other)[:3] == ["1x1", "+9x2", "+1x99"]


def test_statuses_other_than_0_are_alike() -> None:
    assert folded(root(1, "sh"), *(s for i in range(2, 9) for s in (fork(1, i), exit_(i, i)))) == ["1x1", "+7x2"]


def test_like_trees_are_folded_whole_whatever_their_numbers() -> None:
    steps = [root(1, "make")]
    for i in range(100, 160, 10):
        steps += [fork(1, i), exec_(i, "cc"), *children(1 + i % 3, first=i + 1, parent=i), exit_(i)]

    assert folded(*steps) == ["1x1", "+6x100", " +12x101"]


def test_trees_that_differ_in_one_kind_of_child_are_not_alike() -> None:
    steps = [root(1, "make")]
    for i in range(100, 180, 10):
        steps += [fork(1, i), exec_(i, "cc")]
        steps += [fork(i, i + 1), exec_(i + 1, "as"), exit_(i + 1)] if i >= 140 else []
        steps += [*children(1, first=i + 2, parent=i), exit_(i)]

    assert folded(*steps) == ["1x1", "+4x100", "|+4x102", "+4x140", " +4x141", " +4x142"]


def test_a_chain_is_three_lines() -> None:
    steps = [root(1, "sh"), *(fork(i, i + 1) for i in range(1, 50)), fork(50, 51), exec_(51, "end")]

    assert folded(*steps) == ["1x1", "+1x2", " +47x3 levels 47", "  +1x50", "   +1x51"]


def test_a_short_chain_is_drawn() -> None:
    assert len(folded(root(1), *(fork(i, i + 1) for i in range(1, 7)))) == 7


def test_guides() -> None:
    steps = [root(1, "a"), fork(1, 2), fork(2, 3), fork(3, 4), fork(2, 5), fork(1, 6), fork(6, 7)]

    assert folded(*steps) == ["1x1", "+1x2", "|+1x3", "||+1x4", "|+1x5", "+1x6", " +1x7"]


def tools(n: int, failing: int = -1) -> list[Step]:
    steps = [root(1, "ctl")]
    for i in range(n):
        steps += [fork(1, 10 + i), exec_(10 + i, f"tool{i}"), exit_(10 + i, int(i == failing))]
    return [*steps, exit_(1), end()]


def test_too_much_is_counted() -> None:
    made = tree(*tools(100))
    result = fold(made, limit=10)

    assert drawn(made, result.lines) == ["1x1", *(f"+1x{10 + i}" for i in range(8)), "+more 92"]
    assert result.hidden == 92


def test_a_failure_is_shown_first() -> None:
    assert "+1x99" in folded(*tools(100, failing=89), limit=10)


def test_one_more_line_is_not_worth_saying_so() -> None:
    made = tree(*tools(9))

    assert fold(made, limit=10).hidden == 0
    assert len(fold(made, limit=10).lines) == 10


def test_trees_that_are_not_alike_are_merged_before_anything_is_hidden() -> None:
    steps = [root(1, "make")]
    for i in range(40):
        pid = 100 + 50 * i
        steps += [fork(1, pid), exec_(pid, "sh")]
        steps += [s for k in range(1, 2 + i) for s in (fork(pid, pid + k), exec_(pid + k, f"t{k}"), exit_(pid + k))]
        steps.append(exit_(pid))
    made = tree(*steps)
    result = fold(made)

    assert result.hidden == 0
    assert drawn(made, result.lines)[:3] == ["1x1", "+40x100", " +40x101"]


def test_who_was_there_before_and_did_nothing_is_left_out_of_much() -> None:
    steps = [existing(1), *(existing(i, 1) for i in range(2, 90)), fork(5, 100), exit_(100)]
    made = tree(*steps)
    result = fold(made)

    assert drawn(made, result.lines) == ["1x1", "+1x5", " +1x100"]
    assert (result.hidden, result.idle) == (0, 87)
    assert fold(tree(existing(1), existing(2, 1))).idle == 0


def test_unfolded_is_every_process_with_its_guides() -> None:
    made = tree(root(1, "a"), *(fork(1, i) for i in range(2, 8)), fork(3, 9))

    assert drawn(made, unfolded(made)) == ["1x1", "+1x2", "+1x3", "|+1x9", "+1x4", "+1x5", "+1x6", "+1x7"]


def test_guides_have_an_end() -> None:
    made = tree(root(1), *(fork(i, i + 1) for i in range(1, 500)))
    last = list(unfolded(made))[-1]

    assert (len(last.guides), last.depth) == (GUIDES, 499)


@PROFILE
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 1)), max_size=80), st.integers(3, 20)
)
def test_every_process_is_in_one_line_or_hidden(births: list[tuple[int, str, int]], limit: int) -> None:
    steps = [root(1, "r")]
    for i, (above, name, code) in enumerate(births):
        steps += [fork(1 + above % (i + 1), i + 2), exec_(i + 2, name), exit_(i + 2, code)]
    made = tree(*steps)
    result = fold(made, limit=limit)

    assert_accounted(made, result, limit)
    assert sorted(line.rows[0] for line in unfolded(made)) == list(range(len(made)))


@PROFILE
@given(histories())
def test_any_history_can_be_folded(history: History) -> None:
    made = ProcessTree(META)
    made.feed(Batch.from_rows(history.rows))

    assert_accounted(made, fold(made), LIMIT)


def assert_accounted(tree: ProcessTree, result: Fold, limit: int) -> None:
    shown = [row for line in result.lines if line.sort is not Sort.MORE for row in line.rows]

    assert len(set(shown)) == len(shown)
    assert len(shown) + result.hidden + result.idle == len(tree)
    assert sum(line.processes for line in result.lines if line.sort is Sort.MORE) == result.hidden
    assert len(result.lines) <= limit
