"""Rows to columns: order, what is left back, and rows that say less than others."""

from __future__ import annotations

from tracer.backends.netlink import rows
from tracer.backends.netlink.rows import COLUMNS, Row, cut
from tracer.model.schema import TYPES, Kind


def rename(at: int, pid: int) -> Row:
    return [at, rows.RENAMED, (at, pid, pid, 1, "x")]


def exec_(at: int, *more: object) -> Row:
    return [at, rows.EXECED, [at, 5, 5, 1, 5, 0, "/bin/x", None, None, None, None, "x", "snapshot", *more]]


def test_every_column_is_the_models() -> None:
    assert {name for names in COLUMNS.values() for name in names} <= TYPES.keys()


def test_sorted_by_time_and_what_came_first_first() -> None:
    waiting = [rename(3, 1), rename(1, 2), rename(2, 3), rename(2, 4)]

    batch = cut(waiting, None)

    assert batch is not None and waiting == []
    assert list(batch.parts[Kind.RENAME]["pid"]) == [2, 3, 4, 1]


def test_the_rest_waits() -> None:
    waiting = [rename(3, 1), rename(1, 2), rename(2, 3)]

    batch = cut(waiting, 2)

    assert batch is not None
    assert list(batch.parts[Kind.RENAME]["pid"]) == [2]
    assert waiting == [rename(2, 3), rename(3, 1)]
    assert cut(waiting, 2) is None and len(waiting) == 2


def test_kinds_keep_their_order_and_shorter_rows_are_null_at_the_end() -> None:
    batch = cut([exec_(1), rename(2, 9), exec_(3, 265, 1, 0, 0, 7, 3)], None)

    assert batch is not None
    assert batch.kinds == bytes([Kind.EXEC, Kind.RENAME, Kind.EXEC])
    first, _, second = batch.events()
    assert (first.min_flt, first.evidence) == (None, "snapshot")
    assert (second.min_flt, second.wpcopy_count) == (265, 3)


def test_a_column_of_nothing_is_left_out() -> None:
    batch = cut([exec_(1)], None)

    assert batch is not None
    assert "argv" not in batch.parts[Kind.EXEC]
    assert batch.parts[Kind.EXEC]["exe"] == ["/bin/x"]
