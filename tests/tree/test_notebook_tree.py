from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from hypothesis import given

from tests import build
from tests.strategies import History, histories
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.tree.notebook_tree import DEEPEST, outline
from tracer.tree.tree import ProcessTree

VOID_OF_TEXT = {"div", "details", "summary", "span", "b"}


class Reading(HTMLParser):
    """Collects tags that do not match, tags that are none of ours, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID_OF_TEXT or any(name.startswith("on") for name, _ in attrs):
            self.wrong.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append("/" + tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(tree: ProcessTree, most: int = 400) -> Reading:
    reading = Reading()
    reading.feed(outline(tree, most))
    reading.close()
    return reading


def test_lives_are_those_of_the_report() -> None:
    told = build.tree(
        build.root(1),
        build.after(900),
        build.exec_(1, "make"),
        build.fork(1, 2),
        build.after(1233),
        build.exit_(2),
        build.exit_(1),
    )

    assert "make 1.24 s" in " ".join(read(told).text.split())
    assert "(make)" in read(told).text
    assert "1.23 s" in read(told).text
    assert "e+" not in read(told).text


def grown(*rows: dict[str, Any]) -> ProcessTree:
    tree = ProcessTree()
    made = []
    for row in rows:
        who = {"ts_ns": row["pid"], "pid": row["pid"], "tid": row["pid"], "born_ns": row["pid"]}
        above = (
            {"ppid": row["above"], "parent_born_ns": row["above"], "how": "fork"} if "above" in row else {"how": "root"}
        )
        made.append((Kind.FORK, who | above))
        if "argv" in row:
            made.append((Kind.EXEC, who | {"argv": row["argv"], "exe": "/x"}))
    tree.feed(Batch.from_rows(made))
    return tree


@given(histories())
def test_any_tree_is_well_formed(history: History) -> None:
    tree = ProcessTree()
    tree.feed(Batch.from_rows(history.rows))

    reading = read(tree)

    assert not reading.wrong
    assert not reading.open


def test_names_from_outside_are_text() -> None:
    tree = grown({"pid": 1, "argv": ["<script>alert(1)</script>", '"onload=x', "\x1b[2J\udcff\u202e", "&amp;"]})

    reading = read(tree)

    assert not reading.wrong
    assert '<script>alert(1)</script> "onload=x \\u001b[2J\\udcff\\u202e &amp;' in reading.text
    assert outline(tree).encode()  # no surrogate is left


def test_alike_siblings_are_one_line() -> None:
    children = [{"pid": 2 + i, "above": 1, "argv": ["/bin/true"]} for i in range(300)]

    reading = read(grown({"pid": 1, "argv": ["make"]}, *children, {"pid": 999, "above": 1, "argv": ["other"]}))

    assert "300 × /bin/true" in reading.text
    assert "999 other" in reading.text
    assert "more" not in reading.text


def test_it_is_bounded_in_lines_and_in_depth() -> None:
    wide = grown({"pid": 1}, *({"pid": 2 + i, "above": 1, "argv": [str(i)]} for i in range(5000)))
    assert read(wide).text.count("\n") == 0
    assert "and 4,601 more" in read(wide).text
    assert len(outline(wide)) < 200_000

    deep = outline(grown({"pid": 1}, *({"pid": 1 + i, "above": i} for i in range(1, 3000))))
    assert deep.count("<details") <= DEEPEST + 1
    assert "more" in deep


def test_a_tree_shows_itself() -> None:
    tree = grown({"pid": 1, "argv": ["ls"]})

    assert tree._repr_html_() == outline(tree)
