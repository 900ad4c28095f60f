"""Lives taken as columns and lives taken one by one make the same window, to the last tally."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given

from tests.stories import ALL, S, Story
from tests.strategies import META, PROFILE, History, cut, cut_points, histories
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.window import short_lived
from tracer.window.counters import Tally
from tracer.window.short_lived_sums import Brief
from tracer.window.window import SERIES, Window


@contextmanager
def from_(births: int, alike: int) -> Iterator[list[int]]:
    """Columns from so many births in a batch, and below one parent, on; how many lives each of them had."""
    taken: list[int] = []
    found = short_lived.find

    def find(*args: Any, **more: Any) -> Brief | None:
        result = found(*args, **more)
        if result is not None:
            taken.append(result.count)
        return result

    with (
        patch("tracer.window.ingest.MANY", births),
        patch("tracer.window.short_lived.MANY", births),
        patch("tracer.window.short_lived._ALIKE", alike),
        patch("tracer.window.ingest.find", find),
    ):
        yield taken


def fed(batches: Sequence[Batch], meta: Meta, until: int = 0) -> Window:
    window = Window(60, meta)
    for batch in batches:
        window.feed(batch)
    window.advance(until)
    return window


def state(window: Window) -> dict[str, Any]:
    """All that it knows."""
    lives = window.lives
    resting = len(lives.resting)
    lives.recall()
    assert sum(life.resting for life in lives.of.values()) == 0 <= resting
    return {
        "series": {name: window.series(name) for name in SERIES},
        "cells": {
            (cell.parent.key, cell.alike): (
                cell.alive,
                cell.zombies,
                {at: told(tally) for at, tally in cell.seconds.items()},
            )
            for cell in lives.cells
        },
        "lives": {
            key: (life.state, life.zombie, life.alike, life.parent.key, life.depth, life.execs, life.origin)
            for key, life in lives.of.items()
        },
        "kids": {key: {kid.key for kid in life.kids or ()} for key, life in lives.of.items()},
        "counts": (lives.alive, lives.zombies),
        "touched": {at: sorted(map(str, (cell.alike for cell in cells))) for at, cells in lives.touched.items()},
        "names": {cell.alike[0]: window.namer.words(cell.alike[0]) for cell in lives.cells if cell.alike[0] >= 0},
        "groups": {by: window.groups(by, 60) for by in ("template", "comm", "cgroup", "uid")},
        "ancestors": [(g.label, g.pid, g.forks, g.exits, g.statuses) for g in window.groups("ancestor", 60)],
    }


def told(tally: Tally) -> dict[str, Any]:
    return {name: getattr(tally, name) for name in Tally.__slots__}


def same(batches: Sequence[Batch], meta: Meta, births: int, alike: int, until: int = 0) -> list[int]:
    """How many lives were taken as columns."""
    one_by_one = state(fed(batches, meta, until))
    with from_(births, alike) as taken:
        columns = state(fed(batches, meta, until))

    assert columns == one_by_one
    return taken


@PROFILE
@given(histories(), cut_points)
def test_over_any_history(history: History, at: list[int]) -> None:
    same(cut(history.rows, at), META, 1, 1)


def busy(seed: int, n: int = 600) -> Story:
    """A host that makes all sorts of lives; some of them touch others, and so are no matter for columns."""
    dice = random.Random(seed)
    story = Story()
    story.existing(1, comm="init")
    for k, name in enumerate(("sh", "cron", "make")):
        story.existing(10 + k, 1, comm=name, cgroup=f"/g{k}", uid=k)
    story.exec(0.001, 10, "sh", "-c", "loop")
    free = 100
    for k in range(n):
        at = 0.1 + k * dice.choice((0.001, 0.004))
        above = dice.choices((10, 11, 12), (8, 3, 1))[0]
        pid, free = free, free + 1
        story.fork(at, pid, above, fork_ns=dice.choice((None, 1000 + k)))
        lasts = dice.choice((0.0005, 0.002, 0.002, 0.4))
        for turn in range(dice.choices((0, 1, 2), (5, 5, 1))[0]):
            argv = dice.choice((["true"], ["curl", f"http://a/{k}"], ["git", "log", str(k % 7)]))
            story.exec(at + lasts * (0.2 + turn / 10), pid, *argv, **dice.choice(({}, {"cgroup": "/made"}, {"uid": 7})))
        if dice.random() < 0.1:  # it has a child
            story.run(at + lasts * 0.4, free, pid, "as", "x", lasts=lasts * 0.2)
            free += 1
        if dice.random() < 0.02:
            story.row(Kind.RENAME, at + lasts * 0.5, pid, comm="other")
        if dice.random() < 0.02:
            story.row(Kind.FORK_FAILED, at + lasts * 0.5, pid, error="EAGAIN")
        for _ in range(dice.choices((0, 1, 2), (6, 2, 1))[0]):
            story.row(Kind.FAULTS, at + lasts * 0.6, pid, cow_copies=dice.choice((0, 1, 5)))
        if dice.random() < 0.05:  # a thread of it
            story.row(Kind.FORK, at + lasts * 0.3, pid, tid=50_000 + k, creator_pid=pid, creator_born_ns=int(at * S))
            story.row(Kind.EXIT, at + lasts * 0.9, pid, tid=50_000 + k, last=False)
            story.row(Kind.REAP, at + lasts, pid, tid=50_000 + k)
        end = dice.choices((0, 1, 127, -9, None), (6, 2, 1, 1, 1))[0]
        story.exit(at + lasts, pid, end if end is None or end >= 0 else 0, signal=9 if end == -9 else None)
        if dice.random() < 0.3:
            story.row(Kind.ZOMBIE, at + lasts, pid, ppid=above)
        if dice.random() < 0.95:
            used = dice.choice(({"runtime_ns": k}, {"utime_ns": 3, "stime_ns": k}, {}))
            story.reap(at + lasts + dice.choice((0.0001, 0.02)), pid, **used)
        if k == n // 2:
            story.row(Kind.RENAME, at, 11, comm="cron2")
            story.exec(at, 12, "make", "-j9")
    return story


def cuts(story: Story, every_ns: int) -> list[Batch]:
    rows = sorted(story.rows, key=lambda row: row[1]["ts_ns"])
    edges = [0]
    for i, (kind, values) in enumerate(rows):
        # Who was there before is told first, and alone.
        if values["ts_ns"] // every_ns != rows[edges[-1]][1]["ts_ns"] // every_ns or (
            kind != Kind.EXISTING == rows[edges[-1]][0]
        ):
            edges.append(i)
    edges.append(len(rows))
    return [Batch.from_rows(rows[a:b]) for a, b in itertools.pairwise(edges) if b > a]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("every", [S // 20, S // 4, 3 * S])
def test_over_a_busy_host(seed: int, every: int) -> None:
    taken = same(cuts(busy(seed), every), ALL, 2, 1)

    assert sum(taken) > 50


def test_where_the_source_tells_of_no_releases() -> None:
    meta = Meta("netlink", frozenset(Fact) - {Fact.REAPS})
    assert sum(same(cuts(busy(1), S // 4), meta, 2, 1)) > 50


def test_what_is_older_than_the_window_counts_in_its_first_second_all_the_same() -> None:
    story = busy(3)
    late = Story()
    late.existing(9000, comm="late")
    late.fork(100, 9001, 9000)
    same([Batch.from_rows(late.rows), *cuts(story, S // 4)], ALL, 2, 1, until=101 * S)


def test_after_a_loss_everybody_is_looked_at() -> None:
    batches = cuts(busy(4), S // 4)
    lost = Batch.from_rows([(Kind.LOST, {"ts_ns": S // 2, "count": 3, "where": "events ring"})])
    same([batches[0], batches[1], lost, *batches[2:]], ALL, 2, 1)


def test_a_storm_is_taken_as_columns_and_a_few_births_are_not() -> None:
    storm, calm = Story(), Story()
    for story, n in ((storm, 2000), (calm, 100)):
        story.existing(1)
        story.existing(10, 1, comm="sh")
        for k in range(n):
            story.run(0.1 + k / 10_000, 100 + k, 10, "true", lasts=0.0001)
    assert same(cuts(storm, S), ALL, short_lived.MANY, 16) == [2000 - 0]
    assert same(cuts(calm, S), ALL, short_lived.MANY, 16) == []
