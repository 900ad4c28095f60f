"""The fault probes against the frames of the pages: every class, page by page.

Each phase of tests/programs/cow_*.c does a known, prime number of things between two marks where it stands still.
At both marks the counters are taken by a snapshot and the whole address space is read from /proc/PID/pagemap, from
outside. Three answers have to agree: what the program says it did, what the probes counted, which frames changed.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.programs import cow
from tracer import wire
from tracer.backends import _faults, _host
from tracer.backends._faults import Faults
from tracer.backends._libbpf import BpfObject
from tracer.backends._ring import Ring
from tracer.backends.bpf import probe_object
from tracer.btf import Btf
from tracer.events import NULL

pytestmark = pytest.mark.kernel

Row = dict[str, Any]


class Probes:
    """The fault probes with a ring to read them from; the life-cycle object that owns it is not attached."""

    def __init__(self) -> None:
        self._owner = BpfObject(probe_object("lifecycle"))
        self._owner.skip("on_exit_old")
        options = wire.pack_options(
            **{n: 0 for n, _ in wire.OPTIONS.fields}
            | {"events_bytes": 16 << 20, "rdonly_cast": _host.has_rdonly_cast(), "fork_cost": 1}
        )
        self._owner.set_data(".rodata.opt", options)
        self._owner.load()
        self._ring = Ring(self._owner.map_fd("events"), self._owner.map_size("events"))
        self.faults = Faults(probe_object("faults"), self._owner, options)
        self.faults.load()
        self.faults.attach()

    def follow(self, pid: int) -> None:
        """Count for this held child from its exec on."""
        pidfd = os.pidfd_open(pid)
        self.faults.add_root(pidfd)
        os.close(pidfd)

    def take(self) -> list[Row]:
        """Records that have come since, as rows of columns, with their pid, tid and flags."""
        raw = self._ring.take_fixed(wire.RECORD_SIZE, self._ring.position())
        rows: list[Row] = []
        for at in range(0, len(raw), wire.STRIDE):
            record = raw[at : at + wire.STRIDE]
            if wire.kinds_of(record)[0] == wire.FAULTS:
                part = wire.faults_part(wire.Columns(record, wire.FAULTS))
                rows.append({name: column[0] for name, column in part.items()})
        return rows

    def counted(self, pid: int) -> dict[str, int]:
        """What the process' threads have counted since the last call, by a snapshot."""
        self.faults.snapshot()
        self.faults.poll()
        mine = [row for row in self.take() if row["pid"] == pid]
        return {n: sum(row[n] for row in mine) for n in wire.COUNTERS}

    def close(self) -> None:
        """Everything."""
        self._ring.close()
        self.faults.close()
        self._owner.close()


@pytest.fixture(scope="module")
def probes() -> Iterator[Probes]:
    need("bpf")
    probes = Probes()
    yield probes
    probes.close()


ANON = (
    "child_writes", "parent_after_exit", "parent_while_child_lives", "zero_page", "fresh", "no_work", "dont_fork",
    "wipe_on_fork", "dont_need", "vfork_exec", "posix_spawned", "huge_pages", "huge_zero_page", "threads", "race",
    "generations", "snapshot_server", "mappings", "write_barrier",
)  # fmt: skip


@pytest.mark.parametrize("phase", ANON)
def test_anonymous_memory(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_anon", phase, tmp_path) > 0


FILES = (
    "private_read_write", "private_both", "private_direct_warm", "private_direct_cold", "private_then_fork",
    "shared_read_write", "shared_cold", "shared_memory", "shared_memory_after_fork", "reuse_then_write",
    "reuse_then_cold_read",
)  # fmt: skip


@pytest.mark.parametrize("phase", FILES)
def test_mapped_files(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_file", phase, tmp_path) > 0


KERNEL = (
    "read_file", "read_pipe", "futex", "direct_read", "proc_mem", "populate_write", "lock_pages", "write_to_child",
)  # fmt: skip


@pytest.mark.parametrize("phase", KERNEL)
def test_the_kernel_writes(probes: Probes, phase: str, tmp_path: Path) -> None:
    assert compare(probes, "cow_kernel", phase, tmp_path) > 0


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
    for line, counted, changed in ends:
        told = dict(line.counters)
        loose, pages_unknown = told.pop("loose", 0), told.pop("pages_unknown", 0)
        copies = sum(counted[n] for n in wire.COPIES)
        if loose:
            assert {n: counted[n] for n in told} == told
        else:
            assert {n: v for n, v in counted.items() if v} == {n: v for n, v in told.items() if v}
        if not pages_unknown:
            assert copies == len(changed["copied"])
            assert counted["file_copies"] == len(changed["file"])
            assert counted["zero_copies"] == len(changed["zero"])
            assert changed["copied"] | changed["file"] | changed["zero"] == line.pages
    return len(ends)


EDGES = ("exec_after_copies", "two_children", "parent_ends_first", "exec_away")


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

    # All that the parent ever copied was for this child. 97 pages after its exec were re-used.
    assert shared == total
    assert 211 <= total < 211 + 20
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


def wait_for(probes: Probes, enough: Callable[[list[Row]], bool]) -> list[Row]:
    """More rows, until there are enough; the last child may end a moment after the program."""
    rows: list[Row] = []
    deadline = time.monotonic() + 10
    while not enough(rows):
        assert time.monotonic() < deadline, rows
        rows += probes.take()
        os.sched_yield()
    return rows


@pytest.mark.parametrize(
    ("program", "listed"),
    [("cow_anon", ANON), ("cow_file", FILES), ("cow_kernel", KERNEL), ("cow_edges", EDGES)],
)
def test_every_phase_is_run(program: str, listed: tuple[str, ...]) -> None:
    assert tuple(cow.phases(program)) == listed


@pytest.mark.parametrize("record", [_faults.OPTIONS, _faults.STATS], ids=lambda r: str(r.name))
def test_layout_is_the_objects(record: wire.Record) -> None:
    found = Btf.from_elf(probe_object("faults")).struct(record.name)

    assert found is not None
    assert {m.name: (m.offset, m.size) for m in found.members} == {
        name: (at, struct.calcsize("=" + fmt)) for name, (at, fmt) in record.offsets().items()
    }


def test_size_of_the_counters_is_the_objects() -> None:
    for name in ("faults", "faults_walk"):
        found = Btf.from_elf(probe_object(name)).struct("counters")

        assert found is not None
        assert found.size == _faults.COUNTERS_SIZE
