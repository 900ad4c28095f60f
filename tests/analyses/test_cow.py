"""The ledger: whose copies are whose, and which figure is not known."""

from __future__ import annotations

import pytest

from tests.build import end, exec_, exit_, faults, fork, root, tree, vfork
from tracer.analyses.cow import Edge, edges, ledger
from tracer.model.schema import NULL
from tracer.tree.tree import ProcessTree

MIB = 1 << 20
PAGE = 4096  # of the machine that the tests' Meta names


def _only(t: ProcessTree) -> Edge:
    found = list(edges(t))
    assert len(found) == 1
    return found[0]


def test_a_fork_without_exec_owns_all_that_the_child_copied() -> None:
    t = tree(
        root(1, "server"),
        fork(1, 2, fork_ns=2_000_000, pgtables_bytes=4096, rss_bytes=10 * MIB),
        faults(2, cow_copies=101, wp_faults=131, reuses=30, parent_cow_birth=7, parent_cow_end=30),
        exit_(2),
    )

    edge = _only(t)

    assert (edge.row, edge.parent) == (1, 0)
    assert (edge.child_copies, edge.parent_copies, edge.copies) == (101, 23, 124)
    assert edge.bytes == 124 * PAGE
    assert edge.share == pytest.approx(124 * PAGE / (10 * MIB))
    assert (edge.before_exec, edge.to_exec_ns, edge.wasted) == (0, None, False)
    assert not edge.shares_memory


def test_after_an_exec_copies_belong_to_forks_of_its_own() -> None:
    t = tree(
        root(1, "sh"),
        fork(1, 2),
        faults(2, cow_copies=11, before_exec=True, parent_cow_birth=0, parent_cow_end=3),
        exec_(2, "redis-server"),
        faults(2, cow_copies=600),
        exit_(2),
    )

    edge = _only(t)

    assert (edge.child_copies, edge.before_exec, edge.parent_copies) == (11, 11, 3)
    assert edge.to_exec_ns == 2_000_000
    assert edge.wasted
    assert ledger(t).before_exec == 11
    assert ledger(t).copies == 611


def test_an_exec_at_once_copied_nothing_and_vfork_shares() -> None:
    t = tree(root(1, "sh"), vfork(1, 2), exec_(2, "true"), faults(2, cow_copies=0), exit_(2))

    edge = _only(t)

    assert edge.shares_memory
    assert not edge.wasted
    assert (edge.child_copies, edge.before_exec) == (0, 0)


def test_the_parent_that_ended_first_is_counted_to_its_end() -> None:
    t = tree(
        root(1, "d"),
        fork(1, 2),
        faults(1, cow_copies=9, cow_total=9),
        exit_(1),
        faults(2, cow_copies=1, parent_cow_birth=4, parent_cow_end=NULL),
        exit_(2),
    )

    assert _only(t).parent_copies == 5


def test_what_was_not_measured_stays_unknown() -> None:
    t = tree(root(1, "a"), fork(1, 2, fork_ns=None, rss_bytes=None), exit_(2))

    edge = _only(t)
    book = ledger(t)

    assert (edge.copies, edge.bytes, edge.share, edge.fork_ns) == (None, None, None, None)
    assert (book.copies, book.wp_faults, book.fork_ns, book.forks) == (None, None, None, 1)


def test_the_dearest_come_first_and_the_count_is_of_all() -> None:
    steps = [root(1, "a")]
    for pid, copies in ((2, 5), (3, 500), (4, 50)):
        steps += [fork(1, pid), faults(pid, cow_copies=copies), exit_(pid)]
    t = tree(*steps, end())

    book = ledger(t, limit=2)

    assert [t.value(e.row, "pid") for e in book.edges] == [3, 4]
    assert (book.forks, book.copies) == (3, 555)
    assert [t.value(e.row, "pid") for e in ledger(t, limit=None).edges] == [3, 4, 2]


@pytest.mark.parametrize(("options", "page"), [({"page_size": 16384}, 16384), ({}, None)])
def test_a_copy_has_as_many_bytes_as_a_page_of_its_machine(options: dict[str, int], page: int | None) -> None:
    t = tree(
        root(1, "server"),
        fork(1, 2, rss_bytes=MIB),
        faults(2, cow_copies=3, before_exec=True, parent_cow_birth=0, parent_cow_end=5),
        exec_(2, "true"),
        exit_(2),
        machine="aarch64",
        options=options,
    )
    (edge,), book = list(edges(t)), ledger(t)
    known = [None if page is None else n * page for n in (8, 3, 5, 3)]

    assert [edge.bytes, edge.child_bytes, edge.parent_bytes, edge.bytes_before_exec] == known
    assert (edge.share is None) is (page is None)
    assert (book.bytes, book.bytes_before_exec) == ((None, None) if page is None else (3 * page, 3 * page))
