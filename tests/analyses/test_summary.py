"""A tree in a few figures, and the index arrays below them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.build import (
    MS,
    after,
    batch,
    end,
    exec_,
    exec_failed,
    existing,
    exit_,
    fork,
    fork_failed,
    lost,
    reap,
    root,
    spawn,
    thread,
    tree,
    vfork,
    zombie,
)
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.summary import Failure, Summary, program, summarize
from tracer.analyses.tree_index import Shape
from tracer.model.batch import Batch
from tracer.model.frozen import replace
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.tree.tree import Loss, ProcessTree

NOTHING = Summary(
    processes=0,
    existing=0,
    gaps=0,
    ways=(),
    threads=0,
    execs=0,
    span_ns=None,
    failed=0,
    failures=(),
    failed_execs=0,
    failed_forks=0,
    core_dumps=0,
    oom_kills=0,
    alive=0,
    unsure=0,
    peak_alive=0,
    depth=0,
    forks=0,
    peak_forks=0,
    adopted=0,
    zombies=0,
    zombie_max_ns=None,
    zombie_max_row=None,
    unreaped=0,
    cpu_ns=None,
    own_cpu_ns=None,
    lost=0,
    losses=(),
)


def test_an_empty_tree() -> None:
    assert summarize(tree()) == NOTHING


def test_everything_counts() -> None:
    steps = [
        root(1, "make"),
        fork(1, 2),
        fork(1, 3),
        vfork(3, 4),
        exec_(4, "/bin/cc", "a.c"),
        thread(4, 5),
        spawn(1, 6),
        exit_(4, 1, ppid=1),
        exit_(2, 2),
        exit_(3, signal=9, oom_killed=True),
        reap(3, 1, zombie_ms=250),
        exit_(6, 0),
        exec_failed(1, "x"),
        fork_failed(1),
        after(500),
        exit_(1, signal=6, core=True),
        end(cpu_ms=7),
    ]

    assert summarize(tree(*steps)) == replace(
        NOTHING,
        processes=5,
        ways=(("fork", 2), ("vfork", 1), ("posix_spawn", 1)),
        threads=1,
        execs=2,
        span_ns=514 * MS,
        failed=4,
        failures=(
            Failure("make", "SIGABRT", (), 1),
            Failure("make", None, (2,), 1),
            Failure("make", "SIGKILL", (), 1),
            Failure("cc", None, (1,), 1),
        ),
        failed_execs=1,
        failed_forks=1,
        core_dumps=1,
        oom_kills=1,
        peak_alive=5,
        depth=2,
        forks=4,
        peak_forks=4,
        adopted=1,
        zombies=1,
        zombie_max_ns=250 * MS,
        zombie_max_row=2,
        own_cpu_ns=7 * MS,
    )


def test_failures_of_one_program_are_one_line() -> None:
    steps = [root(1, "sh")]
    for i in range(6):
        steps += [fork(1, 2 + i), exec_(2 + i, "/usr/bin/grep", str(i)), exit_(2 + i, i % 3)]

    assert summarize(tree(*steps)).failures == (Failure("grep", None, (1, 2), 4),)


def test_what_the_source_can_not_see_is_unknown() -> None:
    blind = summarize(tree(root(1, "a"), exit_(1, 3), exec_failed(1, "x"), lost(None), end(), facts=frozenset()))
    unknown = {name for name, value in vars(blind).items() if value is None}

    assert unknown == {
        "threads",
        "failed",
        "failed_execs",
        "failed_forks",
        "core_dumps",
        "oom_kills",
        "adopted",
        "zombies",
        "zombie_max_ns",
        "zombie_max_row",
        "unreaped",
        "cpu_ns",
        "lost",
    }


def test_peak_counts_what_overlaps() -> None:
    steps = [root(1, "sh")]
    for i in range(5):
        steps += [fork(1, 10 + 2 * i), fork(1, 11 + 2 * i), exit_(10 + 2 * i), exit_(11 + 2 * i)]

    assert summarize(tree(*steps)).peak_alive == 3


def test_an_end_without_a_time_makes_the_peak_unknown() -> None:
    assert summarize(tree(root(1, "sh"), fork(1, 2), exit_(2, ts_ns=None), exit_(1))).peak_alive is None


def test_forks_per_second_are_those_of_one_second() -> None:
    steps = [root(1, "sh"), *(fork(1, 2 + i) for i in range(7)), after(2000), *(fork(1, 20 + i) for i in range(3))]

    assert summarize(tree(*steps)).peak_forks == 7


def test_a_zombie_that_nobody_came_for() -> None:
    s = summarize(tree(root(1, "sh"), fork(1, 2), exit_(2), zombie(2), after(400), exit_(1), end()))

    assert (s.zombies, s.zombie_max_ns, s.zombie_max_row, s.unreaped) == (1, 401 * MS, 1, 1)


def test_how_late_forktrace_waits_for_the_program_is_no_zombie_of_the_programs() -> None:
    s = summarize(
        tree(
            root(1, "sh"),
            fork(1, 2),
            exit_(2),
            reap(2, 1, zombie_ms=30),
            exit_(1),
            zombie(1),
            after(400),
            reap(1, 999, zombie_ms=401),
            end(),
        )
    )

    assert (s.zombies, s.zombie_max_ns, s.zombie_max_row, s.unreaped) == (1, 30 * MS, 1, 0)


def test_who_was_there_before() -> None:
    s = summarize(tree(existing(1), existing(2, 1), fork(2, 3), exit_(3)))

    assert (s.processes, s.existing, s.forks, s.alive, s.peak_alive, s.depth) == (1, 2, 1, 0, 3, 2)


def test_the_span_begins_when_the_held_program_is_let_go() -> None:
    assert summarize(tree(root(1), after(200), exec_(1, "sh"), exit_(1))).span_ns == 1 * MS
    assert summarize(tree(existing(1), after(200), fork(1, 2), exit_(2))).span_ns == 202 * MS


def test_losses_are_data() -> None:
    s = summarize(tree(root(1, "sh"), lost(3), lost(4, "spool")))

    assert s.lost == 7
    assert [(loss.count, loss.where) for loss in s.losses] == [(3, "ring"), (4, "spool")]
    assert isinstance(s.losses[0], Loss)


def test_cpu_is_the_schedulers_where_it_is_known() -> None:
    times: dict[str, Any] = {"utime_ns": 4 * MS, "stime_ns": 0}
    known = [root(1, "sh"), fork(1, 2), exit_(2, **times), reap(2, 1, runtime_ns=5 * MS), exit_(1, **times)]

    assert summarize(tree(*known)).cpu_ns == 9 * MS


def test_cpu_of_the_root_begins_at_its_exec() -> None:
    steps = [root(1), exec_(1, "sh", utime_ns=30 * MS, stime_ns=MS), exit_(1, utime_ns=33 * MS, stime_ns=2 * MS)]

    assert summarize(tree(*steps)).cpu_ns == 4 * MS


@pytest.mark.parametrize(
    ("argv", "comm", "name"),
    [
        (["/usr/bin/cc", "x"], "y", "cc"),
        (["cc"], None, "cc"),
        (None, "kworker", "kworker"),
        ([], "x", "x"),
        (["/"], "x", "/"),
        ([""], "x", "x"),
        (None, None, "?"),
    ],
)
def test_program(argv: list[str] | None, comm: str | None, name: str) -> None:
    assert program(argv, comm) == name


def test_a_parent_heard_of_after_its_child() -> None:
    late = ProcessTree()
    late.feed(batch(fork(2, 3, born_ns=5, parent_born_ns=7)))
    late.feed(batch(existing(2, born_ns=7)))
    shape = Shape(late)

    assert late.column("pid").tolist() == [3, 2]
    assert list(shape.order) == [1, 0]
    assert list(shape.depth) == [1, 0]


@PROFILE
@given(histories())
def test_figures_of_any_history_agree_with_its_lives(history: History) -> None:
    tree = ProcessTree(META)
    tree.feed(Batch.from_rows(history.rows))
    shape, s = Shape(tree), summarize(tree)
    n = len(tree)

    assert sorted(shape.order) == list(range(n))
    place = {row: i for i, row in enumerate(shape.order)}
    assert all(above < 0 or place[above] < place[row] for row, above in enumerate(shape.parent))
    assert s.processes + s.existing == n
    assert s.depth == max((depth(tree, row) for row in range(n)), default=0)
    assert s.failed == sum(
        tree.value(row, "signal") is not None or (tree.value(row, "exit_code") or 0) != 0 for row in range(n)
    )
    assert s.failed == sum(failure.count for failure in s.failures)
    assert s.peak_alive is None or (s.peak_alive == most_alive(shape, tree))
    assert s.threads == sum(tree.value(row, "threads") for row in range(n))
    assert Fact.CPU in META.facts


def depth(tree: ProcessTree, row: int) -> int:
    above = tree.parent(row)
    return 0 if above is None else 1 + depth(tree, above)


def most_alive(shape: Shape, tree: ProcessTree) -> int:
    ends = tree.column("exit_ns")
    lives = [(b, e if e != NULL else 1 << 62) for b, e in zip(shape.begin, ends, strict=True)]
    return max((sum(b <= at < e for b, e in lives) for at, _ in lives), default=0)
