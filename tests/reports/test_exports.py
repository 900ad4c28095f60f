"""Every export: read back by its own kind of reader, whatever the tree, whatever the names."""

from __future__ import annotations

import csv
import io
import json
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from tests import hostile
from tests.exporting import exported, of
from tests.strategies import History, histories
from tracer.reports import REPORTS, by_suffix
from tracer.trace import Trace

TEXT = ("chrome", "dot", "mermaid", "html", "folded", "jsonl", "csv")


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


# Any tree


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
