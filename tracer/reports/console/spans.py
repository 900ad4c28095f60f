"""Spans, (text, style name) pairs that make up a line of the screen: fitting them, breaking them, trimming them.

Knows what is wide on a screen, and nothing of what the text is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracer.reports.terminal import Terminal, cells, cut

Span = tuple[str, str]
Spans = list[Span]

LABEL: Final = 9


def trimmed(spans: Spans) -> Spans:
    """Without the blanks at the end."""
    while spans and not spans[-1][0].strip():
        spans.pop()
    if spans:
        spans[-1] = (spans[-1][0].rstrip(), spans[-1][1])
    return spans


def fitted(spans: Sequence[Span], room: int, dots: str) -> Spans:
    """`spans` in at most `room` columns, ending in `dots` if something was left out."""
    if sum(cells(text) for text, _ in spans) <= room:
        return list(spans)
    if room <= len(dots):
        return [(dots[: max(0, room)], "dim")]
    result: Spans = []
    room -= len(dots)
    for text, style in spans:
        shown = cut(text, room, dots="")
        room -= cells(shown)
        result.append((shown, style))
        if len(shown) < len(text):
            break
    return [*result, (dots, "dim")]


def folderless(spans: Sequence[Span], room: int, dots: str) -> list[Span]:
    """`spans`, those of style `folder` cut to `…/` where all do not fit in `room` columns: they say least."""
    if sum(cells(text) for text, _ in spans) <= room:
        return list(spans)
    short = f"{dots}/"
    return [(short, style) if style == "folder" and len(text) > len(short) else (text, style) for text, style in spans]


def wrap(label: Span, chunks: Sequence[Sequence[Span]], terminal: Terminal, *, width: int = LABEL) -> list[Spans]:
    """`label  chunk · chunk`: a label in a column of its own, and a hanging indent.

    Broken between chunks; between words where one chunk is longer than a line. A label wider than `width` stands on
    a line of its own.
    """
    separator, dots = (" · ", "…") if terminal.unicode else (", ", "...")
    blank = (" " * (width + 4), "")
    room = left = max(16, terminal.width - width - 4 - len(separator.rstrip()))
    lines: list[Spans] = [[("  ", ""), (f"{label[0]:<{width}}  ", label[1])]]
    if len(label[0]) > width:
        lines.append([blank])
    for chunk in chunks:
        first = left == room
        needed = sum(cells(text) for text, _ in chunk) + (0 if first else len(separator))
        if needed <= left:
            lines[-1] += [*([] if first else [(separator, "dim")]), *chunk]
            left -= needed
            continue
        if not first:
            lines[-1].append((separator.rstrip(), "dim"))
            lines.append([blank])
            left = room
        for text, style in chunk:
            for word in _words(text):
                if cells(word.rstrip()) > left and left < room:
                    lines.append([blank])
                    left = room
                word = cut(word, room, dots=dots)
                lines[-1].append((word, style))
                left -= cells(word)
    return [trimmed(line) for line in lines]


def _words(text: str) -> list[str]:
    """Words, each with the blank behind it."""
    parts = text.split(" ")
    return [part + " " for part in parts[:-1]] + parts[-1:]
