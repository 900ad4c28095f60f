"""A bar on stderr while something long is read: only on a terminal, and only once it has taken a while.

Knows positions and sizes, not what is read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO, Final

from tracer.reports.terminal import Terminal, cells, clean, cut, facts

PATIENCE_S: Final = 0.3
_EVERY_S: Final = 0.1
_BAR: Final = 24


class Progress:
    """Call it with position and size, in bytes; `close` takes the bar off the screen. A context manager, too."""

    def __init__(
        self,
        name: str,
        *,
        stream: IO[str] | None = None,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = terminal or facts(self._stream)
        self._name = clean(name, unicode=self._terminal.unicode)
        self._broken = False
        self._clock = clock
        self._due = clock() + PATIENCE_S
        self._drawn = False

    def __call__(self, position: int, size: int) -> None:
        """`position` bytes of `size` have been read; size 0 is unknown, and draws nothing."""
        if not self._terminal.tty or self._broken or size <= 0 or self._clock() < self._due:
            return
        self._due = self._clock() + _EVERY_S
        part = min(1.0, max(0.0, position / size))
        full, empty = "━─" if self._terminal.unicode else "#-"
        done = round(part * _BAR)
        figures = f" {full * done}{empty * (_BAR - done)} {part:4.0%}"
        dots = "…" if self._terminal.unicode else "..."
        name = cut(f"reading {self._name}", self._terminal.width - cells(figures) - 1, dots=dots)
        self._write(f"\r\x1b[2K{name}{figures}")
        self._drawn = True

    def close(self) -> None:
        """Leave no trace of it."""
        if self._drawn:
            self._write("\r\x1b[2K")
            self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # a bar is not worth an error
            self._broken = True
