"""When to look at the sockets: at once while little happens, at intervals while much does.

An exec's words are only to be had while the program lives, so a lone event wakes the reader. In a storm every event
would, and most of the time would go into looking. So looks have an allowance of CPU time, a twentieth of a core; when
it is used up, or haste is of no use, a timer serves. One descriptor stands for both. Knows nothing of what is read.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from typing import Final

_SHARE: Final = 0.05
_MOST_S: Final = 0.02  # of allowance that can be saved up, and of debt
_MOST_RESTS: Final = 8
_SOON_NS: Final = 2_000_000
_LATER_NS: Final = 20_000_000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)  # timerfd is in Python's os only since 3.13


class Pace:
    """`fileno` is readable when it is time; then `woken`, read, and `rest`."""

    def __init__(self, socket: int) -> None:
        self._socket = socket
        self._timer = int(_LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._epoll = select.epoll()
        self._epoll.register(socket, select.EPOLLIN | select.EPOLLONESHOT)
        self._epoll.register(self._timer, select.EPOLLIN)
        self._left = _MOST_S
        self._counted = time.monotonic()
        self._began = 0.0
        self._rests = self._vain = 0  # rests still to come; how many there were after the last vain haste

    def fileno(self) -> int:
        """One descriptor for the socket and the timer."""
        return self._epoll.fileno()

    def woken(self) -> None:
        """A look begins: take back what made the descriptor readable."""
        self._began = time.thread_time()
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer:
                with suppress(BlockingIOError):
                    os.read(fd, 8)

    def rest(self, *, haste: bool, unfinished: bool) -> None:
        """The look is over: until the next event, or for 20 ms if it came too late to be of use (`haste` False).

        Haste is tried anew after one such rest, then after two, four, at most eight. `unfinished`: for 2 ms, come
        something or not.
        """
        now = time.monotonic()
        earned = (now - self._counted) * _SHARE - (time.thread_time() - self._began)
        self._left = min(_MOST_S, max(-_MOST_S, self._left + earned))
        self._counted = now
        if self._rests:
            self._rests -= 1
        elif haste:
            self._vain = 0
        else:
            self._rests = self._vain = min(2 * self._vain or 1, _MOST_RESTS)
        if self._rests or self._left <= 0:
            self._wake_in(_LATER_NS)
            return
        self._epoll.modify(self._socket, select.EPOLLIN | select.EPOLLONESHOT)
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
