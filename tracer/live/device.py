"""The terminal as a device: its own file description, an alternate screen, keys unbuffered, and all of it put back.

    with Device() as device: device.size(); device.write(data); device.read()

Never waits: what a slow terminal does not take at once waits in here, and `busy` says so. The terminal is opened
anew, as the descriptors that we were given are shared with others, and non-blocking is a property of what is shared.
In the background, and while stopped, nothing is drawn and nothing read. Knows bytes, not what they say.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self

from tracer.errors import UsageError

_ENTER: Final = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"  # alternate screen, no cursor, no wrapping
_LEAVE: Final = b"\x1b[0m\x1b[?2026l\x1b[?7h\x1b[?25h\x1b[?1049l"
_PATIENCE_S: Final = 0.5
_LFLAG, _CC = 3, 6


def why_not(stream_fd: int = 1) -> str | None:
    """Why no screen can be shown on that descriptor; None if one can."""
    if not os.isatty(stream_fd):
        return "the output is no terminal"
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return "the terminal can not move its cursor (TERM)"
    return None


class Device:
    """`path`: of the terminal; default: of one of our streams, or the controlling one. Raises UsageError without."""

    def __init__(self, path: str | None = None) -> None:
        self._fd = _open(path)
        self.shown = False
        """Whether the screen is ours now."""
        self.gone = False
        """The terminal was hung up."""
        self.fresh = True
        """The screen is blank: all is to be drawn. Whoever draws sets it back."""
        self._saved: list[Any] | None = None
        self._queue = bytearray()
        self._stop_handler: Any = None

    def fileno(self) -> int:
        """To wait for keys on."""
        return self._fd

    def __enter__(self) -> Self:
        # A program that we started stops us with it (target.py); only where Ctrl-Z is ours it is handled here.
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            self._stop_handler = signal.signal(signal.SIGTSTP, self._stop)
        try:
            self.look()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if self._stop_handler is not None:
            signal.signal(signal.SIGTSTP, self._stop_handler)
            self._stop_handler = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _stop(self, signo: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its terminal as it was, we get it back when we are in the foreground again."""
        self.leave()
        signal.raise_signal(signal.SIGSTOP)

    def look(self) -> bool:
        """Take the screen if it is there to be taken; whether it is ours."""
        try:
            ours = os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not the terminal of our session: nobody stops us for using it
            ours = True
        if ours and not self.shown and not self.gone:
            self._enter()
        elif not ours and self.shown:  # moved to the background without having been stopped by Ctrl-Z
            self.shown = False
            self._queue.clear()
        return self.shown

    def _enter(self) -> None:
        try:
            saved = termios.tcgetattr(self._fd)
            raw = [*saved[:_CC], [*saved[_CC]]]
            raw[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
            raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = b"\x01", b"\x00"
            # Not to wait for output that a stopped terminal never takes: TCSANOW.
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)
        except termios.error:
            self.gone = True
            return
        self._saved = saved
        self.shown = self.fresh = True
        self._queue.clear()
        self.write(_ENTER)

    def leave(self) -> None:
        """Give the terminal back as it was. May be called at any time, and twice."""
        if not self.shown:
            return
        self.shown = False
        self._finish()
        self._queue += _LEAVE
        until = time.monotonic() + _PATIENCE_S
        while self._queue and not self.gone and (left := until - time.monotonic()) > 0:
            select.select([], [self._fd], [], left)
            self.pump()
        self._queue.clear()
        if self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
                termios.tcflush(self._fd, termios.TCIFLUSH)

    def _finish(self) -> None:
        """Of a frame that is half out only what ends an escape sequence matters: CAN aborts one."""
        if self._queue:
            self._queue[:] = b"\x18"

    def size(self) -> tuple[int, int]:
        """(columns, rows) now."""
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            columns = rows = 0
        return columns or 80, rows or 24

    @property
    def busy(self) -> bool:
        """Whether the last frame is not out yet."""
        return bool(self._queue)

    def write(self, data: bytes) -> None:
        """Queue, and send what goes out at once."""
        self._queue += data
        self.pump()

    def pump(self) -> None:
        """Send what goes out without waiting."""
        while self._queue and not self.gone:
            try:
                sent = os.write(self._fd, self._queue[:4096])
            except BlockingIOError:
                return
            except OSError:  # EIO: hung up
                self.gone = True
                return
            del self._queue[:sent]

    def read(self) -> bytes:
        """Keys that were pressed; never waits."""
        if not self.shown:
            return b""
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.gone = True
        return data


def _open(path: str | None) -> int:
    for fd in (1, 0, 2, None):
        with contextlib.suppress(OSError):  # it is no terminal, or one of another container
            name = path or ("/dev/tty" if fd is None else os.ttyname(fd))
            return os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    raise UsageError("there is no terminal for a live screen", "leave --live out, or start it from a terminal")
