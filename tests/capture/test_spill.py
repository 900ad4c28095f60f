"""The spool: the same batches back, from memory or from the unlinked file, as often as wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tracer.capture.spill import Spool
from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind


def _batches(n: int) -> list[Batch]:
    return [
        Batch.from_rows([(Kind.FORK, {"ts_ns": i, "pid": i, "comm": f"c{i}"}), (Kind.EXIT, {"ts_ns": i, "pid": i})])
        for i in range(n)
    ]


def _events(spool: Spool) -> list[Event]:
    return [event for batch in spool for event in batch.events()]


@pytest.mark.parametrize("limit", [0, 3000, 1 << 30])
def test_gives_back_what_it_took_in_order(limit: int) -> None:
    spool = Spool(limit)
    wanted = [event for batch in _batches(23) for event in batch.events()]
    for batch in _batches(23):
        spool.add(batch)

    assert _events(spool) == wanted
    assert _events(spool) == wanted
    assert spool.rows == 46


def test_without_a_temporary_folder_memory_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    spool = Spool(0)
    for batch in _batches(5):
        spool.add(batch)

    assert len(_events(spool)) == 10


def test_without_pyarrow_it_is_zlib_that_makes_it_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    spool = Spool(0)
    for batch in _batches(5):
        spool.add(batch)

    assert len(_events(spool)) == 10
