"""Perfetto's protobuf, read back by its own classes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings

from tests import build
from tests.exporting import Golden, exported, of, perfetto
from tests.reports.console.test_report import pipeline
from tests.strategies import History, histories
from tracer.errors import UsageError
from tracer.model.schema import NULL
from tracer.reports.perfetto import ABOUT, ALIVE, COPIES, FIRST


def test_golden(golden: Golden) -> None:
    packets = perfetto(exported("perfetto", build.trace(*pipeline())))

    golden("export-perfetto-pipeline", "\n".join(map(str, packets)))


@settings(max_examples=40)
@given(histories())
def test_any_tree(history: History) -> None:
    trace = of(history)
    packets = perfetto(exported("perfetto", trace))

    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in packets if p.HasField("track_descriptor")}
    nested = {uuid - FIRST: track.parent_uuid - FIRST for uuid, track in tracks.items() if track.parent_uuid}
    assert nested == {row: p for row in range(len(trace.tree)) if (p := trace.tree.parent(row)) is not None}
    assert len(tracks.keys() - {ABOUT, ALIVE, COPIES}) == len(trace.tree)
    depth: dict[int, int] = {}
    stamps: dict[int, int] = {}
    for packet in packets:
        if packet.HasField("track_event"):
            event = packet.track_event
            assert event.track_uuid in tracks
            assert packet.timestamp >= stamps.get(packet.trusted_packet_sequence_id, 0)  # in order within a sequence
            stamps[packet.trusted_packet_sequence_id] = packet.timestamp
            depth[event.track_uuid] = depth.get(event.track_uuid, 0) + {1: 1, 2: -1}.get(event.type, 0)
            assert depth[event.track_uuid] in (0, 1)
    assert set(depth.values()) <= {0}
    begins = [n for p in packets for n in p.track_event.flow_ids]
    assert sorted(begins) == sorted(n for p in packets for n in p.track_event.terminating_flow_ids)


def test_figures_beyond_its_integers() -> None:
    huge = -(NULL + 1)  # as much as a column holds
    trace = build.trace(
        build.root(1, "x"),
        build.fork(1, 2),
        build.exit_(2),
        build.faults(2, cow_copies=huge),
        build.exit_(1),
        build.faults(1, cow_copies=huge),
    )

    assert [p.track_event.counter_value for p in perfetto(exported("perfetto", trace)) if p.track_event.type == 4][
        -1
    ] == huge


def test_without_the_package_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: dict[str, Any] = {"perfetto": None}
    for name in (*gone, *(name for name in sys.modules if name.startswith("perfetto."))):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(UsageError, match=r"pip install 'forktrace\[perfetto\]', or --as chrome"):
        exported("perfetto", build.trace(build.root(1, "x")))
