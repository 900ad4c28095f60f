"""Stamps of a log to one time in ns that never runs backwards in any task.

    epoch      as it stands (Unix time)
    wall       since the midnight before the first line: a jump back of more than 12 h is a midnight
    relative   the sum of the steps from line to line
    none       there are no times

A wall clock may be set. A step back is seen where one task's own stamps go back (lines of different tasks may stand
out of order: strace -z prints on return, with the time of the call); from there on time goes on from where it was.
Knows nothing of lines but their prefix.
"""

from __future__ import annotations

from typing import Final

from tracer.importers.strace.lexer import TIME_EPOCH, TIME_NONE, TIME_OF_DAY, TIME_RELATIVE, Prefix

NAMES: Final = {TIME_NONE: "none", TIME_OF_DAY: "wall", TIME_EPOCH: "epoch", TIME_RELATIVE: "relative"}
_HOUR: Final = 3_600_000_000_000
_DAY: Final = 24 * _HOUR
_MOST: Final = 8_000_000_000_000_000_000  # a sum of stamps stays in 64 bits


class Clock:
    """Time of one log. `kind` is that of the first stamp; stamps of another kind give no time."""

    def __init__(self, base: int = 0) -> None:
        """`base`: ns to add to each stamp, for a log that begins on a later day than another."""
        self.kind = TIME_NONE
        self.steps_back = 0
        self.mixed = False
        self.latest: int | None = None
        self.base = base

    def peek(self, prefix: Prefix) -> int | None:
        """Roughly the time of a line that may not be the next one: for comparing, not for keeping."""
        if prefix.clock != self.kind or self.kind in (TIME_NONE, TIME_RELATIVE):
            return None
        return prefix.ns + self.base

    def at(self, prefix: Prefix, task_ns: int | None) -> int | None:
        """The time of a line; `task_ns` is that of the task's line before. Call it once a line, in order."""
        if prefix.clock == TIME_NONE:
            return None
        if self.kind == TIME_NONE:
            self.kind = prefix.clock
        if prefix.clock != self.kind:
            self.mixed = True
            return None
        if self.kind == TIME_RELATIVE:
            self.latest = min((self.latest or 0) + (prefix.delta_ns or 0), _MOST)
            return self.latest
        return self.absolute(prefix.ns, task_ns)

    def absolute(self, stamp: int, task_ns: int | None) -> int:
        """The same for a stamp of the kind that the log has, which is wall or epoch."""
        ns = min(stamp + self.base, _MOST)
        latest = self.latest
        if latest is None:
            self.latest = ns
            return ns
        if self.kind == TIME_OF_DAY:
            if ns - latest < -12 * _HOUR:
                self.base += _DAY
                ns += _DAY
            elif ns - latest > 23 * _HOUR:
                # Back over midnight: a clock that was set, by less than an hour. Who idles for 23 h is mistaken for it.
                self.base -= _DAY
                ns -= _DAY
        if ns < latest:
            if task_ns is not None and ns < task_ns:
                self.steps_back += 1
                self.base += latest - ns
                return latest
            return ns
        self.latest = ns
        return ns
