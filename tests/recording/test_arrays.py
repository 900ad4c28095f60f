from __future__ import annotations

import subprocess
import sys
from array import array
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from tests.recording.rows import VALUES
from tracer.model.schema import NULL
from tracer.recording import arrays


def plain(code: str, values: list[Any]) -> Any:
    return array("q", [NULL if v is None else int(v) for v in values]) if code in "ib" else values


@given(st.data(), st.sampled_from("ibsSI"))
def test_a_column_is_what_pyarrow_would_make(data: st.DataObject, code: str) -> None:
    simple = {"s": st.text("ab\0é", max_size=3), "S": st.lists(st.text("ab"), max_size=3)}
    values = data.draw(st.lists(st.none() | simple.get(code, VALUES[code]), max_size=9))
    made = arrays.column(code, plain(code, values))
    made.validate(full=True)

    assert made.equals(pa.array(values, arrays.arrow_type(code)))


@given(st.data(), st.sampled_from("sSI"))
def test_objects_stand_where_they_are_told(data: st.DataObject, code: str) -> None:
    values = data.draw(st.lists(VALUES[code], max_size=5))
    n = data.draw(st.integers(len(values), 12))
    at = sorted(data.draw(st.permutations(range(n)))[: len(values)])
    made = arrays.objects(code, values, np.array(at, np.int64), n)
    made.validate(full=True)

    if code != "s":
        assert arrays.read_lists(made, np.array(at, np.int64)) == values
    assert made.null_count == n - len(values)
    assert [i for i in range(n) if made[i].is_valid] == at


@pytest.mark.parametrize("rows", [10, arrays._COMPUTE_PAYS + 10])
@pytest.mark.parametrize("odd", ["", "\udcff", "\U0010fe80"])
def test_strings_come_back_few_or_many(rows: int, odd: str) -> None:
    values = [None if i % 3 == 0 else f"{odd}{i % 5}" for i in range(rows)]
    indices, words = arrays.encode_strings(arrays.column("s", values))
    read = [words[i] for i in indices]

    assert read == values
    assert len(words) == 6
    assert words[-1] is None


@given(st.data(), st.sampled_from("SI"))
def test_lists_that_are_equal_are_one_and_none_is_another(data: st.DataObject, code: str) -> None:
    few = [None, [], ["a"], ["a", "b"], ["b", "a"], ["a"] * 8, ["a"] * 9]
    values: list[Any] = data.draw(st.lists(st.sampled_from(few) | st.lists(st.sampled_from("ab")), min_size=1))
    if code == "I":
        values = [None if v is None else list(map(ord, v)) for v in values]
    at = np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), np.int64)
    with mock.patch.object(arrays, "_SHARING_PAYS", 0):
        read = arrays.read_lists(arrays.column(code, values), at)

    assert read == [values[i] for i in at]
    short = [v for v in read if v is not None and 0 < len(v) <= arrays._SHORT]
    assert len(set(map(id, short))) == len(set(map(tuple, short)))


def test_slices_are_read_from_their_offset() -> None:
    numbers = arrays.column("i", array("q", [1, NULL, 3, 4])).slice(1)
    flags = arrays.column("b", array("q", [1, 0, NULL, 1])).slice(1)
    lists = arrays.column("S", [["a"], ["b", "c"], None, []]).slice(1)

    assert arrays.is_valid(numbers).tolist() == [False, True, True]
    assert arrays.read_integers(numbers)[1:].tolist() == [3, 4]
    assert arrays.read_integers(flags)[[0, 2]].tolist() == [0, 1]
    assert arrays.read_lists(lists, np.array([2, 0, 1])) == [[], ["b", "c"], None]


def test_coded_words() -> None:
    assert arrays.coded(b"\2\0\2\1", ["a", "", "ccc"]).to_pylist() == ["ccc", "a", "ccc", ""]


def test_neither_pandas_nor_compute_is_imported_for_a_small_trace() -> None:
    code = """
import io, sys
from tests.recording.rows import META, exit_, fork
from tracer.model.batch import Batch
from tracer.recording import Reader, Writer
file = io.BytesIO()
with Writer(file, META) as writer:
    writer.write(Batch.from_rows([fork(1, comm="\\udcff", ns_pids=[1]), exit_(1, last=True, exit_code=0)]))
file.seek(0)
assert sum(len(batch) for batch in Reader(file)) == 3
print([name for name in ("pandas", "pyarrow.compute", "pyarrow.parquet") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("[]\n", "")
