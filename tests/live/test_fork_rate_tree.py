"""The folded tree of what is being born: nothing twice, nothing missing."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given

from tests.live.scenes import busy_host
from tests.stories import Story
from tests.strategies import META, PROFILE, History, histories
from tracer.live.fork_rate_tree import Births, Branch
from tracer.model.batch import Batch
from tracer.window.window import Window

EVER = range(1 << 40)


def lines(window: Window, limit: int = 400) -> list[Branch]:
    second = window.now_ns // 10**9
    return Births(window, range(second - 10, second + 1)).lines(limit)[0]


def test_alike_children_are_one_line_and_so_is_what_is_below_them() -> None:
    found = {branch.label: branch for branch in lines(busy_host())}

    assert [branch.label for branch in lines(busy_host())].count("as -o …") == 1
    assert (found["as -o …"].own.tally.forks, found["as -o …"].pid) == (150, None)
    assert found["as -o …"].key[-2:] == ("make -j3", "as -o …")
    assert (found["make -j3"].pid, found["make -j3"].below) == (401, 201)
    assert (found["ld -o program"].pid, found["ld -o program"].own.alive) == (7000, 1)


def test_who_only_lives_is_not_there() -> None:
    assert not [branch for branch in lines(busy_host()) if branch.label == "vi notes"]


def test_like_parents_are_one_line_with_their_children_together() -> None:
    story = Story()
    story.existing(1, comm="init")
    for worker in range(2, 6):
        story.existing(worker, 1, comm="worker", argv=["worker", "--any"])
        for n in range(3):
            story.run(1.0 + n / 10, worker * 100 + n, worker, "job", lasts=0.01)
    found = lines(story.window(until=3))

    assert [(branch.label, branch.own.tally.forks, branch.own.alive, branch.below) for branch in found] == [
        ("(init)", 0, 1, 12),
        ("worker --any", 0, 4, 12),
        ("job", 12, 0, 0),
    ]
    assert [branch.guides for branch in found] == [(), (False,), (False, False)]


def test_a_long_chain_ends_somewhere_and_is_quick() -> None:
    story = Story()
    story.existing(1)
    for pid in range(2, 3000):
        story.fork(1.0, pid, pid - 1, comm=f"c{pid}")
    found = lines(story.window(until=2))

    assert len(found) < 60
    assert found[0].below == 2998


def test_what_there_is_no_room_for_is_counted() -> None:
    births = Births(busy_host(), range(30))
    whole, none = births.lines(400)
    some, left = births.lines(4)

    assert (none, len(some)) == (0, 4)
    assert left > 0
    assert [branch.label for branch in some] == [branch.label for branch in whole[:4]]


@PROFILE
@given(histories())
def test_every_birth_is_in_one_line(history: History) -> None:
    window = Window(1 << 30, META)
    window.feed(Batch.from_rows(history.rows))
    found, left = Births(window, EVER).lines(10_000)

    assert left == 0
    born = sum(second.forks for second in window._seconds.values())
    assert sum(branch.weight for branch in found if not branch.guides) == born
    below: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for branch in found:
        below[branch.key[:-1]] += branch.weight
    for branch in found:
        assert branch.below == below[branch.key], branch.label
