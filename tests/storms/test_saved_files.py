"""A bound over all storms that are saved: the oldest go first, and nothing else ever does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracer.storms.saved_files import StormFiles

MIB = 1 << 20


def saved(folder: Path, name: str, age: int, mib: int = 1) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(MIB) * mib)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_oldest_storms_give_way_also_those_of_earlier_runs(tmp_path: Path) -> None:
    for n in range(5):
        saved(tmp_path, f"forktrace-storm-2026010{n}-000000.ftrace", age=100 - n)
    said: list[str] = []
    path = StormFiles(str(tmp_path), 4 * MIB, say=said.append).room_for(2 * MIB)

    assert names(tmp_path) == {"forktrace-storm-20260103-000000.ftrace", "forktrace-storm-20260104-000000.ftrace"}
    assert Path(path).parent == tmp_path
    assert said == [
        "removed forktrace-storm-20260100-000000.ftrace, forktrace-storm-20260101-000000.ftrace,"
        " forktrace-storm-20260102-000000.ftrace, to keep within --save-total"
    ]


def test_the_bound_holds_over_many_storms(tmp_path: Path) -> None:
    files = StormFiles(str(tmp_path), 3 * MIB)
    for age in range(10):
        saved(tmp_path, Path(files.room_for(MIB)).name, age=-age)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * MIB


def test_what_is_not_a_saved_storm_of_ours_stays(tmp_path: Path) -> None:
    saved(tmp_path, "notes.ftrace", age=9)
    saved(tmp_path, "forktrace-storm-mine.ftrace", age=9)
    saved(tmp_path, "forktrace-live-20260101-000000.ftrace", age=9)
    (tmp_path / "forktrace-storm-20260101-000000.ftrace").symlink_to("notes.ftrace")
    (tmp_path / "forktrace-storm-20260102-000000.ftrace").mkdir()
    before = names(tmp_path)
    StormFiles(str(tmp_path), MIB).room_for(MIB)

    assert names(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="root: gives a file to another user")
def test_another_users_stays(tmp_path: Path) -> None:
    os.chown(saved(tmp_path, "forktrace-storm-20260101-000000.ftrace", age=9), 12345, 12345)
    StormFiles(str(tmp_path), MIB).room_for(MIB)
    assert len(names(tmp_path)) == 1


def test_a_name_that_was_given_counts_on_and_bounds_its_own(tmp_path: Path) -> None:
    other = saved(tmp_path, "forktrace-storm-20260101-000000.ftrace", age=9)
    files = StormFiles(str(tmp_path / "x.ftrace"), 2 * MIB)
    given = [Path(saved(tmp_path, Path(files.room_for(MIB)).name, age=-n)).name for n in range(3)]

    assert given == ["x.ftrace", "x-2.ftrace", "x-3.ftrace"]
    assert names(tmp_path) == {"x-2.ftrace", "x-3.ftrace", other.name}
