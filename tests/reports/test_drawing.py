"""DOT and Mermaid: every process is in a box, or counted; what is drawn can be read back."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings

from tests import build, hostile
from tests.conftest import need
from tests.exporting import Golden, exported, of
from tests.reports.console.test_report import ends, make, pipeline
from tests.strategies import History, histories
from tracer.api.trace import Trace
from tracer.reports.dot import quoted
from tracer.reports.drawing import boxes
from tracer.reports.mermaid import escaped

DOT = re.compile(
    r"""\ \ (?: p\d+\ \[label="(?:[^"\\\n]|\\.)*"(?:,\ (?:color=red|shape=plaintext))?\];
    | p\d+\ ->\ p\d+(?:\ \[style=(?:dashed|dotted)\])?; )""",
    re.X,
)
MERMAID = re.compile(
    r"""\ \ (?: p\d+\["(?:[A-Za-z0-9 ._/,=+·…×→µ-]|\#\d+;|<br/>)*"\]
    | p\d+\ (?:-->|-\.->|-\.-)\ p\d+ | classDef\ bad\ stroke:\#b3261e | class\ p\d+(?:,p\d+)*\ bad )""",
    re.X,
)


@pytest.mark.parametrize("name", ["dot", "mermaid"])
def test_golden(name: str, golden: Golden) -> None:
    for story in (pipeline, make, ends):
        golden(f"export-{name}-{story.__name__}", exported(name, build.trace(*story())).decode())


@settings(max_examples=40)
@given(histories())
def test_every_process_is_in_a_box_or_counted(history: History) -> None:
    trace = of(history)

    for most in (4, 10, 10_000):
        drawn = boxes(trace.tree, most)
        assert sum(box.processes for box in drawn) <= len(trace.tree)
        assert len(drawn) <= most + 2
        assert all(box.parent is None or box.parent < i for i, box in enumerate(drawn))
    assert sum(box.processes for box in boxes(trace.tree, 10_000)) == len(trace.tree)
    check(exported("dot", trace).decode(), DOT)
    check(exported("mermaid", trace).decode(), MERMAID)


def check(text: str, line: re.Pattern[str]) -> None:
    """Nothing but lines of the few forms that we write: whatever a name says, it is inside of a label."""
    body = [each for each in text.split("\n")[:-1] if each.startswith("  p") or " bad" in each]
    assert body or len(text) < 1000
    for each in body:
        assert line.fullmatch(each), each


STATEMENTS: Final = {
    "head": re.compile(r"flowchart LR"),
    # A comment can not hold braces: `%%{` begins a directive wherever it stands, in older versions
    "comment": re.compile(r" +%% [^{}\x00-\x1f\x7f]*"),
    "node": re.compile(r' +(?P<id>p\d+)\["(?P<label>(?:[^"#&<>{}\[\]()|`;\x00-\x1f\x7f]|#\d+;|<br/>)*)"\]'),
    "edge": re.compile(r" +(?P<a>p\d+) (?:-->|-\.->|-\.-) (?P<b>p\d+)"),
    "classDef": re.compile(r" +classDef (?P<name>\w+) [a-z-]+:#[0-9a-f]{6}"),
    "class": re.compile(r" +class (?P<ids>p\d+(?:,p\d+)*) (?P<name>\w+)"),
}
"""The part of Mermaid's grammar of flow charts that a chart of ours is in: a statement a line."""


def broken_mermaid(text: str) -> Iterator[str]:
    """Every rule of Mermaid's that a chart does not keep."""
    lines = text.split("\n")
    if lines[-1] != "" or lines[0] != "flowchart LR":
        yield "no chart from its first line to its last"
    nodes: set[str] = set()
    classes: set[str] = set()
    edges = 0
    for i, each in enumerate(lines[:-1]):
        found = [(sort, match) for sort, form in STATEMENTS.items() if (match := form.fullmatch(each))]
        if len(found) != 1 or (found[0][0] == "head") != (i == 0):
            yield f"no statement: {each}"
            continue
        sort, match = found[0]
        if sort == "node":
            if match["id"] in nodes:
                yield f"a box twice: {each}"
            nodes.add(match["id"])
            if not match["label"].strip() or re.search(r"#(?:0|1[0-9]{6}|[2-9][0-9]{6,});", match["label"]):
                yield f"a label that is empty, or has a character that there is not: {each}"
        elif sort == "edge":
            edges += 1
            if not {match["a"], match["b"]} <= nodes:
                yield f"a box that a line would make: {each}"
        elif sort == "classDef":
            classes.add(match["name"])
        elif sort == "class" and (match["name"] not in classes or not set(match["ids"].split(",")) <= nodes):
            yield f"a class of nobody: {each}"
    if edges > 500 or len(text) > 50_000:
        yield "more than Mermaid draws"


@pytest.mark.parametrize("name", ["pipeline", "make", "ends", "names", "chain", "fan", "nobody"])
def test_a_chart_is_in_the_grammar_of_mermaid(name: str) -> None:
    traces = {
        "names": hostile.tree_of_names(),
        "chain": hostile.chain(3000),
        "fan": hostile.fan(3000),
        "nobody": Trace(hostile.META, list),
        **{story.__name__: build.trace(*story()) for story in (pipeline, make, ends)},
    }

    assert list(broken_mermaid(exported("mermaid", traces[name]).decode())) == []


@settings(max_examples=40)
@given(histories())
def test_any_chart_is_in_the_grammar_of_mermaid(history: History) -> None:
    assert list(broken_mermaid(exported("mermaid", of(history)).decode())) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["', '[\\"'),
        ('"]', '""]'),
        ("  p0[", "  end["),
        ("-->", "--&gt;"),
        ("flowchart LR", "graph"),
        ("p1[", "p0["),
        ("-->", "--> p9 -->"),
        ("p0 --> p1", "p0 --> p99"),
        ("<br/>", "<b>"),
        ("  p0[", "  %%{init: {}}%%\n  p0["),
        ("class p", "class p77,p"),
        ("#40;", "("),
        ("#40;", "#0;"),
    ],
)
def test_a_broken_chart_is_seen_to_be_broken(old: str, new: str) -> None:
    text = (
        exported("mermaid", build.trace(*pipeline())).decode()
        if "class" not in old
        else exported("mermaid", build.trace(*ends())).decode()
    )
    assert old in text

    assert list(broken_mermaid(text.replace(old, new, 1)))


def test_hostile_names_stay_inside_of_labels() -> None:
    trace = hostile.tree_of_names()

    check(exported("dot", trace).decode(), DOT)
    check(exported("mermaid", trace).decode(), MERMAID)


def test_graphviz_draws_hostile_names() -> None:
    need("dot")
    data = exported("dot", hostile.tree_of_names())
    drawn = subprocess.run(["dot", "-Tplain"], input=data, capture_output=True, check=True)

    assert drawn.stderr == b""
    nodes = [line for line in drawn.stdout.decode().splitlines() if line.startswith("node ")]
    assert len(nodes) == len(hostile.NAMES) + 1


def test_a_chart_is_small_enough_to_be_drawn() -> None:
    for trace in (hostile.chain(3_000), hostile.fan(3_000), build.trace(*make())):
        text = exported("mermaid", trace).decode()
        assert text.count("\n") < 500
        assert len(text) < 50_000


def test_text_of_each() -> None:
    assert escaped('a"b]<c>;#\n') == "a#34;b#93;#60;c#62;#59;#35;#92;u000a"
    assert quoted('a"\\N&lt;\n') == 'a\\"\\\\N&amp;lt;\\\\u000a'
