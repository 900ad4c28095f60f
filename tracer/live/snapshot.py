"""A window as it is at one moment: all that a screen may want to show of it, taken at once, so that it can be frozen.

    Taker(window).take(mode) -> Snapshot

What costs most, who is behind it all, is taken as seldom as its cost demands: looking must not take more than a small
share of the time, however much happens. Pure but for a clock. Knows no screen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracer.live.fork_rate_tree import Births, Branch, Order, busiest_first
from tracer.window.attribution import Group
from tracer.window.window import Window

SECTIONS: Final = ("ancestor", "template", "cgroup")
BACK_S: Final = 10
"""Seconds that groups and the tree look back, and the running one."""
_SHARE: Final = 0.02  # of the time, for looking
_NS: Final = 10**9
_SERIES: Final = ("forks", "execs", "exits", "failures", "alive", "zombies", "lost", "copies")


@dataclass
class Snapshot:
    """`series` per closed second; `groups` by section; `seconds`: what the counts in groups and tree are of."""

    now_ns: int = 0
    seconds: float = 1.0
    series: dict[str, list[int | None]] = field(default_factory=dict)
    groups: dict[str, list[Group]] = field(default_factory=dict)
    tree: list[Branch] = field(default_factory=list)
    left_out: int = 0  # branches
    own_cpu: Sequence[float | None] = ()
    alive: int | None = None  # right now
    zombies: int | None = None


class Taker:
    """Takes them of one window, which may be exchanged."""

    def __init__(self, window: Window, clock: Callable[[], float] = time.perf_counter) -> None:
        self.window = window
        self._clock = clock
        self._due = float("-inf")
        self._last = Snapshot()
        self.first_ns: int | None = None
        """When watching began; default: when it was first looked at."""
        self._for: tuple[str, Order] | None = None

    def forget(self) -> None:
        """Another window, or another time: nothing that was seen holds."""
        self._due = float("-inf")

    def take(self, mode: str, order: Order = busiest_first, own_cpu: Sequence[float | None] = ()) -> Snapshot:
        """How it is now. What is expensive may be a moment old; of the mode that is not shown it is not taken."""
        window = self.window
        if self.first_ns is None and window.now_ns:
            self.first_ns = window.now_ns
        series = {name: window.series(name) for name in _SERIES}
        now = Snapshot(window.now_ns, series=series, own_cpu=own_cpu, alive=window.lives.alive)
        now.zombies = None if not series["zombies"] or series["zombies"][-1] is None else window.lives.zombies
        began = self._clock()
        if began < self._due and self._for == (mode, order):
            last = self._last
            now.seconds, now.groups, now.tree, now.left_out = last.seconds, last.groups, last.tree, last.left_out
            return now
        second = window.now_ns // _NS
        now.seconds = self._looked_back()
        if mode == "tree":
            births = Births(window, range(second - BACK_S, second + 1))
            now.tree, now.left_out = births.lines(order=order)
        else:
            now.groups = {by: window.groups(by, BACK_S) for by in SECTIONS}
        self._for = (mode, order)
        self._last = now
        ended = self._clock()
        self._due = ended + (ended - began) / _SHARE
        return now

    def _looked_back(self) -> float:
        """Seconds that the counts are of; the first of all is counted as a whole one."""
        now = self.window.now_ns
        since = max(self.first_ns or 0, (now // _NS - BACK_S) * _NS)
        return max((now - since) / _NS, 1.0)
