"""Rows into columns: figures left, the tree and its commands right, everything within the width.

    layout = Layout(rows, terminal)
    layout.heading(), layout.lines(row)     lists of spans, one for each line of the screen

A column in which no row has anything to say is not drawn. Where the command would get too little room, columns go:
what was copied first, then how, then what the figures are. Knows no tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tracer.reports.console.rows import Row
from tracer.reports.console.spans import Span, Spans, fitted, folderless, trimmed
from tracer.reports.terminal import Terminal, cells, cut

_COMMAND_LEAST: Final = 26
_WIDE: Final = 80  # from here on a level of the tree takes three columns
_MARKS_MOST: Final = 0.45  # of the command's room
_GUIDES_MOST: Final = 0.5
_EXIT_MOST: Final = 24


class _Column(NamedTuple):
    """A figure: its heading, the attribute of Row, whether it stands right, and how early it goes (0: never)."""

    heading: str
    name: str
    right: bool
    goes: int


_COLUMNS: Final = (
    _Column("PID", "pid", True, 0),
    _Column("HOW", "how", False, 2),
    _Column("BORN", "born", True, 0),
    _Column("LIFE", "life", True, 3),
    _Column("COW", "cow", True, 1),
    _Column("EXIT", "exit", False, 0),
)


class Layout:
    """Widths found from `sample` (all rows, if they are few); then any row becomes a line."""

    def __init__(self, sample: Iterable[Row], terminal: Terminal, *, times: bool = False) -> None:
        self._dots = "…" if terminal.unicode else "..."
        self._unicode = terminal.unicode
        widths = dict.fromkeys((column.name for column in _COLUMNS), 0)
        for row in sample:
            for each in (row, *row.threads):
                for name in widths:
                    widths[name] = max(widths[name], cells(_text(each, name)[0]))
        widths["exit"] = min(widths["exit"], _EXIT_MOST)
        if not times:
            widths["born"] = 0
        if widths["cow"] == 1:  # nothing but dashes
            widths["cow"] = 0
        columns = [column for column in _COLUMNS if widths[column.name]]
        while True:
            self._columns = [(c, max(widths[c.name], len(c.heading))) for c in columns]
            self._room = terminal.width - sum(width + 2 for _, width in self._columns) - 1
            going = [c for c in columns if c.goes]
            if self._room >= _COMMAND_LEAST or not going:
                break
            columns.remove(min(going, key=lambda c: c.goes))
        self._room = max(8, self._room)
        self._step = 3 if terminal.width >= _WIDE else 2
        self._guides = max(2, int(self._room * _GUIDES_MOST) // self._step)

    def heading(self) -> Spans:
        """The names of the columns."""
        parts = [f"{c.heading:>{w}}" if c.right else f"{c.heading:<{w}}" for c, w in self._columns]
        return [(" " + "  ".join([*parts, "COMMAND"]), "heading")]

    def lines(self, row: Row) -> Iterator[Spans]:
        """The row, and those of its threads."""
        spans: Spans = [(" ", "")]
        for column, width in self._columns:
            text, style = _text(row, column.name)
            text = cut(text, width, dots=self._dots)
            pad = " " * (width - cells(text))
            spans += [(pad, ""), (text, style), ("  ", "")] if column.right else [(text, style), (pad + "  ", "")]
        guides = self._drawn(row.line.guides, row.line.depth)
        spans.append((guides, "guide"))
        spans += self._command(row, self._room - cells(guides))
        yield trimmed(spans)
        for thread in row.threads:
            yield from self.lines(thread)

    def _drawn(self, guides: Sequence[bool], depth: int) -> str:
        """The lines of the tree before a command; the nearest levels only where there are too many."""
        if not guides:
            return ""
        tee, corner, bar, dash, dots = "├└│─⋯" if self._unicode else "+`|-~"
        fill = self._step - 2
        drawn = [(bar if more else " ") + " " * (fill + 1) for more in guides[:-1]]
        drawn.append((tee if guides[-1] else corner) + dash * fill + (" " if self._step > 1 else ""))
        if depth > self._guides:
            where = f"{dots}{depth - self._guides + 1} "
            return where + "".join(drawn[-(self._guides - 1) :])
        return "".join(drawn)

    def _command(self, row: Row, room: int) -> Spans:
        """The command in the room that the marks leave, the marks behind it. Folders are the first to go."""
        room = max(room, 4)
        marks = "  ".join(text for text, _ in row.marks)
        command = list(row.command)
        width = sum(cells(text) for text, _ in command)
        whole = cells(marks) + 2 if marks else 0
        if width + whole > room:
            command = folderless(command, room - whole, self._dots)
            width = sum(cells(text) for text, _ in command)
        for_marks = whole if width + whole <= room else min(whole, max(room - width, int(room * _MARKS_MOST)))
        spans = fitted(command, room - for_marks, self._dots)
        left = for_marks
        for text, style in row.marks:
            if left <= 3:
                break
            shown = cut(text, left - 2, dots=self._dots)
            spans += [("  ", ""), (shown, style)]
            left -= cells(shown) + 2
        return spans


def _text(row: Row, name: str) -> Span:
    value = getattr(row, name)
    if isinstance(value, tuple):
        return value[0], value[1]
    return value, "dim" if name in ("how", "born", "cow") or value == "-" else ""
