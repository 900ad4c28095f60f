"""When to look at the sockets: at once while little happens, at intervals while much does.

An exec's words are only to be had while the program lives, so a lone event wakes the reader. In a storm every event
would: a look costs some 50 us, an event 2. So wake-ups are rationed, and past the ration a timer serves. One
descriptor stands for both; knows nothing of what is read.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from typing import Final

_PER_SECOND: Final = 500
_AT_ONCE: Final = 64
_LATER_NS: Final = 2_000_000
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
        self._tokens = float(_AT_ONCE)
        self._counted = time.monotonic()

    def fileno(self) -> int:
        """One descriptor for the socket and the timer."""
        return self._epoll.fileno()

    def woken(self) -> None:
        """Take back what made the descriptor readable."""
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer:
                with suppress(BlockingIOError):
                    os.read(fd, 8)
            else:
                self._tokens -= 1

    def rest(self, *, unfinished: bool) -> None:
        """Until the next event, or for 2 ms; `unfinished`: for 2 ms at most, whether anything comes or not."""
        now = time.monotonic()
        self._tokens = min(_AT_ONCE, self._tokens + (now - self._counted) * _PER_SECOND)
        self._counted = now
        if self._tokens >= 1:
            self._epoll.modify(self._socket, select.EPOLLIN | select.EPOLLONESHOT)
        if self._tokens < 1 or unfinished:
            _LIBC.timerfd_settime(self._timer, 0, struct.pack("=qqqq", 0, 0, 0, _LATER_NS), None)

    def close(self) -> None:
        """The two descriptors of its own. May be called twice."""
        self._epoll.close()
        if self._timer >= 0:
            os.close(self._timer)
            self._timer = -1
