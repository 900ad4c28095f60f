"""Many rows at a time, by numpy, or one by one: a tree and all that is said of it are the same."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracer.model.meta import Meta
from tracer.model.schema import COLUMN_TYPES, NULL, Kind

from tests.strategies import META, PROFILE, History, Row, cut, cut_points, histories
from tests.tree.test_tree import fed, picture, root, row
from tracer.analyses.churn import churn
from tracer.analyses.cost import cost, fit
from tracer.analyses.cow import ledger
from tracer.analyses.failures import failures
from tracer.analyses.findings.advice import advise
from tracer.analyses.folding import fold
from tracer.analyses.sibling_keys import Folder
from tracer.analyses.summary import summarize
from tracer.analyses.tree_index import Shape
from tracer.analyses.zombies import zombies
from tracer.model import vector_ops
from tracer.model.batch import Batch
from tracer.tree.table import add_rows, mark_rows, set_rows
from tracer.tree.tree import ProcessTree


@contextmanager
def rows_that_pay(least: int) -> Iterator[None]:
    with mock.patch.object(vector_ops, "MANY", least), mock.patch.object(vector_ops, "LOADS", least):
        yield


def both(do: Callable[[], Any]) -> tuple[Any, Any]:
    """What comes of it one by one, and many at a time."""
    with rows_that_pay(1 << 60):
        few = do()
    with rows_that_pay(1):
        many = do()
    return few, many


def same_numbers(few: Sequence[int], many: Sequence[int]) -> bool:
    """Whether two ways of numbering put the same rows together."""
    return len(set(zip(few, many, strict=True))) == len(set(few)) == len(set(many))


@PROFILE
@given(histories(), cut_points)
def test_the_tree_is_the_same(history: History, points: Sequence[int]) -> None:
    few, many = both(lambda: picture(fed(cut(history.rows, points))))

    assert many == few


@PROFILE
@given(histories(), cut_points, st.data())
def test_the_tree_is_the_same_of_what_a_damaged_file_could_hold(
    history: History, points: Sequence[int], data: st.DataObject
) -> None:
    rows = data.draw(st.permutations(history.rows))
    rows = rows[: data.draw(st.integers(0, len(rows)))]
    keys = [life.key for life in history.lives]
    for _, values in rows:
        if "ppid" in values:
            values["ppid"], values["parent_born_ns"] = data.draw(st.sampled_from(keys))
    few, many = both(lambda: picture(fed(cut(rows, points))))

    assert many == few


@PROFILE
@given(histories(), st.booleans())
def test_columns_are_the_same(history: History, everything: bool) -> None:
    tree = fed(cut(history.rows, []), META if everything else Meta("strace"))
    for name in COLUMN_TYPES:
        few, many = both(lambda name=name: tree.column(name))  # type: ignore[misc]

        assert list(many) == list(few), name


@PROFILE
@given(histories())
def test_the_shape_is_the_same(history: History) -> None:
    tree = fed(cut(history.rows, []))

    def shape() -> Any:
        made = Shape(tree)
        return made.parent, list(made.order), made.depth, made.ended, made.begin, made.life, made.roots(), made.living()

    few, many = both(shape)

    assert many == few


@PROFILE
@given(histories())
def test_the_same_are_alike(history: History) -> None:
    tree = fed(cut(history.rows, []))
    few, many = both(lambda: Folder(tree))

    assert many.commands.table == few.commands.table
    assert (many.commands.of, many.commands.uses) == (few.commands.of, few.commands.uses)
    assert (many.failed, many.idle, many.size, many.weight) == (few.failed, few.idle, few.size, few.weight)
    assert same_numbers(few.own, many.own)
    assert same_numbers(few.deep, many.deep)


ANALYSES: dict[str, Callable[[ProcessTree], Any]] = {
    "summary": summarize,
    "zombies": zombies,
    "all zombies": lambda tree: zombies(tree, len(tree)),
    "ledger": ledger,
    "short ledger": lambda tree: ledger(tree, 2),
    "whole ledger": lambda tree: ledger(tree, None),
    "cost": cost,
    "churn": lambda tree: churn(tree, least=2),
    "advice": advise,
    "failures": failures,
    "fold": lambda tree: fold(tree, limit=5),
    "short fold": lambda tree: fold(tree, limit=2),
}


@pytest.mark.parametrize("name", ANALYSES)
@PROFILE
@given(history=histories())
def test_what_is_said_is_the_same(name: str, history: History) -> None:
    tree = fed(cut(history.rows, []))
    few, many = both(lambda: ANALYSES[name](tree))

    assert many == few


# What random histories seldom have


def born(child: int, parent: int, **values: Any) -> Row:
    return row(Kind.FORK, child, ppid=parent, parent_born_ns=parent * 10, creator_pid=parent, how="fork", **values)


@pytest.mark.parametrize(
    "parents",
    [{1: 2, 2: 1}, {1: 1}, {1: 2, 2: 3, 3: 1}, {1: 2, 2: 9}, {3: 2, 2: 1, 1: 9}, {1: 9, 2: 3, 3: 1, 4: 2}],
    ids=str,
)
def test_parents_that_come_late_or_never(parents: dict[int, int]) -> None:
    rows = [born(child, parent) for child, parent in parents.items()]
    few, many = both(lambda: picture(fed([Batch.from_rows(rows)])))

    assert many == few


def test_siblings_are_alike_when_the_same_kinds_stand_below_them_and_their_numbers_do_not_matter() -> None:
    below = ["", "x", "xx", "y", "xy", "yx", "xyx", "xyz", "zxy"]
    rows = [root(1)]
    for n, kinds in enumerate(below):
        rows.append(born(100 + n, 1))
        for i, kind in enumerate(kinds):
            child = 1000 + 10 * n + i
            rows += [born(child, 100 + n), row(Kind.EXEC, child, exe=kind, argv=[kind])]
    tree = fed([Batch.from_rows(rows)])
    few, many = both(lambda: list(Folder(tree).deep))

    assert same_numbers(few, many)
    deep = {kinds: many[tree.row(100 + n, (100 + n) * 10) or 0] for n, kinds in enumerate(below)}
    assert deep["x"] == deep["xx"] != deep["y"]
    assert deep["xy"] == deep["yx"] == deep["xyx"] != deep["x"]
    assert deep["xyz"] == deep["zxy"] != deep["xy"]
    assert len(set(deep.values())) == 5


some = st.none() | st.integers(0, 40)


@PROFILE
@given(st.lists(st.tuples(st.integers(0, 3), some, some, some, some, some, st.booleans()), max_size=12))
def test_copies_and_times_of_forks_are_the_same(
    forks: list[tuple[int, int | None, int | None, int | None, int | None, int | None, bool]],
) -> None:
    rows = [root(1)]
    for n, (parent, ns, first, last, copies, total, execs) in enumerate(forks, 2):
        above = max(1, n - 1 - parent)
        rows.append(born(n, above, fork_ns=None if ns is None else ns * 50_000, pgtables_bytes=ns, rss_bytes=copies))
        rows += [row(Kind.EXEC, n, 100 + n, exe="x", argv=["x"])] if execs else []
        rows.append(
            row(Kind.FAULTS, n, 200, cow_copies=copies, before_exec=execs, parent_cow_birth=first,
                parent_cow_end=last, cow_total=total)
        )  # fmt: skip
    tree = fed([Batch.from_rows(rows)])
    for name in ("ledger", "short ledger", "whole ledger", "cost", "advice"):
        few, many = both(lambda name=name: ANALYSES[name](tree))  # type: ignore[misc]

        assert many == few


# Columns


numbers = st.one_of(st.just(NULL), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
columns = st.lists(numbers, min_size=1, max_size=30).map(lambda values: array("q", values))

HELPERS: dict[str, Callable[[array[int], list[int]], Any]] = {
    "total": lambda column, rows: vector_ops.total(column),
    "occurrences": lambda column, rows: vector_ops.occurrences(column, column[rows[0]]),
    "least and most": vector_ops.least_and_most,
    "distinct": vector_ops.distinct,
    "different": lambda column, rows: vector_ops.different(column),
    "ordered": lambda column, rows: vector_ops.ordered(column),
    "taken": vector_ops.taken,
    "above zero": lambda column, rows: list(vector_ops.above_zero(column)),
    "sum at": vector_ops.sum_at,
    "groups": lambda column, rows: [
        list(vector_ops.Groups(array("q", [row % 4 - 1 for row in rows]), 3).places(n)) for n in range(3)
    ],
}


@pytest.mark.parametrize("name", HELPERS)
@PROFILE
@given(columns, st.data())
def test_a_helper_says_the_same(name: str, column: array[int], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), min_size=1, max_size=40))
    few, many = both(lambda: HELPERS[name](column, rows))

    assert many == few


@PROFILE
@given(columns)
def test_sums_are_exact_also_where_64_bits_do_not_hold_them(column: array[int]) -> None:
    assert vector_ops.exact_sum(np, vector_ops.view(np, column)) == sum(column)


@PROFILE
@given(st.lists(st.tuples(numbers, st.integers(0, 1 << 40), st.integers(-2, 2)), max_size=60))
def test_equal_rows_have_one_number_and_others_another(rows: list[tuple[int, ...]]) -> None:
    each = [np.array([each_row[i] for each_row in rows], np.int64) for i in range(3)]
    for codes, n, keys in (
        (*vector_ops.coded(np, each[0]), [each_row[0] for each_row in rows]),
        (*vector_ops.combined(np, *each), rows),
    ):
        assert same_numbers([sorted(set(keys)).index(key) for key in keys], codes.tolist())  # type: ignore[type-var]
        assert sorted(set(codes.tolist())) == list(range(n))
        assert vector_ops.firsts(np, codes, n).tolist() == [codes.tolist().index(code) for code in range(n)]


@PROFILE
@given(columns, st.data())
def test_what_is_added_to_rows_is_the_same(column: array[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 40))
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), min_size=n, max_size=n))
    values = array("q", data.draw(st.lists(numbers, min_size=n, max_size=n)))
    for change in (set_rows, add_rows, lambda into, rows, _: mark_rows(into, rows)):
        few, many = array("q", column), array("q", column)
        change(few, rows, values)
        change(many, np.array(rows, np.int64), values)

        assert many == few


@PROFILE
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=20))
def test_cpu_time_is_split_the_same(ticks: list[tuple[int, int, int]]) -> None:
    rows = [
        (Kind.EXIT, {"ts_ns": 5, "pid": n, "tid": n, "born_ns": n, "last": 1,
                     "utime_ns": abs(u) >> 1, "stime_ns": abs(s) >> 1, "runtime_ns": abs(exact) >> 1})
        for n, (u, s, exact) in enumerate(ticks)
    ]  # fmt: skip
    tree = fed([Batch.from_rows(rows)])
    few, many = both(lambda: (tree.column("cpu_user_ns"), tree.column("cpu_system_ns")))

    assert many == few


@PROFILE
@given(st.lists(st.tuples(st.sampled_from([NULL, 0, 4096, 8192, 12288, 1 << 30]), st.integers(1, 10**9)), max_size=60))
def test_a_line_is_the_same(forks: list[tuple[int, int]]) -> None:
    sizes, times = array("q", [size for size, _ in forks]), array("q", [ns for _, ns in forks])
    few, many = both(lambda: fit(sizes, times))

    assert many == few


def test_few_rows_are_not_worth_numpy_and_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vector_ops.numpy_for(vector_ops.MANY - 1) is None
    assert vector_ops.numpy_for(vector_ops.MANY) is np
    monkeypatch.delitem(sys.modules, "numpy")
    assert vector_ops.numpy_for(vector_ops.LOADS - 1) is None
