"""The process table: writing values into columns by rows."""

from __future__ import annotations

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.model.schema import NULL
from tracer.tree.table import add_rows, mark_rows, set_rows


def test_null_writes_nothing_and_the_last_value_stands() -> None:
    numbers = array("q", [1, 2, NULL])
    set_rows(numbers, np.array([0, 2, 2, 1]), array("q", [NULL, 7, 8, NULL]))
    words: list[str | None] = ["a", None]
    set_rows(words, np.array([0, 1, 1]), [None, "b", ""])

    assert list(numbers) == [1, 2, 8]
    assert words == ["a", ""]


def test_adding_to_null_begins_at_zero_and_adding_null_adds_nothing() -> None:
    numbers = array("q", [NULL, 5, NULL])
    add_rows(numbers, np.array([0, 0, 1, 2]), array("q", [3, 4, NULL, NULL]))

    assert list(numbers) == [7, 5, NULL]


numbers = st.one_of(st.just(NULL), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
columns = st.lists(numbers, min_size=1, max_size=30).map(lambda values: array("q", values))
MOST = (1 << 63) - 1


@PROFILE
@given(columns, st.data())
def test_rows_are_written_as_a_loop_would(column: array[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 40))
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), min_size=n, max_size=n))
    values = array("q", data.draw(st.lists(numbers, min_size=n, max_size=n)))
    at = np.array(rows, np.int64)
    last, added, marked = array("q", column), array("q", column), array("q", column)
    for row, value in zip(rows, values, strict=True):
        marked[row] = 1
        if value != NULL:
            last[row] = value
            added[row] = value if added[row] == NULL else max(-MOST, min(added[row] + value, MOST))
    for change, expected in ((set_rows, last), (add_rows, added)):
        got = array("q", column)
        change(got, at, values)

        assert got == expected
    mark_rows(column, at)
    assert column == marked
