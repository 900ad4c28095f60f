"""The fault probes against the frames of the pages: every class, page by page.

Each phase of tests/programs/cow_*.c does a known, prime number of things between two marks where it stands still.
At both marks the counters are taken by a snapshot and the whole address space is read from /proc/PID/pagemap, from
outside. Three answers have to agree: what the program says it did, what the probes counted, which frames changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.fault_probes import Probes
from tests.conftest import need
from tests.programs import cow
from tracer.backends import wire
from tracer.backends.bpf.faults import faults_readiness

pytestmark = pytest.mark.kernel


def compare(probes: Probes, program: str, phase: str, folder: Path) -> int:
    """Run a phase and compare the three answers at each of its ends. Returns how many there were."""
    before: dict[int, cow.Pages] = {}
    ends: list[tuple[cow.Line, dict[str, int], dict[str, set[int]]]] = []

    def began(pid: int) -> None:
        before[pid] = cow.Pages.of(pid)
        probes.counted(pid)

    def ended(line: cow.Line) -> None:
        counters = probes.counted(line.pid)
        ends.append((line, counters, cow.changes(before[line.whose], cow.Pages.of(line.whose))))

    status = cow.watch(program, phase, folder, started=probes.follow, began=began, ended=ended)

    assert status == 0
    unknowable = "cow_file" in faults_readiness().nulls
    for line, counted, changed in ends:
        told = dict(line.counters)
        loose, pages_unknown = told.pop("loose", 0), told.pop("pages_unknown", 0)
        if unknowable:  # a file page copied because of a fork passes for one first written
            assert not counted["cow_file"]
            told["file_copies"] = told.get("file_copies", 0) + told.pop("cow_file", 0)
        copies = sum(counted[n] for n in wire.COPIES)
        if loose:
            assert {n: counted[n] for n in told} == told
        else:
            assert {n: v for n, v in counted.items() if v} == {n: v for n, v in told.items() if v}
        if not pages_unknown:
            assert copies + counted["file_copies"] == len(changed["copied"]) + len(changed["file"])
            assert unknowable or copies == len(changed["copied"])
            assert counted["zero_copies"] == len(changed["zero"])
            assert changed["copied"] | changed["file"] | changed["zero"] == line.pages
    return len(ends)


ANON = (
    "child_writes",
    "parent_after_exit",
    "parent_while_child_lives",
    "zero_page",
    "fresh",
    "no_work",
    "birth",
    "dont_fork",
    "wipe_on_fork",
    "dont_need",
    "vfork_exec",
    "posix_spawned",
    "huge_pages",
    "huge_zero_page",
    "threads",
    "race",
    "standing_threads",
    "generations",
    "snapshot_server",
    "mappings",
    "write_barrier",
)


@pytest.mark.parametrize("phase", [phase for phase in ANON if phase != "race"])
def test_anonymous_memory(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_anon", phase, tmp_path) > 0


FILES = (
    "private_read_write",
    "private_both",
    "private_direct_warm",
    "private_direct_cold",
    "private_then_fork",
    "shared_read_write",
    "shared_cold",
    "shared_memory",
    "shared_memory_after_fork",
    "reuse_then_write",
    "reuse_then_cold_read",
    "read_cold",
    "write_memory_file",
    "populate",
    "populate_for_write",
    "beyond_the_end",
    "child_direct",
    "remapped",
    "remapped_by_thread",
)


@pytest.mark.parametrize("phase", FILES)
def test_mapped_files(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_file", phase, tmp_path) > 0


@pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="two processors are needed to race")
def test_a_copy_that_lost_a_race_is_none(new_probes: Probes, tmp_path: Path) -> None:
    for _ in range(20):  # on a busy machine the two seldom run at once
        assert compare(new_probes, "cow_anon", "race", tmp_path) > 0
        if new_probes.faults.stats().lost_races:
            return
    pytest.fail("no race was lost, so nothing was tested")


@pytest.mark.parametrize("phase", ["private_direct_cold", "private_read_write", "beyond_the_end", "populate"])
def test_pages_given_back_where_there_are_no_threads(new_probes: Probes, tmp_path: Path, phase: str) -> None:
    """mm_page_free is not looked at then: that the fault failed, or began anew, is seen in other ways."""
    assert compare(new_probes, "cow_file", phase, tmp_path) > 0
    assert new_probes.faults.stats().threads == 0
    assert new_probes.faults.stats().lost_races == 0


KERNEL = (
    "read_file",
    "read_pipe",
    "futex",
    "direct_read",
    "proc_mem",
    "populate_write",
    "lock_pages",
    "write_to_child",
)


@pytest.mark.parametrize("phase", KERNEL)
def test_the_kernel_writes(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_kernel", phase, tmp_path) > 0


def test_a_child_copies_from_its_birth_on(probes: Probes, tmp_path: Path) -> None:
    """What fork() itself and libc make the child copy before its first own instruction, by the parent's frames."""
    pids: list[int] = []
    seen: list[cow.Pages] = []
    counted: list[dict[str, int]] = []

    def began(pid: int) -> None:
        pids.append(pid)
        seen.append(cow.Pages.of(pid))
        counted.append(probes.counted(pid))

    cow.watch("cow_anon", "birth", tmp_path, started=probes.follow, began=began, ended=lambda _: None)
    changed = cow.changes(seen[0], seen[1])

    assert pids[0] != pids[1]
    assert sum(counted[1][n] for n in wire.COPIES) == len(changed["copied"]) > 0
    assert counted[1]["file_copies"] == len(changed["file"])


@pytest.mark.parametrize(
    "argv",
    [
        ["bash", "-c", "kill -STOP $$"],
        ["perl", "-e", "kill STOP => $$"],
        [sys.executable, "-c", "import json, os, signal; os.kill(os.getpid(), signal.SIGSTOP)"],
    ],
    ids=["bash", "perl", "python"],
)
def test_whole_life_of_a_program(probes: Probes, argv: list[str]) -> None:
    """From its exec on: every page of a private file mapping that is anonymous now was counted as a file's copy."""
    need(argv[0])
    held = ["sh", "-c", 'echo held; read x; exec "$@"', "sh", *argv]
    program = subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert program.stdin is not None and program.stdout is not None
        program.stdout.readline()
        probes.take()
        probes.follow(program.pid)
        program.stdin.write(b"go\n")
        program.stdin.flush()
        os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        counted = probes.counted(program.pid)
        pages = cow.Pages.of(program.pid)
    finally:
        program.kill()
        program.communicate()
    found = [p for a, b in pages.file_ranges for p in range(a, b) if p in pages.frames and not pages.frames[p][1]]

    assert counted["file_copies"] == len(found) > 0
    assert sum(counted[n] for n in wire.COPIES) == 0


@pytest.mark.parametrize(("program", "listed"), [("cow_anon", ANON), ("cow_file", FILES), ("cow_kernel", KERNEL)])
def test_every_phase_is_run(program: str, listed: tuple[str, ...]) -> None:
    assert tuple(cow.phases(program)) == listed
