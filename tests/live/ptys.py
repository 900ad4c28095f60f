"""A pseudo terminal that knows what it shows: press keys, wait until something stands on the screen.

    with Screen([...], width=80, height=24) as screen: screen.keys("t"); screen.shows("WHAT IS BEING BORN")

The emulator is pyte's. It has no alternate screen: whether that was entered and left is read from the bytes.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.terminals import DEADLINE_S, Terminal

FORKTRACE: Final = [sys.executable, "-m", "tracer"]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
KEYS: Final = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "pgup": "\x1b[5~",
    "pgdn": "\x1b[6~",
    "enter": "\r",
    "esc": "\x1b",
    "space": " ",
}


class Screen(Terminal):
    """`command` on a terminal of `width` x `height`."""

    def __init__(
        self, command: Sequence[str], *, width: int = 80, height: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        import pyte

        self.emulator: Any = pyte.Screen(width, height)
        self._stream: Any = pyte.ByteStream(self.emulator)
        self.raw = b""
        super().__init__(command, {"TERM": "xterm-256color", "COLUMNS": "", "NO_COLOR": "", **(env or {})})
        self.before = termios.tcgetattr(self.master)
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """As a user who pulls at the corner."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.emulator.resize(height, width)

    def press(self, *names: str) -> None:
        """Keys by name, or letters."""
        self.keys("".join(KEYS.get(name, name) for name in names))

    def text(self) -> str:
        """What stands there, once nothing more comes."""
        while self._read(0.02):
            pass
        return "\n".join(line.rstrip() for line in self.emulator.display)

    def _read(self, seconds: float) -> bool:
        """Bytes go to the emulator too."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.raw += data
        self.screen += data
        self._stream.feed(data)
        return bool(data)

    def until(self, what: str, condition: Callable[[str], bool]) -> str:
        """Wait until the screen is so."""
        end = time.monotonic() + DEADLINE_S
        while True:
            text = self.text()
            if condition(text):
                return text
            if self.process.poll() is not None and not self._read(0):
                assert condition(text), f"it ended with {self.process.returncode} before {what}:\n{text}"
            assert time.monotonic() < end, f"not within {DEADLINE_S} s: {what}\n{text}"

    def shows(self, *words: str) -> str:
        """Wait until all of these stand there."""
        return self.until(f"{words} on it", lambda text: all(word in text for word in words))

    def hides(self, word: str) -> str:
        """Wait until this does not."""
        return self.until(f"no {word!r} on it", lambda text: word not in text)

    def ends(self) -> int:
        """Wait for its end; the status, minus the signal."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.text()}"
            self._read(0.02)
        while self._read(0.05):
            pass
        return int(self.process.returncode)

    def assert_given_back(self) -> None:
        """Alternate screen left, cursor shown, lines wrapped, echo on: whatever has happened."""
        assert ENTER in self.raw, "the screen was never taken"
        for on, off in ((ENTER, LEAVE), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?7l", b"\x1b[?7h")):
            assert self.raw.rfind(off) > self.raw.rfind(on), f"{off!r} is missing at the end"
        now = termios.tcgetattr(self.master)
        assert now == self.before, "the modes of the line are not as they were"
