"""What a user has set on the screen, and what a key does to it. Pure: no terminal, no window.

    view = View(); act = view.press("t")      an Act for what is not the view's own: quit, save, pause, or a player's

What can be selected is what the last frame showed (`items`); a selection stays with its process or command when rows
change places.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

SORTS: Final = ("forks", "execs", "exits", "failed", "alive", "zombies", "name")
_FILTER_MOST: Final = 200
_UNDO: Final = ("details", "help")


class Act(enum.Enum):
    """What a key asks of who runs the screen."""

    QUIT = "quit"
    SAVE = "save"
    PAUSE = "pause"
    REDRAW = "redraw"
    OTHER = "other"  # a key that is not the view's


@dataclass
class View:
    """`selected`: one of `items`, or None for the first; `top`: the first line of the list in sight."""

    mode: str = "top"
    sort: str = "forks"
    filter: str = ""
    typing: bool = False
    paused: bool = False
    details: bool = False
    help: bool = False
    selected: Hashable = None
    top: int = 0
    page: int = 10
    expanded: set[str] = field(default_factory=set)
    items: Sequence[Hashable] = ()
    _before: str = ""  # the filter as it was before it was edited

    def press(self, key: str) -> Act | None:
        """Do what the key means. Returns what is for others to do."""
        if key == "ctrl-l":
            return Act.REDRAW
        if self.typing:
            self._type(key)
            return None
        if key in ("q", "Q"):
            return Act.QUIT
        if key in ("?", "h", "H"):
            self.help = not self.help
        elif key in ("esc", "backspace"):
            self._back()
        elif self.help and key in ("enter", "space"):
            self.help = False
        elif key == "space":
            self.paused = not self.paused
            return Act.PAUSE
        elif key in ("w", "W"):
            return Act.SAVE
        elif key in ("t", "T", "tab"):
            self.mode = "tree" if self.mode == "top" else "top"
            self.selected, self.top, self.details, self.help = None, 0, False, False
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "S":
            self.sort = SORTS[SORTS.index(self.sort) - 1]
        elif key == "/":
            self.typing, self._before = True, self.filter
            self.details = self.help = False
        elif key == "enter":
            self._enter()
        elif key in ("up", "down", "pgup", "pgdn", "home", "end", "k", "j"):
            self._move(key)
        else:
            return Act.OTHER
        return None

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "esc":
            self.typing, self.filter = False, self._before
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif key == "ctrl-u":
            self.filter = ""
        elif key in ("up", "down", "pgup", "pgdn"):
            self._move(key)
        elif len(key) == 1 or key == "space":
            self.filter = (self.filter + (" " if key == "space" else key))[:_FILTER_MOST]

    def _back(self) -> None:
        """One thing less each time: help, details, what was expanded, the filter."""
        if self.help:
            self.help = False
        elif self.details:
            self.details = False
        elif self.expanded:
            self.expanded.clear()
        else:
            self.filter = ""

    def _enter(self) -> None:
        chosen = self.chosen()
        if isinstance(chosen, tuple) and chosen and chosen[0] == "more":
            self.expanded ^= {str(chosen[1])}
        elif chosen is not None or self.details:
            self.details = not self.details

    def _move(self, key: str) -> None:
        if self.details or not self.items:
            return
        by = {"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -self.page, "pgdn": self.page}.get(key, 0)
        at = 0 if key == "home" else len(self.items) - 1 if key == "end" else self.index() + by
        self.selected = self.items[min(max(at, 0), len(self.items) - 1)]

    def index(self) -> int:
        """Where the selection is among `items`; the first where it is gone."""
        try:
            return self.items.index(self.selected)
        except ValueError:
            return 0

    def chosen(self) -> Hashable:
        """The item that is selected; None where there is none."""
        return self.items[self.index()] if self.items else None

    def now_shown(self, items: Sequence[Hashable]) -> None:
        """Called with each frame. A selection that has gone moves to what is in its place now."""
        if self.selected is not None and self.selected not in items and items:
            self.selected = items[min(self.index(), len(items) - 1)]
        self.items = items

    def matches(self, *texts: str | None) -> bool:
        """Whether one of them has the filter in it, in whatever case."""
        if not self.filter:
            return True
        wanted = self.filter.casefold()
        return any(text is not None and wanted in text.casefold() for text in texts)
