"""What DOT and Mermaid have in common: a tree folded until it can be drawn, as boxes and lines.

    boxes(tree, most) -> [Box, ...]     parents first, in order of display

Folded as the report on the terminal is, and in its words: like siblings are one box, so are long chains, and what
there is no room for is a box that counts it. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tracer.analyses.folding import Line, Sort, fold
from tracer.analyses.sibling_keys import Folder
from tracer.analyses.tree_index import Shape
from tracer.reports.console.births import Births
from tracer.reports.console.rows import Row, Rows
from tracer.reports.console.spans import Span
from tracer.reports.terminal import Terminal
from tracer.reports.words import count
from tracer.tree.tree import ProcessTree

LABEL_MOST: Final = 60


class Box(NamedTuple):
    """`parent`: its place in the list, None for a root. `text`: lines, not yet escaped."""

    parent: int | None
    text: tuple[str, ...]
    processes: int
    how: str | None  # None: it only counts what is not drawn
    bad: bool = False


def boxes(tree: ProcessTree, most: int) -> list[Box]:
    """At most about `most`. What was there before and did nothing is left out, where the tree is large."""
    shape = Shape(tree)
    folder = Folder(tree, shape)
    rows = Rows(tree, shape, Births(tree), Terminal(width=2 * LABEL_MOST), commands=folder.commands)
    made: list[Box] = []
    above: list[int] = []  # at each depth, the last box
    for line in fold(tree, limit=most, folder=folder).lines:
        del above[line.depth :]
        made.append(_box(tree, line, rows.row(line), above[-1] if above else None))
        above.append(len(made) - 1)
    return made


def _box(tree: ProcessTree, line: Line, row: Row, parent: int | None) -> Box:
    if line.sort is Sort.MORE:
        return Box(parent, (_text(row.command),), line.processes, None)
    n = len(line.rows)
    first = _command(row.command)
    facts = [row.pid[0] if n == 1 else "", row.life, row.cow, row.exit[0], *(text for text, _ in row.marks)]
    said = " · ".join(fact for fact in facts if fact not in ("", "-"))
    text = (f"{count(n)} × {first}" if n > 1 else first, said) if said else (first,)
    return Box(parent, text, n, tree.value(line.rows[0], "how") or "", row.exit[1] == "bad")


def _text(spans: Iterable[Span]) -> str:
    return "".join(text for text, _ in spans)


def _command(spans: Iterable[Span]) -> str:
    """In the room there is; folders are the first to go."""
    whole = _text(spans)
    if len(whole) > LABEL_MOST:
        whole = _text((("…/" if style == "folder" else text), style) for text, style in spans)
    return whole if len(whole) <= LABEL_MOST else whole[: LABEL_MOST - 1] + "…"
