"""A trace as one of the exports, and read back by what reads such files elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from tests.strategies import META, History
from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.reports import Options, by_name

Golden = Callable[[str, str], None]


def exported(name: str, trace: Trace, **options: Any) -> bytes:
    """All of it."""
    out = io.BytesIO()
    by_name(name).write(trace, out, Options(**options))
    return out.getvalue()


def of(history: History) -> Trace:
    """The trace of a random history."""
    return Trace(META, lambda: [Batch.from_rows(history.rows)])


def perfetto(data: bytes) -> Any:
    """Its packets, by Perfetto's own classes."""
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    read = proto.Trace()
    read.ParseFromString(data)
    return read.packet
