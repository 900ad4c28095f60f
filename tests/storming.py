"""Storms for tests: made by a sample with a bridle, started by a known ancestor, with other life around it.

Watched is what is below this process, so that a stranger's storm disturbs nothing; or the whole host, of which only
what is below this process counts.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import samples
from tests.conftest import need
from tracer.backends import Options
from tracer.capture.flight_recorder import Recorder
from tracer.capture.session import Plan, Session
from tracer.storms.detect import Finding
from tracer.storms.monitor import Watch
from tracer.storms.saved_files import StormFiles

DEADLINE_S = 40.0
ROOT = Path(__file__).resolve().parents[1]


class EnoughError(Exception):
    """The test has seen what it waited for."""


@contextmanager
def noise() -> Iterator[None]:
    """A little life that is nobody's storm."""
    with subprocess.Popen(["sh", "-c", "while sleep 0.1; do /bin/true; done"]) as process:
        try:
            yield
        finally:
            process.kill()


def sample() -> str:
    """The program that makes them."""
    need("bpf", "root", "make", "cc")
    samples.build()
    return str(samples.BIN / "storm_shapes")


def watched(
    folder: Path,
    command: Sequence[str],
    enough: Callable[[list[Finding], bool], bool],
    *,
    failures: bool = False,
    everyone: bool = False,
) -> tuple[list[Finding], int]:
    """(what was found below us, pid of `command`): a quiet host is taken for granted, then the command is started."""
    everything: list[Finding] = []
    found: list[Finding] = []
    options = Options(cow="light", everyone=everyone, failures=failures)
    session = Session(Plan(backend="bpf", pids=() if everyone else (os.getpid(),), options=options))
    until = time.monotonic() + DEADLINE_S
    process: subprocess.Popen[bytes] | None = None
    with session, noise():
        session.start()
        watch = Watch(session, Recorder(), save=StormFiles(str(folder)), found=everything.append)
        for _ in range(20):
            watch.detector.baseline.feed(5)

        def tick() -> None:
            nonlocal process
            watch.tick()
            found[:] = [finding for finding in everything if ours(finding)]
            if process is None and len(watch.window.span) >= 3:
                process = subprocess.Popen(command)
            ended = process is not None and process.poll() is not None
            if enough(found, ended) or time.monotonic() > until:
                raise EnoughError

        try:
            session.run(watch.take, tick=tick)
        except EnoughError:
            pass
        finally:
            watch.close()
            if process is not None:
                process.kill()
                process.wait()
    assert process is not None
    return [finding for finding in everything if ours(finding)], process.pid


def ours(finding: Finding) -> bool:
    """It is by who is below this process."""
    return finding.who is not None and os.getpid() in [pid for pid, _ in finding.who.above]


def over(found: list[Finding], ended: bool) -> bool:
    return bool(found) and found[-1].ended_ns is not None
