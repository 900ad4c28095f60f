"""Folders that a killed forktrace has left are removed by the next one, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracer.host.leftovers import OLD_S, make, sweep

GONE = "999999999-1"


def old(path: Path) -> Path:
    """As if made a while ago."""
    when = path.lstat().st_mtime - OLD_S - 1
    os.utime(path, (when, when), follow_symlinks=False)
    return path


def left(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "strace.log").write_text("x")
    return old(path)


def test_what_dead_processes_left_goes_with_the_next_start(tmp_path: Path) -> None:
    for stem in ("forktrace", "forktrace-bcc"):
        left(tmp_path, f"{stem}-{GONE}-abc")
    made = make("forktrace", str(tmp_path))

    assert [str(path) for path in tmp_path.iterdir()] == [made]
    assert Path(made).stat().st_mode & 0o777 == 0o700


def test_the_living_keep_theirs(tmp_path: Path) -> None:
    mine = old(Path(make("forktrace", str(tmp_path))))

    assert sweep(str(tmp_path)) == []
    assert mine.exists()


def test_one_that_was_just_made_may_be_of_another_pid_namespace(tmp_path: Path) -> None:
    (tmp_path / f"forktrace-{GONE}-abc").mkdir()
    assert sweep(str(tmp_path)) == []


def test_links_files_and_other_names_stay(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    link = tmp_path / f"forktrace-{GONE}-link"
    link.symlink_to(precious)
    old(link)
    inside = left(tmp_path, f"forktrace-{GONE}-inside")
    (inside / "link").symlink_to(precious)
    old(inside)
    (tmp_path / f"forktrace-{GONE}-file").write_text("kept")
    old(tmp_path / f"forktrace-{GONE}-file")
    left(tmp_path, "forktrace-notes-1-a")
    swept = sweep(str(tmp_path))

    assert swept == [f"forktrace-{GONE}-inside"]
    assert (precious / "file").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="root: gives a folder to another user")
def test_another_users_stays(tmp_path: Path) -> None:
    theirs = left(tmp_path, f"forktrace-{GONE}-abc")
    os.chown(theirs, 12345, 12345)
    assert sweep(str(tmp_path)) == []
