"""Rows of spans onto a terminal: only the rows that changed are written, each as a whole.

    screen = Screen(color=True); screen.paint(frame, width, fresh=False) -> bytes

Knows escape sequences and what stands on the screen; knows no terminal device and nothing of what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tracer.model.visible import visible
from tracer.reports.console.spans import Spans
from tracer.reports.terminal import cells

# The sixteen colours are the user's own, and so are right on light and on dark. Quiet: most of it has none.
STYLES: Final = {
    "dim": "2",
    "bold": "1",
    "title": "1",
    "heading": "2",
    "key": "1",
    "spark": "36",
    "guide": "2",
    "ok": "32",
    "warn": "33",
    "bad": "31",
    "alarm": "1;31",
    "mark": "1;36",
    "selected": "7",
    "note": "33",
}
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # shown at once, by terminals that can; others ignore it


@dataclass
class Frame:
    """`rows`: from the top of the screen. `selected`: the one that is shown reversed."""

    rows: list[Spans] = field(default_factory=list)
    selected: int | None = None

    def text(self) -> str:
        """As it looks without colours."""
        return "".join("".join(text for text, _ in row).rstrip() + "\n" for row in self.rows)


class Screen:
    """What stands on one terminal."""

    def __init__(self, *, color: bool = True) -> None:
        self._color = color
        self._rows: list[str] = []
        self._size = (0, 0)

    def paint(self, frame: Frame, width: int, height: int, *, fresh: bool = False) -> bytes:
        """What to write so that the screen shows `frame`; empty if it does already."""
        rows = [self._row(row, width, i == frame.selected) for i, row in enumerate(frame.rows[:height])]
        rows += [""] * (height - len(rows))
        out: list[str] = []
        if fresh or self._size != (width, height):
            out.append("\x1b[0m\x1b[H\x1b[2J")
            self._rows = [""] * height
            self._size = (width, height)
        for i, (row, before) in enumerate(zip(rows, self._rows, strict=True)):
            if row != before:
                # Erased before and not after: behind a full row the cursor stands on its last character.
                out.append(f"\x1b[{i + 1};1H\x1b[K{row}")
        self._rows = rows
        if not out:
            return b""
        return (_BEGIN + "".join(out) + _END).encode("utf-8", "replace")

    def _row(self, spans: Sequence[tuple[str, str]], width: int, selected: bool) -> str:
        spans = [(visible(text), style) for text, style in spans]
        if not self._color:
            return "".join(text for text, _ in spans).rstrip()
        if selected:
            text = "".join(text for text, _ in spans)
            return f"\x1b[7m{text}{' ' * max(0, width - cells(text))}\x1b[0m"
        return "".join(
            f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style in STYLES and text.strip() else text for text, style in spans
        ).rstrip(" ")
