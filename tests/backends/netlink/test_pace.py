"""When the netlink backend looks: at once when somebody execs, by a timer when that is not affordable."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import need
from tracer.backends.netlink.layout import EVENT, EXEC, EXIT, FORK
from tracer.backends.netlink.pace import Pace
from tracer.backends.netlink.sockets import Bell, Connector, ring_every_cpu


class Door:
    """A bell to be rung by a test."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def ring(self) -> None:
        self.theirs.send(b"x")

    def fileno(self) -> int:
        return self.ours.fileno()

    def silence(self) -> None:
        while ready(self, 0):
            self.ours.recv(1)


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    with door.ours, door.theirs:
        yield door


@pytest.fixture
def pace(door: Door) -> Iterator[Pace]:
    pace = Pace(door)
    yield pace
    pace.close()
    pace.close()


def ready(what: Pace | Door | Bell, ms: int) -> bool:
    poll = select.poll()
    poll.register(what.fileno(), select.POLLIN)
    return bool(poll.poll(ms))


def test_the_bell_wakes_once(pace: Pace, door: Door) -> None:
    quiet = ready(pace, 0)
    door.ring()
    woke = ready(pace, 1000)
    pace.woken()
    door.ring()

    assert (quiet, woke) == (False, True)
    assert not ready(pace, 0)  # the look is not over


def test_the_next_one_wakes_again(pace: Pace, door: Door) -> None:
    door.ring()
    pace.woken()
    pace.rest(execs=1, unfinished=False)
    quiet = ready(pace, 0)
    door.ring()

    assert not quiet
    assert ready(pace, 1000)


def test_a_ring_during_the_look_is_not_missed(pace: Pace, door: Door) -> None:
    pace.woken()
    door.ring()
    pace.rest(execs=0, unfinished=False)

    assert ready(pace, 0)


def test_unfinished_business_wakes_without_a_ring(pace: Pace) -> None:
    pace.woken()
    pace.rest(execs=0, unfinished=True)

    assert ready(pace, 1000)


class Clock:
    """Time that the test has in its hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.used = time.monotonic(), 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "thread_time", lambda: self.used)

    def looks_at_once(self, pace: Pace, door: Door, *, rate: int, cost: float = 0.0001) -> float:
        """Of programs at that rate for ten seconds, how many are looked at when they begin."""
        at_once, waiting = 0, 0
        rest_until = 0.0
        for _ in range(10 * rate):
            self.now += 1 / rate
            waiting += 1
            door.ring()
            woken = self.now >= rest_until
            if woken:
                at_once += waiting == 1
                pace.woken()
                self.used += cost
                pace.rest(execs=waiting, unfinished=False)
                waiting = 0
                rest_until = self.now + 0.02 if pace._left <= 0 else 0.0
        return at_once / (10 * rate)


@pytest.mark.parametrize(("rate", "share"), [(100, (0.99, 1)), (900, (0.8, 1)), (4000, (0, 0.1))])
def test_haste_is_for_what_is_affordable(
    pace: Pace, door: Door, monkeypatch: pytest.MonkeyPatch, rate: int, share: tuple[float, float]
) -> None:
    clock = Clock(monkeypatch)
    pace._counted = clock.now

    assert share[0] <= clock.looks_at_once(pace, door, rate=rate) <= share[1]


def test_beyond_the_allowance_the_timer_serves(pace: Pace, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace._counted = clock.now
    pace.woken()
    clock.used = 1.0
    pace.rest(execs=1, unfinished=False)
    door.ring()
    at_once = ready(pace, 0)
    later = ready(pace, 1000)

    assert (at_once, later) == (False, True)


@pytest.mark.programs
def test_execs_ring_and_nothing_else_does_and_others_get_whole_messages() -> None:
    need("netlink")
    connector = Connector(1 << 20)
    bell = Bell()
    try:
        connector.listen()
        bell.silence()
        for _ in range(3000):  # names; others on the host may exec meanwhile, but not 3000 times
            ring_every_cpu()
        rung = 0
        while ready(bell, 0) and rung < 3000:
            bell.silence()
            rung += 1
        while (run := connector.inbox.take()) is None or run:
            pass
        subprocess.run(["true"], check=True)
        rang = ready(bell, 1000)
        events = list(EVENT.iter_unpack(connector.inbox.take() or b""))
    finally:
        bell.close()
        bell.close()
        connector.close()

    assert rung < 100
    assert rang
    assert {FORK, EXEC, EXIT} <= {event[2] for event in events}
