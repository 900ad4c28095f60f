from __future__ import annotations

from array import array

import hypothesis.strategies as st
import pyarrow as pa
from hypothesis import given

from tests.recording.rows import batches, build, changed, exit_, fork
from tracer.model.batch import Batch
from tracer.model.schema import EVENT_COLUMNS, NULL, Kind
from tracer.recording import columns
from tracer.recording.columns import narrow, widen


def test_the_wide_schema_is_the_model() -> None:
    assert columns.wide_schema().names == [f.name for f in EVENT_COLUMNS]
    assert {str(t) for t in columns.wide_schema().types} == {
        "int64",
        "bool",
        "string",
        "list<item: string>",
        "list<item: int32>",
    }


@given(batches)
def test_wide_and_back(batch: Batch) -> None:
    wide = widen(batch)
    wide.validate(full=True)
    back, unknown = narrow(wide)

    assert list(back.rows()) == list(batch.rows())
    assert unknown == 0


WORDS = st.sampled_from(["", "sh", "\udcff", "\u00e9"])


@given(st.lists(st.sampled_from([Kind.FORK, Kind.EXIT, Kind.FAULTS]), max_size=9), WORDS, st.integers(-2, 2), st.data())
def test_columns_that_are_alike_throughout(kinds: list[Kind], word: str, number: int, data: st.DataObject) -> None:
    odd = data.draw(st.integers(0, 9))  # one row may be another
    rows = [
        (kind, {"ts_ns": i, "comm": word if i != odd else "x", "pid": number if i != odd else 7, "signal": None})
        for i, kind in enumerate(kinds)
    ]
    wide = widen(Batch.from_rows(rows))
    wide.validate(full=True)

    assert wide.column("comm").null_count == 0
    assert wide.column("signal").null_count == len(rows)
    assert list(narrow(wide)[0].rows()) == list(Batch.from_rows(rows).rows())


def test_a_busy_stream_keeps_its_columns_as_they_were() -> None:
    batch = build(50)
    back, _ = narrow(widen(batch))

    assert back.kinds == batch.kinds
    assert back.parts == batch.parts


def test_wide_rows_stand_in_stream_order_with_nulls_between() -> None:
    wide = widen(Batch.from_rows([fork(1, comm="sh"), exit_(1, exit_code=0), fork(2)]))

    assert wide.column("kind").to_pylist() == ["fork", "exit", "fork"]
    assert wide.column("pid").to_pylist() == [1, 1, 2]
    assert wide.column("comm").to_pylist() == ["sh", None, None]
    assert wide.column("exit_code").to_pylist() == [None, 0, None]


def test_head_columns_are_always_there() -> None:
    back, _ = narrow(widen(Batch.from_rows([(Kind.LOST, {"count": 2})])))

    assert back.parts == {
        Kind.LOST: {
            "ts_ns": array("q", [NULL]),
            "pid": array("q", [NULL]),
            "tid": array("q", [NULL]),
            "born_ns": array("q", [NULL]),
            "count": array("q", [2]),
        }
    }


def test_only_the_columns_asked_for() -> None:
    back, _ = narrow(widen(Batch.from_rows([fork(1, comm="sh", uid=5)])), {"pid", "uid", "cgroup"})

    assert back.parts == {Kind.FORK: {"pid": array("q", [1]), "uid": array("q", [5])}}


def test_rows_of_unknown_kinds_are_counted_and_left_out() -> None:
    wide = widen(Batch.from_rows([fork(1), fork(2), fork(3), fork(4)]))
    kinds = pa.array(["fork", "teleport", None, "fork"])
    back, unknown = narrow(changed(wide, kind=kinds))

    assert [values["pid"] for _, values in back.rows()] == [1, 4]
    assert unknown == 2


@given(batches, st.integers(0, 12))
def test_split_is_undone_by_joining(batch: Batch, at: int) -> None:
    left, right = batch.cut(0, at), batch.cut(at)

    assert len(left) == min(at, len(batch))
    assert [*left.rows(), *right.rows()] == list(batch.rows())


def test_without_a_kind() -> None:
    batch = Batch.from_rows([fork(1), (Kind.END, {"count": 1}), fork(2)])

    assert list(batch.without(Kind.END).rows()) == list(Batch.from_rows([fork(1), fork(2)]).rows())
    assert batch.without(Kind.LOST) is batch


def test_halves_of_a_batch_whose_kinds_come_in_blocks() -> None:
    late = {"uid": 1}  # a column that the first half has not
    rows = [
        (kind, {"ts_ns": i, "pid": i, "tid": i, "born_ns": i, "comm": f"c{i}"} | (late if kind > Kind.FORK else {}))
        for kind in (Kind.FORK, Kind.EXEC, Kind.EXIT)
        for i in range(1, 7)
    ]
    batch = Batch.from_rows(rows)
    halves = batch.cut(0, 6), batch.cut(6)

    for half in halves:
        widen(half).validate(full=True)
    assert [row for half in halves for row in narrow(widen(half))[0].rows()] == list(batch.rows())
