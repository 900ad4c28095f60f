from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recording.rows import META, forks
from tracer.errors import BadDataError, NoInputError
from tracer.recording import Recording, Writer


def saved(path: Path, rows: int, end: bool = True) -> Path:
    out = Writer(path, META)
    out.write(forks(rows))
    out.flush()
    if end:
        out.close({"forks": rows})
    else:
        out.abandon()
    return path


def test_it_can_be_read_again_and_again(tmp_path: Path) -> None:
    recording = Recording(saved(tmp_path / "x", 10))
    first = recording.batches()
    next(first)

    assert [sum(map(len, recording.batches())) for _ in range(2)] == [11, 11]
    assert recording.meta == META
    assert recording.totals["forks"] == 10
    assert (recording.torn, recording.damage, recording.unknown) == (False, None, 0)


def test_a_torn_one_says_so_once_read(tmp_path: Path) -> None:
    recording = Recording(saved(tmp_path / "x", 10, end=False))

    assert sum(map(len, recording.batches())) == 10
    assert recording.torn
    assert f"{tmp_path / 'x'} has no end" in str(recording.damage)


def test_it_stays_the_same_file_when_its_name_means_another(tmp_path: Path) -> None:
    recording = Recording(saved(tmp_path / "x", 10))
    saved(tmp_path / "y", 20).replace(tmp_path / "x")

    assert sum(map(len, recording.batches())) == 11


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", 10)
    seen: list[tuple[int, int]] = []
    recording = Recording(path, progress=lambda position, size: seen.append((position, size)))
    list(recording.batches())

    assert seen[-1] == (path.stat().st_size - 8, path.stat().st_size)  # all but the end-of-stream mark


def test_only_some_columns(tmp_path: Path) -> None:
    recording = Recording(saved(tmp_path / "x", 3))

    assert {n for b in recording.batches(["pid"]) for part in b.parts.values() for n in part} == {"pid"}


def test_a_pipe_is_kept(tmp_path: Path) -> None:
    data = saved(tmp_path / "x", 10).read_bytes()
    code = (
        "from tracer.recording import Recording\nr = Recording('-')\n"
        "print([sum(map(len, r.batches())) for _ in 'ab'], r.torn)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=False)

    assert (ran.stdout, ran.stderr) == (b"[11, 11] False\n", b"")


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "y").write_bytes(b"head" + saved(tmp_path / "x", 10).read_bytes())
    with open(tmp_path / "y", "rb") as file:
        file.seek(4)
        recording = Recording(file)
    assert sum(map(len, recording.batches())) == 11
    assert sum(map(len, Recording(io.BytesIO((tmp_path / "x").read_bytes())).batches())) == 11


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    recording = Recording(saved(tmp_path / "x", 10))
    list(recording.batches())
    del recording
    (tmp_path / "empty").touch()
    for path in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises((BadDataError, NoInputError)):
            Recording(path)
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) == before
