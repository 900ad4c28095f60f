"""`--live` of the bare command: when a screen is possible beside a program, and how it meets a session.

The last seconds are held in memory (recorder.py), so that `w` can save them; the whole is the keeper's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from tracer.errors import UsageError
from tracer.host import boot_clock

if TYPE_CHECKING:
    from tracer.capture.flight_recorder import Recorder
    from tracer.capture.session import Session
    from tracer.live import Live
    from tracer.model.batch import Batch
    from tracer.window.lineage import Life

_AT_ONCE: Final = 40  # processes asked of /proc per tick: 4 ms
_LATE_NS: Final = 300_000_000  # a source tells of things up to so long after they happened


def refuse(args: argparse.Namespace) -> None:
    """Raises UsageError where screen and program would share the terminal, or there is none to draw on."""
    if not args.live:
        return
    shared = [name for fd, name in enumerate(("input", "output", "errors")) if os.isatty(fd)]
    if args.program and shared:
        raise UsageError(
            f"--live and the program would share the terminal, which has its {', '.join(shared)}",
            "redirect all three, as in `forktrace --live -- PROGRAM </dev/null >log 2>&1`, or attach with -p",
        )
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise UsageError("--live needs a terminal that can move its cursor", "set TERM, or leave --live out")
    if not any(map(os.isatty, range(3))):
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            raise UsageError("there is no terminal for a live screen", "leave --live out") from None


class Beside:
    """A sink and a tick for a session that may have a screen. `say` goes there while it is shown."""

    def __init__(self, args: argparse.Namespace, say: Callable[[str], None]) -> None:
        self._args = args
        self._say = say
        self._live: Live | None = None
        self._asked = False
        self._nameless: Iterator[Life] | None = None
        self._recorder: Recorder | None = None
        self._stack = ExitStack()

    def say(self, line: str) -> None:
        """A line for the user."""
        if self._live is not None:
            self._live.say(line)
        else:
            self._say(line)

    def show(self, session: Session) -> Self:
        """The session has started. Use as a context manager."""
        if not self._args.live:
            return self
        from tracer.capture.flight_recorder import Recorder
        from tracer.capture.privileges import as_caller, open_output
        from tracer.live import Live
        from tracer.window.window import Window

        self._session = session
        if not session.plan.argv:  # who looks at a busy host must not starve; beside a program of ours we do not push
            from tracer.commands.priority import raised

            self._stack.enter_context(raised())
        self._recorder = Recorder(opener=open_output, as_caller=as_caller)
        window = Window(60, session.meta)
        live = Live(
            window,
            what=_what(session),
            stop=self._quit,
            save=self._save,
            color=self._args.color,
            ascii_only=self._args.ascii,
        )
        self._live = self._stack.enter_context(live)
        session.wakes = (self._live.fileno(),)
        session.before_stop = self._live.leave
        return self

    def _quit(self) -> None:
        """Where we attached q ends the watching; a program goes on, and only the screen goes."""
        if self._session.plan.argv:
            self._asked = True
        else:
            self._session.stop()

    def _save(self) -> str:
        """What is held goes into a file of its own, here. Raises CannotWriteError."""
        from tracer.capture.flight_recorder import fresh

        assert self._recorder is not None
        assert self._live is not None
        if self._recorder.path is None:
            path = fresh(".", "forktrace-live")
            self._recorder.begin(path, self._session.meta, self._live.window.standing)
            self._recorder.end()
        return self._recorder.path or "-"

    def _written(self, path: str | None) -> None:
        if path is None or self._recorder is None:
            return
        if self._recorder.failure is not None:
            self.say(str(self._recorder.failure))
        elif self._recorder.dropped:
            self.say(f"saved in {path}, but for {self._recorder.dropped:,} rows, which it counts as lost")
        else:
            self.say(f"saved: forktrace report {path}")

    def take(self, batch: Batch) -> None:
        """A sink. The keeper has had it before, and taken out of it what is not to be kept."""
        if self._live is not None:
            self._live.take(batch)
        if self._recorder is not None:
            self._recorder.take(batch)

    def before(self, tick: Callable[[], None]) -> Callable[[], None]:
        """`tick`, and then ours: after every look at the source."""
        if not self._args.live:
            return tick

        def both() -> None:
            tick()
            self._tick()

        return both

    def _tick(self) -> None:
        if self._live is None:
            return
        self._name()
        self._live.window.advance(boot_clock.now_ns() - _LATE_NS)
        if self._recorder is not None:
            self._written(self._recorder.tick())
        self._live.tick()
        if self._asked:
            self._close()

    def _name(self) -> None:
        """The commands of those that were there before us, by /proc, some at a time: they are no event."""
        from tracer.host import procfs

        assert self._live is not None
        window = self._live.window
        if self._nameless is None:
            self._nameless = iter([life for life in window.living() if life.command < 0])
        for life in islice(self._nameless, _AT_ONCE):
            process = procfs.read(life.pid)
            # The same pid may be another's by now; /proc tells births by the clock tick.
            if process is not None and process.argv and abs(process.born_ns - life.born_ns) <= 2 * procfs.NS_PER_TICK:
                window.tell(life.key, process.argv)

    def _close(self) -> None:
        self._finish()
        self._live = None
        self._stack.close()

    def _finish(self) -> None:
        """A file that is being written is written to its end."""
        recorder = self._recorder
        if recorder is not None:
            self._written(recorder.close())
            self._recorder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish()
        finally:
            self._live = None
            self._stack.__exit__(kind, error, trace)


def _what(session: Session) -> str:
    from tracer.reports.terminal import quoted

    plan = session.plan
    if plan.argv:
        what = " ".join(quoted(word[:60]) for word in plan.argv[:20])
    elif plan.pids:
        what = f"pid {', '.join(map(str, plan.pids))} and below"
    else:
        what = "whole host"
    return f"{what} · {session.meta.source}"
