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


def spread(counts: Sequence[int], width: int) -> list[float | None]:
    """`counts` of equal stretches of time over `width` others: sums, or each one repeated where they are fewer."""
    n = len(counts)
    if n == 0 or width <= 0:
        return []
    if n < width:
        return [counts[i * n // width] for i in range(width)]
    edges = [i * n // width for i in range(width + 1)]
    return [sum(counts[a:b]) / (b - a) for a, b in pairwise(edges)]
