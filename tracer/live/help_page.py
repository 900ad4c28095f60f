"""The keys: a line at the bottom, and a page. Pure."""

from __future__ import annotations

import textwrap
from typing import Final

from tracer.live.head import Scene
from tracer.live.view import View
from tracer.reports.console.spans import Spans, fitted
from tracer.reports.terminal import Terminal, cells, clean

_PAGE: Final = (
    ("q", "leave"),
    ("space", "pause, and go on"),
    ("t", "the busiest, or the tree of what is being born"),
    ("arrows PgUp PgDn Home End", "choose a line"),
    ("enter", "all that is known of it; of what was left out, show it"),
    ("esc", "back"),
    ("/", "only what has this in its command, pid or control group"),
    ("s S", "sort by the next, the previous figure"),
    ("w", "save what the recorder holds, the seconds before now"),
    ("ctrl-l", "draw anew"),
)
_NOTES: Final = (
    "Rates on top are of the last whole second, in the lists of the last ten.",
    "- was not measured. LIFE is a median, good to a factor of 1.4.",
)


def footer(view: View, scene: Scene, terminal: Terminal, width: int) -> Spans:
    """The keys that fit; or what is being typed; or a message."""
    if view.typing:
        shown = clean(view.filter, unicode=terminal.unicode)
        return [(" /", "key"), (shown, ""), ("_", "mark"), ("  enter keeps it, esc does not", "dim")]
    if scene.message is not None:
        dots = "…" if terminal.unicode else "..."
        return fitted([(" " + clean(scene.message, unicode=terminal.unicode), "note")], width, dots)
    words = [
        ("q", "quit", True),
        *([("enter", "back", True)] if view.details else []),
        ("space", "go on" if view.paused else "pause", True),
        *scene.keys,
        ("t", "top" if view.mode == "tree" else "tree", True),
        ("s", f"by {view.sort}", True),
        ("/", f"filter: {clean(view.filter, unicode=terminal.unicode)}" if view.filter else "filter", True),
        ("w", "save", scene.can_save),
        *([] if view.details else [("enter", "more", True)]),
        ("?", "help", True),
    ]
    # What does not fit goes from the middle, so that help is always in sight.
    spans: Spans = []
    left = width - 1
    last = _key(*words[-1])
    room = left - _width(last)
    for word in words[:-1]:
        part = _key(*word)
        if _width(part) > room:
            continue
        room -= _width(part)
        spans += part
    return [(" ", ""), *spans, *last]


def _key(key: str, word: str, usable: bool) -> Spans:
    return [(key, "key" if usable else "dim"), (f" {word}  ", "dim")] if usable else [(f"({key} {word})  ", "dim")]


def _width(spans: Spans) -> int:
    return sum(cells(text) for text, _ in spans)


def page(scene: Scene, terminal: Terminal, width: int) -> list[Spans]:
    """What each key does."""
    keys = [each for each in (*_PAGE, *scene.help) if each[0] != "w" or scene.can_save]
    label = min(max(len(key) for key, _ in keys), max(8, width // 3))
    rows: list[Spans] = [[(" KEYS", "heading")]]
    for key, words in keys:
        told = textwrap.wrap(words, max(16, width - label - 6)) if len(key) <= label else []
        rows.append([("   ", ""), (f"{key:<{label}}", "key"), (f"  {told.pop(0)}" if told else "", "")])
        told = told if len(key) <= label else textwrap.wrap(words, max(16, width - label - 6))
        rows += [[(" " * (label + 5) + more, "")] for more in told]
    rows.append([])
    rows += [[(f"   {line}", "dim")] for note in _NOTES for line in textwrap.wrap(note, max(16, width - 4))]
    return rows
