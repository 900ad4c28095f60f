"""Stacks at copies: functions that copy a known number of pages each, with and without frame pointers.

tests/programs/cow_stacks.c has three of them in one child. With every copy sampled the counts are exact, function by
function; with a pace they are estimates around that. What an object without frame pointers can not tell is not told.
"""

from __future__ import annotations

import functools
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests.backends.fault_probes import Probes
from tests.conftest import need
from tests.programs import cow
from tests.symbols.test_elf import opened
from tracer.backends.bpf import host, stacks
from tracer.backends.bpf.objects import probe_object
from tracer.backends.bpf.stacks import Stacks
from tracer.host.btf import Btf
from tracer.model.batch import Batch
from tracer.symbols import UNKNOWN

pytestmark = pytest.mark.kernel

SMALL, LARGE, BY_LIBC = 211, 307, 127
WITH_FRAMES = ("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-no-pie")
PIE = ("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-pie", "-fPIE")
WITHOUT = ("-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-pie", "-fPIE")


@functools.cache
def build(*flags: str) -> Path:
    """tests/programs/cow_stacks.c, one binary for each set of flags."""
    binary = cow.BIN / f"cow_stacks{''.join(flags)}"
    binary.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-std=gnu11", "-O1", "-g0", "-Wall", "-Wextra", "-Werror", *flags, f"-DPAGE={mmap.PAGESIZE}L"]
    done = subprocess.run(
        [*command, "-o", binary, cow.HERE / "cow_stacks.c"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return binary


class Sampled:
    """The fault probes and the stacks, over one ring."""

    def __init__(self, rate: int) -> None:
        self.probes = Probes()
        self.stacks = Stacks(probe_object("stacks"), self.probes.faults, rate=rate)
        self.stacks.load()
        self.stacks.attach()

    def run(self, program: Path, phase: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """Rows of stacks of one run of a phase."""
        monkeypatch.setattr(cow, "build", lambda name: program)

        def look(_: object) -> None:
            self.stacks.look()

        status = cow.watch("cow_stacks", phase, folder, started=self.probes.follow, began=look, ended=look)
        assert status == 0
        return rows(self.stacks.finish())

    def close(self) -> None:
        """Everything."""
        self.stacks.detach()
        self.stacks.close()
        self.probes.close()


def rows(batch: Batch | None) -> list[dict[str, Any]]:
    """As dicts."""
    return [values for _, values in batch.rows()] if batch is not None else []


def by_leaf(found: list[dict[str, Any]]) -> Counter[str]:
    """Copies by the function that wrote."""
    result: Counter[str] = Counter()
    for row in found:
        result[row["frames"][0]] += row["count"]
    return result


def by_function(found: list[dict[str, Any]], name: str) -> int:
    """Copies of stacks that have the function anywhere."""
    return sum(row["count"] for row in found if name in row["frames"])


@pytest.fixture(scope="module")
def every() -> Iterator[Sampled]:
    need("bpf")
    sampled = Sampled(rate=0)
    yield sampled
    sampled.close()


@pytest.mark.parametrize("flags", [WITH_FRAMES, PIE], ids=["fixed", "pie"])
def test_each_function_has_the_pages_that_it_copied(
    every: Sampled, flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = every.run(build(*flags), "child_copies", tmp_path, monkeypatch)

    assert by_leaf(found)["copy_small"] == SMALL
    assert by_leaf(found)["copy_large"] == LARGE
    assert by_function(found, "fill") == BY_LIBC
    assert {row["evidence"] for row in found} == {"measured"}


def test_callers_are_found_through_a_function_of_libc_that_has_no_frame(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = every.run(build(*WITH_FRAMES), "child_copies", tmp_path, monkeypatch)
    by_libc = [row["frames"] for row in found if "fill" in row["frames"]]  # one for each instruction that wrote
    (small,) = [row["frames"] for row in found if row["frames"][0] == "copy_small"]

    assert {tuple(frames[1:4]) for frames in by_libc} == {("fill", "serve", "work")}
    assert small[1:5] == ["serve", "work", "child_copies", "main"]


def test_without_frame_pointers_the_function_that_copied_stands_alone(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = every.run(build(*WITHOUT), "child_copies", tmp_path, monkeypatch)
    mine = [row for row in found if row["frames"][0] in ("copy_small", "copy_large")]

    # Both have pushed nothing, so the word on top of the stack names who called; who called that is not known.
    assert Counter({tuple(row["frames"]): row["count"] for row in mine}) == {
        ("copy_small", "serve"): SMALL,
        ("copy_large", "serve"): LARGE,
    }


def test_a_child_that_was_gone_at_once_has_its_parents_functions(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = every.run(build(*PIE), "short_lives", tmp_path, monkeypatch)
    small = [row for row in found if row["frames"][0] == "copy_small"]

    assert [row["count"] for row in small] == [SMALL] * 20
    assert len({row["pid"] for row in small}) == 20


def test_a_program_that_was_gone_before_anyone_looked(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not host.has_mapping_walk():
        pytest.skip("no bpf_iter_task_vma_new: before Linux 6.7 the mappings of who is gone are not known")
    monkeypatch.setattr(every.stacks, "look", lambda: None)
    monkeypatch.setattr(cow, "build", lambda name: build(*PIE))

    def nothing(_: object) -> None:
        """No look is taken."""

    assert cow.watch("", "child_copies", tmp_path, started=every.probes.follow, began=nothing, ended=nothing) == 0
    monkeypatch.undo()
    found = rows(every.stacks.finish())

    assert by_leaf(found)["copy_small"] == SMALL
    assert by_leaf(found)["copy_large"] == LARGE
    assert UNKNOWN not in by_leaf(found)


def test_a_frame_pointer_that_leads_nowhere_spoils_no_count(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every.probes.take()
    found = every.run(build(*WITH_FRAMES), "bad_frames", tmp_path, monkeypatch)
    counted = [row["cow_copies"] for row in every.probes.take()]

    assert by_leaf(found)["lost_frame"] == SMALL
    assert sum(counted) == sum(row["count"] for row in found)


def test_code_made_at_run_time_goes_by_the_name_in_its_perf_map(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Batch | None] = []
    monkeypatch.setattr(cow, "build", lambda name: build(*WITH_FRAMES))

    def ended(_: object) -> None:
        # The parent, whose file it is, takes it away when this child has ended: the names are read while it stands.
        every.stacks.look()
        done.append(every.stacks.finish())

    assert cow.watch("", "jitted", tmp_path, started=every.probes.follow, began=ended, ended=ended) == 0
    found = [row for batch in done for row in rows(batch)]
    (made,) = [row for row in found if row["frames"][0].startswith("JS:")]

    assert made["frames"][:3] == ["JS:*copyPages server.js:7", "run_made", "jitted"]
    assert made["count"] == SMALL


def test_programs_of_a_container_that_is_gone_have_their_names(
    every: Sampled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("root", "unshare", "mount")
    script = tmp_path / "contained"
    inside = f'mount -t tmpfs none /mnt && cp {build(*PIE)} /mnt/x && exec /mnt/x "$@"'
    script.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{inside}' sh \"$@\"\n")
    script.chmod(0o755)
    found = every.run(script, "child_copies", tmp_path, monkeypatch)

    assert by_leaf(found)["copy_small"] == SMALL
    assert by_leaf(found)["copy_large"] == LARGE


def test_a_pace_gives_estimates_that_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("bpf")
    sampled = Sampled(rate=4000)  # by chance: some 1000 samples, so that 0.6 is many deviations away
    try:
        found = sampled.run(build(*WITH_FRAMES), "rounds", tmp_path, monkeypatch)
    finally:
        sampled.close()
    copies, samples = by_leaf(found), sum(row["samples"] for row in found)
    mine = copies["copy_small"] + copies["copy_large"]

    assert samples < 100 * (SMALL + LARGE) / 2  # it lasts for some 0.2 s; 50 s would be too long
    assert 0.7 < mine / (100 * (SMALL + LARGE)) < 1.3
    assert 0.6 < copies["copy_large"] / copies["copy_small"] / (LARGE / SMALL) < 1.6
    assert "inferred" in {row["evidence"] for row in found}


_COLLECTOR = re.compile("gc_collect|visit_|subtract_refs|update_refs|move_unreachable|deduce_unreachable")
_SERVER = """
import gc, os, sys
data = [[i] for i in range(50_000)]
gc.collect()
gc.disable()
if sys.argv[1] == "freeze":
    gc.freeze()
pid = os.fork()
if not pid:
    gc.collect()
    os._exit(0)
os.waitpid(pid, 0)
"""


def python_with_symbols() -> str:
    """An interpreter whose collector has a name in its symbols."""
    for python in dict.fromkeys(filter(None, (sys.executable, shutil.which("python3")))):
        told = "import sys, sysconfig as s; print(sys.executable, *map(s.get_config_var, ('LDLIBRARY', 'LIBDIR')))"
        try:
            exe, library, folder = subprocess.run(
                [python, "-c", told], capture_output=True, text=True, check=True
            ).stdout.split()
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        for path in (os.path.realpath(exe), f"{folder}/{library}"):
            found = opened(Path(path))
            debug = Path(f"/usr/lib/debug/.build-id/{(found.build_id or '')[:2]}/{(found.build_id or '')[2:]}.debug")
            names = (opened(debug) if debug.is_file() else found).names()
            if any(name.startswith("gc_collect") for name in names):
                return exe
    pytest.skip("no python3 here has symbols for its garbage collector; install one that is not stripped")


def test_the_garbage_collector_of_python_copies_pages_unless_they_are_frozen() -> None:
    need("bpf")
    python = python_with_symbols()
    copied = {}
    for how in ("thaw", "freeze"):
        trace = tracer.run([python, "-c", _SERVER, how], cow_stacks=0)
        copied[how] = sum(
            copies for (_, _, frames), (copies, _) in trace.tree.stacks.items() if _COLLECTOR.search(frames[0])
        )

    # 50,000 lists of 1 element are some 5 MB, and the collector writes into the head of each.
    assert copied["thaw"] > 500
    assert copied["freeze"] < copied["thaw"] / 10


@pytest.mark.parametrize(
    "record",
    [stacks.KEY, stacks.COUNT, stacks.SEEN, stacks.MAP, stacks.TRACE, stacks.OPTIONS, stacks.STATS],
    ids=lambda r: str(r.name),
)
def test_layout_is_the_objects(record: Any) -> None:
    found = Btf.from_elf(probe_object("stacks")).struct(record.name)

    assert found is not None
    assert {m.name: (m.offset, m.size) for m in found.members} == {
        name: (at, struct.calcsize("=" + fmt)) for name, (at, fmt) in record.offsets().items()
    }
