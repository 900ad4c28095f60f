"""When the netlink backend looks: at once while little happens, by a timer while much does."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from tracer.backends._netlink_pace import Pace


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket to wait on, and one that sends to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pace(pair: tuple[socket.socket, socket.socket]) -> Iterator[Pace]:
    pace = Pace(pair[0].fileno())
    yield pace
    pace.close()
    pace.close()


def ready(pace: Pace, ms: int) -> bool:
    poll = select.poll()
    poll.register(pace.fileno(), select.POLLIN)
    return bool(poll.poll(ms))


def test_a_message_wakes_at_once_and_only_once(pace: Pace, pair: tuple[socket.socket, socket.socket]) -> None:
    quiet = ready(pace, 0)
    pair[1].send(b"x")
    woke = ready(pace, 1000)
    pace.woken()

    assert (quiet, woke) == (False, True)
    assert not ready(pace, 0)  # although the message is still there


def test_the_next_one_wakes_again(pace: Pace, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"x")
    pace.woken()
    pair[0].recv(1)
    pace.rest(haste=True, unfinished=False)
    quiet = ready(pace, 0)
    pair[1].send(b"x")

    assert not quiet
    assert ready(pace, 1000)


def test_unfinished_business_wakes_without_a_message(pace: Pace) -> None:
    pace.woken()
    pace.rest(haste=True, unfinished=True)

    assert ready(pace, 1000)


def test_where_haste_was_in_vain_messages_wait_for_the_timer(
    pace: Pace, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].send(b"x")
    pace.woken()
    pace.rest(haste=False, unfinished=False)
    at_once = ready(pace, 0)
    later = ready(pace, 1000)
    pace.woken()
    pace.rest(haste=False, unfinished=False)  # after a rest it is tried anew

    assert (at_once, later) == (False, True)
    assert ready(pace, 0)


def test_beyond_the_allowance_the_timer_serves(
    pace: Pace, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: used[0])
    pair[1].send(b"x")
    pace.woken()
    used[0] = 1.0
    pace.rest(haste=True, unfinished=False)
    at_once = ready(pace, 0)
    later = ready(pace, 1000)

    assert (at_once, later) == (False, True)
