"""Every export there is: whatever the tree, the names, the size. Each format has tests of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests import hostile
from tests.exporting import exported, of
from tests.strategies import History, histories
from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.reports import REPORTS, by_suffix

NAMES = tuple(listed.name for listed in REPORTS)
UTF8 = ("chrome", "dot", "mermaid", "html", "jsonl")
CUT = ("chrome", "perfetto", "dot", "mermaid", "html", "folded")
WIDE = hostile.fan(30_000)
DEEP = hostile.chain(10_000)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(history=histories())
def test_any_tree_goes_through(name: str, history: History) -> None:
    assert exported(name, of(history)) or name == "folded" or not history.rows


@pytest.mark.parametrize("name", NAMES)
def test_no_tree_at_all(name: str) -> None:
    exported(name, Trace(hostile.META, list))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_go_through(name: str) -> None:
    data = exported(name, hostile.tree_of_names())

    assert data
    if name in UTF8:
        data.decode("utf-8")


@pytest.mark.parametrize("forged", hostile.FORGED)
@pytest.mark.parametrize("name", NAMES)
def test_histories_that_no_kernel_tells_go_through(name: str, forged: str) -> None:
    data = exported(name, hostile.FORGED[forged], **({"weight": "count"} if name == "folded" else {}))

    assert len(data) < 3_000_000
    if name in UTF8:
        data.decode("utf-8")


@pytest.mark.parametrize("forged", hostile.FORGED)
@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_every_event_of_such_a_history_is_a_row(name: str, forged: str) -> None:
    trace = hostile.FORGED[forged]
    data = exported(name, trace, table="events")

    n = sum(map(len, trace.batches()))
    if name == "jsonl":
        assert len([json.loads(each) for each in data.splitlines()]) == n
    elif name == "csv":
        csv.field_size_limit(1 << 23)
        text = data.decode("utf-8", "surrogateescape")
        assert len(list(csv.reader(io.StringIO(text, newline="")))) == n + 1
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(io.BytesIO(data)).num_rows == n


def test_formulas_are_text_in_csv_and_can_be_had_back() -> None:
    csv.field_size_limit(1 << 23)  # one of the names is long
    text = exported("csv", hostile.tree_of_names()).decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))

    cells = [row["comm"] for row in rows]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    had = [cell.removeprefix("'") for cell in cells[1:]]
    assert had == [name[:15].replace("\ud800", "\N{REPLACEMENT CHARACTER}") for name in hostile.NAMES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trace", [DEEP, WIDE], ids=["deep", "wide"])
def test_deep_and_wide_trees(name: str, trace: Trace) -> None:
    assert exported(name, trace, **({"weight": "count"} if name == "folded" else {}))


@pytest.mark.parametrize("name", CUT)
def test_a_huge_argv_is_cut_where_it_is_shown(name: str) -> None:
    rows = [hostile.row(1, None, 10, comm="root")]
    for pid, argv in ((2, ["x" * 2_000_000]), (3, ["a\n"] * 500_000), (4, ["/" + "é" * 1_000_000, ";" * 1_000_000])):
        rows.append(hostile.row(pid, 1, pid * 10, comm="c"))
        who = {"ts_ns": pid * 10 + 1, "pid": pid, "tid": pid, "born_ns": pid * 10}
        rows.append((Kind.EXEC, who | {"exe": argv[0], "argv": argv, "cwd": argv[0]}))

    assert len(exported(name, Trace(hostile.META, lambda: [Batch.from_rows(rows)]))) < 100_000


def test_suffixes_of_two_parts() -> None:
    for name, report in (("a.trace.json", "chrome"), ("a.pftrace", "perfetto"), ("A.HTML", "html"), ("x.gv", "dot")):
        found = by_suffix(name)
        assert found is not None
        assert found.name == report
    assert by_suffix("a.json") is None


def test_every_export_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()

    assert [name for name in NAMES if f"`{name}`" not in readme] == []
