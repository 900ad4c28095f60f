"""The model: rows to columns and back, batches joined, flags by name; unknown, empty and zero stay apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE, History, Row, cut, cut_points, histories
from tracer.model.batch import Batch, Event, nulls
from tracer.model.flags import CloneFlags, flag_bits, flag_names
from tracer.model.meta import Fact, Meta
from tracer.model.schema import EVENT_COLUMNS, KIND_NAMES, NULL, TYPES, Kind, is_list

_STRINGS = st.text(max_size=4)
_VALUES = {
    "i": st.integers(NULL + 1, (1 << 63) - 1),
    "b": st.booleans(),
    "s": _STRINGS,
    "S": st.lists(_STRINGS, max_size=3),
    "I": st.lists(st.integers(0, 9), max_size=3),
}
_NAMES = sorted(TYPES.keys() - {"kind"})


@st.composite
def any_rows(draw: st.DrawFn) -> list[Row]:
    """Any field on any kind, present, null or absent."""
    rows = []
    for kind in draw(st.lists(st.sampled_from(list(Kind)), max_size=10)):
        names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=5))
        rows.append((kind, {name: draw(st.none() | _VALUES[TYPES[name]]) for name in names}))
    return rows


def without_nulls(rows: Sequence[Row]) -> list[Row]:
    return [(kind, {name: v for name, v in values.items() if v is not None}) for kind, values in rows]


@PROFILE
@given(any_rows())
def test_rows_come_back_from_columns(rows: list[Row]) -> None:
    batch = Batch.from_rows(rows)

    assert list(batch.rows()) == without_nulls(rows)
    assert len(batch) == len(rows)
    assert all(set(part) <= TYPES.keys() for part in batch.parts.values())


@PROFILE
@given(histories(), cut_points)
def test_joined_batches_are_the_batch_that_was_cut(history: History, points: Sequence[int]) -> None:
    pieces = cut(history.rows, points)
    before = [list(piece.rows()) for piece in pieces]
    joined = Batch.join(pieces)

    assert list(joined.rows()) == without_nulls(history.rows)
    assert joined.kinds == Batch.from_rows(history.rows).kinds
    assert [list(piece.rows()) for piece in pieces] == before


@PROFILE
@given(st.lists(any_rows(), min_size=1, max_size=4))
def test_batches_with_different_columns_can_be_joined(pieces: list[list[Row]]) -> None:
    joined = Batch.join([Batch.from_rows(rows) for rows in pieces])

    assert list(joined.rows()) == without_nulls([row for rows in pieces for row in rows])


def test_unknown_empty_and_zero_are_three_things() -> None:
    batch = Batch.from_rows(
        [
            (Kind.EXEC, {"pid": 0, "comm": "", "argv": [], "last": False}),
            (Kind.EXEC, {"pid": None, "comm": None, "argv": None, "last": None}),
        ]
    )

    assert [values for _, values in batch.rows()] == [{"pid": 0, "comm": "", "argv": [], "last": False}, {}]
    assert list(batch.parts[Kind.EXEC]["pid"]) == [0, NULL]


def test_an_event_shows_its_row_and_null_as_none() -> None:
    event = Event(Kind.EXIT, {"ts_ns": 5, "pid": 7, "exit_code": 0, "signal": None})

    assert (event.pid, event.exit_code, event.signal, event.argv) == (7, 0, None, None)
    assert event.as_dict() == {"kind": "exit", "ts_ns": 5, "pid": 7, "exit_code": 0}
    assert event == Event(Kind.EXIT, {"ts_ns": 5, "pid": 7, "exit_code": 0})
    assert event != Event(Kind.REAP, {"ts_ns": 5, "pid": 7, "exit_code": 0})
    assert hash(event) == hash(Event(Kind.EXIT, event.as_dict()))
    assert "exit_code" in repr(event)
    with pytest.raises(AttributeError):
        event.exit_kode  # noqa: B018


def test_numbers_of_kinds_are_the_file_format() -> None:
    numbers = {
        "fork": 1,
        "exec": 2,
        "exec_failed": 3,
        "exit": 4,
        "reap": 5,
        "fork_failed": 6,
        "faults": 7,
        "existing": 8,
        "lost": 9,
        "end": 10,
        "rename": 11,
        "zombie": 12,
        "alive": 13,
        "decay": 14,
    }

    assert {name: number for number, name in KIND_NAMES.items() if name in numbers} == numbers


def test_every_field_has_one_name_a_known_type_and_says_what_it_is() -> None:
    fields = EVENT_COLUMNS

    assert len({f.name for f in fields}) == len(fields)
    assert all(f.type in _VALUES and f.doc for f in fields)


@pytest.mark.parametrize("name", ["pid", "last", "comm", "argv", "ns_pids"])
def test_nulls_are_of_the_sort_of_their_column(name: str) -> None:
    batch = Batch(bytes([Kind.EXEC] * 3), {Kind.EXEC: {name: nulls(name, 3)}})

    assert isinstance(nulls(name, 3), list) == is_list(name)
    assert [values for _, values in batch.rows()] == [{}] * 3


@PROFILE
@given(st.integers(0, (1 << 40) - 1))
def test_names_of_flags_keep_every_bit(bits: int) -> None:
    names = flag_names(bits)

    assert flag_bits(names) == bits
    assert [n for n in names if n.startswith("CLONE_")] == [f.name for f in CloneFlags if f & bits]


def test_a_word_that_is_no_flag_is_refused() -> None:
    assert flag_names(0) == []
    assert flag_bits(["CLONE_VM", "0x2"]) == 0x102
    with pytest.raises(ValueError, match="CLONE_VN"):
        flag_bits(["CLONE_VN"])


def test_meta_survives_json() -> None:
    meta = Meta(
        "bpf",
        frozenset({Fact.ARGV, Fact.COW}),
        -5,
        "1",
        "host",
        "6.1",
        "id",
        "x86_64",
        ("a", "\udcff"),
        {"cow": "full"},
        ("a note",),
    )
    told: dict[str, Any] = json.loads(json.dumps(meta.as_dict()))

    assert Meta.from_dict(told) == meta
    assert Meta.from_dict({"unknown": 1}) == Meta("")


@pytest.mark.parametrize(
    ("machine", "options", "page"),
    [
        ("x86_64", {}, 4096),
        ("aarch64", {"page_size": 16384}, 16384),
        ("x86_64", {"page_size": 65536}, 65536),  # what was asked of the kernel goes before what is usual
        ("aarch64", {}, None),
        ("", {}, None),
        ("aarch64", {"page_size": "4096"}, None),
        ("aarch64", {"page_size": 4095}, None),
        ("aarch64", {"page_size": 0}, None),
        ("aarch64", {"page_size": True}, None),
    ],
)
def test_the_page_size_is_what_the_trace_says(machine: str, options: dict[str, object], page: int | None) -> None:
    assert Meta("bpf", machine=machine, options=options).page_size == page
