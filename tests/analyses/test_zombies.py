"""Zombies: whose they are, how long, who got the orphans."""

from __future__ import annotations

from tests.build import META, MS, Step, after, exec_, exit_, fork, reap, root, tree, zombie
from tracer.analyses.zombies import POINTS, Adopter, Zombies, zombies
from tracer.model.meta import Fact


def of(*steps: Step) -> Zombies:
    found = zombies(tree(*steps))
    assert found is not None
    return found


def test_who_waits_late_and_who_never() -> None:
    found = of(
        root(1, "server"),
        fork(1, 10),
        exec_(10, "late"),
        fork(10, 11),
        exit_(11),
        zombie(11),
        after(1999),
        reap(11, 10, zombie_ms=2000),
        fork(1, 20),
        exec_(20, "never"),
        *(step for pid in (21, 22, 23) for step in (fork(20, pid), exit_(pid), zombie(pid))),
        after(500),
        exit_(1),
    )

    late, never = found.parents
    assert (late.row, late.pid, late.children, late.unreaped, late.longest_ns) == (1, 10, 1, 0, 2000 * MS)
    assert (never.row, never.children, never.unreaped, never.at_once) == (3, 3, 3, 3)
    assert never.rows == (4, 5, 6)  # the longest first
    assert never.longest_ns > 500 * MS
    assert (found.unreaped, found.at_once) == (3, 3)


def test_one_that_is_waited_for_at_once_is_none() -> None:
    root_waits = [exit_(1), zombie(1), after(9), reap(1, 999, zombie_ms=9)]
    found = of(root(1, "sh"), fork(1, 2), exit_(2), reap(2, 1), *root_waits)

    assert found == Zombies((), 0, 0, (), (), ())


def test_after_its_parent_s_end_a_zombie_is_somebody_else_s() -> None:
    found = of(
        root(1, "sh"),
        fork(1, 2),
        fork(2, 3),
        exit_(3),
        zombie(3),
        after(99),
        exit_(2),
        after(1000),
        reap(3, 1, zombie_ms=1101, ppid=1),
    )

    assert [(w.row, w.unreaped, w.longest_ns) for w in found.parents] == [(1, 1, 100 * MS)]


def test_an_orphan_s_zombie_is_its_new_parent_s() -> None:
    found = of(
        root(1, "sh"),
        fork(1, 2),
        fork(2, 3),
        exit_(2),
        exit_(3, ppid=77),
        zombie(3),
        after(5000),
        exit_(1),
    )

    assert [(w.row, w.pid) for w in found.parents] == [(None, 77)]
    assert found.adopters == (Adopter(77, None, 1),)
    assert found.double_forks == (2,)


def test_they_grow_over_time() -> None:
    steps = [root(1, "server")]
    for pid in range(10, 42):
        steps += [fork(1, pid), exit_(pid), zombie(pid), after(97)]
    growth = of(*steps).growth

    assert len(growth) == POINTS
    assert [n for _, n in growth] == sorted(n for _, n in growth)
    assert growth[-1][1] >= 31


def test_one_in_between_that_lives_on_or_execs_is_no_double_fork() -> None:
    slow = [root(1, "sh"), fork(1, 2), fork(2, 3), after(2000), exit_(2), exit_(3, ppid=1)]
    other = [root(1, "sh"), fork(1, 2), exec_(2, "nohup"), fork(2, 3), exit_(2), exit_(3, ppid=1)]

    assert of(*slow).double_forks == of(*other).double_forks == ()
    assert of(*slow).adopters == (Adopter(1, 0, 1),)


def test_a_source_that_sees_no_waits_says_nothing() -> None:
    assert zombies(tree(root(1, "a"), meta=META, facts=frozenset({Fact.STATUS}))) is None
