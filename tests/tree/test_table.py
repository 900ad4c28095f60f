"""The process table: its columns, CPU time split as the kernel splits it, and writing by rows."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracer.model.schema import COLUMN_TYPES, COW_COLUMNS, NULL, PROCESS_COLUMNS

from tests.strategies import PROFILE
from tracer.tree.columns import cpu_split
from tracer.tree.table import add_rows, set_rows

_NS = st.integers(0, 1 << 62)


def cputime_adjust(stime: int, utime: int, rtime: int) -> tuple[int, int]:
    """kernel/sched/cputime.c (6.18), with no previous values: (utime, stime)."""
    prev_utime = prev_stime = 0
    if prev_stime + prev_utime >= rtime:
        return prev_utime, prev_stime
    if stime and utime == 0:
        stime = rtime
    elif stime:
        stime = min(stime * rtime // (stime + utime), rtime)
    stime = max(stime, prev_stime)
    utime = rtime - stime
    if utime < prev_utime:
        utime = prev_utime
        stime = rtime - utime
    return utime, stime


@PROFILE
@given(_NS, _NS, _NS)
def test_cpu_time_is_split_as_the_kernel_splits_it(utime: int, stime: int, runtime: int) -> None:
    user, system = cpu_split(utime, stime, runtime)

    assert (user, system) == cputime_adjust(stime, utime, runtime)
    assert user + system == runtime
    assert min(user, system) >= 0


@pytest.mark.parametrize(
    ("ticks", "exact"), [((0, 0), (9, 0)), ((4, 0), (9, 0)), ((0, 4), (0, 9)), ((4, 8), (3, 6)), ((1, 1), (5, 4))]
)
def test_cpu_time_by_hand(ticks: tuple[int, int], exact: tuple[int, int]) -> None:
    assert cpu_split(*ticks, 9) == exact


def test_columns_are_named_once_typed_and_explained() -> None:
    assert len(COLUMN_TYPES) == len(PROCESS_COLUMNS)
    assert all(f.type in "ibsSI" and f.doc for f in PROCESS_COLUMNS)
    assert COW_COLUMNS[0] == "wp_faults"
    assert set(COW_COLUMNS) < set(COLUMN_TYPES)


def test_null_writes_nothing_and_the_last_value_stands() -> None:
    numbers = array("q", [1, 2, NULL])
    set_rows(numbers, [0, 2, 2, 1], array("q", [NULL, 7, 8, NULL]))
    words: list[str | None] = ["a", None]
    set_rows(words, [0, 1, 1], [None, "b", ""])

    assert list(numbers) == [1, 2, 8]
    assert words == ["a", ""]


def test_adding_to_null_begins_at_zero_and_adding_null_adds_nothing() -> None:
    numbers = array("q", [NULL, 5, NULL])
    add_rows(numbers, [0, 0, 1, 2], array("q", [3, 4, NULL, NULL]))

    assert list(numbers) == [7, 5, NULL]
