from __future__ import annotations

import pandas as pd
from hypothesis import given

from tests.strategies import META, History, histories
from tracer.analyses.cow import edges, ledger
from tracer.analyses.frames import EDGE_COLUMNS, LEDGER_COLUMNS, edges_frame, ledger_frame
from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.tree.tree import ProcessTree


def grown(history: History) -> ProcessTree:
    tree = ProcessTree(META)
    tree.feed(Batch.from_rows(history.rows))
    return tree


@given(histories())
def test_frames_say_what_the_ledger_says(history: History) -> None:
    tree = grown(history)

    forks = edges_frame(tree)
    dear = ledger_frame(tree)

    assert tuple(forks.columns) == EDGE_COLUMNS
    assert tuple(dear.columns) == LEDGER_COLUMNS
    assert forks["id"].tolist() == [edge.row for edge in edges(tree)]
    assert dear["id"].tolist() == [edge.row for edge in ledger(tree, None).edges]
    for column, dtype in (("copies", "Int64"), ("share", "Float64"), ("wasted", "boolean"), ("comm", "string")):
        assert str(dear[column].dtype).startswith(dtype)
    copies = [edge.copies for edge in ledger(tree, None).edges]
    assert [None if pd.isna(v) else v for v in dear["copies"]] == copies


@given(histories())
def test_a_trace_has_them(history: History) -> None:
    trace = Trace(META, lambda: [Batch.from_rows(history.rows)])

    assert len(trace.edges) == len(edges_frame(trace.tree))
    assert len(trace.ledger) == len(ledger_frame(trace.tree))
    assert len(trace.events_frame(["ts_ns", "kind"])) == len(history.rows)
    assert trace._repr_html_().startswith("<div")
