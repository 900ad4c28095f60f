from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.recording.rows import META, build, forks
from tracer.recording import Reader, Writer, compact


def trickle(path: Path, batches: int = 40, **options: Any) -> Writer:
    """A file of many small batches that is about to be closed."""
    out = Writer(path, META, **options)
    for i in range(batches):
        out.write(build(3, seed=i))
        out.flush()
    return out


def content(path: Path) -> list[Any]:
    return [row for batch in Reader(path) for row in batch.rows()]


def test_many_small_batches_become_few(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    out = trickle(path)
    before = path.stat()
    rows = content(path)
    out.close({"forks": 120})
    after = path.stat()
    reader = Reader(path)

    assert [row for batch in reader for row in batch.rows()][:-1] == rows
    assert reader.totals == {"forks": 120, "rows": 480, "lost": 0}
    assert not reader.torn
    assert after.st_size < before.st_size / 5
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x.ftrace"]


def test_big_batches_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    out = Writer(path, META)
    out.write(build(3000))
    out.write(build(3000, seed=1))
    before = path.stat().st_ino
    out.close()

    assert path.stat().st_ino == before


def test_mode_stays(tmp_path: Path) -> None:
    out = trickle(tmp_path / "x")
    (tmp_path / "x").chmod(0o640)
    out.close()

    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_follower_of_the_first_file_sees_its_end(tmp_path: Path) -> None:
    out = trickle(tmp_path / "x")
    with Reader(tmp_path / "x", follow=True, wait=lambda _: out.close()) as reader:
        assert sum(len(batch) for batch in reader) == 481
    assert not reader.torn


def left_alone(path: Path, out: Writer) -> bool:
    """Whether closing leaves the file in place, complete and alone in its folder."""
    inode = path.stat().st_ino
    others = set(os.listdir(path.parent))
    out.close()
    assert len(content(path)) == 481
    assert set(os.listdir(path.parent)) == others
    return path.stat().st_ino == inode


def test_a_file_with_two_names_is_left_alone(tmp_path: Path) -> None:
    out = trickle(tmp_path / "x")
    os.link(tmp_path / "x", tmp_path / "y")

    assert left_alone(tmp_path / "x", out)


def test_a_file_of_another_owner_is_left_alone(tmp_path: Path) -> None:
    need("root")
    out = trickle(tmp_path / "x")
    os.chown(tmp_path / "x", 65534, 65534)

    assert left_alone(tmp_path / "x", out)


def test_too_much_for_the_time_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "BUDGET_S", -1.0)

    assert left_alone(tmp_path / "x", trickle(tmp_path / "x"))


def test_a_disk_without_room_for_both_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compact, "_copy", full)

    assert left_alone(tmp_path / "x", trickle(tmp_path / "x"))


def test_a_name_that_means_another_file_by_now_is_left_alone(tmp_path: Path) -> None:
    out = trickle(tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "moved")
    trickle(tmp_path / "x").abandon()
    inode = (tmp_path / "x").stat().st_ino
    out.close()

    assert (tmp_path / "x").stat().st_ino == inode
    assert len(content(tmp_path / "moved")) == 481


def test_devices_and_pipes_are_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with contextlib.suppress(OSError):
        for path in (Path("/dev/null"), tmp_path / "fifo"):
            out = trickle(path, batches=2)
            out.close()
            assert not out.failed
            assert not path.is_file()
    os.close(reader)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


def test_names_are_touched_as_the_caller_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = []
    depth = 0

    @contextlib.contextmanager
    def as_caller() -> Iterator[None]:
        nonlocal depth
        depth += 1
        yield
        depth -= 1

    def watched(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            inside.append(depth)
            return real(*args, **kwargs)

        return call

    out = trickle(tmp_path / "x", as_caller=as_caller)
    monkeypatch.setattr(os, "open", watched(os.open))
    monkeypatch.setattr(Path, "replace", watched(Path.replace))
    monkeypatch.setattr(Path, "unlink", watched(Path.unlink))
    out.close()

    assert inside == [1, 1, 1, 1]


def test_a_file_object_is_not_compacted() -> None:
    file = io.BytesIO()
    out = Writer(file, META)
    for i in range(9):
        out.write(forks(1, first=i + 1))
        out.flush()
    size = len(file.getvalue())
    out.close()

    assert len(file.getvalue()) > size
