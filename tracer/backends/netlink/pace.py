"""When to look at the sockets: at once when somebody execs, else at intervals.

An exec's words are only to be had while the program lives. But a look at once costs 0.1 ms, and in a storm most of
the time would go into looking, in vain mostly. So such looks have an allowance of CPU time: a tenth of a core, and
the less the more programs begin; when it is used up a timer serves. One descriptor stands for both. Knows nothing of
what is read.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from typing import Final, Protocol

_SHARE: Final = 0.1
_MANY: Final = 1000.0  # programs a second; with twice as many the allowance is a quarter
_OVER_S: Final = 0.25  # what "a second" is averaged over
_MOST_S: Final = 0.02  # of allowance that can be saved up, and of debt
_SOON_NS: Final = 2_000_000
_LATER_NS: Final = 20_000_000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)  # timerfd is in Python's os only since 3.13


class Ringing(Protocol):
    """What wakes us."""

    def fileno(self) -> int:
        """Readable while it rings."""

    def silence(self) -> None:
        """Until it rings again."""


class Pace:
    """`fileno` is readable when it is time; then `woken`, read, and `rest`."""

    def __init__(self, bell: Ringing) -> None:
        self._bell = bell
        self._timer = int(_LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._epoll = select.epoll()
        self._epoll.register(bell.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        self._epoll.register(self._timer, select.EPOLLIN)
        self._left = _MOST_S
        self._counted = time.monotonic()
        self._began = 0.0
        self._rate = 0.0  # programs a second, lately

    def fileno(self) -> int:
        """One descriptor for the bell and the timer."""
        return self._epoll.fileno()

    def woken(self) -> None:
        """A look begins: take back what made the descriptor readable."""
        self._began = time.thread_time()
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer:
                with suppress(BlockingIOError):
                    os.read(fd, 8)
        self._bell.silence()  # before the sockets are read: who execs from now on rings anew

    def rest(self, *, execs: int, unfinished: bool) -> None:
        """The look is over: until the next exec, or for 20 ms if looking at once is not affordable.

        `execs` came to light. `unfinished`: for 2 ms at most.
        """
        now = time.monotonic()
        passed, self._counted = now - self._counted, now
        self._rate = self._rate * max(0.0, 1 - passed / _OVER_S) + execs / _OVER_S
        earned = passed * _SHARE * (_MANY / max(_MANY, self._rate)) ** 2
        used = time.thread_time() - self._began
        self._left = min(_MOST_S, max(-_MOST_S, self._left + earned - used))
        if self._left <= 0:
            self._epoll.modify(self._bell.fileno(), select.EPOLLONESHOT)  # it may not ring
            self._wake_in(_LATER_NS)
            return
        self._epoll.modify(self._bell.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        if unfinished:
            self._wake_in(_SOON_NS)

    def _wake_in(self, ns: int) -> None:
        _LIBC.timerfd_settime(self._timer, 0, struct.pack("=qqqq", 0, 0, 0, ns), None)

    def close(self) -> None:
        """The two descriptors of its own. May be called twice."""
        self._epoll.close()
        if self._timer >= 0:
            os.close(self._timer)
            self._timer = -1
