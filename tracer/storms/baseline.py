"""What is usual on a host, and from which rate of births on it is not: a robust level that one burst does not move.

The level is the median of the last minutes' seconds, its spread their median absolute deviation: half of the seconds
may be a storm before either moves. Until there are enough seconds the host's own average since boot stands in, and the
limit is higher. Knows numbers only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final

WARM_UP: Final = 15  # seconds
_HELD: Final = 300
_FLOOR: Final = 50.0  # births a second: nobody is called at night for fewer
_FLOOR_AT_FIRST: Final = 150.0
_CEILING_AT_FIRST: Final = 250.0  # the average since boot may itself be full of storms
_TIMES: Final = 4.0
_SPREADS: Final = 8.0
_NORMAL: Final = 1.4826  # a deviation's share of the standard deviation, were it normal


class Baseline:
    """`usual`: births a second since boot, where that is known."""

    def __init__(self, usual: float | None = None) -> None:
        self._usual = usual
        self._rates: deque[int] = deque()
        self._sorted: list[int] = []

    def feed(self, rate: int) -> None:
        """The rate of one more second."""
        if len(self._rates) >= _HELD:
            old = self._rates.popleft()
            del self._sorted[bisect_left(self._sorted, old)]
        self._rates.append(rate)
        insort(self._sorted, rate)

    @property
    def warm(self) -> bool:
        """Enough seconds were seen to know what is usual."""
        return len(self._rates) >= WARM_UP

    @property
    def level(self) -> float | None:
        """Births a second that are usual; None while that is not known."""
        if self.warm:
            return _middle(self._sorted)
        return self._usual

    @property
    def limit(self) -> float:
        """The rate from which on it is unusual."""
        if not self.warm:
            return min(max(_FLOOR_AT_FIRST, _TIMES * (self._usual or 0.0)), _CEILING_AT_FIRST)
        level = _middle(self._sorted)
        spread = _NORMAL * _middle(sorted(abs(rate - level) for rate in self._sorted))
        return max(_FLOOR, _TIMES * level, level + _SPREADS * spread)


def _middle(ordered: list[int] | list[float]) -> float:
    n = len(ordered)
    return float(ordered[n // 2]) if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
