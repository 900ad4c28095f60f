"""Every export: read back by its own kind of reader, whatever the tree, whatever the names."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from tests import hostile
from tests.conftest import need
from tests.strategies import META, History, histories
from tracer.events import Batch
from tracer.reports import REPORTS, Options, by_name, by_suffix
from tracer.reports.drawing import boxes
from tracer.reports.mermaid import escaped
from tracer.trace import Trace

TEXT = ("chrome", "dot", "mermaid", "html", "folded", "jsonl", "csv")


def exported(name: str, trace: Trace, **options: Any) -> bytes:
    out = io.BytesIO()
    by_name(name).write(trace, out, Options(**options))
    return out.getvalue()


def of(history: History) -> Trace:
    return Trace(META, lambda: [Batch.from_rows(history.rows)])


class Page(HTMLParser):
    """The tags of a page, the text of its scripts, and all other text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def page(trace: Trace) -> Page:
    read = Page()
    read.feed(exported("html", trace).decode("utf-8"))
    read.close()
    return read


def perfetto(data: bytes) -> Any:
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    read = proto.Trace()
    read.ParseFromString(data)
    return read


# Any tree


@settings(max_examples=40)
@given(histories())
def test_chrome_says_each_process_once(history: History) -> None:
    trace = of(history)
    events = json.loads(exported("chrome", trace))["traceEvents"]

    named = [e for e in events if e["name"] == "process_name"]
    assert len(named) == len(trace.tree) == len({e["pid"] for e in named})
    assert all(e["ts"] >= 0 and e.get("dur", 0) >= 0 for e in events if e["ph"] in "XCsf")
    assert sorted(e["id"] for e in events if e["ph"] == "s") == sorted(e["id"] for e in events if e["ph"] == "f")
    alive = [e["args"]["alive"] for e in events if e["ph"] == "C" and e["name"] == "alive"]
    assert all(n >= 0 for n in alive)


@settings(max_examples=40)
@given(histories())
def test_perfetto_nests_tracks_as_processes(history: History) -> None:
    trace = of(history)
    packets = perfetto(exported("perfetto", trace)).packet

    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in packets if p.HasField("track_descriptor")}
    nested = {uuid - 16: track.parent_uuid - 16 for uuid, track in tracks.items() if track.parent_uuid}
    assert nested == {row: p for row in range(len(trace.tree)) if (p := trace.tree.parent(row)) is not None}
    depth: dict[int, int] = {}
    for packet in packets:
        if packet.HasField("track_event"):
            event = packet.track_event
            assert event.track_uuid in tracks
            depth[event.track_uuid] = depth.get(event.track_uuid, 0) + {1: 1, 2: -1}.get(event.type, 0)
            assert depth[event.track_uuid] in (0, 1)
    assert set(depth.values()) <= {0}


@settings(max_examples=40)
@given(histories())
def test_drawings_hold_every_process_or_count_it(history: History) -> None:
    trace = of(history)

    assert sum(box.times for box in boxes(trace.tree, 10_000)) == len(trace.tree)
    few = boxes(trace.tree, 3)
    assert len(few) <= 3
    for name in ("dot", "mermaid"):
        text = exported(name, trace).decode()
        assert len(re.findall(r"^  p\d+ ?\[", text, re.M)) == len(boxes(trace.tree, 10_000))


@settings(max_examples=40)
@given(histories())
def test_the_page_holds_every_process(history: History) -> None:
    trace = of(history)
    data = json.loads(page(trace).scripts[0])

    assert len(data["pid"]) == len(trace.tree)
    assert all(-1 <= parent < i for i, parent in enumerate(data["parent"])) or trace.tree.meta
    assert {len(v) for k, v in data.items() if isinstance(v, list) and k not in ("words", "hows")} <= {len(trace.tree)}


@settings(max_examples=40)
@given(histories())
def test_folded_weights_add_up(history: History) -> None:
    trace = of(history)
    lines = exported("folded", trace, weight="count").decode("utf-8", "surrogateescape").splitlines()

    total = sum(int(line.rpartition(" ")[2]) for line in lines)
    assert total == sum(how != "existing" for how in trace.tree.column("how"))


# Any name


@pytest.mark.parametrize("name", [listed.name for listed in REPORTS])
def test_hostile_names_go_through(name: str) -> None:
    data = exported(name, hostile.tree_of_names())

    assert data
    if name in TEXT and name != "csv":
        data.decode("utf-8", "surrogateescape" if name == "folded" else "strict")


def test_no_name_becomes_a_tag_or_leaves_its_script() -> None:
    read = page(hostile.tree_of_names())

    assert [dict(attrs).get("type") for tag, attrs in read.tags if tag == "script"] == ["application/json", None]
    assert not [attrs for _, attrs in read.tags if any(key.startswith("on") for key in attrs)]
    assert {tag for tag, _ in read.tags} & {"img", "iframe", "b", "link", "object"} == set()
    assert not [v for _, attrs in read.tags for k, v in attrs.items() if k in ("src", "href") and v != "#tree"]
    assert hostile.NAMES[0] in json.loads(read.scripts[0])["words"][1]
    assert "</title><b>" in read.text
    policy = next(attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_graphviz_draws_hostile_names() -> None:
    need("dot")
    data = exported("dot", hostile.tree_of_names())
    drawn = subprocess.run(["dot", "-Tplain"], input=data, capture_output=True, check=True).stdout.decode()

    nodes = [line for line in drawn.splitlines() if line.startswith("node ")]
    assert len(nodes) == len(hostile.NAMES) + 1


def test_mermaid_text_is_entities() -> None:
    assert escaped('a"b]<c>;#\n') == "a#34;b#93;#60;c#62;#59;#35;#92;u000a"


def test_formulas_are_text_in_csv() -> None:
    csv.field_size_limit(1 << 20)  # one of the names is long
    rows = list(csv.DictReader(io.StringIO(exported("csv", hostile.tree_of_names()).decode("utf-8", "replace"))))

    assert all(not row["comm"].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)


# Size and depth


@pytest.mark.parametrize("name", [listed.name for listed in REPORTS if listed.name != "parquet"])
@pytest.mark.parametrize("trace", [hostile.chain(10_000), hostile.fan(30_000)], ids=["deep", "wide"])
def test_deep_and_wide_trees(name: str, trace: Trace) -> None:
    begin = time.process_time()

    data = exported(name, trace, **({"weight": "count"} if name == "folded" else {}))

    assert data
    assert time.process_time() - begin < 60  # nothing is quadratic


def test_suffixes_of_two_parts() -> None:
    for name, report in (("a.trace.json", "chrome"), ("a.pftrace", "perfetto"), ("A.HTML", "html"), ("x.gv", "dot")):
        found = by_suffix(name)
        assert found is not None
        assert found.name == report
    assert by_suffix("a.json") is None
