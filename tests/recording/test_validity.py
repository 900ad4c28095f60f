"""Values that no source writes end the reading where they stand; code behind the reader meets none of them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.recording.rows import META, exit_, fork
from tracer.model.batch import Batch
from tracer.model.schema import EVENT_COLUMNS, Kind
from tracer.recording import Reader, Writer, validity

LISTS_OF_NUMBERS = {f.name for f in EVENT_COLUMNS if f.type == "I"}


def read(*batches: list[tuple[Kind, dict[str, Any]]], columns: set[str] | None = None) -> tuple[list[int], Reader]:
    """The pids that are read of batches that were each flushed, and who read them."""
    file = io.BytesIO()
    out = Writer(file, META)
    for rows in batches:
        out.write(Batch.from_rows(rows))
        out.flush()
    out.close()
    reader = Reader(io.BytesIO(file.getvalue()), columns=columns)
    return [row["pid"] for batch in reader for kind, row in batch.rows() if kind != Kind.END], reader


def test_every_integer_column_has_a_range() -> None:
    assert {f.name for f in EVENT_COLUMNS if f.type == "i"} == set(validity.RANGES)
    assert set(validity.ITEM_RANGES) == LISTS_OF_NUMBERS


@pytest.mark.parametrize("name", [n for n in validity.RANGES if n != "clone_flags"])
@pytest.mark.parametrize("end", ["least", "most"])
def test_a_number_beyond_its_range_ends_the_reading(name: str, end: str) -> None:
    least, most = validity.RANGES[name]
    inside, outside = (least, least - 1) if end == "least" else (most, most + 1)

    def row(value: int) -> tuple[Kind, dict[str, Any]]:
        return Kind.FORK, fork(3)[1] | {name: value}

    assert read([row(inside), fork(2)])[1].damage is None
    seen, reader = read([fork(1)], [fork(2), row(outside)], [fork(4)])
    assert seen == [1]
    assert reader.broken
    assert f"in {name}, and what comes behind was not read" in str(reader.damage)


@pytest.mark.parametrize("name", sorted(LISTS_OF_NUMBERS))
@pytest.mark.parametrize("values", [[1] * 129])
def test_a_long_list_of_numbers_ends_the_reading(name: str, values: list[int]) -> None:
    seen, reader = read([fork(1)], [fork(2, **{name: values})], [fork(4)])

    assert seen == [1]
    assert reader.broken


@pytest.mark.parametrize("kind", Kind)
def test_only_some_kinds_are_about_no_process(kind: Kind) -> None:
    if kind == Kind.END:
        return
    allowed = kind in (Kind.LOST, Kind.DECAY, Kind.FORK_FAILED, Kind.EXEC_FAILED)
    seen, reader = [], None
    file = io.BytesIO()
    with Writer(file, META) as out:
        out.write(Batch.from_rows([fork(1), (kind, {"ts_ns": 5})]))
    reader = Reader(io.BytesIO(file.getvalue()))
    seen = [kind for batch in reader for kind, _ in batch.rows()]

    assert seen == ([Kind.FORK, kind, Kind.END] if allowed else [])
    assert reader.broken is not allowed


def test_a_column_that_was_not_asked_for_is_not_missed() -> None:
    file = io.BytesIO()
    with Writer(file, META) as out:
        out.write(Batch.from_rows([fork(1), exit_(1)]))
    reader = Reader(io.BytesIO(file.getvalue()), columns={"ts_ns"})

    assert sum(map(len, reader)) == 3
    assert not reader.torn


def test_a_part_has_what_its_readers_index() -> None:
    file = io.BytesIO()
    with Writer(file, META) as out:
        out.write(Batch.from_rows([(Kind.RENAME, {"pid": 1}), (Kind.LOST, {"where": "x"})]))
    parts: dict[int, Any] = {}
    for batch in Reader(io.BytesIO(file.getvalue())):
        parts |= batch.parts

    for kind in (Kind.RENAME, Kind.LOST):
        assert set(validity.SUPPLIED[kind]) <= parts[kind].keys()
