"""What DOT and Mermaid have in common: a tree folded until it can be drawn, as boxes and lines.

    boxes(tree, most) -> Boxes     .drawn: (number, parent's number or None, row, how many), parents first

Siblings that are alike and have no children are one box. When there are more boxes than `most`, those of the deepest
generations are left out first, and what is left out is counted at its parent. Knows no format.
"""

from __future__ import annotations

from typing import NamedTuple

from tracer.outline import below, command, folded
from tracer.reports.words import duration
from tracer.tree import ProcessTree

LABEL_MOST = 60


class Box(NamedTuple):
    """`times`: processes that it stands for; `hidden`: descendants that are not drawn."""

    number: int
    parent: int | None
    row: int
    times: int
    hidden: int


def boxes(tree: ProcessTree, most: int) -> list[Box]:
    """Generation by generation, so that what does not fit is what is deepest."""
    children = below(tree)
    made: list[Box] = []
    level: list[tuple[int | None, int]] = [(None, -1)]  # number of the box, its row
    while level:
        following: list[tuple[int | None, int]] = []
        for parent, row in level:
            for child, times in folded(tree, children, row):
                if len(made) >= most:
                    break
                made.append(Box(len(made), parent, child, times, 0))
                if child in children:
                    following.append((len(made) - 1, child))
        level = following
    if len(made) >= most:
        shown: dict[int, int] = {}
        for box in made:
            if box.parent is not None:
                shown[box.parent] = shown.get(box.parent, 0) + box.times
        made = [box._replace(hidden=len(children.get(box.row, ())) - shown.get(box.number, 0)) for box in made]
    return made


def lines(tree: ProcessTree, box: Box) -> list[str]:
    """The text of a box, not escaped: the command, then what is worth a line."""
    words = command(tree, box.row)
    first = words if len(words) <= LABEL_MOST else words[: LABEL_MOST - 1] + "…"
    said = [f"{box.times:,} × {first}" if box.times > 1 else first]
    value = tree.value
    facts = []
    if box.times == 1:
        facts.append(str(value(box.row, "pid")))
        born, end = value(box.row, "born_ns"), value(box.row, "exit_ns")
        if born is not None and end is not None:
            facts.append(duration(end - born))
    signal, code = value(box.row, "signal"), value(box.row, "exit_code")
    if signal is not None or code:
        facts.append(signal or f"exit {code}")
    if facts:
        said.append(" · ".join(facts))
    if box.hidden > 0:
        said.append(f"and {box.hidden:,} more")
    return said


def failed(tree: ProcessTree, row: int) -> bool:
    """Whether it ended badly, as far as is known."""
    return tree.value(row, "signal") is not None or bool(tree.value(row, "exit_code"))
