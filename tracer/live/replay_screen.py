"""The live screen fed from a file: the same model, with a progress bar and the keys of a player.

    with Playing(player, outline, what=...) as screen: screen.loop()

Until the end, q, or a signal that asks us to end: `loop` returns its number then.
"""

from __future__ import annotations

import select
import signal
import time
from types import FrameType
from typing import Any, Final

from tracer.live import FRAME_S, Live
from tracer.live.event_line import told
from tracer.live.player import STEPS, Player
from tracer.live.snapshot import Snapshot
from tracer.live.sparks import sparks, spread
from tracer.live.tape import Outline
from tracer.model.schema import Kind
from tracer.reports.console.spans import Spans
from tracer.reports.console.storm import clock
from tracer.reports.terminal import cells
from tracer.reports.words import duration

_WORK_S: Final = 0.07
_NS: Final = 10**9
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_STEP_KEYS: Final = {".": STEPS, "f": (Kind.FORK,), "e": (Kind.EXEC,), "x": (Kind.EXIT,)}
_KEYS: Final = (("←→", "10 %", True), (".fex", "step", True), ("+-", "speed", True))
_KEYS_ASCII: Final = (("<- ->", "10 %", True), (".fex", "step", True), ("+-", "speed", True))
HELP: Final = (
    ("left right", "a tenth of the trace back, forth"),
    ("< >", "a second back, forth"),
    ("0 to 9", "to so many tenths of it"),
    (". f e x", "to the next of all: fork, exec, exit"),
    ("+ -", "faster, slower"),
)


class Playing(Live):
    """`player` has the window. `damage`: what is to be said, at the end, of a file that has none."""

    def __init__(self, player: Player, outline: Outline, *, damage: str | None = None, **more: Any) -> None:
        super().__init__(player.window, **more)
        self._player = player
        self._outline = outline
        self._damage = damage
        self._over = False
        self._signal = 0
        self._told_end = False
        self._stop = self._end
        self.taker.first_ns = player.first_ns
        self.scene.last = "copies"
        self.scene.keys = _KEYS if self.terminal.unicode else _KEYS_ASCII
        self.scene.help = HELP

    def loop(self) -> int:
        """Play. Returns 0, or the number of the signal that ended it."""
        before = {signo: signal.signal(signo, self._caught) for signo in _ENDING}
        try:
            last = time.monotonic()
            while not self._over and not self._signal:
                now = time.monotonic()
                self._player.run(now - last)
                last = now
                busy = self._player.work(_WORK_S)
                if self.window is not self._player.window:
                    self.window = self._player.window
                self._at_the_end()
                self.tick()
                shown = self._device.shown
                wait = 0.0 if busy else FRAME_S if not self._player.paused or not shown else 2 * FRAME_S
                select.select([self] if shown else [], [], [], wait if not self._keys.waiting else FRAME_S / 2)
        finally:
            for signo, was in before.items():
                signal.signal(signo, was)
        return self._signal

    def _caught(self, signo: int, frame: FrameType | None) -> None:
        self._signal = signo

    def _end(self) -> None:
        self._over = True

    def _at_the_end(self) -> None:
        if not self._player.ended or self._told_end:
            return
        self._told_end = True
        if self._damage is not None:
            self.say(self._damage)

    def paused(self, paused: bool) -> None:
        """Here it is the tape that stops; the screen may be looked through."""
        player = self._player
        player.paused = paused
        if not paused and player.ended:
            player.seek(player.begin_ns)

    def other(self, key: str) -> None:
        """A player's keys."""
        player = self._player
        length = max(player.end_ns - player.begin_ns, 1)
        if key in _STEP_KEYS:
            player.step(_STEP_KEYS[key])
            self.model.view.paused = True
        elif key in ("left", "right"):
            player.seek(player.goal_ns + (length // 10) * (-1 if key == "left" else 1))
        elif key in ("<", ">", ",", "["):
            player.seek(player.goal_ns + (_NS if key == ">" else -_NS))
        elif key in ("+", "=", "-", "_"):
            player.faster(1 if key in "+=" else -1)
        elif len(key) == 1 and key in "0123456789":
            player.seek(player.begin_ns + length * int(key) // 10)

    def _frozen(self) -> bool:
        return False

    def describe(self, snapshot: Snapshot) -> None:
        """Where it is, how fast, and what a step has led to."""
        player, scene = self._player, self.scene
        scene.clock = clock(player.at_ns, self.window.meta.wall_offset_ns).strip()
        if scene.clock == "-":
            scene.clock = ""
        speed = "max" if player.speed == float("inf") else f"{player.speed:g}"
        pace = f"{'×' if self.terminal.unicode else 'x'}{speed}"
        scene.state = (
            "seeking" if player.seeking else "the end" if player.ended else "paused" if player.paused else pace
        )
        scene.progress = self._bar()
        if player.event is not None:
            scene.message = told(player.event, self.terminal)
            self._message_until = self._now() + 2 * FRAME_S

    def _bar(self) -> Spans:
        """Births over the whole trace, and where in it we are."""
        player, unicode = self._player, self.terminal.unicode
        width = self._device.size()[0]
        at = duration(player.at_ns - player.first_ns, ascii_only=not unicode)
        whole = duration(self._outline.length_ns, ascii_only=not unicode)
        left, right = f" {at:>9} ", f" {whole} "
        room = max(4, width - cells(left) - cells(right) - 1)
        length = max(self._outline.length_ns, 1)
        place = min(room - 1, max(0, (player.at_ns - player.first_ns) * room // length))
        curve = sparks(spread(self._outline.births, room), room, unicode=unicode)
        head = "┃" if unicode else "|"
        return [
            (left, "bold"),
            (curve[:place], "spark"),
            (head, "mark"),
            (curve[place + 1 :], "dim"),
            (right, "dim"),
        ]
