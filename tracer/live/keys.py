"""What a terminal sends when keys are pressed, as names: "q", "up", "pgdn", "enter", "esc", "space".

    keys = Keys(); keys.feed(data) -> ["up", "q"]; keys.idle() -> ["esc"] when nothing followed an escape

Whatever comes in pieces is put together; sequences that nobody knows are swallowed whole, so that a function key or a
report of the terminal's is never taken for letters. Pure.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_NAMED: Final = {
    "\r": "enter",
    "\n": "enter",
    " ": "space",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x03": "ctrl-c",
    "\x0c": "ctrl-l",
    "\x15": "ctrl-u",
}
_FINAL: Final = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_TILDE: Final = {"1": "home", "4": "end", "5": "pgup", "6": "pgdn", "7": "home", "8": "end"}
# CSI: parameters, intermediates, a final byte. SS3: one byte. OSC, DCS and the like: up to BEL or ST.
_SEQUENCE: Final = re.compile(
    r"\x1b(?:\[([0-?]*)[ -/]*([@-~])|O([ -~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|([^\[O\]PX^_\x1b]))"
)
_BEGUN: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O|[\]PX^_][^\x07\x1b]*\x1b?)?\Z")
_MOST: Final = 4096  # of a sequence that does not end


class Keys:
    """Feed it what was read, in order."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Names of the keys that are complete by now; a printable character is its own name."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        found: list[str] = []
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                name = _NAMED.get(text[at], text[at])
                if len(name) > 1 or name.isprintable():
                    found.append(name)
                at += 1
                continue
            match = _SEQUENCE.match(text, at)
            if match is not None:
                name = _name(match)
                found += [name] if name else []
                at = match.end()
            elif _BEGUN.match(text, at) and len(text) - at < _MOST:
                self._rest = text[at:]
                break
            else:
                found.append("esc")
                at += 1
        return found

    def idle(self) -> list[str]:
        """Nothing more came for a while: an escape that stands alone is the key of that name."""
        rest, self._rest = self._rest, ""
        return ["esc"] if rest == "\x1b" else []

    @property
    def waiting(self) -> bool:
        """Whether something has begun that is not complete."""
        return bool(self._rest)


def _name(match: re.Match[str]) -> str:
    parameters, final, single, _ = match.groups()
    if single is not None:
        return "enter" if single == "M" else _FINAL.get(single, "")
    if final == "~":
        return _TILDE.get((parameters or "").partition(";")[0], "")
    if final == "Z":
        return "backtab"
    return _FINAL.get(final or "", "")
