"""Logs that strace wrote of the samples (samples/strace, recorded by record.py), judged by what the samples told."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import judge
from tests.conftest import need
from tests.samples import ROOT, Life, read_truth
from tracer.analyses.tree_index import Shape
from tracer.errors import BadDataError
from tracer.importers import open_log
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import NULL, Kind
from tracer.tree.tree import ProcessTree

LOGS = ROOT / "samples" / "strace"
NAMES = sorted({path.name.partition(".")[0] for path in LOGS.glob("*.truth")})

# What no log says, whatever the options: reasons a judged row may differ.
NEVER = ("vfork_blocked_ns", "interpreter is None", "zombie_ns is None, and was 0", "EXEC env", "max_rss_bytes is None")
# What these logs do not say.
HIDDEN = {
    "deaths-no-signals": ("killed_by is None",),  # a signal that a process sends itself, and no signal lines
    "odd_bytes-xx": ("comm is 'main", "comm is 'line"),
    "orphan-z": ("reaped_by is None", "without a time of that"),
}


def files(name: str) -> list[str]:
    return sorted(str(path) for path in LOGS.glob(f"{name}.log*"))


def take(paths: Sequence[str]) -> tuple[Meta, list[Batch], object]:
    meta, batches = open_log(paths)
    return meta, list(batches), batches


def differences(lives: Sequence[Life], meta: Meta, batches: Sequence[Batch]) -> Iterator[str]:
    tree = ProcessTree(meta)
    for batch in batches:
        tree.feed(batch)
    events = [event for batch in batches for event in batch.events()]
    for line in judge.differences(lives, list(tree.records()), events, {Fact(fact) for fact in meta.facts}):
        if not any(word in line for word in NEVER):
            yield line


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_log_is_as_the_sample_told(name: str) -> None:
    lives = read_truth((LOGS / f"{name}.truth").read_bytes())

    meta, batches, run = take(files(name))

    wrong = list(differences(lives, meta, batches))
    wrong = [line for line in wrong if not any(word in line for word in HIDDEN.get(name, ()))]
    if meta.options["clock"] == "none":
        wrong = [line for line in wrong if "without a time of that" not in line]
    if any(event.pid is None for batch in batches for event in batch.events() if event.kind == Kind.EXISTING):
        # Nothing in the log says the pid of the root. All else must be right when it is told.
        wrong = [line for line in wrong if "None" not in line and "lived, and is not in the tree" not in line]
    assert wrong == []
    assert run.skipped.lines == 0  # type: ignore[attr-defined]


def test_every_case_that_is_recorded_is_tested() -> None:
    script = (LOGS / "record.py").read_text()

    assert set(re.findall(r'^    "([\w-]+)": Case', script, re.MULTILINE)) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "clock", "offset"),
    [
        ("chain-o", "epoch", 0),
        ("fan-r", "relative", None),
        ("prefork-tt-T", "wall", None),
        ("spawn-terminal", "none", None),
    ],
)
def test_the_clock_of_a_log(name: str, clock: str, offset: int | None) -> None:
    meta, batches, _ = take(files(name))

    assert (meta.options["clock"], meta.wall_offset_ns) == (clock, offset)
    known = [event.ts_ns is not None for batch in batches for event in batch.events()]
    assert all(known) if clock != "none" else not any(known)
    assert (Fact.ZOMBIES in meta.facts) == (clock != "none")


def test_faults_only_where_a_wait_reported_them() -> None:
    with_v, rows, _ = take(files("burn-v"))
    without, _, _ = take(files("chain-o"))

    assert Fact.FAULTS in with_v.facts and Fact.FAULTS not in without.facts
    reaps = [event for batch in rows for event in batch.events() if event.kind == Kind.REAP]
    assert all(event.min_flt > 0 and event.maj_flt is not None for event in reaps)


def test_births_stand_before_lives_in_every_recorded_log() -> None:
    for name in NAMES:
        _, batches, _ = take(files(name))
        born = set()
        for batch in batches:
            for event in batch.events():
                key = (event.pid, event.born_ns)
                if event.kind in (Kind.FORK, Kind.EXISTING):
                    born.add(key)
                elif event.kind != Kind.LOST:
                    assert key in born, (name, event)


# -- how the file comes ---------------------------------------------------------------------------------------


def same(paths: Sequence[str]) -> list[dict[str, object]]:
    _, batches, _ = take(paths)
    return [event.as_dict() for batch in batches for event in batch.events()]


def test_packed_logs_are_unpacked(tmp_path: Path) -> None:
    plain = files("chain-o")
    data = Path(plain[0]).read_bytes()
    packed = {"gz": gzip.compress(data), "xz": lzma.compress(data), "bz2": bz2.compress(data)}
    for suffix, content in packed.items():
        (tmp_path / f"log.{suffix}").write_bytes(content)

    assert all(same([str(tmp_path / f"log.{suffix}")]) == same(plain) for suffix in packed)


def test_zstd(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    plain = files("chain-o")
    with pa.CompressedOutputStream(str(tmp_path / "log.zst"), "zstd") as out:
        out.write(Path(plain[0]).read_bytes())

    assert same([str(tmp_path / "log.zst")]) == same(plain)


def test_appended_gzip_members_are_one_log(tmp_path: Path) -> None:
    lines = Path(files("chain-o")[0]).read_bytes().splitlines(keepends=True)
    (tmp_path / "log").write_bytes(gzip.compress(b"".join(lines[:7])) + gzip.compress(b"".join(lines[7:])))

    assert same([str(tmp_path / "log")]) == same(files("chain-o"))


def test_a_packed_log_that_is_cut_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    data = gzip.compress(Path(files("fan-r")[0]).read_bytes())
    (tmp_path / "log.gz").write_bytes(data[: len(data) * 3 // 4])

    _, batches, run = take([str(tmp_path / "log.gz")])

    events = [event for batch in batches for event in batch.events()]
    assert sum(event.kind == Kind.FORK for event in events) > 10
    assert any("cut off" in (event.where or "") for event in events if event.kind == Kind.LOST)
    assert any("cut off" in note for note in run.notes)  # type: ignore[attr-defined]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(Path(files("chain-o")[0]).read_bytes())

    monkeypatch.setattr(sys, "stdin", Input)

    assert same(["-"]) == same(files("chain-o"))


def test_two_logs_are_read_one_after_the_other() -> None:
    _, batches, _ = take([*files("chain-o"), *files("killed-qqq")])

    roots = [event for batch in batches for event in batch.events() if event.kind == Kind.EXISTING]
    assert [event.how for event in roots] == ["root", "root"]


def test_a_family_in_any_order() -> None:
    paths = files("clone_parent-family")

    assert same(paths) == same(paths[::-1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"#!/bin/sh\necho clone(1) = 2\n", "neither a log of strace"),
        (b"def main(argv):\n    return f(x) = 3\n" * 9, "neither a log of strace"),
        (bytes(range(256)) * 40, "neither a log of strace"),
        (b"PERFILE2" + bytes(99), "perf script -i FILE"),
        (
            b"% time     seconds  usecs/call     calls    errors syscall\n"
            b"100.00    0.000000           0         1 read\n",
            "neither a log of strace",
        ),
    ],
)
def test_what_is_no_log_is_refused_in_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(BadDataError) as refused:
        open_log([str(tmp_path / "file")])

    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.programs
def test_strace_of_this_host(tmp_path: Path) -> None:
    need("strace")
    shell = shutil.which("sh")
    log = tmp_path / "log"
    script = "/bin/true; (exit 3); exec sh -c 'exit 5'"
    subprocess.run(["strace", "-f", "-o", log, shell or "sh", "-c", script], check=False)

    _, batches, _ = take([str(log)])

    tree = ProcessTree()
    for batch in batches:
        tree.feed(batch)
    assert sorted(row["exit_code"] for row in tree.records()) == [0, 3, 5]


def test_a_first_line_is_no_birth_and_the_time_from_there_no_life(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '100 1700000000.000000 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        "101 1700000001.000000 +++ exited with 1 +++\n"
        "100 1700000002.000000 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=101, si_uid=0, si_status=1, "
        "si_utime=0, si_stime=0} ---\n"
        "102 1700000003.000000 +++ exited with 1 +++\n"
        "100 1700000005.000000 +++ exited with 0 +++\n"
    )
    meta, batches, _ = take([str(log)])
    tree = ProcessTree(meta)
    for batch in batches:
        tree.feed(batch)

    shape = Shape(tree)

    lives = {tree.value(row, "pid"): shape.life[row] for row in range(len(tree))}
    assert lives == {100: 5_000_000_000, 101: NULL, 102: NULL}


def test_files_of_a_family_merged_without_their_pids_are_a_guess_and_said_to_be(tmp_path: Path) -> None:
    """`sort trace.*` and `cat trace.*` lose whose each line is."""
    members = sorted(LOGS.glob("clone_parent-family.log.*"))
    assert len(members) > 2
    stamped = [line for member in members for line in member.read_bytes().splitlines(keepends=True)]
    merged = tmp_path / "merged"
    for order in (stamped, sorted(stamped)):
        merged.write_bytes(b"".join(order))
        meta, run = open_log([str(merged)])
        run.close()
        assert any("whose they are is a guess" in note for note in meta.notes)
    # The files themselves, one of them, and all other logs say whose their lines are.
    for paths in (list(map(str, members)), [str(members[0])], *([str(path)] for path in LOGS.glob("*.log"))):
        meta, run = open_log(paths)
        run.close()
        assert not any("guess" in note for note in meta.notes), paths
