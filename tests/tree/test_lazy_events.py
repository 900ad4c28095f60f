"""Events that are kept as columns are what they were, in order, however often they are looked at."""

from __future__ import annotations

from tracer.model.schema import Kind

from tracer.model.batch import Batch
from tracer.tree.lazy_events import Told


def test_events_are_made_anew_each_time() -> None:
    told = Told(Kind.EXEC_FAILED)
    assert not told
    rows = [(Kind.EXEC_FAILED, {"ts_ns": n, "pid": n, "exe": f"/bin/{n}", "error": "ENOENT"}) for n in range(5)]
    for first, last in ((0, 2), (2, 5)):
        batch = Batch.from_rows([*rows[first:last], (Kind.EXIT, {"ts_ns": 9, "pid": 9})])
        told.add(batch.parts[Kind.EXEC_FAILED], last - first)

    assert len(told) == 5
    assert list(told) == list(told) == list(Batch.from_rows(rows).events())
