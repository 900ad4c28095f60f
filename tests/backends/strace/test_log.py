"""The file between strace and us: whole lines once, no name that stays, no disk that fills."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminals import wait_until
from tracer.backends.strace import log as _strace_log
from tracer.backends.strace.log import Log
from tracer.errors import CannotWriteError


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # pytest's own are for us alone: no place for another user's strace
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = Log()
    yield one
    one.close()


def append(log: Log, data: bytes) -> None:
    with Path(log.path).open("ab") as f:
        f.write(data)


def test_only_whole_lines_and_each_once(log: Log) -> None:
    got = []
    for piece in (b"one\ntw", b"o\n", b"", b"three\n\nfo", b"ur"):
        append(log, piece)
        got.append(list(log.lines()))

    assert got == [[b"one"], [b"two"], [], [b"three", b""], []]
    assert log.rest() == b"four"


def test_lines_longer_than_a_piece(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strace_log, "_PIECE", 3)
    append(log, b"abcdefg\nh\nij")

    assert list(log.lines()) == [b"abcdefg", b"h"]
    append(log, b"k\n")
    assert list(log.lines()) == [b"ijk"]


def test_a_line_without_end_is_given_up(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strace_log, "_PIECE", 3)
    monkeypatch.setattr(_strace_log, "_LONGEST", 8)
    append(log, b"x" * 100 + b"\nshort\n")

    assert list(log.lines())[-1] == b"short"
    assert log.cut > 0


def test_the_name_goes_when_it_is_open(log: Log) -> None:
    path = Path(log.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not stat.S_IMODE(path.parent.stat().st_mode) & 0o066
    log.look()
    assert path.exists()
    if log.watched < 0:
        pytest.skip("inotify: no more watches for this user")
    with path.open("w") as writer:
        log.look()
        assert (log.opened, log.writer_gone, path.parent.exists()) == (True, False, False)
        writer.write("line\n")
    wait_until("the close is seen", lambda: log.look() or log.writer_gone)  # type: ignore[func-returns-value]

    assert list(log.lines()) == [b"line"]


def test_without_a_watch_the_name_goes_with_the_first_line(log: Log) -> None:
    if log.watched >= 0:
        os.close(log.watched)
        log.watched = -1
    append(log, b"line\n")
    log.look()
    assert Path(log.path).exists()
    assert list(log.lines()) == [b"line"]
    log.look()

    assert not Path(log.path).parent.exists()


def test_what_was_read_is_given_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strace_log, "_GIVE_BACK", 1 << 20)
    for _ in range(5):
        append(log, (b"x" * 1023 + b"\n") * 1024)
        assert len(list(log.lines())) == 1024
    status = Path(log.path).stat()

    assert status.st_size == 5 << 20
    assert status.st_blocks * 512 < 3 << 20


def test_closing_twice_leaves_nothing(log: Log) -> None:
    path = Path(log.path)
    log.close()
    log.close()

    assert not path.parent.exists()


def test_no_place_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_strace_log, "_PLACES", (str(tmp_path / "none"),))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nor-this"))
    with pytest.raises(CannotWriteError, match="no place"):
        Log()


def test_a_place_that_others_may_not_enter_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's strace may have to run as somebody else."""
    if os.geteuid() != 0:
        pytest.skip("not root: strace runs as we do")
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    log = Log()
    log.close()

    assert not log.path.startswith(str(tmp_path))
