"""Runs compared: what is the same place and the same command, what is a difference, and what is only noise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import hostile
from tests.build import Step, after, alive, exec_, existing, exit_, faults, fork, root, spawn, tree
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.diff import Change, Diff, compared, diff
from tracer.analyses.profile import METRICS, PLACE_MOST, Places, profile
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.tree.tree import ProcessTree

MS = 1_000_000


def made(*runs: Any) -> Diff:
    """Of two lists of trees."""
    places = Places()
    a, b = ([profile(each, places) for each in side] for side in runs)
    return diff(a, b, places)


def one(a: Any, b: Any) -> Diff:
    return made([tree(*a)], [tree(*b)])


def cc(pid: int, parent: int = 1, *, code: int = 0, copies: int = 0, ms: float = 1, cpu: int = 0) -> tuple[Step, ...]:
    """A compiler run below `parent`."""
    return (
        fork(parent, pid, fork_ns=1),
        exec_(pid, "/usr/bin/cc", "-c", f"{pid}.c"),
        faults(pid, cow_copies=copies),
        after(ms),
        exit_(pid, code=code, runtime_ns=cpu, utime_ns=1, stime_ns=0),
    )


def make(*steps: Step, program: str = "make") -> tuple[Step, ...]:
    return root(1, program), exec_(1, program), *steps, exit_(1)


def only(found: Diff) -> Change:
    (change,) = (c for c in found.changes if c.template != "make")  # whose life is as long as all others
    return change


def test_nothing_differs_whatever_the_pids_and_file_names_are() -> None:
    found = one(make(*cc(2), *cc(3)), make(*cc(12), *cc(13)))

    assert not found.differs
    assert found.changes == ()
    assert found.groups == 2


def test_gained_lost_and_changed() -> None:
    ld = (fork(1, 9), exec_(9, "ld"), exit_(9))
    gained, lost, more = one(make(), make(*ld)), one(make(*ld), make()), one(make(*cc(2)), make(*cc(2), *cc(3)))

    assert (only(gained).kind, only(gained).template, only(gained).values["processes"].b) == ("gained", "ld", (1,))
    assert (only(lost).kind, only(lost).values["processes"].a) == ("lost", (1,))
    assert (only(more).kind, only(more).template) == ("changed", "cc -c …")
    assert more.total["processes"].a + more.total["processes"].b == (2, 3)


def test_the_same_command_elsewhere_is_another_one() -> None:
    sh = (fork(1, 5), exec_(5, "sh"))
    found = one(make(*sh, *cc(2), exit_(5)), make(*sh, *cc(2, 5), exit_(5)))

    assert [(c.kind, c.place) for c in found.changes] == [("lost", ()), ("gained", ("sh",))]


def test_the_name_of_the_program_itself_is_no_place() -> None:
    found = one(make(*cc(2), program="./old"), make(*cc(2), program="./new"))

    assert [(c.kind, c.template) for c in found.changes] == [("lost", "old"), ("gained", "new")]


def test_an_end_that_differs_is_told_by_its_status() -> None:
    change = only(one(make(*cc(2), *cc(3, code=1)), make(*cc(2, code=2), *cc(3, code=1))))

    assert {word: (v.a, v.b) for word, v in change.ends.items()} == {"exit 2": ((0,), (1,))}
    assert (change.values["failed"].a, change.values["failed"].b) == ((1,), (2,))


def test_a_fork_that_became_a_spawn() -> None:
    spawned = (spawn(1, 2), exec_(2, "cc", "-c", "a.c"), faults(2, cow_copies=0), exit_(2))
    change = only(one(make(*cc(2)), make(*spawned)))

    assert {word: (v.a, v.b) for word, v in change.ways.items()} == {"fork": ((1,), (0,)), "posix_spawn": ((0,), (1,))}
    assert change.values["fork_ns"].differs is None


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        ({"copies": 100}, {"copies": 125}, False),  # 25 pages
        ({"copies": 200}, {"copies": 240}, False),  # 20 %
        ({"copies": 100}, {"copies": 140}, True),
        ({"copies": 140}, {"copies": 100}, True),
        ({"ms": 2}, {"ms": 2.9}, False),
        ({"ms": 100}, {"ms": 120}, False),
        ({"ms": 10}, {"ms": 20}, True),
    ],
)
def test_one_run_each_copies_and_times_must_be_clearly_apart(a: Any, b: Any, differs: bool) -> None:
    sleeper = (fork(1, 7), exec_(7, "sleep"), faults(7, cow_copies=0), after(500))  # so that the whole hardly changes
    found = one(make(*sleeper, *cc(2, **a), exit_(7)), make(*sleeper, *cc(2, **b), exit_(7)))

    assert bool([c for c in found.changes if c.template == "cc -c …"]) == differs


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        ([3, 4], [4, 5], False),
        ([3, 4], [5, 6], True),
        ([5, 6], [3, 4], True),
        ([3], [3, 4], False),
        ([3, None], [4], True),
        ([None], [4], None),
        ([4], [None, None], None),
        ([4], [5], True),
        ([4], [4], False),
    ],
)
def test_counts_differ_when_the_ranges_do_not_overlap(a: Any, b: Any, differs: bool | None) -> None:
    assert compared("count", a, b).differs is differs


def test_with_many_runs_a_small_difference_of_times_is_one_and_with_few_it_is_not() -> None:
    a, b = [100 * MS, 101 * MS, 102 * MS, 103 * MS], [110 * MS, 111 * MS, 112 * MS, 113 * MS]

    assert compared("ns", a, b).differs
    assert not compared("ns", a[:3], b[:3]).differs
    assert not compared("ns", a, [n - 7 * MS for n in b]).differs
    assert not compared("ns", [n // 100 for n in a], [n // 100 for n in b]).differs


def test_a_command_that_comes_now_and_then_is_noise() -> None:
    with_it, without = tree(*make(*cc(2))), tree(*make())

    assert not made([with_it, without], [without, without]).differs
    assert made([with_it, with_it], [without, without]).differs


def test_what_is_not_known_is_compared_with_nothing() -> None:
    blind = frozenset(Fact) - {Fact.COW, Fact.STATUS, Fact.CPU, Fact.FORK_COST}
    found = made([tree(*make(*cc(2, copies=1000, code=1)))], [tree(*make(*cc(2)), facts=blind)])

    assert not found.changes
    assert found.unknown == ("failed", "cow_copies", "fork_ns", "cpu_ns")
    assert found.total["cow_copies"].b == (None,)


def test_a_null_is_not_zero_copies() -> None:
    dumb = (fork(1, 2), exec_(2, "cc", "-c", "2.c"), exit_(2))
    found = one(make(*cc(2, copies=1000)), make(*dumb))

    assert found.total["cow_copies"].b == (None,)
    assert found.total["cow_copies"].differs is None


def test_what_was_there_before_is_not_compared_and_names_a_place() -> None:
    found = one((existing(5, comm="cron"), *cc(2, 5)), (existing(5, comm="cron"), existing(6), *cc(2, 5), *cc(3, 5)))

    assert (only(found).place, only(found).kind) == (("(cron)",), "changed")


def test_one_that_still_lives_is_no_failure() -> None:
    found = one(make(*cc(2)), make(fork(1, 2), exec_(2, "cc", "-c", "2.c"), alive(2)))

    assert "alive" in only(found).ends
    assert only(found).values["failed"].differs is False


def test_chance_of_noise() -> None:
    run = tree(*make())

    assert made([run, run], [run]).chance == pytest.approx(2 / 3)
    assert made([run] * 4, [run] * 4).chance == pytest.approx(1 / 35)


def test_a_long_chain_and_names_of_an_enemy() -> None:
    chain, names = hostile.chain(5_000).tree, hostile.tree_of_names().tree

    assert not made([chain], [chain]).differs
    assert not made([names], [names]).differs
    gone = made([chain], [names]).changes
    assert len(gone) > 5_000
    assert max(len(change.place) for change in gone) == PLACE_MOST + 1


def of(history: History) -> ProcessTree:
    result = ProcessTree(META)
    result.feed(Batch.from_rows(history.rows))
    return result


@PROFILE
@given(histories(), histories())
def test_nothing_differs_from_itself_and_the_other_way_round_is_the_other_way_round(x: History, y: History) -> None:
    a, b = of(x), of(y)
    there, back = made([a], [b]), made([b], [a])
    other = {"gained": "lost", "lost": "gained", "changed": "changed"}

    assert not made([a], [a]).differs
    assert not made([a, b], [b, a]).changes
    assert {(c.place, c.template, c.kind) for c in there.changes} == {
        (c.place, c.template, other[c.kind]) for c in back.changes
    }
    assert sum(v or 0 for c in made([a], [tree()]).changes for v in c.values["processes"].a) == (
        there.total["processes"].a[0] or 0
    )


@PROFILE
@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from(["count", "pages", "ns"]))
def test_a_side_does_not_differ_from_a_part_of_it(values: list[int], unit: str) -> None:
    assert compared(unit, values, values[:1]).differs is False


def test_every_metric_is_in_every_change_and_in_the_whole() -> None:
    found = one(make(), make(*cc(2)))

    assert set(only(found).values) == {m.name for m in METRICS} < set(found.total)
