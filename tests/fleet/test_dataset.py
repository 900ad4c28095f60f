from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fleet.traces import NOON, trace
from tracer.errors import CannotWriteError, NoInputError, UsageError
from tracer.fleet.dataset import Update, update
from tracer.fleet.places import Place


def brought(tmp_path: Path) -> Update:
    return update(Place.of(str(tmp_path / "traces")), Place.of(str(tmp_path / "data")))


def files(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "data"
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def two(tmp_path: Path) -> None:
    trace(tmp_path / "traces/a.ftrace", [{"born": 1}])
    trace(tmp_path / "traces/host=db 1/deep/b.ftrace", [{"born": 2}], at=NOON + 86_400)


def test_traces_become_files_by_host_and_day(tmp_path: Path) -> None:
    two(tmp_path)

    done = brought(tmp_path)

    assert (done.there, done.new, done.processes, done.troubles) == (2, 2, 4, [])
    folders = {os.path.dirname(name) for name in files(tmp_path)}
    assert folders == {
        f"{table}/{place}"
        for table in ("processes", "traces")
        for place in ("host=web1/day=2026-01-01", "host=db%201/day=2026-01-02")
    }


def test_a_trace_is_rebuilt_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    two(tmp_path)
    brought(tmp_path)
    before = files(tmp_path)

    assert brought(tmp_path).new == 0
    assert files(tmp_path) == before

    trace(tmp_path / "traces/a.ftrace", [{"born": 1}, {"born": 2}])
    done = brought(tmp_path)

    assert (done.new, done.gone) == (1, 1)
    assert len(files(tmp_path)) == len(before)


def test_who_was_killed_in_the_middle_does_that_trace_again(tmp_path: Path) -> None:
    two(tmp_path)
    brought(tmp_path)
    whole = files(tmp_path)
    for path in (tmp_path / "data/traces").rglob("a-*.parquet"):
        path.unlink()  # it is written last
    next((tmp_path / "data/processes").rglob("a-*.parquet")).write_bytes(b"half")

    assert brought(tmp_path).new == 1
    assert files(tmp_path) == whole


def test_one_that_can_not_be_read_stops_nothing(tmp_path: Path) -> None:
    two(tmp_path)
    (tmp_path / "traces/c.ftrace").write_bytes(b"no trace")

    done = brought(tmp_path)

    assert done.new == 2
    assert [os.path.basename(path) for path, _ in done.troubles] == ["c.ftrace"]


def test_a_place_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="not there"):
        brought(tmp_path)


def test_a_kind_of_address_that_nobody_knows_is_said() -> None:
    with pytest.raises(UsageError, match="can not be opened"):
        Place.of("nothing-of-the-sort://x")


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    two(tmp_path)
    (tmp_path / "data").write_bytes(b"a file")

    with pytest.raises(CannotWriteError):
        brought(tmp_path)


def test_places_in_memory_work_alike(tmp_path: Path) -> None:
    two(tmp_path)
    brought(tmp_path)
    data = Place.of("memory://fleet")

    update(Place.of(str(tmp_path / "traces")), data)

    assert {name: data.read(f"{data.root}/{name}") for t in ("processes", "traces") for name in data.files(t)} == files(
        tmp_path
    )
    data.fs.rm(data.root, recursive=True)


def test_a_scheduler_that_is_none_is_said(tmp_path: Path) -> None:
    two(tmp_path)

    with pytest.raises(UsageError, match="no scheduler's address"):
        update(Place.of(str(tmp_path / "traces")), Place.of(str(tmp_path / "data")), "localhost")
