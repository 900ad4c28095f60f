"""Lives on one line of time: where they begin and end, what they ran, who made and who reaped them."""

from __future__ import annotations

from hypothesis import given, settings

from tests.build import (
    MS,
    after,
    alive,
    end,
    exec_,
    existing,
    exit_,
    faults,
    fork,
    reap,
    root,
    tree,
    zombie,
)
from tests.exporting import of
from tests.strategies import History, histories
from tracer.analyses.cow import ledger
from tracer.analyses.summary import summarize
from tracer.analyses.tree_index import Shape
from tracer.reports.timeline import Timeline, joined


def test_a_slice_for_each_image_and_one_as_a_zombie() -> None:
    line = Timeline(
        tree(
            root(1, "sh"),
            fork(1, 2),
            exec_(2, "/bin/a", "x"),
            after(4),
            exec_(2, "b"),
            exit_(2, 3),
            zombie(2),
            after(8),
            reap(2, 1, zombie_ms=9),
            exit_(1),
            end(),
        )
    )

    told = [((s.begin_ns - line.begin[1]) // MS, (s.end_ns - line.begin[1]) // MS, s.name) for s in line.slices(1)]
    assert told == [(0, 1, "(before exec)"), (1, 6, "a"), (6, 7, "b"), (8, 17, "zombie")]
    last = list(line.slices(1))[2]
    assert last.facts["exit_code"] == 3
    assert last.facts["argv"] == "b"
    assert [(f.what, f.source, f.target) for f in line.flows(1)] == [("fork", 0, 1), ("reap", 1, 0)]
    assert list(line.flows(0)) == []


def test_the_root_begins_at_its_exec_as_in_the_report() -> None:
    told = tree(root(1), after(50), exec_(1, "make"), after(9), exit_(1), end())
    line = Timeline(told)

    assert line.begin_ns == Shape(told).begin[0]
    assert line.end[0] == Shape(told).life[0]


def test_the_line_ends_with_the_last_of_them_and_not_with_forktrace() -> None:
    line = Timeline(
        tree(
            root(1, "x"),
            fork(1, 2),
            exit_(2),
            zombie(2),
            after(30),
            reap(2, 1, zombie_ms=30),
            exit_(1),
            zombie(1),
            after(900),
            reap(1, 999, zombie_ms=900),
            after(5000),
            end(),
        )
    )

    assert line.last_ns == line.end[0]
    assert [each.sort for each in line.slices(0)] == ["process"]  # it is forktrace that waits for that one


def test_what_still_waits_or_lives_goes_on_to_the_end_of_the_trace() -> None:
    steps = (root(1, "x"), fork(1, 2), exit_(2), zombie(2), exit_(1))
    waits = Timeline(tree(*steps, after(500), reap(1, 999), end()))
    lives = Timeline(tree(root(1, "x"), fork(1, 2), exit_(2), reap(2, 1), after(500), alive(1), end()))

    assert waits.last_ns > waits.end[0] + 400 * MS
    assert lives.last_ns == lives.stop(0) > lives.end[1] + 400 * MS


def test_who_was_there_before_begins_with_the_trace_and_goes_on() -> None:
    line = Timeline(tree(existing(1), existing(5, 1), fork(5, 6), after(20), exit_(6), end()))

    assert line.begin[0] == 0
    assert [s.end_ns for s in line.slices(0)] == [line.last_ns]
    assert [f.what for f in line.flows(1)] == []  # nobody saw that birth
    assert [f.what for f in line.flows(2)] == ["fork"]


def test_counters_end_where_the_totals_are() -> None:
    told = tree(
        root(1, "x"),
        fork(1, 2),
        fork(1, 3),
        exit_(2),
        faults(2, cow_copies=5),
        alive(3),
        faults(3, cow_copies=7),
        exit_(1),
        faults(1, cow_copies=1),
        end(),
    )
    line = Timeline(told)

    assert [n for _, n in line.alive()] == [1, 2, 3, 2, 1]
    assert [n for _, n in line.copies()] == [5, 6, 13]
    assert ledger(told).copies == 13


@settings(max_examples=60)
@given(histories())
def test_laws_of_any_tree(history: History) -> None:
    told = of(history).tree
    line = Timeline(told)

    rows = [row for row, _, _ in line.tracks()]
    assert sorted(rows) == list(range(len(told)))
    seen: set[int] = set()
    for row, parent, _ in line.tracks():
        assert parent is None or parent in seen
        seen.add(row)
        at = 0
        for each in line.slices(row):
            assert at <= each.begin_ns <= each.end_ns
            at = each.end_ns
    alive_ = [n for _, n in line.alive()]
    assert all(n >= 0 for n in alive_)
    most = summarize(told).peak_alive
    if most is not None and alive_:
        assert max(alive_) == most


def test_only_as_much_of_an_argv_is_joined_as_is_kept() -> None:
    assert joined(["a", "b c"]) == "a b c"
    assert joined(["x" * 5_000_000, "y"], 10) == "x" * 10 + "…"
    assert joined(["ab"] * 1_000_000, 4) == "ab a…"
    assert joined(["\udcff\n"]) == "\\udcff\\u000a"
