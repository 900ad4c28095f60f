"""Lines to a descriptor that may be slow: a terminal that was stopped, a pipe nobody reads. Never waits.

    outlet = Outlet(1); outlet.write(line); outlet.pump() now and then; outlet.close()

What does not go out at once waits, within a bound; beyond it lines that may be missed are left out and counted, and a
line says how many. The descriptor is not made non-blocking, as others share it: it is asked before each small write.
Knows nothing of what the lines say.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from typing import Final

from tracer.model.visible import visible

_BOUND: Final = 256 << 10
_PIECE: Final = 1024  # below PIPE_BUF: a pipe that is writable takes it whole
_PATIENCE_S: Final = 1.0


class Outlet:
    """Raises BrokenPipeError when the reader has left, OSError when the disk is full."""

    def __init__(self, fd: int, *, missed: str = "{n} lines were left out, as nobody read them") -> None:
        self._fd = fd
        self._tty = os.isatty(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._missed_words = missed
        self.missed = 0
        """Lines that were left out so far and not told of yet."""

    def write(self, line: str, *, important: bool = False) -> None:
        """A line, its newline is added. One that is not important may be left out."""
        if self._bytes > _BOUND and not important:
            self.missed += 1
            return
        if self.missed and self._bytes <= _BOUND:
            self._take(self._missed_words.format(n=f"{self.missed:,}"))
            self.missed = 0
        self._take(visible(line) if self._tty else line)
        self.pump()

    def _take(self, line: str) -> None:
        data = line.encode("utf-8", "surrogateescape") + b"\n"
        self._waiting.append(data)
        self._bytes += len(data)

    def pump(self) -> None:
        """As much as goes out without waiting."""
        while self._waiting and self._ready(0):
            data = self._waiting.popleft()
            done = os.write(self._fd, data[:_PIECE])
            self._bytes -= done
            if done < len(data):
                self._waiting.appendleft(data[done:])

    def _ready(self, timeout_ms: int) -> bool:
        events = self._poll.poll(timeout_ms)
        if events and events[0][1] & (select.POLLERR | select.POLLNVAL) and not events[0][1] & select.POLLOUT:
            raise BrokenPipeError
        return bool(events)

    def close(self) -> None:
        """What waits may take a second; the rest is left out."""
        until = time.monotonic() + _PATIENCE_S
        while self._waiting and time.monotonic() < until:
            if self._ready(50):
                self.pump()
