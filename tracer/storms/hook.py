"""A command that is run with each finding on its standard input: no shell, no waiting, not too often.

    hook = Hook("/usr/local/bin/page --team ops"); hook.run(text); hook.tick(); hook.close()

The text is in a memory file, so that a command which does not read it holds nobody up. What it writes goes to stderr:
stdout is for findings, and a program reads it. Signals are as at our own start.
Knows nothing of findings.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tracer.capture.inheritance import IGNORED_BY_PYTHON, ignored
from tracer.capture.terminal import WATCHED
from tracer.errors import UsageError

EVERY_S: Final = 10.0
_AT_ONCE: Final = 4
_TOO_LONG_S: Final = 300.0


class Hook:
    """`say` is told what goes wrong. Raises UsageError for a command that is not there."""

    def __init__(
        self,
        command: str,
        *,
        every_s: float = EVERY_S,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as e:
            raise UsageError(f"--exec {command!r}: {str(e).lower()}", "quote it as for a shell") from None
        if not self._argv:
            raise UsageError("--exec needs a command", "give one, as in --exec 'logger -t storm'")
        if shutil.which(self._argv[0]) is None:
            raise UsageError(f"--exec: there is no program {self._argv[0]!r}", "give its full path")
        self._every_s = every_s
        self._say, self._clock = say, clock
        self.silent = False
        """Whether what it writes is thrown away."""
        self._running: dict[int, float] = {}
        self._next = float("-inf")
        self._waiting: str | None = None  # the newest that could not be told of yet
        self.skipped = 0
        """Texts that gave way to newer ones."""

    def run(self, text: str) -> None:
        """Start the command with `text`, now or as soon as it may be; a text that still waits gives way to this one."""
        if self._waiting is not None:
            self.skipped += 1
        self._waiting = text
        self.tick()

    def tick(self) -> None:
        """Starts what waits, sees who has ended."""
        self._reap()
        now = self._clock()
        if self._waiting is None or now < self._next or len(self._running) >= _AT_ONCE:
            return
        text, self._waiting = self._waiting, None
        self._next = now + self._every_s
        self._start(text, now)

    def _start(self, text: str, now: float) -> None:
        try:
            fd = os.memfd_create("forktrace-finding", os.MFD_CLOEXEC)
        except OSError as e:
            self._say(f"--exec could not be run: {(e.strerror or str(e)).lower()}")
            return
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(text.encode("utf-8", "surrogateescape") + b"\n")
            os.lseek(fd, 0, os.SEEK_SET)
            pid = os.posix_spawnp(
                self._argv[0],
                self._argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0), *self._outputs()],
                setsigmask=[],
                setsigdef=[*WATCHED, *IGNORED_BY_PYTHON - ignored(), signal.SIGTTOU, signal.SIGTSTP],
                setpgroup=0,
            )
            self._running[pid] = now
        except OSError as e:  # in a storm a fork may fail: that must not end us
            self._say(f"--exec could not be run: {(e.strerror or str(e)).lower()}")
        finally:
            os.close(fd)

    def _outputs(self) -> list[tuple[int, ...]]:
        if self.silent:
            null = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
            return [null, (os.POSIX_SPAWN_DUP2, 2, 1)]  # type: ignore[list-item]
        return [(os.POSIX_SPAWN_DUP2, 2, 1)]

    def _reap(self) -> None:
        now = self._clock()
        for pid, since in list(self._running.items()):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                del self._running[pid]
                continue
            if done:
                del self._running[pid]
                code = os.waitstatus_to_exitcode(status)
                if code:
                    self._say(f"--exec: {self._argv[0]} " + (f"ended with {code}" if code > 0 else f"died of {-code}"))
            elif now - since > _TOO_LONG_S:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """A text that waits is told now, however soon; nobody is waited for, nor killed."""
        if self._waiting is not None and len(self._running) < _AT_ONCE:
            text, self._waiting = self._waiting, None
            self._start(text, self._clock())
        self._reap()
