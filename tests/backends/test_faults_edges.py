"""What the fault probes tell of each fork: what the child copied before its exec, and what the parent copied for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.fault_probes import Probes, Row
from tests.programs import cow
from tracer.model.schema import NULL

pytestmark = pytest.mark.kernel


EDGES = ("exec_after_copies", "two_children", "parent_ends_first", "exec_away", "vfork_exec", "same_memory")


def run_edges(probes: Probes, phase: str, folder: Path) -> tuple[int, list[Row], list[cow.Line]]:
    """(pid of the root, all rows until the last end, the program's `end` lines); the lines are not looked at."""
    root: list[int] = []
    lines: list[cow.Line] = []

    def started(pid: int) -> None:
        root.append(pid)
        probes.take()
        probes.follow(pid)

    assert cow.watch("cow_edges", phase, folder, started=started, began=lambda _: None, ended=lines.append) == 0
    return root[0], probes.take(), lines


def share(rows: list[Row], pid: int, parent: int) -> int:
    """What the parent copied while it shared memory with `pid`: of the last pair that was sent."""
    pairs = [(r["parent_cow_birth"], r["parent_cow_end"]) for r in rows if r["pid"] == pid]
    birth, end = [p for p in pairs if p != (NULL, NULL)][-1]
    if end == NULL:
        end = [r["cow_total"] for r in rows if r["pid"] == parent and r["cow_total"] != NULL][-1]
    return int(end - birth)


def copies(rows: list[Row], pid: int, *, before_exec: bool) -> int:
    return sum(r["cow_copies"] for r in rows if r["pid"] == pid and bool(r["before_exec"]) == before_exec)


def children(rows: list[Row], root: int) -> list[int]:
    """pids, in order of birth."""
    return list(dict.fromkeys(r["pid"] for r in sorted(rows, key=lambda r: r["born_ns"]) if r["pid"] != root))


def test_copies_before_exec_are_told_from_those_after(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "exec_after_copies", tmp_path)
    (child,) = children(rows, root)

    # 53 in its buffer, a few for its stack and its libc's data; /bin/true shares memory with nobody.
    assert 53 <= copies(rows, child, before_exec=True) < 53 + 20
    assert copies(rows, child, before_exec=False) == 0
    assert sum(r["file_copies"] for r in rows if r["pid"] == child and not r["before_exec"]) > 0
    # The root began with an exec, so nothing of it was before one.
    assert copies(rows, root, before_exec=True) == 0


def test_sharing_ends_with_the_childs_exec(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "exec_after_copies", tmp_path)
    (child,) = children(rows, root)
    total = copies(rows, root, before_exec=False)
    shared = share(rows, child, root)

    # 97 pages after the child's exec were re-used. (A page or two that wait in the other CPU's list of new pages, where
    # the program began, count as shared for ever.)
    assert 211 <= shared < 211 + 20
    assert shared <= total < shared + 40
    assert sum(r["reuses"] for r in rows if r["pid"] == root) >= 97
    assert [r["before_exec"] for r in rows if r["pid"] == child and r["parent_cow_birth"] != NULL] == [1]


def test_two_children_at_once_find_the_same_copies(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "two_children", tmp_path)
    shares = sorted(share(rows, child, root) for child in children(rows, root))

    assert 103 <= shares[0] < 103 + 20
    assert 103 + 59 <= shares[1] < 103 + 59 + 20
    assert shares[1] <= copies(rows, root, before_exec=False) < sum(shares)


def test_a_parent_that_ends_first_leaves_its_total(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "parent_ends_first", tmp_path)
    rows += wait_for(probes, lambda new: len(children(rows + new, root)) == 2)
    middle, last = children(rows, root)
    (edge,) = [r for r in rows if r["pid"] == last and r["parent_cow_birth"] != NULL]

    assert edge["parent_cow_end"] == NULL
    assert 83 <= share(rows, last, middle) < 83 + 20


def test_a_parent_that_became_another_program_copies_for_others(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "exec_away", tmp_path)
    rows += wait_for(probes, lambda new: len(children(rows + new, root)) == 3)
    child, *_ = children(rows, root)
    own = copies(rows, root, before_exec=False)

    # The shell that the root became forked twice more and copied for those: not for this one.
    assert 71 <= share(rows, child, root) < 71 + 20
    assert own > share(rows, child, root)
    # That it forked before its exec is why its last total is not told: the total at the exec must stand.
    assert [r["cow_total"] for r in rows if r["pid"] == root][-1] == NULL


def test_a_vfork_makes_the_parent_copy_nothing(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "vfork_exec", tmp_path)
    (child,) = children(rows, root)

    # Zero is measured here: it is known that nothing was shared by copy.
    assert share(rows, child, root) == 0
    assert copies(rows, child, before_exec=True) == 0


def test_a_child_in_the_same_memory_makes_the_parent_copy_nothing(probes: Probes, tmp_path: Path) -> None:
    root, rows, _ = run_edges(probes, "same_memory", tmp_path)
    by_copy, outright = (share(rows, child, root) for child in children(rows, root))

    assert by_copy >= 71
    assert outright == 0


def wait_for(probes: Probes, enough: Callable[[list[Row]], bool]) -> list[Row]:
    """More rows, until there are enough; the last child may end a moment after the program."""
    rows: list[Row] = []
    deadline = time.monotonic() + 10
    while not enough(rows):
        assert time.monotonic() < deadline, rows
        rows += probes.take()
        os.sched_yield()
    return rows


def test_every_phase_is_run() -> None:
    assert tuple(cow.phases("cow_edges")) == EDGES
