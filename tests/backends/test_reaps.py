"""When a child was waited for, inferred from zombies, waits and releases."""

from __future__ import annotations

from tracer.backends.reaps import Reap, Reaps

PARENT = 10
CHLD = 17


def _zombie(
    reaps: Reaps,
    pid: int,
    at: int,
    *,
    pgid: int = 1,
    waited: bool = False,
    maybe: bool = False,
    auto: bool = False,
) -> bool:
    return reaps.zombie((pid, pid), at, PARENT, pgid, waited=waited, maybe=maybe, auto=auto)


def test_parent_already_waiting_leaves_no_zombie_time() -> None:
    reaps = Reaps()

    assert not _zombie(reaps, 11, 100, waited=True)
    assert reaps.free((11, 11), CHLD) == Reap(100, 0, "inferred")


def test_late_wait_for_any_takes_the_child_born_first() -> None:
    reaps = Reaps()
    assert _zombie(reaps, 12, 100)
    assert _zombie(reaps, 11, 150)
    reaps.wait(PARENT, 200, 0)
    reaps.wait(PARENT, 300, 0)

    assert reaps.free((11, 11), CHLD) == Reap(200, 50, "inferred")
    assert reaps.free((12, 12), CHLD) == Reap(300, 200, "inferred")


def test_wait_for_one_pid_or_a_group_takes_no_other() -> None:
    reaps = Reaps()
    _zombie(reaps, 11, 100, pgid=5)
    _zombie(reaps, 12, 100, pgid=6)
    reaps.wait(PARENT, 200, 12)
    reaps.wait(PARENT, 250, -7)
    reaps.wait(PARENT, 300, -5)

    assert reaps.free((12, 12), CHLD).reap_ns == 200
    assert reaps.free((11, 11), CHLD).reap_ns == 300


def test_a_wait_before_the_end_takes_nothing() -> None:
    reaps = Reaps()
    _zombie(reaps, 11, 100)
    reaps.wait(PARENT, 50, 0)

    assert reaps.free((11, 11), CHLD) == Reap(None, None, "inferred")


def test_maybe_waiting_counts_unless_a_later_wait_takes_it() -> None:
    reaps = Reaps()
    assert _zombie(reaps, 11, 100, maybe=True)
    assert _zombie(reaps, 12, 110, maybe=True)
    reaps.wait(PARENT, 200, 12)

    assert reaps.free((11, 11), CHLD) == Reap(100, 0, "inferred")
    assert reaps.free((12, 12), CHLD) == Reap(200, 90, "inferred")


def test_nobody_told_means_reaped_at_once_but_not_for_silent_children() -> None:
    assert Reaps().free((11, 11), CHLD) == Reap(None, 0, "inferred")
    assert Reaps().free((11, 11), 0) == Reap(None, None, "inferred")


def test_exact_reap_wins_and_is_measured() -> None:
    reaps = Reaps()
    _zombie(reaps, 11, 100)
    reaps.wait(PARENT, 150, 11)
    reaps.exact((11, 11), 160)

    assert reaps.free((11, 11), CHLD) == Reap(160, 60, "measured")


def test_adopted_zombie_told_twice_keeps_its_first_time_and_nothing_is_held_after() -> None:
    reaps = Reaps()
    _zombie(reaps, 11, 100)
    reaps.zombie((11, 11), 500, 1, 1, waited=True, maybe=False, auto=False)
    reaps.free((11, 11), CHLD)

    assert len(reaps) == 0


def test_a_parent_that_wants_no_zombies_reaps_nobody() -> None:
    reaps = Reaps()

    assert not _zombie(reaps, 11, 100, auto=True)
    assert reaps.free((11, 11), CHLD) == Reap(None, 0, "inferred")


def test_many_zombies_are_taken_in_no_time_that_grows_with_their_square() -> None:
    reaps = Reaps()
    for pid in range(20000):
        _zombie(reaps, pid + 100, pid)
    for n in range(20000):
        reaps.wait(PARENT, 30000 + n, 0)

    assert reaps.free((100, 100), CHLD).reap_ns == 30000
    assert reaps.free((20099, 20099), CHLD).reap_ns == 49999


def test_what_is_known_at_the_end_is_told_though_no_release_came() -> None:
    reaps = Reaps()
    _zombie(reaps, 11, 100, waited=True)
    _zombie(reaps, 12, 200)
    _zombie(reaps, 13, 300, auto=True)
    _zombie(reaps, 14, 400)
    reaps.wait(PARENT, 500, 12)

    assert list(reaps.rest()) == [
        ((11, 11), PARENT, Reap(100, 0, "inferred")),
        ((12, 12), PARENT, Reap(500, 300, "inferred")),
        ((13, 13), None, Reap(None, 0, "inferred")),
    ]
    assert len(reaps) == 1
