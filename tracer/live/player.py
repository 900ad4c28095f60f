"""Plays a tape into a window: at its own pace or another, step by step, from wherever one likes.

    player = Player(tape, outline, meta); player.run(dt) ; player.work(0.05); player.window; player.at_ns

`run` says how much time has gone by; what is to be read for that is done by `work`, a little at a time, so that keys
are answered meanwhile. Backwards means from the beginning again: a window has no way back. Knows no clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from tracer.live.tape import Outline, Tape
from tracer.model.batch import Event
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind
from tracer.window.window import Window

SPEEDS: Final = (0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, float("inf"))
STEPS: Final = (Kind.FORK, Kind.EXEC, Kind.EXIT)
_PIECE_NS: Final = 250_000_000  # fed at once: within a batch the window takes births first
_NS: Final = 10**9


class Player:
    """`begin_ns` and `end_ns`: what is played; default: all of it."""

    def __init__(
        self,
        tape: Tape,
        outline: Outline,
        meta: Meta,
        *,
        begin_ns: int | None = None,
        end_ns: int | None = None,
        speed: float = 1.0,
        seconds: int = 60,
    ) -> None:
        self._tape = tape
        self._meta = meta
        self._seconds = seconds
        self.first_ns = outline.first_ns or 0
        self.begin_ns = self.first_ns if begin_ns is None else begin_ns
        last = outline.last_ns if outline.last_ns is not None else self.first_ns
        self.end_ns = last if end_ns is None else min(end_ns, last)
        self.speed = speed
        self.window = Window(seconds, meta)
        self.at_ns = self.first_ns
        """Up to where it has been played."""
        self.event: Event | None = None
        """Where a step has led to."""
        self.paused = False
        self._target = self.begin_ns
        self._seeking = self.begin_ns > self.first_ns
        self._wanted: Collection[Kind] = ()

    @property
    def seeking(self) -> bool:
        """Whether it is on its way to somewhere, whatever the speed."""
        return self._seeking or bool(self._wanted)

    @property
    def goal_ns(self) -> int:
        """Where it is going to, or is."""
        return self._target if self._seeking else self.at_ns

    @property
    def ended(self) -> bool:
        """Whether all that was to be played has been."""
        return self.at_ns >= self.end_ns and not self.seeking

    def run(self, seconds: float) -> None:
        """So much time has gone by."""
        if self.paused or self.seeking:
            return
        if self.speed == float("inf"):
            self._target = self.end_ns
        else:  # from where it is: who can not keep up plays slower, and does not run after
            self._target = min(self.end_ns, self.at_ns + round(seconds * self.speed * _NS))

    def seek(self, ns: int) -> None:
        """Go there. Before the beginning and behind the end it is they that are meant."""
        self._target = min(max(ns, self.begin_ns), self.end_ns)
        self._seeking, self._wanted, self.event = True, (), None
        if self._target < self.at_ns:
            self._tape.rewind()
            self.window = Window(self._seconds, self._meta)
            self.at_ns = self.first_ns

    def step(self, kinds: Collection[Kind] = STEPS) -> None:
        """Pause, and go on to the next of these."""
        self.paused = True
        if not self._seeking:
            self._target = self.at_ns
        if self._target < self.end_ns:
            self._wanted = tuple(kinds)

    def faster(self, by: int) -> None:
        """The next speed up, or down for -1."""
        at = min(range(len(SPEEDS)), key=lambda i: (abs(SPEEDS[i] - min(self.speed, 1e4)), i))
        if self.speed == float("inf"):
            at = len(SPEEDS) - 1
        self.speed = SPEEDS[min(max(at + by, 0), len(SPEEDS) - 1)]

    def work(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> bool:
        """Read and feed for about so long; whether there is more to do at once."""
        until = clock() + seconds
        while True:
            if self.at_ns < self._target or self._seeking:
                more = self._feed() or bool(self._wanted)
            elif self._wanted:
                more = self._search()
            else:
                return False
            if not more:
                return False
            if clock() >= until:
                return True

    def _feed(self) -> bool:
        self.event = None
        edge = min(self._target, self.at_ns + _PIECE_NS)
        batch = self._tape.until(edge)
        if batch is not None:
            self.window.feed(batch)
            return True
        coming = self._tape.next_ns()
        if coming is not None and coming > edge:  # over what is empty in one go
            edge = min(self._target, max(edge, coming - 1))
        elif coming is None:
            edge = self._target
        self.at_ns = max(self.at_ns, edge)
        self.window.advance(self.at_ns)
        if self.at_ns >= self._target:
            self._seeking = False
            return False
        return True

    def _search(self) -> bool:
        coming = self._tape.next_ns()
        if coming is None or coming > self.end_ns:
            self._wanted = ()
            self._target = self.at_ns = self.end_ns
            self.window.advance(self.at_ns)
            return False
        found = self._tape.find(self._wanted)
        if found is None:
            return True
        batch, event = found
        self.window.feed(batch)
        if self._tape.at_ns != NULL:
            self.at_ns = max(self.at_ns, self._tape.at_ns)
        self.window.advance(self.at_ns)
        if event is None:
            return True
        self.event, self._wanted, self._target = event, (), self.at_ns
        return False
