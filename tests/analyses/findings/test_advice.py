"""Advice: what deserves it gets it, with its figures; what is well, or not known, gets none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.build import (
    META,
    MS,
    Step,
    after,
    exec_,
    exec_failed,
    exit_,
    faults,
    fork,
    fork_failed,
    reap,
    root,
    spawn,
    stack,
    thread,
    thread_exit,
    tree,
    vfork,
    zombie,
)
from tests.strategies import META as ANY
from tests.strategies import PROFILE, History, histories
from tracer.analyses.findings.advice import Finding, advise
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.tree.tree import ProcessTree

MIB = 1 << 20
PAGE = 4096  # of the machine that the tests' Meta names


def found(*steps: Step, **changes: Any) -> list[Finding]:
    return list(advise(tree(*steps, **changes)))


def only(*steps: Step) -> Finding:
    one = found(*steps)
    assert len(one) == 1, one
    return one[0]


def fork_execs(n: int, fork_ns: int | None, copies: int = 0, **fields: Any) -> list[Step]:
    steps = []
    for pid in range(10, 10 + n):
        steps += [
            fork(1, pid, fork_ns=fork_ns, rss_bytes=300 * MIB, **fields),
            faults(pid, cow_copies=copies, before_exec=True, parent_cow_birth=0, parent_cow_end=7),
            exec_(pid, "true"),
            exit_(pid),
            reap(pid, 1),
        ]
    return steps


# -- copies -----------------------------------------------------------------------------------------------------


def test_fork_and_exec_by_a_large_parent() -> None:
    finding = only(root(1, "server"), *fork_execs(7, 8 * MS, copies=60), exit_(1))

    assert (finding.kind, finding.maker, finding.rows) == ("fork_exec", 0, tuple(range(1, 8)))
    assert finding.figures == {
        "forks": 7,
        "fork_ns": 56 * MS,
        "copied_bytes": 7 * 67 * PAGE,
        "rss_bytes": 300 * MIB,
    }


@pytest.mark.parametrize(
    "steps",
    [
        fork_execs(7, 100_000),  # a small parent
        fork_execs(1, 2 * MS),  # once, and little
        fork_execs(7, None),  # not measured
        fork_execs(7, 70 * MS, pgtables_bytes=36 << 10),  # waited for a processor, and copied little
        [s for pid in range(10, 20) for s in (spawn(1, pid), exec_(pid, "true"), exit_(pid), reap(pid, 1))],
        [s for pid in range(10, 20) for s in (fork(1, pid, fork_ns=9 * MS), exit_(pid), reap(pid, 1))],  # no exec
    ],
)
def test_forks_that_are_well(steps: list[Step]) -> None:
    assert found(root(1, "server"), *steps, exit_(1)) == []


def test_pages_copied_between_fork_and_exec() -> None:
    finding = only(root(1, "server"), *fork_execs(3, 100_000, copies=300), exit_(1))

    assert (finding.kind, finding.figures["copied_bytes"]) == ("copied_before_exec", 3 * 307 * PAGE)
    assert found(root(1, "server"), *fork_execs(3, 100_000, copies=20), exit_(1)) == []


def snapshot(parent: int, child: int, rss: int | None) -> list[Step]:
    return [
        root(1, "redis-server"),
        fork(1, 2, rss_bytes=rss),
        after(500),
        faults(2, cow_copies=child, parent_cow_birth=3, parent_cow_end=3 + parent),
        exit_(2),
        reap(2, 1),
        exit_(1),
    ]


def test_a_snapshot_that_copies_most_of_its_parent() -> None:
    finding = only(*snapshot(20_000, 24, 100 * MIB))

    assert (finding.kind, finding.maker, finding.rows) == ("snapshot", 0, (1,))
    assert finding.figures["parent_bytes"] == 20_000 * PAGE
    assert finding.figures["copied_bytes"] == 20_024 * PAGE
    assert finding.figures["share"] == pytest.approx(20_024 * PAGE / (100 * MIB))
    assert finding.figures["life_ns"] == 502 * MS


@pytest.mark.parametrize(
    "steps",
    [
        snapshot(20_000, 24, 1000 * MIB),  # a small part
        snapshot(3000, 24, 14 * MIB),  # little
        snapshot(20_000, 24, None),  # of how much is not known
        snapshot(0, 0, 100 * MIB),
    ],
)
def test_snapshots_that_are_well(steps: list[Step]) -> None:
    assert found(*steps) == []


def workers(copies: int, *code: Step, n: int = 3) -> list[Step]:
    steps = [root(1, "server")]
    for pid in range(10, 10 + n):
        steps += [fork(1, pid, rss_bytes=40 * MIB), faults(pid, cow_copies=copies)]
    return [*steps, *code, *(step for pid in range(10, 10 + n) for step in (exit_(pid), reap(pid, 1))), exit_(1)]


def test_workers_that_copy_what_they_were_to_share() -> None:
    finding = only(*workers(3300))

    assert (finding.kind, finding.figures["workers"], finding.figures["function"]) == ("workers_copy", 3, None)
    assert finding.figures["copied_bytes"] == 9900 * PAGE
    assert finding.figures["share"] == pytest.approx(3300 * PAGE / (40 * MIB))


def test_a_collector_is_named_only_where_stacks_name_one() -> None:
    named = [stack(10, 3000, "visit_decref", "subtract_refs", "gc_collect_main"), stack(10, 200, "memset", "work")]
    other = [stack(10, 3000, "memset", "render", "serve"), stack(10, 100, "gc_collect_main")]

    assert only(*workers(3300, *named)).kind == "collector"
    assert only(*workers(3300, *named)).figures["part"] == pytest.approx(3000 / 3200)
    assert (only(*workers(3300, *other)).kind, only(*workers(3300, *other)).figures["function"]) == (
        "workers_copy",
        "memset",
    )


def test_workers_that_are_well() -> None:
    assert found(*workers(300)) == []
    assert found(*workers(5000, n=1)) == []


# -- lives ------------------------------------------------------------------------------------------------------


def test_failed_forks_come_first_and_by_cause() -> None:
    first, second = found(
        root(1, "server"),
        fork_failed(1, cause="pids.max 50/50 of /x", evidence="measured"),
        fork_failed(1, "EAGAIN"),
        fork_failed(1, cause="pids.max 50/50 of /x", evidence="measured"),
        exit_(1),
    )

    assert first.breaks
    assert first.figures == {
        "failed": 2,
        "callers": 1,
        "error": "EAGAIN",
        "cause": "pids.max 50/50 of /x",
        "sure": True,
    }
    assert (second.figures["failed"], second.figures["cause"]) == (1, None)


def runs(n: int, *argv: str, code: int = 0, signal: int | None = None, pause: float = 1) -> list[Step]:
    steps = [root(1, "keeper")]
    for pid in range(10, 10 + n):
        steps += [
            vfork(1, pid),
            exec_(pid, *argv),
            exit_(pid, code, signal=signal),
            reap(pid, 1, runtime_ns=MS),
            after(pause),
        ]
    return [*steps, exit_(1)]


def test_what_dies_and_is_started_again() -> None:
    finding = only(*runs(13, "server", "--port", "1", code=3))

    assert (finding.kind, finding.breaks, finding.maker) == ("respawn", True, 0)
    assert {**finding.figures, "forks_per_s": None} == {
        "times": 13,
        "failed": 13,
        "outcome": 3,
        "life_ns": 2 * MS,
        "pause_ns": 3 * MS,
        "cpu_ns": 13 * MS,
        "forks_per_s": None,
    }
    assert only(*runs(13, "server", signal=11)).figures["outcome"] == "SIGSEGV"
    assert only(*runs(130, "server", code=3)).kind == "respawn"  # and not also as one command again and again


@pytest.mark.parametrize(
    "steps",
    [
        runs(13, "server"),  # it works
        runs(13, "grep", "-q", "x", code=1),  # an answer
        runs(3, "server", code=3),  # thrice is no loop
        runs(13, "server", code=3, pause=60_000),  # every minute
        [root(1, "make"), *(s for p in range(10, 30) for s in (fork(1, p), exec_(p, "cc", f"{p}.c"), exit_(p, 1)))],
    ],
)
def test_failures_that_are_no_loop(steps: list[Step]) -> None:
    assert [finding for finding in found(*steps) if finding.kind == "respawn"] == []


def test_all_at_once_is_no_respawn() -> None:
    steps = [root(1, "keeper"), *(s for p in range(10, 30) for s in (fork(1, p), exec_(p, "w")))]

    assert found(*steps, *(exit_(p, 3) for p in range(10, 30))) == []


def test_children_that_nobody_waits_for() -> None:
    children = [step for pid in (2, 3, 4) for step in (fork(1, pid), exit_(pid), zombie(pid))]
    never = only(root(1, "server"), *children, after(1500), exit_(1))
    late = only(root(1, "server"), *children, after(1500), *(reap(p, 1, zombie_ms=1503) for p in (2, 3, 4)), exit_(1))

    assert (never.kind, never.figures["unreaped"], never.breaks) == ("unreaped", 3, True)
    assert (late.kind, late.figures["unreaped"], late.breaks) == ("reaped_late", 0, False)
    assert found(root(1, "sh"), *children, after(100), exit_(1)) == []  # a program that ends soon need not wait
    assert found(root(1, "sh"), *children, after(1500), exit_(1), facts=META.facts - {Fact.ZOMBIES}) == []


def test_a_search_along_the_path() -> None:
    def searches(n: int) -> list[Step]:
        steps = [root(1, "sh")]
        for pid in range(10, 10 + n):
            tries = (exec_failed(pid, f"/{folder}/cc") for folder in "abcd")
            steps += [fork(1, pid), *tries, exec_(pid, "/e/cc"), exit_(pid), reap(pid, 1)]
        return [*steps, exit_(1)]

    finding = only(*searches(6))

    assert (finding.kind, finding.weight_ns) == ("path_search", 18 * MS)
    assert finding.figures == {
        "failed": 24,
        "processes": 6,
        "names": 1,
        "name": "cc",
        "wasted_ns": 18 * MS,
        "missing": 0,
    }
    assert found(*searches(4)) == []


def test_shells_that_were_not_needed() -> None:
    def shells(n: int, script: str) -> list[Step]:
        steps = [root(1, "make")]
        for pid in range(10, 10 + n):
            steps += [fork(1, pid), exec_(pid, "sh", "-c", script), exec_(pid, "cc", "a.c"), exit_(pid), reap(pid, 1)]
        return [*steps, exit_(1)]

    finding = only(*shells(11, "cc a.c"))

    assert (finding.kind, finding.figures["shells"], finding.figures["own_ns"]) == ("shell", 11, 11 * MS)
    assert found(*shells(3, "cc a.c")) == []
    assert found(*shells(11, "cc a.c >log")) == []


def test_one_command_again_and_again_where_that_is_most_of_the_work() -> None:
    finding = only(*runs(120, "date", "+%s"))

    assert (finding.kind, finding.figures["processes"], finding.figures["cpu_ns"]) == ("short_lived", 120, 120 * MS)
    assert finding.figures["part"] == 1
    assert found(*runs(90, "date", "+%s")) == []
    busy = [fork(1, 5), after(50), exit_(5), reap(5, 1, runtime_ns=9000 * MS)]
    assert found(*runs(120, "date", "+%s")[:-1], *busy, exit_(1)) == []


def test_threads_at_a_fork_without_an_exec() -> None:
    begin = [root(1, "server"), thread(1, 50), thread(1, 51)]
    finding = only(*begin, fork(1, 2), exit_(2), reap(2, 1), thread_exit(1, 50), fork(1, 3), exit_(3), exit_(1))

    assert (finding.kind, finding.maker, finding.figures) == ("threads", 0, {"forks": 2, "threads": 2})
    assert found(*begin, fork(1, 2), exec_(2, "true"), exit_(2), reap(2, 1), exit_(1)) == []
    assert found(*begin, thread_exit(1, 50), thread_exit(1, 51), fork(1, 2), exit_(2), exit_(1)) == []
    assert found(root(1, "server"), fork(1, 2), exit_(2), thread(1, 50), exit_(1)) == []


# -- all --------------------------------------------------------------------------------------------------------


def test_what_breaks_comes_first_then_what_costs_most() -> None:
    kinds = [
        f.kind
        for f in found(
            root(1, "server"),
            thread(1, 50),
            fork(1, 5),
            exit_(5),
            reap(5, 1),
            *fork_execs(7, 8 * MS),
            fork_failed(1),
            fork(1, 2, rss_bytes=100 * MIB),
            faults(2, cow_copies=1, parent_cow_birth=0, parent_cow_end=20_000),
            exit_(2),
            reap(2, 1),
            exit_(1),
        )
    ]

    assert kinds == ["failed_forks", "fork_exec", "snapshot", "threads"]


def test_nothing_is_said_of_nothing_or_by_a_source_that_is_blind() -> None:
    assert advise(ProcessTree()) == ()
    assert found(root(1, "a")) == []
    children = (s for p in range(10, 99) for s in (fork(1, p), exit_(p, None), reap(p, 1, zombie_ms=9999)))
    assert found(root(1, "a"), *children, meta=META, facts=frozenset()) == []


@PROFILE
@given(histories())
def test_any_history_has_its_findings_with_figures(history: History) -> None:
    t = ProcessTree(ANY)
    t.feed(Batch.from_rows(history.rows))

    for finding in advise(t):
        assert finding.figures
        assert all(0 <= row < len(t) for row in finding.rows)
        assert finding.as_dict()["kind"] == finding.kind
