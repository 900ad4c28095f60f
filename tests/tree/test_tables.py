from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings

from tests.recording.rows import META, batches, build, exit_, fork
from tracer.model.batch import Batch
from tracer.model.schema import EVENT_COLUMNS, PROCESS_COLUMNS, TYPES, Kind
from tracer.recording import text
from tracer.tree import tables
from tracer.tree.tree import ProcessTree

DTYPES = {"i": "Int64", "b": "boolean", "s": "string", "S": "object", "I": "object"}


def tree(*rows: tuple[Kind, dict[str, Any]]) -> ProcessTree:
    made = ProcessTree(META)
    made.feed(Batch.from_rows(rows))
    return made


TWO = (
    fork(1, how="root", comm="sh", uid=0, ns_pids=[1], cgroup="/a\udcff"),
    (Kind.EXEC, {"ts_ns": 11, "pid": 1, "tid": 1, "born_ns": 10, "exe": "/bin/sh", "argv": ["sh", "\udcff", ""]}),
    fork(2, how="fork", comm="", ppid=1, parent_born_ns=10, clone_flags=0x4100),
    exit_(2, exit_code=0, last=True, core_dumped=False),
)


def test_the_frame_says_what_the_tree_says() -> None:
    made = tree(*TWO)
    frame = tables.processes_frame(made)

    assert list(frame.columns) == [f.name for f in PROCESS_COLUMNS]
    assert [str(dtype) for dtype in frame.dtypes] == [DTYPES[f.type] for f in PROCESS_COLUMNS]
    for row in range(2):
        for field in PROCESS_COLUMNS:
            value = frame.at[row, field.name]
            expected = made.value(row, field.name)
            if isinstance(expected, tuple):
                expected = list(expected)
            assert (None if value is pd.NA else value) == expected


def test_unknown_zero_and_empty_stay_three_things() -> None:
    frame = tables.processes_frame(tree(*TWO))

    assert frame["uid"].tolist() == [0, pd.NA]
    assert frame["comm"].tolist() == ["sh", ""]
    assert frame["argv"].tolist() == [["sh", "\udcff", ""], None]
    assert frame["core_dumped"].tolist() == [pd.NA, False]


def test_frames_of_nothing_have_their_types() -> None:
    for frame, fields in (
        (tables.processes_frame(ProcessTree()), PROCESS_COLUMNS),
        (tables.events_frame([]), EVENT_COLUMNS),
    ):
        assert len(frame) == 0
        assert {f.name: str(frame[f.name].dtype) for f in fields} == {f.name: DTYPES[f.type] for f in fields}


@given(st.lists(batches, max_size=3))
@settings(max_examples=40)
def test_every_event_is_a_row(given_batches: list[Batch]) -> None:
    frame = tables.events_frame(given_batches)
    rows = [row for batch in given_batches for row in batch.rows()]

    assert len(frame) == len(rows)
    for i, (kind, values) in enumerate(rows):
        got = {name: frame.at[i, name] for name in TYPES}
        assert got.pop("kind") == kind.name.lower()
        assert {name: v for name, v in got.items() if v is not pd.NA and v is not None} == values


def test_some_columns_of_events() -> None:
    frame = tables.events_frame([Batch.from_rows(TWO)], columns=("pid", "kind"))

    assert frame.to_dict("list") == {"kind": ["fork", "exec", "fork", "exit"], "pid": [1, 1, 2, 2]}


def test_a_frame_may_be_changed_without_harm_to_the_tree() -> None:
    made = tree(*TWO)
    frame = tables.processes_frame(made)
    frame.at[0, "pid"] = 99
    argv: Any = frame.at[0, "argv"]
    argv.append("x")

    assert made.value(0, "pid") == 1
    assert made.value(0, "argv") == ["sh", "\udcff", ""]


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_arrow_in_pieces_is_arrow_in_one(rows: int) -> None:
    made = tree(*TWO)
    whole = tables.processes_table(made)
    pieces = list(tables.process_batches(made, rows))
    whole.validate(full=True)

    assert pa.Table.from_batches(pieces).equals(whole)
    assert max(piece.num_rows for piece in pieces) <= rows
    assert whole.schema.names == [f.name for f in PROCESS_COLUMNS]
    assert whole.schema.field("uid").metadata == {b"doc": b"real user id, the last one seen"}
    assert whole.column("uid").to_pylist() == [0, None]
    assert whole.column("argv").to_pylist() == [["sh", text.escape("\udcff"), ""], None]
    assert whole.column("comm").to_pylist() == ["sh", ""]


def test_arrow_of_no_processes() -> None:
    assert tables.processes_table(ProcessTree(META)).num_rows == 0


def test_events_in_arrow_come_in_order_and_in_good_size() -> None:
    def many() -> Iterable[Batch]:
        for i in range(10):
            yield build(5, seed=i)

    pieces = list(tables.event_batches(many(), rows=70))

    assert [piece.num_rows for piece in pieces] == [80, 80, 40]
    assert [pid for piece in pieces for pid in piece.column("pid").to_pylist()] == [
        values["pid"] for batch in many() for _, values in batch.rows()
    ]


def test_importing_tables_imports_no_pandas() -> None:
    code = "import sys, tracer.tree.tables; print([m for m in ('pandas', 'numpy', 'pyarrow') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("[]\n", "")
