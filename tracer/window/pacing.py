"""Batches cut where a second ends, so that a file that was read in big pieces is seen as it happened.

Pure: knows columns and stamps, and nothing of what is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from tracer.model.batch import Batch
from tracer.model.schema import NULL

_NS: Final = 10**9


def by_second(batches: Iterable[Batch], ns: int = _NS) -> Iterator[Batch]:
    """The same rows in the same order, no batch with stamps of more than one second.

    Stamps that go back, as they do by microseconds, begin no new batch.
    """
    for batch in batches:
        columns = [part["ts_ns"] for part in batch.parts.values() if "ts_ns" in part and len(part["ts_ns"])]
        if not columns or max(map(max, columns)) // ns == min(map(min, columns)) // ns:
            yield batch
            continue
        edges = [0, *_edges(batch, ns), len(batch)]
        done = 0
        for start, end in pairwise(edges):
            if end > start:
                piece, batch = batch.cut(0, end - done), batch.cut(end - done)
                done = end
                yield piece


def _edges(batch: Batch, ns: int) -> Iterator[int]:
    stamps = {kind: iter(part["ts_ns"]) for kind, part in batch.parts.items() if "ts_ns" in part}
    latest: int | None = None
    for i, kind in enumerate(batch.kinds):
        ts = next(stamps[kind]) if kind in stamps else NULL
        if ts == NULL:
            continue
        second = ts // ns
        if latest is None:
            latest = second
        elif second > latest:
            latest = second
            yield i
