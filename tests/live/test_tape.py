"""The tape and the player: wherever one jumps, the window is as if it had been played from the beginning."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stories import ALL, S, Story
from tests.strategies import META, PROFILE, History, histories
from tracer.live.player import SPEEDS, Player
from tracer.live.tape import Outline, Tape, outline, stamps_of
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind
from tracer.window.window import SERIES


class Held:
    """A recording in memory, that counts how often it is read."""

    def __init__(self, *batches: Batch, meta: Meta = ALL) -> None:
        self._batches = batches
        self.meta = meta
        self.read = 0

    def batches(self, columns: Any = None) -> Any:
        self.read += 1
        return iter(self._batches)


def story() -> Story:
    """Ten seconds, a fork in the middle of each, and an exec and an end a little later."""
    told = Story()
    told.existing(1)
    for n in range(10):
        told.run(n + 0.5, 100 + n, 1, "tool", lasts=0.2)
    return told


def player(told: Story, **more: Any) -> Player:
    recording: Any = Held(told.batch())
    return Player(Tape(recording), outline(recording), ALL, **more)


def work(it: Player) -> Player:
    while it.work(10):
        pass
    return it


def series(it: Player) -> dict[str, list[int | None]]:
    return {name: it.window.series(name) for name in SERIES}


def test_it_plays_as_much_as_time_has_gone_by() -> None:
    it = player(story())
    it.run(2.5)
    work(it)

    assert it.at_ns == 2.5 * S
    assert it.window.series("forks") == [1, 1]
    assert it.window.lives.alive == 2
    it.speed = 3
    it.run(1)
    assert work(it).at_ns == 5.5 * S


def test_paused_no_time_goes_by() -> None:
    it = player(story())
    it.paused = True
    it.run(5)

    assert work(it).at_ns == 0


def test_at_most_speed_it_is_at_the_end_at_once() -> None:
    it = player(story(), speed=float("inf"))
    it.run(0.001)
    work(it)

    assert it.ended
    assert sum(n or 0 for n in it.window.series("forks")) == 9  # the last second is not over


def test_steps() -> None:
    it = player(story())
    found = []
    for kinds in ((Kind.FORK,), (Kind.EXEC,), (Kind.EXIT,), (Kind.EXIT,)):
        it.step(kinds)
        work(it)
        assert it.event is not None
        found.append((it.event.kind, it.event.pid, it.at_ns / S))
    assert it.paused
    assert found == [
        (Kind.FORK, 100, 0.5),
        (Kind.EXEC, 100, 0.6),
        (Kind.EXIT, 100, 0.7),
        (Kind.EXIT, 101, 1.7),
    ]
    it.step()
    assert work(it).at_ns == 2.5 * S


def test_a_step_beyond_the_last_is_the_end() -> None:
    it = player(story())
    it.seek(int(9.6 * S))
    work(it)
    it.step((Kind.FORK,))
    work(it)

    assert it.ended
    assert it.event is None


def test_threads_are_no_step() -> None:
    told = story()
    told.row(Kind.FORK, 9.9, 1, how="fork")
    told.rows[-1][1]["tid"] = 77
    told.row(Kind.EXIT, 9.95, 1, last=False)
    it = player(told)
    it.seek(int(9.8 * S))
    work(it)
    it.step()

    assert work(it).ended


def test_only_what_was_asked_for_is_played() -> None:
    it = player(story(), begin_ns=3 * S, end_ns=5 * S)
    work(it)
    assert (it.at_ns, it.window.lives.alive) == (3 * S, 1)
    it.run(60)
    work(it)
    assert (it.at_ns, it.ended) == (5 * S, True)
    it.seek(0)
    assert work(it).at_ns == 3 * S


def test_what_was_read_is_held_and_what_is_too_big_is_read_again() -> None:
    for most, read in ((1 << 20, 1), (10, 3)):
        recording = Held(story().batch())
        tape = Tape(recording, held_most=most)  # type: ignore[arg-type]
        for _ in range(3):
            while tape.until(1 << 62) is not None:
                pass
            assert tape.ended
            tape.rewind()
        assert recording.read >= read
        assert recording.read <= read + 1


def test_an_empty_trace_is_at_its_end() -> None:
    it = player(Story())
    it.run(1)
    work(it)

    assert it.ended
    it.step()
    it.seek(5)
    assert work(it).ended


def test_hours_without_anything_are_skipped_in_one_go() -> None:
    told = Story()
    told.existing(1)
    told.run(1.0, 2, 1, "a")
    told.run(1e6, 3, 1, "b")
    it = player(told, speed=float("inf"))
    it.run(1)
    turns = 1
    while it.work(0):
        turns += 1

    assert it.ended
    assert turns < 20


@pytest.mark.parametrize("speed", [SPEEDS[0], 1.0, SPEEDS[-1]])
def test_speeds_have_a_first_and_a_last(speed: float) -> None:
    it = player(story(), speed=speed)
    for _ in range(20):
        it.faster(-1)
    assert it.speed == SPEEDS[0]
    it.faster(1)
    assert it.speed == SPEEDS[1]
    for _ in range(20):
        it.faster(1)
    assert it.speed == float("inf")


@PROFILE
@given(histories(), st.data())
def test_wherever_one_jumps_the_window_is_the_same_at_the_end(history: History, data: st.DataObject) -> None:
    whole = Batch.from_rows(history.rows)
    at = data.draw(st.integers(0, len(whole)))
    recording: Any = Held(
        *(part for part in ((whole.cut(0, at), whole.cut(at)) if len(whole) else ()) if len(part)), meta=META
    )
    found = outline(recording)
    straight = Player(Tape(recording), found, META)
    straight.seek(straight.end_ns)
    work(straight)
    jumping = Player(Tape(recording, held_most=data.draw(st.sampled_from([0, 1 << 20]))), found, META)
    for jump in data.draw(st.lists(st.floats(0, 1), max_size=6)):
        if data.draw(st.booleans()):
            jumping.step()
        else:
            jumping.seek(jumping.first_ns + int(found.length_ns * jump))
        if data.draw(st.booleans()):
            work(jumping)
    jumping.seek(jumping.end_ns)
    work(jumping)

    assert jumping.ended
    assert jumping.at_ns == straight.at_ns
    wanted, got = series(straight), series(jumping)
    for name in ("forks", "execs", "exits", "failures", "lost", "copies"):
        assert got[name] == wanted[name], name


def test_the_outline() -> None:
    found = outline(Held(story().batch()))  # type: ignore[arg-type]

    assert (found.first_ns, found.last_ns) == (0, int(9.7 * S))
    assert sum(found.births) == 10
    per_second = S // found.step_ns
    assert found.births[per_second // 2] == 1


def test_an_outline_of_a_long_trace_is_no_longer() -> None:
    found = Outline()
    for day in range(3000):
        found.add(Batch.from_rows([(Kind.FORK, {"ts_ns": day * 86_400 * S, "pid": day, "tid": day, "born_ns": day})]))

    assert len(found.births) <= 1024
    assert sum(found.births) == 3000


def test_stamps_never_go_back() -> None:
    rows: list[Any] = [
        (Kind.EXISTING, {"pid": 1}),
        (Kind.FORK, {"ts_ns": 5, "pid": 2}),
        (Kind.EXIT, {"ts_ns": 3, "pid": 2}),
    ]

    assert stamps_of(Batch.from_rows(rows)).tolist() == [NULL, 5, 5]


@PROFILE
@given(histories(), st.data())
def test_a_piece_is_as_split_has_it(history: History, data: st.DataObject) -> None:
    whole = Batch.from_rows(history.rows)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    piece = whole.cut(start, end)

    assert list(piece.rows()) == list(whole.rows())[start:end]


def test_nothing_but_rows_without_a_stamp() -> None:
    recording: Any = Held(Batch.from_rows([(Kind.EXISTING, {"pid": 1, "tid": 1, "born_ns": 1, "ts_ns": None})]))
    it = Player(Tape(recording), outline(recording), ALL)
    it.run(1)

    assert work(it).ended
