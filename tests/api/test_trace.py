"""A trace: its events, its tree, its frame; made when asked for, and the tree only once."""

from __future__ import annotations

from hypothesis import given

from tests.strategies import META, PROFILE, History, cut, histories
from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.model.schema import Kind


@PROFILE
@given(histories())
def test_events_batches_and_tree_are_of_the_same_rows(history: History) -> None:
    pieces = cut(history.rows, [5, 9])
    trace = Trace(META, lambda: pieces)

    assert list(trace.batches()) == pieces
    assert [(e.kind, e.ts_ns) for e in trace.events()] == [(kind, values["ts_ns"]) for kind, values in history.rows]
    assert len(trace.tree) == len(history.lives)
    assert trace.tree.meta is META


def test_nothing_is_read_before_it_is_asked_for_and_the_tree_is_built_once() -> None:
    reads = []

    def batches() -> list[Batch]:
        reads.append(1)
        return [Batch.from_rows([(Kind.FORK, {"ts_ns": 1, "pid": 1, "tid": 1, "born_ns": 1})])]

    trace = Trace(META, batches)

    assert (len(reads), trace.status, trace.torn) == (0, None, False)
    assert trace.tree is trace.tree
    assert len(reads) == 1
    assert len(list(trace.events())) == 1
    assert len(reads) == 2


def test_damage_is_asked_of_the_file_each_time() -> None:
    answers = iter([None, "it has no end", "it has no end"])
    trace = Trace(META, list, damage=lambda: next(answers), broken=lambda: True)

    assert [trace.torn, trace.torn, trace.damage] == [False, True, "it has no end"]
    assert trace.broken


def test_processes_are_a_frame_with_a_row_each() -> None:
    rows = [(Kind.FORK, {"ts_ns": 1, "pid": pid, "tid": pid, "born_ns": pid}) for pid in (5, 7)]
    frame = Trace(META, lambda: [Batch.from_rows(rows)]).processes

    assert list(frame["pid"]) == [5, 7]
    assert frame["exit_code"].isna().all()
