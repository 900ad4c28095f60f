"""DOT and Mermaid: every process is in a box, or counted; what is drawn can be read back."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings

from tests import build, hostile
from tests.conftest import need
from tests.exporting import Golden, exported, of
from tests.reports.test_console import ends, make, pipeline
from tests.strategies import History, histories
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
    assert body or len(text) < 200
    for each in body:
        assert line.fullmatch(each), each


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
