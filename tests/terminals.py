"""A pseudo terminal with a program on it, for tests of job control: press keys, wait for what it shows."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

DEADLINE_S = 20.0


def wait_until(what: str, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
    """Look every few ms until `condition` holds; AssertionError with `what` after the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        select.select([], [], [], 0.005)


def state(pid: int) -> str:
    """One letter from /proc (R S D T t Z), or "" when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return chr(f.read().rpartition(b")")[2].split()[0][0])
    except OSError:
        return ""


class Terminal:
    """`command` as a session leader with a pseudo terminal of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.master, slave = os.openpty()
        self.screen = b""

        def own_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=own_terminal,
        )
        os.close(slave)

    def keys(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = DEADLINE_S) -> str:
        """Wait until `text` is shown after what was expected before; returns what came up to its end."""
        wanted = text.encode()
        end = time.monotonic() + seconds
        while wanted not in self.screen:
            left = end - time.monotonic()
            assert left > 0 and self._read(left), f"{text!r} did not come; the screen: {self.screen!r}"
        before, _, self.screen = self.screen.partition(wanted)
        return (before + wanted).decode(errors="replace")

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.screen += data
        return bool(data)

    def foreground(self) -> int:
        """The terminal's foreground process group."""
        return os.tcgetpgrp(self.master)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            group = self.foreground()
            if group > 0:  # 0: the session has ended; it would mean our own group
                os.killpg(group, signal.SIGKILL)
        self.process.kill()
        self.process.wait(DEADLINE_S)
        os.close(self.master)


class Shell(Terminal):
    """An interactive bash with job control; `run` types a line, `prompt` waits for the next prompt.

    `prefix` is a command that execs it, as another user, say.
    """

    PROMPT = "@ready@"

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        super().__init__([*prefix, *bash], {"TERM": "dumb"})
        self.keys("PS1=@rea'dy@'; stty -echo\n")
        self.expect(self.PROMPT)

    def run(self, line: str) -> None:
        self.keys(line + "\n")

    def prompt(self) -> str:
        return self.expect(self.PROMPT)
