"""The Trace Event Format, read back as JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from tests import build
from tests.exporting import Golden, exported, of
from tests.reports.console.test_report import ends, pipeline
from tests.strategies import History, histories


def test_golden(golden: Golden) -> None:
    golden("export-chrome-pipeline", exported("chrome", build.trace(*pipeline())).decode())
    golden("export-chrome-ends", exported("chrome", build.trace(*ends())).decode())


@settings(max_examples=40)
@given(histories())
def test_any_tree(history: History) -> None:
    trace = of(history)
    events = json.loads(exported("chrome", trace))["traceEvents"]

    named = [e for e in events if e["name"] == "process_name"]
    assert len(named) == len(trace.tree) == len({e["pid"] for e in named})
    assert all(e["ts"] >= 0 and e.get("dur", 0) >= 0 for e in events if e["ph"] in "XCsf")
    assert {e["ph"] for e in events} <= set("MXCsf")
    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    finishes = {e["id"]: e for e in events if e["ph"] == "f"}
    assert begins.keys() == finishes.keys()


def test_flows_lie_within_slices() -> None:
    """A viewer drops a flow that has no slice at its moment."""
    events = json.loads(exported("chrome", build.trace(*pipeline())))["traceEvents"]

    def within(event: dict[str, Any]) -> bool:
        slices = [e for e in events if e["ph"] == "X" and e["pid"] == event["pid"]]
        return any(e["ts"] <= event["ts"] < e["ts"] + e["dur"] for e in slices)

    flows = [e for e in events if e["ph"] in "sf"]
    assert len(flows) == 2 * (4 + 3)
    assert all(within(e) for e in flows)
