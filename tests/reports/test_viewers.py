"""What viewers of tracks ask of a file, rule by rule: Chrome's Trace Event Format, Perfetto's protobuf.

No viewer is here to open one. These are the rules by which they drop a slice, a flow or a counter in silence, so that a
file of ours that keeps them is shown whole. Checked on stories, on random trees and on forged ones.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings

from tests import build, hostile
from tests.exporting import exported, of, perfetto
from tests.reports.console.test_report import ends, make, pipeline
from tests.strategies import History, histories

STORIES: Final = {
    "pipeline": build.trace(*pipeline()),
    "make": build.trace(*make()),
    "ends": build.trace(*ends()),
    "names": hostile.tree_of_names(),
    "chain": hostile.chain(300),
}
_INT32: Final = 1 << 31
_INT64: Final = 1 << 63


# -- Chrome's Trace Event Format ----------------------------------------------------------------------------------


def ns(microseconds: float) -> int:
    """As importers have it: a time is a whole number of nanoseconds."""
    return round(microseconds * 1000)


def broken_chrome(document: Any) -> Iterator[str]:
    """Every rule that a document does not keep."""
    if not isinstance(document, dict) or not isinstance(document.get("traceEvents"), list):
        yield "no object with traceEvents"
        return
    if document.get("displayTimeUnit") not in ("ms", "ns"):
        yield "displayTimeUnit"
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    flows: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    counters: dict[tuple[int, str], int] = {}
    names: Counter[int] = Counter()
    used: set[int] = set()
    for event in document["traceEvents"]:
        kind = event.get("ph")
        if not {"ph", "name", "pid", "tid"} <= event.keys() or not isinstance(event["name"], str):
            yield f"an event without what all have: {event}"
            continue
        if not all(type(event[key]) is int and 0 <= event[key] < _INT32 for key in ("pid", "tid")):
            yield f"pid or tid: {event}"
        at = event.get("ts", 0)
        if kind != "M" and not (type(at) in (int, float) and math.isfinite(at) and at >= 0 and "ts" in event):
            yield f"ts: {event}"
        if kind == "M":
            if event["name"] == "process_name":
                names[event["pid"]] += 1
                if not isinstance(event["args"]["name"], str):
                    yield f"no name: {event}"
            elif event["name"] != "process_sort_index" or type(event["args"]["sort_index"]) is not int:
                yield f"metadata: {event}"
            continue
        if kind == "X":
            used.add(event["pid"])
            if not (type(event.get("dur")) in (int, float) and event["dur"] >= 0):
                yield f"dur: {event}"
                continue
            if not isinstance(event.get("args", {}), dict):
                yield f"args: {event}"
            slices[event["pid"], event["tid"]].append((ns(at), ns(at) + ns(event["dur"])))
        elif kind in ("s", "f"):
            used.add(event["pid"])
            flows[event["name"], event["cat"], event["id"]][kind].append(event)
            if kind == "f" and event.get("bp") != "e":
                yield f"it would bind to the slice that comes next: {event}"
        elif kind == "C":
            counter = event["pid"], event["name"]
            if ns(at) < counters.get(counter, 0):
                yield f"a counter goes back: {event}"
            counters[counter] = ns(at)
            if not event["args"] or not all(type(v) in (int, float) for v in event["args"].values()):
                yield f"no number: {event}"
        else:
            yield f"an event of no kind: {event}"
    for track, spans in slices.items():
        spans.sort()
        for before, after in itertools.pairwise(spans):
            if after[0] < before[1] < after[1]:
                yield f"slices overlap in {track}: {before} {after}"
    for key, both in flows.items():
        if [len(both["s"]), len(both["f"])] != [1, 1]:
            yield f"not one begin and one end: {key}"
            continue
        begin, finish = both["s"][0], both["f"][0]
        if ns(begin["ts"]) > ns(finish["ts"]):
            yield f"a flow into the past: {key}"
        for event in (begin, finish):
            spans = slices.get((event["pid"], event["tid"]), [])
            if not any(a <= ns(event["ts"]) and (ns(event["ts"]) < b or a == b) for a, b in spans):
                yield f"no slice is there for {event}"
    if {pid: n for pid, n in names.items() if n != 1} or used - names.keys():
        yield "not one name for each process"


@pytest.mark.parametrize("name", STORIES)
def test_chrome_keeps_every_rule(name: str) -> None:
    assert list(broken_chrome(json.loads(exported("chrome", STORIES[name])))) == []


@settings(max_examples=60)
@given(histories())
def test_chrome_keeps_every_rule_whatever_the_tree(history: History) -> None:
    assert list(broken_chrome(json.loads(exported("chrome", of(history))))) == []


BREAK_CHROME: Final[dict[str, Callable[[list[dict[str, Any]]], Any]]] = {
    "overlap": lambda events: next(e for e in events if e.get("ts") == 1_000.0 and e["ph"] == "X").update(dur=3000.0),
    "time": lambda events: first(events, "X").update(ts=-1.0),
    "no end": lambda events: events.remove(first(events, "f")),
    "unbound": lambda events: first(events, "s").update(ts=first(events, "s")["ts"] + 10**8),
    "next slice": lambda events: first(events, "f").pop("bp"),
    "counter": lambda events: first(events, "C").update(ts=10**12),
    "nameless": lambda events: events.remove(first(events, "M")),
    "text": lambda events: first(events, "C").update(args={"alive": "3"}),
    "kind": lambda events: first(events, "X").update(ph="?"),
}


def first(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in events if event["ph"] == kind)


@pytest.mark.parametrize("how", BREAK_CHROME)
def test_a_broken_chrome_file_is_seen_to_be_broken(how: str) -> None:
    document = json.loads(exported("chrome", STORIES["pipeline"]))
    broken = copy.deepcopy(document)
    BREAK_CHROME[how](broken["traceEvents"])

    assert list(broken_chrome(document)) == []
    assert list(broken_chrome(broken))


# -- Perfetto's protobuf ------------------------------------------------------------------------------------------

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4


def broken_perfetto(packets: Any) -> Iterator[str]:
    """Every rule that a stream of packets does not keep."""
    tracks: dict[int, Any] = {}
    open_: dict[int, list[int]] = defaultdict(list)
    stamps: dict[int, int] = {}
    begins: dict[int, int] = {}
    finishes: dict[int, int] = {}
    for packet in packets:
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            if not track.uuid or track.uuid in tracks:
                yield f"a track without a number of its own: {track.uuid}"
            if track.HasField("parent_uuid") and track.parent_uuid not in tracks:
                yield f"a track before its parent: {track.uuid}"
            if not track.name:
                yield f"a track without a name: {track.uuid}"
            tracks[track.uuid] = track
            continue
        if not packet.HasField("track_event"):
            yield "a packet with nothing in it"
            continue
        event, at = packet.track_event, packet.timestamp
        if not packet.HasField("timestamp") or at >= _INT64:
            yield f"no time: {event}"
        if not packet.trusted_packet_sequence_id:
            yield f"of no sequence: {event}"
        if at < stamps.get(packet.trusted_packet_sequence_id, 0):
            yield f"out of order within its sequence: {event}"
        stamps[packet.trusted_packet_sequence_id] = at
        if event.track_uuid not in tracks:
            yield f"on a track that is not there: {event}"
            continue
        counts = tracks[event.track_uuid].HasField("counter")
        if counts != (event.type == COUNTER) or counts != event.HasField("counter_value"):
            yield f"a counter, or none: {event}"
        if event.type == BEGIN:
            open_[event.track_uuid].append(at)
            if not event.name or not event.categories:
                yield f"a slice without a name: {event}"
        elif event.type == END:
            if not open_[event.track_uuid]:
                yield f"an end without a begin: {event}"
            elif open_[event.track_uuid].pop() > at:
                yield f"an end before its begin: {event}"
        elif event.type == INSTANT:
            if not event.name:
                yield f"a moment without a name: {event}"
        elif event.type != COUNTER:
            yield f"an event of no kind: {event}"
        for number in event.flow_ids:
            if not number or number in begins:
                yield f"a flow begins twice: {number}"
            begins[number] = at
        for number in event.terminating_flow_ids:
            if number in finishes:
                yield f"a flow ends twice: {number}"
            finishes[number] = at
        for note in event.debug_annotations:
            if not note.name or note.WhichOneof("value") is None:
                yield f"a note without a name or a value: {event}"
    yield from (f"a slice that never ends, on {uuid}" for uuid, stack in open_.items() if stack)
    if begins.keys() != finishes.keys():
        yield "flows with one end"
    yield from (f"a flow into the past: {n}" for n in begins.keys() & finishes.keys() if begins[n] > finishes[n])


@pytest.mark.parametrize("name", STORIES)
def test_perfetto_keeps_every_rule(name: str) -> None:
    assert list(broken_perfetto(perfetto(exported("perfetto", STORIES[name])))) == []


@settings(max_examples=60)
@given(histories())
def test_perfetto_keeps_every_rule_whatever_the_tree(history: History) -> None:
    assert list(broken_perfetto(perfetto(exported("perfetto", of(history))))) == []


def event_of(packets: Any, kind: int) -> Any:
    return next(p for p in packets if p.HasField("track_event") and p.track_event.type == kind)


def flow_of(packets: Any) -> Any:
    return next(p for p in packets if p.track_event.terminating_flow_ids)


BREAK_PERFETTO: Final[dict[str, Callable[[Any], Any]]] = {
    "uuid twice": lambda packets: packets.append(next(p for p in packets if p.HasField("track_descriptor"))),
    "parent": lambda packets: setattr(packets[-1].track_event, "track_uuid", 1 << 40),
    "no begin": lambda packets: packets.remove(event_of(packets, BEGIN)),
    "no end": lambda packets: packets.remove(event_of(packets, END)),
    "order": lambda packets: setattr(event_of(packets, END), "timestamp", 1),
    "flow": lambda packets: flow_of(packets).track_event.ClearField("terminating_flow_ids"),
    "past": lambda packets: setattr(flow_of(packets), "timestamp", 1),
    "counter": lambda packets: event_of(packets, COUNTER).track_event.ClearField("counter_value"),
    "sequence": lambda packets: event_of(packets, BEGIN).ClearField("trusted_packet_sequence_id"),
}


@pytest.mark.parametrize("how", BREAK_PERFETTO)
def test_a_broken_perfetto_file_is_seen_to_be_broken(how: str) -> None:
    packets = list(perfetto(exported("perfetto", STORIES["pipeline"])))
    assert list(broken_perfetto(packets)) == []

    BREAK_PERFETTO[how](packets)

    assert list(broken_perfetto(packets))


@pytest.mark.parametrize("forged", hostile.FORGED)
def test_forged_histories_make_whole_files(forged: str) -> None:
    trace = hostile.FORGED[forged]

    assert list(broken_chrome(json.loads(exported("chrome", trace)))) == []
    assert list(broken_perfetto(perfetto(exported("perfetto", trace)))) == []
