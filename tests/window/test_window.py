"""The rolling window: rates by second, lineage, and memory that goes with the dead."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.stories import ALL, S, Story
from tests.strategies import META, PROFILE, History, cut, cut_points, histories
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.window.window import SERIES, Window


def test_rates_are_by_second_of_the_events_clock() -> None:
    story = Story()
    story.existing(1)
    for second, n in enumerate((2, 0, 3)):
        for k in range(n):
            story.run(second + 0.1 * k + 0.1, 100 * second + k + 10, 1, "true", lasts=0.05)

    window = story.window(until=3.5)

    assert window.series("forks") == [2, 0, 3]
    assert window.series("execs") == [2, 0, 3]
    assert window.series("exits") == [2, 0, 3]
    assert window.series("alive") == [1, 1, 1]


def test_the_running_second_is_not_in_a_series_and_a_late_event_still_counts_in_its_own() -> None:
    story = Story()
    story.existing(1)
    story.fork(0.5, 10, 1)
    window = story.window(until=2.2)
    assert window.series("forks") == [1, 0]

    late = Story()
    late.existing(1)
    late.fork(1.9, 11, 1)
    window.feed(Batch.from_rows(late.rows[1:]))

    assert window.series("forks") == [1, 1]
    assert window.series("alive") == [2, 3]


def test_what_a_source_can_not_see_is_null_and_not_zero() -> None:
    story = Story()
    story.existing(1)
    story.fork(0.5, 10, 1)
    window = story.window(until=2, meta=Meta("netlink", frozenset({Fact.STATUS})))

    assert window.series("failures") == window.series("zombies") == window.series("copies") == [None, None]
    assert window.series("lost") == [0, 0]
    group = window.groups("ancestor")[0]
    assert (group.failures, group.zombies, group.copies, group.cpu_ns, group.fork_ns) == (None,) * 5


def test_failures_are_known_from_when_they_are_looked_for() -> None:
    window = Window(60, Meta("bpf", frozenset(Fact) - {Fact.FORK_FAILED}))
    window.advance(int(0.5 * S))
    window.advance(int(2.5 * S))
    window.meta = ALL
    window.advance(int(4.5 * S))

    assert window.series("failures") == [None, None, 0, 0]


def test_a_failed_fork_belongs_to_who_tried() -> None:
    story = Story()
    story.existing(1)
    story.existing(50, 1, comm="worker")
    for k in range(5):
        story.row(Kind.FORK_FAILED, 0.5 + k / 100, 50, error="EAGAIN", cause="pids.max 10/10 of /a")
    window = story.window(until=1)

    assert window.series("failures") == [5]
    busiest = next(g for g in window.groups("ancestor") if g.failures)
    assert (busiest.pid, busiest.failures) == (50, 5)
    assert busiest.causes == {"EAGAIN: pids.max 10/10 of /a": 5}


def test_zombies_are_those_that_nobody_has_come_for() -> None:
    story = Story()
    story.existing(1)
    for k in range(3):
        story.fork(0.1, 10 + k, 1)
        story.exit(0.2, 10 + k)
        story.row(Kind.ZOMBIE, 0.2, 10 + k, ppid=1)
    story.reap(1.5, 11)
    window = story.window(until=3)

    assert window.series("zombies") == [3, 2, 2]
    assert window.series("alive") == [1, 1, 1]
    assert window.groups("ancestor")[0].zombies == 2


def test_losses_are_counted_and_make_old_acquaintances_doubtful() -> None:
    story = Story()
    story.existing(1)
    story.fork(0.1, 10, 1)
    window = story.window(until=1)
    window.feed(Batch.from_rows([(Kind.LOST, {"ts_ns": S, "count": 7, "where": "events ring"})]))
    window.advance(2 * S)

    assert window.series("lost") == [0, 7]
    assert set(window.doubtful()) == {story.key(1), story.key(10)}

    again = {"ts_ns": 2 * S, "pid": 10, "tid": 10, "born_ns": 2 * S, "ppid": 1, "parent_born_ns": 0}
    window.feed(Batch.from_rows([(Kind.FORK, again)]))  # its pid is another's now
    assert window.life(story.key(10)) is None
    assert {life.key for life in window.living()} == {story.key(1), (10, 2 * S)}
    window.forget(story.key(1))
    assert list(window.doubtful()) == []


def test_the_dead_leave_memory_in_a_chain_too() -> None:
    window = Window(5, ALL)
    story = Story()
    story.existing(1)
    for k in range(3000):  # each makes one and ends
        pid = 100 + k
        story.fork(k / 100, pid, pid - 1 if k else 1)
        if k:
            story.exit(k / 100, pid - 1)
            story.reap(k / 100, pid - 1)
    window.feed(story.batch())
    window.advance(40 * S)

    assert len(window.lives.of) == 2
    (last,) = window.children((1, 0))
    assert last.key == story.key(3099)
    assert last.depth > 3000
    assert len(window.lives.cells) <= 2
    assert not window.lives.touched


def test_a_dead_one_stays_while_the_way_forks_at_it() -> None:
    story = Story()
    story.existing(1)
    story.fork(0.1, 10, 1)
    story.fork(0.2, 11, 10)
    story.fork(0.2, 12, 10)
    story.exit(0.3, 10)
    story.reap(0.3, 10)
    window = story.window(until=1)
    assert [life.pid for root in window.roots() for life in window.children(root.key)] == [10]
    assert {life.pid for life in window.living()} == {1, 11, 12}

    more = Story()
    more.rows = []
    more._born = story._born
    more.exit(1.1, 11)
    more.reap(1.1, 11)
    window.feed(more.batch())
    assert [life.pid for root in window.roots() for life in window.children(root.key)] == [12]


def test_a_birth_counts_for_what_the_child_came_to_be() -> None:
    story = Story()
    story.existing(1, comm="init")
    story.existing(5, 1, comm="bash")
    for k in range(8):
        story.run(0.1 + k / 100, 10 + k, 5, "/bin/curl", "-s", f"http://a/{k}")
    story.run(0.5, 40, 5)
    window = story.window(until=1)

    by = {name: {g.label: g.forks for g in window.groups(name) if g.forks} for name in ("template", "comm", "uid")}
    assert by["template"] == {"/bin/curl -s …": 8, "(bash)": 1}
    assert by["comm"] == {"curl": 8, "bash": 1}
    assert by["uid"] == {"0": 9}


def test_one_that_was_there_gets_its_command_from_elsewhere() -> None:
    story = Story()
    story.existing(1)
    window = story.window(until=1)
    window.tell((1, 0), ["/sbin/init", "splash"])

    assert [g.label for g in window.groups("template")] == ["/sbin/init splash"]


def test_an_unknown_series_or_group_is_refused() -> None:
    window = Window()
    with pytest.raises(KeyError):
        window.series("births")
    with pytest.raises(KeyError):
        window.groups("pid")
    assert all(window.series(name) == [] for name in SERIES)


@PROFILE
@given(histories(), cut_points)
def test_over_any_history_it_knows_who_lives(history: History, at: list[int]) -> None:
    window = Window(60, META)
    for batch in cut(history.rows, at):
        window.feed(batch)

    truth = {life.key for life in history.lives if life.lives}
    strangers = {life.key for life in window.living() if life.gap}
    assert {life.key for life in window.living()} - strangers == truth
    assert window.lives.alive == len(truth | strangers)
    assert window.lives.zombies == sum(
        1 for life in history.lives if life.zombie_since is not None and not life.released
    )
    born = sum(life.how not in ("root", "existing") for life in history.lives)
    assert sum(g.forks for g in window.groups("ancestor")) == born
    assert sum(g.forks for g in window.groups("template")) == born
    assert sum(g.alive for g in window.groups("comm")) == len(truth | strangers)
    assert sum(g.exits for g in window.groups("uid")) == sum(not life.lives for life in history.lives)


@PROFILE
@given(histories())
def test_however_it_is_cut_the_tree_of_the_living_is_the_same(history: History) -> None:
    whole, single = Window(60, META), Window(60, META)
    whole.feed(Batch.from_rows(history.rows))
    for row in history.rows:
        single.feed(Batch.from_rows([row]))

    def paths(window: Window) -> dict[object, object]:
        return {life.key: life.parent.key for life in window.living()}

    assert paths(whole).keys() == paths(single).keys()


def test_a_chain_of_copies_is_one_thing_with_one_beginning() -> None:
    window = Window(60, ALL)
    story = Story()
    story.existing(1)
    story.existing(50, 1, comm="bash")
    story.fork(0.001, 100, 50)
    story.exec(0.002, 100, "./relay", "7")
    for k in range(1, 400):
        pid = 100 + k
        story.fork(k / 100, pid, pid - 1, comm="relay")
        story.exit(k / 100 + 0.001, pid - 1)
        if k > 1:  # the kernel lets go of them late
            story.reap(k / 100 + 0.002, pid - 2)
    window.feed(story.batch())

    busiest = window.groups("ancestor")[0]
    assert busiest.life is not None
    assert (busiest.life.origin, busiest.forks, busiest.alive) == (story.key(100), 399, 1)
    assert busiest.label == "./relay 7"
    assert sum(g.forks for g in window.groups("template")) == 400
    assert sum(g.alive for g in window.groups("template")) == len(list(window.living())) == 3
    assert list(busiest.life.argv or ()) == ["./relay", "7"]


def test_a_dead_one_that_has_just_made_many_is_still_found_and_leaves_then() -> None:
    story = Story()
    story.existing(1)
    story.existing(50, 1, comm="bash")
    story.fork(0.1, 60, 50, comm="loop")
    for k in range(200):
        story.run(0.2 + k / 1000, 100 + k, 60, "true", lasts=0.0005)
    story.exit(0.5, 60)
    story.reap(0.51, 60)
    window = story.window(until=2)

    assert [(g.pid, g.forks) for g in window.groups("ancestor")][:1] == [(60, 200)]
    window.advance(6 * S)
    assert [(g.pid, g.forks) for g in window.groups("ancestor", 10)][:1] == [(50, 201)]
    assert {life.pid for life in window.living()} == {1, 50}
    assert not window.lives._lingering


@pytest.mark.parametrize("kind", [Kind.FORK, Kind.EXISTING])
def test_the_parent_of_the_root_is_none_of_those_that_are_watched(kind: Kind) -> None:
    who = {"ts_ns": 5 * 10**9, "pid": 7, "tid": 7, "born_ns": 1}
    window = Window(60)
    window.feed(Batch.from_rows([(kind, {**who, "how": "root", "ppid": 3, "parent_born_ns": 1})]))

    assert [life.pid for life in window.living()] == [7]
