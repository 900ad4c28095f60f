"""Attaching to a living tree: whom strace has in the end, and what is said of whom it can not have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S, wait_until
from tracer.backends import Options
from tracer.backends.strace import attach
from tracer.backends.strace import backend as strace
from tracer.backends.strace.attach import refused, tasks, tracer_of, tree
from tracer.errors import NoInputError
from tracer.host import procfs
from tracer.model.schema import Kind

pytestmark = pytest.mark.programs


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A shell and its child; both wait for the end of their input."""
    need("strace")
    shell = subprocess.Popen(["sh", "-c", "sh -c 'read x; :'; :"], stdin=subprocess.PIPE)
    wait_until("the child is there", lambda: len(tree([shell.pid])) == 2)
    yield shell.pid, next(pid for pid in tree([shell.pid]) if pid != shell.pid)
    shell.communicate(timeout=DEADLINE_S)


@pytest.fixture
def backend() -> Iterator[strace.Backend]:
    one = strace.Backend(Options())
    yield one
    one.close()


def switches(pid: int) -> int:
    """How often it went to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("voluntary")))


def test_all_below_are_had(family: tuple[int, int], backend: strace.Backend) -> None:
    backend.attach(family[0])
    tracers = {tracer_of(pid) for pid in family}

    assert len(tracers) == 1
    assert tracers & {0, None} == set()
    backend.close()
    assert [tracer_of(pid) for pid in family] == [0, 0]


def test_one_that_was_missed_is_had_in_the_next_try(
    family: tuple[int, int], backend: strace.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that was made after the look at /proc, and before strace had its parent."""
    looks: list[Sequence[int]] = []

    def late(pids: Sequence[int]) -> dict[int, procfs.Process]:
        looks.append(pids)
        found = tree(pids)
        return found if len(looks) > 1 else {pid: p for pid, p in found.items() if pid != family[1]}

    monkeypatch.setattr(attach, "tree", late)
    backend.attach(family[0])

    assert tracer_of(family[1])
    assert len(looks) == 4  # before and after, twice


def test_their_ends_and_waits_are_seen(family: tuple[int, int], backend: strace.Backend) -> None:
    before = [switches(pid) for pid in family]
    backend.attach(family[0])
    # Stopped once, and asleep again in a call that strace saw begin.
    wait_until("both go on", lambda: all(switches(p) >= n + 2 for p, n in zip(family, before, strict=True)))
    os.kill(family[1], signal.SIGTERM)
    got: list[tuple[Kind, dict[str, Any]]] = []

    def over() -> bool:
        got.extend(row for batch in backend.read() for row in batch.rows())
        return backend.alive() == 0

    wait_until("their end", over)
    rows = {(kind, v["pid"]): v for kind, v in got}

    assert rows[Kind.EXIT, family[1]]["signal"] == signal.SIGTERM
    assert rows[Kind.EXIT, family[1]]["killed_by"] == os.getpid()
    assert rows[Kind.REAP, family[1]]["reaped_by"] == family[0]
    assert rows[Kind.EXIT, family[0]]["exit_code"] == 0


def test_strace_that_is_killed_and_one_whose_work_is_done(family: tuple[int, int], backend: strace.Backend) -> None:
    backend.attach(family[0])
    tracer = tracer_of(family[0])
    assert tracer
    os.kill(tracer, signal.SIGKILL)
    batches = []
    wait_until("its end", lambda: batches.extend(backend.read()) or backend.alive() == 0)  # type: ignore[func-returns-value]

    assert "strace was killed: the program goes on" in backend.news[0]
    assert [values["count"] for batch in batches for kind, values in batch.rows() if kind == Kind.LOST] == [2]


def test_one_that_ends_before_strace_has_it_is_no_loss(
    backend: strace.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("strace")
    child = subprocess.Popen(["sh", "-c", "read x; :"], stdin=subprocess.PIPE)
    gone = subprocess.Popen(["true"])
    state = procfs.read(gone.pid)
    assert state is not None
    gone.wait()
    monkeypatch.setattr(attach, "tree", lambda pids: tree(pids) | {gone.pid: state})
    backend.attach(child.pid)
    child.communicate(timeout=DEADLINE_S)
    wait_until("its end", lambda: backend.read() is None or backend.alive() == 0)

    assert backend.news == []


def test_a_second_tree_is_had_with_the_first(family: tuple[int, int], backend: strace.Backend) -> None:
    backend.attach(family[1])
    backend.attach(family[0])
    rows = [values for batch in backend.read() for _, values in batch.rows()]

    assert len({tracer_of(pid) for pid in family} - {0, None}) == 1
    assert [(v["pid"], v["how"], v["evidence"]) for v in rows] == [
        (family[1], "root", "snapshot"),
        (family[0], "root", "snapshot"),
    ]


def test_a_thread_is_no_process(backend: strace.Backend) -> None:
    need("strace")
    code = "import threading; threading.Thread(target=input).start(); print('up', flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        tid = next(tid for tid in tasks(child.pid) if tid != child.pid)
        with pytest.raises(NoInputError, match=f"{tid} is a thread of process {child.pid}"):
            backend.attach(tid)
    finally:
        child.communicate(b"\n", timeout=DEADLINE_S)


def test_reasons(monkeypatch: pytest.MonkeyPatch, family: tuple[int, int]) -> None:
    said: list[Any] = [
        refused(family[0], f"strace: attach: ptrace(PTRACE_SEIZE, {family[0]}): {why}")
        for why in ("Operation not permitted", "Input/output error")
    ]

    assert "may not be traced" in said[0].message
    assert said[0].exit_status == 77
    assert "Input/output error" in said[1].message
