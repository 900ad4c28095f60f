"""Each operation gives what a plain loop over the column gives, beyond 64 bits too."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.model import vector_ops
from tracer.model.schema import NULL

numbers = st.one_of(st.just(NULL), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
columns = st.lists(numbers, min_size=1, max_size=30).map(lambda values: array("q", values))


def known(column: array[int], rows: list[int] | None = None) -> list[int]:
    return [v for v in (column if rows is None else [column[row] for row in rows]) if v != NULL]


def groups(rows: list[int]) -> list[list[int]]:
    return [[at for at, row in enumerate(rows) if row % 4 - 1 == n] for n in range(3)]


OPERATIONS: dict[str, tuple[Callable[[array[int], list[int]], Any], Callable[[array[int], list[int]], Any]]] = {
    "total": (
        lambda column, rows: vector_ops.total(column),
        lambda column, rows: sum(known(column)) if known(column) else None,
    ),
    "occurrences": (
        lambda column, rows: vector_ops.occurrences(column, column[rows[0]]),
        lambda column, rows: list(column).count(column[rows[0]]),
    ),
    "least and most": (
        vector_ops.least_and_most,
        lambda column, rows: (min(known(column, rows)), max(known(column, rows))) if known(column, rows) else None,
    ),
    "distinct": (vector_ops.distinct, lambda column, rows: sorted({column[row] for row in rows})),
    "different": (lambda column, rows: vector_ops.different(column), lambda column, rows: len(set(column))),
    "ordered": (lambda column, rows: list(vector_ops.ordered(column)), lambda column, rows: sorted(known(column))),
    "taken": (
        lambda column, rows: list(vector_ops.taken(column, rows)),
        lambda column, rows: [column[row] for row in rows],
    ),
    "above zero": (
        lambda column, rows: list(vector_ops.above_zero(column)),
        lambda column, rows: [row for row, v in enumerate(column) if v > 0],
    ),
    "sum at": (vector_ops.sum_at, lambda column, rows: sum(column[row] for row in rows)),
    "groups": (
        lambda column, rows: [
            list(vector_ops.Groups(array("q", [row % 4 - 1 for row in rows]), 3).places(n)) for n in range(3)
        ],
        lambda column, rows: groups(rows),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@PROFILE
@given(columns, st.data())
def test_an_operation_gives_what_a_loop_gives(name: str, column: array[int], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), min_size=1, max_size=40))
    fast, plain = OPERATIONS[name]

    assert fast(column, rows) == plain(column, rows)


@PROFILE
@given(columns)
def test_sums_are_exact_also_where_64_bits_do_not_hold_them(column: array[int]) -> None:
    assert vector_ops.exact_sum(vector_ops.view(column)) == sum(column)


@PROFILE
@given(st.lists(st.tuples(numbers, st.integers(0, 1 << 40), st.integers(-2, 2)), max_size=60))
def test_equal_rows_have_one_number_and_others_another(rows: list[tuple[int, ...]]) -> None:
    each = [np.array([row[i] for row in rows], np.int64) for i in range(3)]
    firsts: list[Any] = [row[0] for row in rows]
    for codes, n, keys in (
        (*vector_ops.coded(each[0]), firsts),
        (*vector_ops.combined(*each), list(rows)),
    ):
        assert len(set(zip(keys, codes.tolist(), strict=True))) == len(set(keys)) == n
        assert sorted(set(codes.tolist())) == list(range(n))
        assert vector_ops.firsts(codes, n).tolist() == [codes.tolist().index(code) for code in range(n)]
