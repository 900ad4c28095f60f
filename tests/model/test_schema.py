"""Every column stands once, typed and explained; what follows from the rows is consistent."""

from __future__ import annotations

import pytest

from tracer.model import schema
from tracer.model.schema import COLUMNS, EVENT_COLUMNS, KINDS_BY_NAME, LAST, PROCESS_COLUMNS, SUMS, Kind


def test_columns_are_named_once_typed_and_explained() -> None:
    names = [c.name for c in COLUMNS]

    assert len(names) == len(set(names))
    assert all(c.type in "ibsSI" and c.doc for c in COLUMNS)
    assert all(c.kinds or c.table is not None for c in COLUMNS)


def test_places_in_the_process_table_are_different() -> None:
    places = [c.table for c in COLUMNS if c.table is not None]

    assert len(places) == len(set(places)) == len(PROCESS_COLUMNS)


@pytest.mark.parametrize("column", EVENT_COLUMNS, ids=lambda c: c.name)
def test_what_is_accumulated_occurs_and_sums_are_numbers(column: schema.Column) -> None:
    kinds, last, sums = column.kinds.split(), column.last.split(), column.sums.split()

    assert set(kinds) <= set(KINDS_BY_NAME)
    assert set(last) <= set(kinds)
    assert set(sums) <= set(kinds)
    assert not set(last) & set(sums)
    assert not sums or column.type == "i"


def test_units_agree_with_names() -> None:
    for c in COLUMNS:
        assert (c.unit == "ns") == c.name.endswith("_ns"), c.name
        assert (c.unit == "bytes") == c.name.endswith("_bytes"), c.name


def test_accumulation_by_kind() -> None:
    assert SUMS[Kind.ALIVE] == ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
    assert LAST[Kind.REAP] == ("max_rss_bytes", "reaped_by", "reap_ns", "zombie_ns")
    assert LAST[Kind.LOST] == SUMS[Kind.LOST] == ()
