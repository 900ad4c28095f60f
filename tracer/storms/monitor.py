"""A host, or a tree, under watch: one session whose batches go to a window, a detector of storms and a recorder.

    watch = Watch(session, ...); session.run(watch.take, tick=watch.tick); watch.close()

A sink and a tick of a Session, and all that the verb `storm` and the live screen share. Switches the probe for failed
forks on when they are suspected, and off again; names those that were there before by /proc; after a loss asks /proc
who still lives. What it finds goes to `found`, what the user should know to `say`. Prints nothing and draws nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from tracer.capture.flight_recorder import Recorder
from tracer.capture.session import Session
from tracer.errors import CannotWriteError
from tracer.host import boot_clock, procfs
from tracer.host.cgroups import hierarchy
from tracer.host.fork_limits import Pressure
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.storms.detect import MOST, Detector, Finding
from tracer.storms.saved_files import StormFiles
from tracer.window.lineage import Key, Life
from tracer.window.window import Window

_NS: Final = 10**9
_AT_ONCE: Final = 40  # processes asked of /proc per tick: 4 ms
_DISARM_S: Final = 60
_FOLLOW_S: Final = 5
_LATE_NS: Final = 300_000_000  # a source tells of things up to so long after they happened


class Watch:
    """`save`: where what the recorder keeps is saved, None for nowhere. `found` is called with each finding."""

    def __init__(
        self,
        session: Session,
        recorder: Recorder,
        *,
        rate: float | None = None,
        save: StormFiles | None = None,
        seconds: int = 60,
        found: Callable[[Finding], None] = lambda finding: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.session = session
        self.recorder = recorder
        self.window = Window(seconds, session.meta)
        place = hierarchy()
        self.detector = Detector(
            self.window,
            rate=rate,
            usual=usual_rate(),
            cgroups=(place.version, str(place.mount)) if place is not None else (2, "/sys/fs/cgroup"),
        )
        self.storms = 0
        """Found so far."""
        self.own_cpu = 0.0
        """Share of one core that forktrace took in the last second."""
        self._found, self._say = found, say
        self._save = save
        self._pressure = Pressure()
        self._passed_over = 0
        self._armed_by_us = False
        self._calm_since = time.monotonic()
        self._cpu = (time.monotonic(), _cpu())
        self._nameless: Iterator[Life] | None = None
        self._named_at = 0.0
        self._end_at: float | None = None

    def take(self, batch: Batch) -> None:
        """The session's sink."""
        self.window.feed(batch)
        self.recorder.take(batch)

    def tick(self) -> None:
        """After every look at the source."""
        now = time.monotonic()
        self.window.advance(boot_clock.now_ns() - _LATE_NS)
        self._know_the_living(now)
        self._clear_doubts()
        for finding in self.detector.look():
            self._on(finding, now)
        self._tell_of_others()
        self._arm(now)
        if self._end_at is not None and now >= self._end_at:
            self._end_at = None
            self.recorder.end()
        self._written(self.recorder.tick())
        since, cpu = self._cpu
        if now - since >= 1:
            used = _cpu()
            self.own_cpu = (used - cpu) / (now - since)
            self._cpu = (now, used)

    def close(self) -> None:
        """The stream has ended: a storm that goes on is told as it stands, and the file is finished."""
        self.window.advance(boot_clock.now_ns())
        for finding in self.detector.look():
            self._on(finding, time.monotonic())
        for last in self.detector.finish():
            self._found(last)
        self._written(self.recorder.close())

    def save(self, where: str | None = None) -> str:
        """Have what the recorder holds written to a file of its own, now. Raises CannotWriteError.

        Returns its name; where one is being written already, that one's. It ends when the storm has, or at once.
        """
        if self.recorder.path is not None:
            return self.recorder.path
        files = self._save or StormFiles(where or ".")
        path = files.room_for(self.recorder.max_file, where)
        self.recorder.begin(path, self.session.meta, self.window.standing)
        if not self.detector.storming:
            self.recorder.end()
        return path

    # -- storms -----------------------------------------------------------------------------------------------

    def _on(self, finding: Finding, now: float) -> None:
        if finding.ended_ns is None:
            self.storms += 1
            self._end_at = None
            self._begin_file()
        elif not self.detector.storming:
            self._end_at = now + _FOLLOW_S
        self._found(finding)

    def _tell_of_others(self) -> None:
        """Storms that are one too many to be followed: who makes them is said, and they are counted."""
        known = self.detector.passed_over
        for who in known[self._passed_over :]:
            self.storms += 1
            self._say(f"one more storm, by {who.comm or '?'} ({who.pid}); {MOST} are followed already, this is not")
        self._passed_over = len(known)

    def _begin_file(self) -> None:
        if self._save is None or self.recorder.path is not None:
            return
        try:
            self.save()
        except CannotWriteError as e:
            self._say(f"the storm is not kept: {e}")

    def _written(self, path: str | None) -> None:
        if path is None:
            return
        if self.recorder.failure is not None:
            self._say(str(self.recorder.failure))
        elif self.recorder.dropped:
            self._say(f"{path} is complete but for {self.recorder.dropped:,} rows, which it counts as lost")
        else:
            self._say(f"{path} is complete: forktrace report {path}")

    # -- failures ---------------------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        """The probe at the end of each system call costs everybody: it is on when there is a reason."""
        facts = self.session.meta.facts
        if Fact.FORK_FAILED in facts and not self._armed_by_us:
            return
        why = "an unusual rate of forks" if self.detector.suspected or self.detector.storming else self._pressure.look()
        if why is not None:
            self._calm_since = now
            if not self._armed_by_us and self.session.arm_failures():
                self._armed_by_us = True
                self.window.meta = self.session.meta
                self._say(f"watching for failed forks: {why}")
        elif self._armed_by_us and now - self._calm_since >= _DISARM_S and self.session.arm_failures(on=False):
            self._armed_by_us = False
            self.window.meta = self.session.meta

    # -- what only /proc knows --------------------------------------------------------------------------------

    def _know_the_living(self, now: float) -> None:
        """The commands of those that were there before us, some at a time."""
        if self._nameless is None:
            if self._named_at:
                return
            self._nameless = iter([life for life in self.window.living() if life.command < 0])
        for _ in range(_AT_ONCE):
            life = next(self._nameless, None)
            if life is None:
                self._nameless, self._named_at = None, now
                return
            process = _same(life.key)
            if process is not None:
                self.window.tell(life.key, process.argv, process.comm)

    def _clear_doubts(self) -> None:
        for _, key in zip(range(_AT_ONCE), self.window.doubtful(), strict=False):
            process = _same(key)
            if process is None or process.state in "ZX":
                self.window.forget(key)
            else:
                self.window.trust(key)


def _same(key: Key) -> procfs.Process | None:
    """The process with this identity, if it is there; /proc tells births by the clock tick."""
    process = procfs.read(key[0])
    if process is None or abs(process.born_ns - key[1]) > 2 * procfs.NS_PER_TICK:
        return None
    return process


def usual_rate() -> float | None:
    """Births a second since boot, threads included; None where /proc does not tell."""
    total = procfs.forks_total()
    up = boot_clock.now_ns() / 1e9
    return total / up if total is not None and up > 60 else None


def _cpu() -> float:
    own = os.times()
    return own.user + own.system
