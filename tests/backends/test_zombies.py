"""Zombies and orphans on the real kernel: those that were there, whose they are now, their parents and SIGCHLD."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import need
from tests.strategies import META
from tests.terminals import DEADLINE_S, state, wait_until
from tracer.backends import Options
from tracer.backends.reaps import Reaps
from tracer.capture.session import Plan, Session
from tracer.model.batch import Event
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

# Says the pid of each child that has ended; for each line it reads, one more. Then it ends, or waits for them first.
PARENT = """
import os, signal, sys
{before}
def child(code):
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    print(pid, flush=True)
    return pid
kids = [child(3), child(5)]
{after}
print("ready", flush=True)
for line in sys.stdin:
    kids.append(child(7))
{end}
"""


@contextmanager
def parent(before: str = "", after: str = "", end: str = "") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The process, and its two zombies."""
    body = PARENT.format(before=before, after=after, end=end)
    with subprocess.Popen(["python3", "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kids = [int(process.stdout.readline()) for _ in range(2)]
        assert process.stdout.readline() == "ready\n"
        yield process, kids
        process.kill()


def followed(process: subprocess.Popen[str], kids: list[int]) -> tuple[ProcessTree, list[Event]]:
    """From when it is attached to until it has ended, with one more child in between."""
    tree, events = ProcessTree(META), []

    def take(batch: object) -> None:
        events.extend(batch.events())  # type: ignore[attr-defined]
        tree.feed(batch)  # type: ignore[arg-type]

    assert process.stdin is not None
    assert process.stdout is not None
    plan = Plan(pids=[process.pid], backend="bpf", options=Options(cow="off"), duration=DEADLINE_S)
    with Session(plan) as session:
        session.start()
        process.stdin.write("go\n")
        process.stdin.flush()
        kids.append(int(process.stdout.readline()))
        process.stdin.close()
        session.run(take, tick=lambda: session.stop() if process.poll() is not None else None)
    return tree, events


def row_of(tree: ProcessTree, pid: int) -> int:
    [row] = [row for row in range(len(tree)) if tree.value(row, "pid") == pid]
    return row


def test_zombies_that_were_there_are_rows_with_how_they_ended_and_not_since_when() -> None:
    need("bpf", "root")
    with parent(end="[os.waitpid(pid, 0) for pid in kids]") as (process, kids):
        tree, events = followed(process, kids)

    for pid, code in zip(kids[:2], (3, 5), strict=True):
        row = row_of(tree, pid)
        assert (tree.value(row, "how"), tree.value(row, "exit_code")) == ("existing", code)
        assert tree.ended(row)
        assert tree.value(row, "exit_ns") is None
        assert tree.value(row, "zombie_ns") is None
        assert tree.value(row, "ppid") == process.pid
    found = {e.pid: e for e in events if e.kind == Kind.ZOMBIE}
    assert [found[pid].evidence == "snapshot" for pid in kids] == [True, True, False]
    assert tree.value(row_of(tree, kids[2]), "adopted_by") is None


def test_zombies_of_a_parent_that_ends_without_waiting_are_somebody_elses() -> None:
    need("bpf", "root")
    with parent() as (process, kids):
        tree, events = followed(process, kids)

    moved = {event.pid: event.ppid for event in events if event.kind == Kind.ADOPT}
    assert sorted(moved) == sorted(kids)
    for pid in kids:
        assert tree.value(row_of(tree, pid), "adopted_by") == moved[pid] != process.pid
    assert tree.value(row_of(tree, kids[2]), "exit_code") == 7


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "", "default"),
        ("signal.signal(signal.SIGCHLD, lambda *_: None)", "", "handler"),
        ("", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "ignore"),  # those of before stay
    ],
)
def test_what_the_parent_does_with_sigchld(before: str, after: str, said: str) -> None:
    need("bpf", "root")
    with parent(before, after) as (process, kids):
        wait_until("both are zombies", lambda: all(state(pid) == "Z" for pid in kids))
        events: list[Event] = []
        plan = Plan(pids=[process.pid], backend="bpf", options=Options(cow="off"), duration=DEADLINE_S)
        with Session(plan) as session:
            session.start()
            session.run(lambda batch: events.extend(batch.events()), tick=session.stop)
    found = {event.pid: event.sigchld for event in events if event.kind == Kind.ZOMBIE}
    assert {pid: found.get(pid) for pid in kids} == dict.fromkeys(kids, said)


# Inference alone


def zombie(reaps: Reaps, pid: int, at: int, parent_pid: int) -> None:
    assert reaps.zombie((pid, pid), at, parent_pid, 1, waited=False, maybe=False, auto=False)


def test_an_adopted_zombie_is_its_new_parents_who_waits_for_it_later() -> None:
    reaps = Reaps()
    zombie(reaps, 11, 100, 5)
    assert reaps.adopted(5, 11, 1, 200, waited=False) == (11, 11)
    reaps.wait(5, 250, 0)  # its old parent has nothing to do with it any more
    reaps.wait(1, 300, 0)

    assert reaps.free((11, 11), 17)[:2] == (300, 200)
    assert not len(reaps)
    assert not reaps.waiting


def test_a_new_parent_that_waits_already_takes_it_at_once() -> None:
    reaps = Reaps()
    zombie(reaps, 11, 100, 5)
    reaps.adopted(5, 11, 1, 200, waited=True)

    assert reaps.free((11, 11), 17)[:2] == (200, 100)
    assert reaps.adopted(5, 12, 1, 200, waited=True) is None  # nothing is known of it


def test_one_that_was_found_has_no_time_as_a_zombie_but_a_reap() -> None:
    reaps = Reaps()
    assert reaps.found((11, 11), 100, 5, 1)
    assert not reaps.found((11, 11), 150, 5, 1)  # no news
    assert reaps.found((11, 11), 160, 1, 1)  # another parent is
    reaps.wait(1, 300, 0)

    assert reaps.free((11, 11), 17)[:2] == (300, None)


def test_one_that_seemed_to_be_waited_for_and_is_still_there_is_a_zombie_since_it_ended() -> None:
    reaps = Reaps()
    reaps.zombie((11, 11), 100, 5, 1, waited=True, maybe=False, auto=False)
    assert reaps.found((11, 11), 200, 5, 1)

    assert list(reaps.rest()) == []
    reaps.wait(5, 300, 11)
    assert reaps.free((11, 11), 17)[:2] == (300, 200)
