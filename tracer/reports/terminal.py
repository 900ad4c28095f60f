"""What the terminal can do, found once; and text from outside made harmless and measured for it.

    facts(stream, ...)    -> Terminal: tty, width, color, unicode. Everything else takes this as an argument
    clean(text)           escapes whatever could move the cursor, style the text or hide in it
    quoted(word)          a word as a shell would take it, clean
    cells(text), cut(text, width)    measured in columns of the screen, CJK and emoji being two

One rule for escapes, so that they can be read back: \\xNN is a byte (a control character, or one that was not UTF-8),
\\uNNNN and \\UNNNNNNNN a code point. Rich markup needs no escape: reports print segments, which are never parsed.
Knows no report.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import IO, Final

from tracer.model.frozen import record
from tracer.model.visible import escaped

PIPE_WIDTH: Final = 100
_NARROWEST: Final = 40

_SAFE_WORD: Final = re.compile(r"[\w@%+=:,./^-]+\Z")
_COMBINING_MOST: Final = 3
_NARROW: Final = str.maketrans(dict.fromkeys("…·×µ→←›⋯─│├└━▁▂▃▄▅▆▇█⁰¹²³⁴⁵⁶⁷⁸⁹", " "))
"""What reports write beyond ASCII, a column each: rich, that knows all others, takes 3 ms to import."""


@record
class Terminal:
    """`width` in columns; `color`: escape sequences may be written; `unicode`: more than ASCII may."""

    tty: bool = False
    width: int = PIPE_WIDTH
    color: bool = False
    unicode: bool = True


def facts(
    stream: IO[str] | None,
    *,
    color: str = "auto",
    ascii_only: bool = False,
    width: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Terminal:
    """Find them for `stream`, None being a closed one.

    `color` is auto, always or never; auto is a terminal, and obeys NO_COLOR and TERM=dumb.
    """
    env = os.environ if env is None else env
    tty = _is_tty(stream)
    if color == "auto":
        coloured = tty and not env.get("NO_COLOR") and env.get("TERM", "") not in ("dumb", "unknown")
    else:
        coloured = color == "always"
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
    return Terminal(
        tty=tty,
        width=max(_NARROWEST, width or (_columns(stream, env) if tty else PIPE_WIDTH)),
        color=coloured,
        unicode=not ascii_only and encoding in ("utf-8", "utf8"),
    )


def _is_tty(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it was closed
        return False


def _columns(stream: IO[str] | None, env: Mapping[str, str]) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
    except (OSError, ValueError):
        columns = 0
    if columns:
        return columns
    word = env.get("COLUMNS", "")  # a pseudo terminal that nobody told its size
    return int(word) if word.isascii() and word.isdigit() and int(word) else PIPE_WIDTH


def clean(text: str, *, unicode: bool = True) -> str:
    """`text` with everything escaped that is not a visible character or a plain space."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(text, unicode=unicode))


def _escaped(text: str, *, unicode: bool) -> list[str]:
    out: list[str] = []
    combining = _COMBINING_MOST  # one at the beginning would sit on what stands before the text
    for char in text:
        if char.isprintable() and (unicode or char.isascii()):
            if char > "\u02ff" and cells(char) == 0:
                combining += 1
                out.append(char if combining <= _COMBINING_MOST else escaped(char))
            else:
                combining = 0
                out.append(char)
        else:
            combining = 0
            out.append(escaped(char))
    return out


def quoted(word: str, *, unicode: bool = True) -> str:
    """`word` so that bash would read the same bytes back; $'...' where something had to be escaped."""
    if _SAFE_WORD.match(word) and (word.isascii() or (unicode and word.isprintable())):
        return clean(word, unicode=unicode)
    harmless = clean(word, unicode=unicode)
    if harmless != word:
        body = word.replace("\\", "\\\\").replace("'", "\\'")
        return f"$'{clean(body, unicode=unicode)}'"
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return "'" + word.replace("'", "'\\''") + "'"


def cells(text: str) -> int:
    """Columns that clean `text` takes."""
    if text.isascii() or text.translate(_NARROW).isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, *, dots: str = "…") -> str:
    """Clean `text` in at most `width` columns, ending in `dots` if something was left out. Never half a character."""
    if width <= 0:
        return ""
    # No character is wider than two columns, and clean() lets few have none: most of 2 MiB need not be measured.
    part = text[: width * (_COMBINING_MOST + 1) + 1]
    if len(part) == len(text) and cells(text) <= width:
        return text
    room = width - len(dots)
    if room <= 0:
        return dots[:width]
    if part.isascii():
        return part[:room] + dots
    from rich.cells import set_cell_size

    if cells(part) > room:
        part = set_cell_size(part, room).rstrip()
    return part + dots
