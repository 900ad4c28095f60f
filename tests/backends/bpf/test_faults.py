"""The fault probes' loader: layouts, what is asked of the kernel, snapshots, joining what lives, histograms."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.fault_probes import Probes
from tests.programs import cow
from tracer.backends import wire
from tracer.backends.bpf import faults
from tracer.backends.bpf.objects import probe_object
from tracer.host import features
from tracer.host.btf import Btf
from tracer.host.features import Check

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("record", [faults.OPTIONS, faults.STATS], ids=lambda r: str(r.name))
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
        assert found.size == faults.COUNTERS_SIZE


@pytest.mark.parametrize("phase", ["snapshot_server", "threads", "generations"])
def test_snapshots_meanwhile_change_no_sum(probes: Probes, tmp_path: Path, phase: str) -> None:
    """A snapshot sees half of what a fault does; what it saw too soon is taken back by the next record."""
    sums: dict[int, Counter[str]] = {}
    ends: list[tuple[cow.Line, Counter[str]]] = []
    stop = threading.Event()

    def gather() -> None:
        for row in probes.take():
            sums.setdefault(row["pid"], Counter()).update({n: row[n] for n in wire.COUNTERS})

    def tick() -> None:
        while not stop.is_set():
            probes.faults.snapshot()

    def settled() -> None:
        probes.faults.snapshot()
        gather()

    def began(pid: int) -> None:
        settled()
        sums[pid] = Counter()

    def ended(line: cow.Line) -> None:
        settled()
        ends.append((line, Counter(sums[line.pid])))

    probes.take()
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        cow.watch("cow_anon", phase, tmp_path, started=probes.follow, began=began, ended=ended)
    finally:
        stop.set()
        ticker.join()

    assert len(ends) > 0
    for line, total in ends:
        told = {n: v for n, v in line.counters.items() if n in wire.COUNTERS}
        assert {n: total[n] for n in told} == told


@pytest.mark.parametrize("phase", ["standing_threads", "threads", "second_writer", "generations"])
def test_joining_what_lives(probes: Probes, tmp_path: Path, phase: str) -> None:
    """Attached to at its first mark, with a child or a parent that lives already, it counts from there."""
    pids: list[int] = []
    ends: list[tuple[cow.Line, dict[str, int]]] = []
    root: list[int] = []

    def began(pid: int) -> None:
        if not pids:
            pidfd = os.pidfd_open(root[0])
            probes.faults.add_root(pidfd, held=False)
            os.close(pidfd)
            probes.faults.add_tree()
        pids.append(pid)
        probes.counted(pid)

    def ended(line: cow.Line) -> None:
        ends.append((line, probes.counted(line.pid)))

    name = "parent_while_child_lives" if phase == "second_writer" else phase
    cow.watch("cow_anon", name, tmp_path, started=root.append, began=began, ended=ended)

    assert len(ends) > 0
    for line, counted in ends:
        told = {n: v for n, v in line.counters.items() if n in wire.COUNTERS}
        assert {n: counted[n] for n in told} == told


def test_decay_has_every_copy_once(probes: Probes, tmp_path: Path) -> None:
    """Both sides of a fork: the child's buckets count from its birth, the parent's from its own fork."""
    started = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    root: list[int] = []
    probes.take()

    def follow(pid: int) -> None:
        root.append(pid)
        probes.follow(pid)

    cow.watch("cow_anon", "snapshot_server", tmp_path, started=follow, began=lambda _: None, ended=lambda _: None)
    took = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started
    records = probes.records()
    rows = [r for r in records if "decay" in r and r["pid"] == root[0]]
    copied = sum(r["cow_copies"] for r in records if "cow_copies" in r and r["pid"] == root[0])

    assert [r["since_own_fork"] for r in rows] == [1]
    assert sum(rows[0]["decay"]) == copied > 3000
    assert not any(rows[0]["decay"][(took >> 10).bit_length() + 1 :])


def test_total_of_a_process_has_the_copies_of_all_its_threads(probes: Probes, tmp_path: Path) -> None:
    root: list[int] = []

    def follow(pid: int) -> None:
        root.append(pid)
        probes.follow(pid)

    probes.take()
    cow.watch("cow_anon", "threads", tmp_path, started=follow, began=lambda _: None, ended=lambda _: None)
    rows = [row for row in probes.take() if row["pid"] != root[0]]

    assert len({row["tid"] for row in rows}) > 4
    assert [row["cow_total"] for row in rows if row["tid"] == row["pid"]] == [sum(row["cow_copies"] for row in rows)]


def test_nothing_is_told_of_the_time_when_the_root_was_held(probes: Probes) -> None:
    held = ["sh", "-c", "echo held; read x; (:); (:); exec true"]
    program = subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.readline()
    probes.take()
    probes.follow(program.pid)
    program.communicate(b"go\n")
    rows = [row for row in probes.take() if row["pid"] == program.pid]

    assert sum(row["cow_copies"] for row in rows) == 0
    assert [row["cow_total"] for row in rows] == [0]
    assert sum(row["file_copies"] for row in rows) > 0


@pytest.mark.parametrize("phase", ["birth", "child_direct"])
def test_copies_of_small_processes_are_summed_up(probes: Probes, tmp_path: Path, phase: str) -> None:
    before = probes.faults.stats().decay
    probes.take()
    root: list[int] = []

    def follow(pid: int) -> None:
        root.append(pid)
        probes.follow(pid)

    program = "cow_anon" if phase == "birth" else "cow_file"
    cow.watch(program, phase, tmp_path, started=follow, began=lambda _: None, ended=lambda _: None)
    records = probes.records()
    after = probes.faults.stats().decay
    copied = {own: sum(r["cow_copies"] for r in records if (r["pid"] == root[0]) == own) for own in (False, True)}

    assert [r for r in records if "decay" in r] == []
    assert sum(after[0]) - sum(before[0]) == copied[False] > 0
    assert sum(after[1]) - sum(before[1]) == copied[True]  # none if the child ran first


def lacking(*missing: str) -> Callable[[str], Check]:
    """A host that has every feature but these."""
    return lambda name: Check(name, name not in missing, f"no {name}" if name in missing else "", "")


@pytest.mark.parametrize(
    ("missing", "evidence", "nulls"),
    [
        ((), "measured", set()),
        (("bpf_find_vma",), "measured", {"cow_heap", "cow_stack", "cow_anon", "cow_file"}),
        (("rss_stat",), "inferred", {"cow_file", "file_copies"}),
        (
            ("rss_stat", "bpf_find_vma"),
            "inferred",
            {"cow_heap", "cow_stack", "cow_anon", "cow_file", "cow_copies", "file_copies"},
        ),
    ],
)
def test_what_can_not_be_told_is_null(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], evidence: str, nulls: set[str]
) -> None:
    monkeypatch.setattr(features, "feature", lacking(*missing))

    found = faults.faults_readiness()

    assert found.ok
    assert (found.evidence, set(found.nulls)) == (evidence, nulls)
    assert all(f"no {name}" in found.why for name in missing)


@pytest.mark.parametrize("missing", ["fault_entry", "fault_tracepoints", "task_storage"])
def test_without_these_nothing_is_counted(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(features, "feature", lacking(missing))

    assert faults.faults_readiness() == (False, None, f"no {missing}", frozenset())
