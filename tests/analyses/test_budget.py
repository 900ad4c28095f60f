"""Budgets: what is measured for each limit, who had most of it, and that nothing unknown ever passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.build import (
    after,
    exec_,
    exec_failed,
    existing,
    exit_,
    faults,
    fork,
    fork_failed,
    lost,
    reap,
    root,
    spawn,
    thread,
    tree,
    zombie,
)
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.budget import LIMITS, Outcome, check
from tracer.errors import BadDataError
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.tree.tree import ProcessTree

ALL = frozenset(Fact)


def steps() -> tuple[Any, ...]:
    """make runs three compilers; one is spawned, one forked by the second; two fail alike."""
    return (
        root(1, "make", max_rss_bytes=None),
        exec_(1, "make"),
        fork(1, 2, fork_ns=7_000_000),
        exec_(2, "cc", "a.c"),
        thread(2, 20),
        fork(2, 3, fork_ns=60_000_000),
        faults(1, cow_copies=1),
        faults(2, cow_copies=3),
        faults(3, cow_copies=40),
        exit_(3, code=4, runtime_ns=5, utime_ns=1, stime_ns=0, max_rss_bytes=9),
        reap(3, 2, zombie_ms=30),
        after(400),
        exit_(2, code=4, runtime_ns=50, utime_ns=1, stime_ns=0, max_rss_bytes=4096),
        reap(2, 1),
        spawn(1, 4),
        faults(4, cow_copies=0),
        exec_(4, "login", "--password", "hunter2"),
        exec_failed(4, "/bin/x"),
        fork_failed(4),
        fork_failed(4),
        fork_failed(1),
        exit_(4, signal=9, runtime_ns=5, utime_ns=1, stime_ns=0, max_rss_bytes=8),
        zombie(4),
        exit_(1, runtime_ns=5, utime_ns=1, stime_ns=0, max_rss_bytes=8),
    )


def one(name: str, most: int, *more: Any, **changes: Any) -> Outcome:
    (outcome,) = check(tree(*steps(), *more, **changes), {name: most})
    return outcome


@pytest.mark.parametrize(
    ("name", "measured", "pid", "share"),
    [
        ("max-processes", 4, 1, 2),
        ("max-depth", 2, 3, 2),
        ("max-alive", 3, None, None),
        ("max-rate", 3, None, None),
        ("max-threads", 1, 2, 1),
        ("max-failures", 3, 2, 2),
        ("max-failed-execs", 1, 4, 1),
        ("max-failed-forks", 3, 4, 2),
        ("max-cow", 44 * 4096, 3, 40 * 4096),
        ("max-fork-time", 60_000_000, 2, 60_000_000),
        ("max-cpu", 65, 2, 50),
        ("max-rss", 4096, 2, 4096),
        ("max-zombie", 30_000_000, 3, 30_000_000),
        ("no-zombies", 1, 1, 1),
    ],
)
def test_what_is_measured_and_who_had_most(name: str, measured: int, pid: int | None, share: int | None) -> None:
    over, equal = one(name, measured - 1), one(name, measured)

    assert (over.measured, over.within, equal.within) == (measured, False, True)
    assert (over.worst.pid if over.worst else None) == pid
    assert (over.worst.share if over.worst else None) == share


def test_a_life_is_from_birth_to_end_and_the_program_is_one_too() -> None:
    outcome = one("max-life", 10**12)

    assert outcome.measured > 400_000_000
    assert outcome.worst is not None
    assert outcome.worst.command == ("make",)


def test_failures_that_are_alike_count_together() -> None:
    made = tree(
        root(1, "sh"),
        fork(1, 2),
        exec_(2, "a"),
        exit_(2, code=1),
        fork(1, 3),
        exec_(3, "b"),
        exit_(3, code=1),
        fork(1, 4),
        exec_(4, "b"),
        exit_(4, code=1),
        exit_(1),
    )
    (outcome,) = check(made, {"max-failures": 0})

    assert outcome.worst is not None
    assert (outcome.worst.pid, outcome.worst.command, outcome.worst.share) == (3, ("b",), 2)


def test_a_secret_does_not_get_into_a_log() -> None:
    (outcome,) = check(tree(*steps()), {"max-failed-forks": 0})

    assert outcome.worst is not None
    assert outcome.worst.command is not None
    assert "hunter2" not in " ".join(outcome.worst.command)


def test_a_name_may_be_a_secret_too() -> None:
    made = tree(root(1, "sh"), fork(1, 2, comm="ghp_12345678"), exit_(2, code=1), exit_(1))
    (outcome,) = check(made, {"max-failures": 0})

    assert outcome.worst is not None
    assert outcome.worst.command == ("([redacted])",)


def test_limits_are_told_in_their_own_order() -> None:
    names = [o.name for o in check(tree(*steps()), {"no-zombies": 9, "max-cow": 0, "max-processes": 9})]

    assert names == ["max-processes", "max-cow", "no-zombies"]


@pytest.mark.parametrize("name", [name for name, limit in LIMITS.items() if limit.facts])
def test_what_the_source_could_not_see_is_an_error(name: str) -> None:
    with pytest.raises(BadDataError, match=f"was not measured in this trace, so --{name} can not be checked"):
        one(name, 10**15, facts=ALL - set(LIMITS[name].facts))


@pytest.mark.parametrize("name", ["max-cow", "max-cpu", "max-rss", "max-fork-time"])
def test_a_column_of_nulls_is_an_error_whatever_the_facts_say(name: str) -> None:
    made = tree(root(1, "sh"), fork(1, 2), exit_(2), exit_(1))

    with pytest.raises(BadDataError, match=f"so --{name} can not be checked"):
        check(made, {name: 10**15})


def test_what_is_known_in_part_is_enough_to_be_over_and_not_to_be_within() -> None:
    made = tree(root(1, "sh"), fork(1, 2), faults(2, cow_copies=10), exit_(2), exit_(1))

    assert not check(made, {"max-cow": 4096})[0].within
    with pytest.raises(BadDataError, match="not known for 1 of 2 processes"):
        check(made, {"max-cow": 1 << 30})


def test_a_fork_without_its_time_is_an_error_and_a_vfork_is_none() -> None:
    timed = (root(1, "sh"), fork(1, 2, fork_ns=5), exit_(2))

    assert check(tree(*timed, spawn(1, 3), exit_(3), exit_(1)), {"max-fork-time": 5})[0].within
    with pytest.raises(BadDataError, match="what a fork took is not known for 1 of 3"):
        check(tree(*timed, fork(1, 3), exit_(3), exit_(1)), {"max-fork-time": 5})


def test_an_end_without_a_status_is_no_success() -> None:
    made = tree(root(1, "sh"), fork(1, 2), exit_(2, code=None), exit_(1))

    with pytest.raises(BadDataError, match="how processes ended is not known for 1 of 2"):
        check(made, {"max-failures": 0})


def test_lost_records_are_an_error_unless_they_are_allowed() -> None:
    with pytest.raises(BadDataError, match="3 records were lost"):
        one("max-processes", 100, lost(3))
    assert not one("max-processes", 1, lost(3)).within

    made = tree(*steps(), lost(3))
    assert all(o.within for o in check(made, {"max-processes": 100, "max-lost": 3}))
    assert not check(made, {"max-lost": 2})[0].within


def test_an_unknown_number_of_lost_records_is_at_least_one() -> None:
    assert not one("max-lost", 0, lost(None)).within
    with pytest.raises(BadDataError, match="how many were lost is not known"):
        one("max-lost", 5, lost(None))


def test_what_was_there_before_is_not_counted() -> None:
    made = tree(existing(5), faults(5, cow_copies=1000), fork(5, 6), faults(6, cow_copies=2), exit_(6))

    assert [o.measured for o in check(made, {"max-processes": 9, "max-cow": 1 << 20})] == [1, 8192]


def test_no_such_limit() -> None:
    with pytest.raises(KeyError):
        check(tree(*steps()), {"max-fun": 1})


@PROFILE
@given(histories())
def test_a_limit_holds_exactly_from_what_was_measured_on(history: History) -> None:
    made = ProcessTree(META)
    made.feed(Batch.from_rows(history.rows))
    for name in LIMITS:
        try:
            (found,) = check(made, {name: 1 << 62})
        except BadDataError:
            continue
        assert found.within
        assert check(made, {name: found.measured})[0].within
        if found.measured:
            assert not check(made, {name: found.measured - 1})[0].within
            assert found.worst is None or 0 < found.worst.share <= found.measured
