"""The live screen: what a window knows, ten times a second, on a terminal that is given back whatever happens.

    with Live(window, what="whole host", stop=session.stop, save=watch.save, own_cpu=lambda: watch.own_cpu) as live:
        session.wakes = (live.fileno(),)            a key is seen at once
        session.before_stop = live.leave            only where a program of ours may be stopped
        session.run(watch.take, tick=live.tick)     after `watch.tick()`, in the same function

    live.take(batch)                    feeds the window; only for who does not feed it otherwise
    live.found("storm: ...", "bad")     one line on top, until found(None); severity bad, warn or note
    live.say("...")                     a line for the user: shown for some seconds, and on stderr at the end
    possible(1)                         None, or why there can be no screen on that descriptor

`tick` costs next to nothing when it is too early to draw, never waits for the terminal, and raises nothing; q calls
`stop`. `save()` returns the path that is written; its ForktraceError is shown. A Meta that changes (facts that come
later) is the window's own: nothing is to be told here.

    window -> Taker -> Snapshot -> Model (and View) -> Frame -> Screen -> Device
              snapshot.py, births.py   model.py and its neighbours, pure    screen.py, device.py, keys.py

Stands between reports, whose words it uses, and commands.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from tracer.errors import ForktraceError
from tracer.live.device import Device
from tracer.live.device import why_not as possible
from tracer.live.head import Scene
from tracer.live.keys import Keys
from tracer.live.model import ORDERS, Model
from tracer.live.screen import Screen
from tracer.live.snapshot import BACK_S, Snapshot, Taker
from tracer.live.view import Act
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.visible import write
from tracer.reports.console.storm import clock
from tracer.reports.terminal import Terminal, clean, facts
from tracer.window.attribution import Group, templates_below
from tracer.window.window import Window

__all__ = ["Live", "possible"]

FRAME_S: Final = 0.1
_MESSAGE_S: Final = 6.0
_SAID_MOST: Final = 200
_NS: Final = 10**9
_FACTS: Final = (
    ("failures", {Fact.FORK_FAILED}),
    ("zombies", {Fact.ZOMBIES}),
    ("copies", {Fact.COW}),
    ("cpu", {Fact.CPU, Fact.REAPS}),
    ("tables", {Fact.FORK_COST}),
)


class Live:
    """A context manager: the terminal is ours inside. Raises UsageError where there is none.

    `save`: writes what the recorder holds and returns the path; None: there is no recorder. `own_cpu`: share of one
    core of late; default: measured here. `device`: for tests.
    """

    def __init__(
        self,
        window: Window,
        *,
        what: str = "",
        stop: Callable[[], None] = lambda: None,
        save: Callable[[], str | None] | None = None,
        own_cpu: Callable[[], float | None] | None = None,
        color: str = "auto",
        ascii_only: bool = False,
        device: Device | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device or Device()
        self.terminal = _facts(self._device, color, ascii_only)
        self.model = Model(self.terminal)
        self.scene = Scene(what=what, can_save=save is not None)
        self.taker = Taker(window)
        self.model.commands = self._commands
        self._screen = Screen(color=self.terminal.color)
        self._keys = Keys()
        self._stop, self._save = stop, save
        self._own = _Own(own_cpu)
        self._now = now
        self._due = float("-inf")
        self._message_until = float("-inf")
        self._snapshot: Snapshot | None = None
        self._escaped = float("-inf")
        self._said: deque[str] = deque(maxlen=_SAID_MOST)
        self._pressed = False

    @property
    def window(self) -> Window:
        """What is shown. It may be exchanged for another."""
        return self.taker.window

    @window.setter
    def window(self, window: Window) -> None:
        self.taker.window = window
        self.taker.forget()

    def fileno(self) -> int:
        """Readable when a key was pressed: then `tick`."""
        return self._device.fileno()

    def take(self, batch: Batch) -> None:
        """A sink that feeds the window."""
        self.window.feed(batch)

    def found(self, line: str | None, severity: str = "bad") -> None:
        """The line on top."""
        self.scene.finding, self.scene.severity = line, severity
        self._due = float("-inf")

    def say(self, line: str) -> None:
        """For the user's eye: now on the screen, later on stderr, as the screen is gone then."""
        self._said.append(line)
        self.message(line)

    def message(self, line: str) -> None:
        """On the screen alone."""
        self.scene.message = line
        self._message_until = self._now() + _MESSAGE_S
        self._due = float("-inf")

    def leave(self) -> None:
        """Give the terminal back for now; `tick` takes it again when we are in its foreground."""
        self._device.leave()

    def tick(self) -> None:
        """Keys, and a frame if it is time for one. Call it as often as convenient."""
        now = self._now()
        self._own.look(now)
        shown = self._device.look()
        keys = self._read(now) if shown else []
        if self._device.gone:
            self._stop()
            return
        if not shown:
            return
        for key in keys:
            self.press(key)
        if self._device.busy:
            self._device.pump()
        if self._device.busy or (now < self._due and not self._pressed and not self._device.fresh):
            return  # a slow terminal gets fewer frames, and the newest
        self.draw(now)

    def _read(self, now: float) -> list[str]:
        data = self._device.read()
        if data:
            self._escaped = now
            return self._keys.feed(data)
        if self._keys.waiting and now - self._escaped >= FRAME_S / 2:
            return self._keys.idle()
        return []

    def press(self, key: str) -> None:
        """Do what a key means."""
        self._pressed = True
        act = self.model.view.press(key)
        if act is Act.QUIT:
            self._stop()
        elif act is Act.REDRAW:
            self._device.fresh = True
        elif act is Act.SAVE:
            self._save_now()
        elif act is Act.PAUSE:
            self.paused(self.model.view.paused)
        elif act is Act.OTHER:
            self.other(key)

    def paused(self, paused: bool) -> None:
        """The screen stands still, what is watched goes on. A player does it otherwise."""

    def other(self, key: str) -> None:
        """A key that is not the screen's own. A player has some."""

    def _save_now(self) -> None:
        if self._save is None:
            self.message("there is no recorder here, and nothing to save: `forktrace storm` has one, -o keeps all")
            return
        try:
            path = self._save()
        except ForktraceError as e:
            self.say(str(e))
            return
        if path is not None:
            self.message(f"the seconds before now go into {path}")

    def draw(self, now: float) -> None:
        """A frame."""
        self._due = now + FRAME_S
        self._pressed = False
        view, scene, window = self.model.view, self.scene, self.window
        if scene.message is not None and now >= self._message_until:
            scene.message = None
        if self._snapshot is None or not self._frozen():
            self.model.blind = frozenset(name for name, wanted in _FACTS if not wanted <= window.meta.facts)
            self._snapshot = self.taker.take(view.mode, ORDERS[view.sort], list(self._own.series))
        elif self._lacks(self._snapshot):
            self._snapshot = self.taker.take(view.mode, ORDERS[view.sort], list(self._own.series))
        self.describe(self._snapshot)
        width, height = self._device.size()
        frame = self.model.frame(self._snapshot, scene, width, height)
        fresh, self._device.fresh = self._device.fresh, False
        self._device.write(self._screen.paint(frame, width, height, fresh=fresh))

    def _frozen(self) -> bool:
        """Whether what was taken last is shown on."""
        return self.model.view.paused

    def _lacks(self, snapshot: Snapshot) -> bool:
        """Paused in one mode, and the other is wanted: taken as it is now, and it stands still from then on."""
        return not (snapshot.tree if self.model.view.mode == "tree" else snapshot.groups)

    def describe(self, snapshot: Snapshot) -> None:
        """What the title says of time and state."""
        offset = self.window.meta.wall_offset_ns
        self.scene.clock = clock(snapshot.now_ns or None, offset).strip()
        self.scene.state = "paused" if self.model.view.paused else ""

    def _commands(self, group: Group) -> Sequence[tuple[str, int]]:
        window = self.window
        if group.life is None:
            return ()
        second = window.now_ns // _NS
        seconds = range(second - BACK_S, second + 1)
        found = templates_below(window.lives, window.namer, group.life, seconds)
        return [(label, tally.forks) for label, tally in found]

    def __enter__(self) -> Self:
        self._device.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.__exit__(kind, error, trace)
        for line in self._said:
            if sys.stderr is not None:
                write(sys.stderr, f"forktrace: {clean(line)}\n")


class _Own:
    """forktrace's own CPU, second by second: share of one core."""

    def __init__(self, given: Callable[[], float | None] | None) -> None:
        self._given = given
        self.series: deque[float | None] = deque(maxlen=60)
        self._since: tuple[float, float] | None = None

    def look(self, now: float) -> None:
        if self._since is None:
            self._since = (now, self._used())
        since, before = self._since
        if now - since < 1:
            return
        used = self._used()
        self.series.append(self._given() if self._given is not None else (used - before) / (now - since))
        self._since = (now, used)

    @staticmethod
    def _used() -> float:
        own = os.times()
        return own.user + own.system


def _facts(device: Device, color: str, ascii_only: bool) -> Terminal:
    """The terminal that is drawn on is not always one of our streams."""
    with os.fdopen(os.dup(device.fileno()), "w", encoding=sys.getfilesystemencoding()) as stream:
        return facts(stream, color=color, ascii_only=ascii_only)
