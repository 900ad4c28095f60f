"""A series as a line of small bars: one character a value, newest right; a gap where nothing was measured.

    sparks([1, 2, None, 8], 10, unicode=True) -> "      ▂▃ █"

The highest value in sight is a full bar, and anything above zero shows. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = ".:-=+*#@"
_NIL, _NIL_ASCII = "▁", "_"


def sparks(values: Sequence[float | None], width: int, *, unicode: bool = True, least: float = 1.0) -> str:
    """Exactly `width` characters. `least`: what a full bar stands for at least."""
    if width <= 0:
        return ""
    shown = list(values[-width:])
    top = max((value for value in shown if value is not None), default=0.0)
    top = max(top, least)
    return "".join([" " * (width - len(shown)), *(bar(value, top, unicode=unicode) for value in shown)])


def bar(value: float | None, top: float, *, unicode: bool = True) -> str:
    """One character."""
    if value is None:
        return " "
    bars = _BARS if unicode else _ASCII
    if value <= 0:
        return _NIL if unicode else _NIL_ASCII
    # Nothing is drawn by the lowest bar but zero: what happened once must be seen.
    return bars[min(len(bars) - 1, max(1, int(value / top * (len(bars) - 1) + 0.5)))]


def squeezed(values: Sequence[float | None], width: int) -> list[float | None]:
    """`values` in at most `width`, each the highest of those it stands for."""
    if len(values) <= width or width <= 0:
        return list(values)
    edges = [i * len(values) // width for i in range(width + 1)]
    return [max((v for v in values[a:b] if v is not None), default=None) for a, b in pairwise(edges)]
