"""What a capture leaves: a file, and a trace that has every row once, whatever becomes of the file meanwhile."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given

from tests.strategies import META, PROFILE, History, cut, cut_points, histories
from tests.terminals import wait_until
from tracer.api.capture import Keeper, open_trace
from tracer.capture.session import Plan, Session
from tracer.errors import BadDataError, CannotWriteError, NoInputError
from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind
from tracer.recording import Writer


def session() -> Session:
    made = Session(Plan(["x"]))
    made.meta = META
    return made


def kept(path: Path | str | None, batches: Sequence[Batch], *, redact: bool = False) -> Keeper:
    keeper = Keeper(session(), None if path is None else str(path), redact=redact)
    keeper.open()
    for batch in batches:
        keeper.take(batch)
        keeper.tick()
    return keeper


def events(batches: Any) -> list[Event]:
    return [event for batch in batches for event in batch.events()]


def forks(first: int, n: int = 1, **values: Any) -> Batch:
    pids = range(first, first + n)
    return Batch.from_rows((Kind.FORK, {"ts_ns": p, "pid": p, "tid": p, "born_ns": p, **values}) for p in pids)


END = Batch.from_rows([(Kind.END, {"ts_ns": 999, "count": 3, "utime_ns": 5})])


def unreadable(path: Path) -> None:
    path.write_bytes(b"")
    path.write_bytes(b"something else, and as long as what was there" * 9)


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = len(data) * 2 // 3
    data[at : at + 100] = b"\xff" * 100
    path.write_bytes(bytes(data))


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def test_a_file_that_cannot_be_read_again_is_not_an_empty_trace(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    keeper = kept(path, [forks(1, 5000)])
    trace = keeper.finish()
    unreadable(path)

    with pytest.raises(BadDataError, match="is not a trace"):
        list(trace.batches())
    assert list(keeper.so_far()) == []


@pytest.mark.parametrize("spoil", [damaged, shorter])
def test_a_file_that_is_damaged_before_the_report_is_said_to_be(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    trace = kept(path, [forks(1, 5000), forks(6000, 5000), END]).finish()
    spoil(path)

    assert len(events(trace.batches())) < 10_000
    assert trace.broken
    assert str(path) in str(trace.damage)


def test_there_is_no_memory_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = kept(tmp_path / "x.ftrace", [forks(1, 5)]).finish()

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tracer.recording.decoder.Decoder.decode", no_memory)

    with pytest.raises(NoInputError, match="there is not enough memory"):
        list(trace.batches())


@PROFILE
@given(histories(), cut_points)
def test_without_a_file_every_row_comes_back(history: History, points: Sequence[int]) -> None:
    trace = kept(None, cut(history.rows, points)).finish()

    assert list(trace.events()) == events(cut(history.rows, []))
    assert list(trace.events()) == list(trace.events())
    assert trace.meta == META


@pytest.mark.parametrize("rows", [1, 5000])
def test_file_and_trace_hold_the_same_rows(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "x.ftrace"
    keeper = kept(path, [forks(1, rows), forks(9000, 3), END])
    before = events(keeper.batches())
    trace = keeper.finish()

    assert before[:-1] == events([forks(1, rows), forks(9000, 3)])
    assert list(trace.events()) == list(open_trace(str(path)).events())
    assert [e.pid for e in trace.events()] == [*range(1, 1 + rows), 9000, 9001, 9002, None]
    assert (keeper.failure, open_trace(str(path)).meta) == (None, META)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("when", ["before the end", "after it"])
@pytest.mark.parametrize("do", [Path.unlink, lambda path: (path.unlink(), path.write_text("another file"))])
def test_a_file_that_is_taken_away_takes_no_row_from_the_report(
    tmp_path: Path, when: str, do: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.ftrace"
    keeper = kept(path, [forks(1, 5000)])
    if when == "before the end":
        do(path)
    keeper.take(forks(9000))
    trace = keeper.finish()
    if when == "after it":
        do(path)

    assert [e.pid for e in trace.events() if e.kind == Kind.FORK] == [*range(1, 5001), 9000]


def test_the_working_directory_may_change_before_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trace = kept("x.ftrace", [forks(1)]).finish()
    monkeypatch.chdir("/")

    assert [e.pid for e in trace.events() if e.kind == Kind.FORK] == [1]


class Full:
    """A file system's end: what a Writer's file is replaced by. The first `room` bytes still fit."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: memoryview) -> int:
        if len(data) > self._room:
            raise OSError(28, "No space left on device")
        self._room -= len(data)
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fill_up(keeper: Keeper, room: int = 0) -> None:
    keeper._writer._file = Full(keeper._writer._file, room)


def test_a_disk_that_fills_up_costs_no_row_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    keeper = kept(path, [forks(1, 5000)])  # enough to be written at once
    fill_up(keeper)
    keeper.take(forks(6000, 5000))
    keeper.take(forks(20000))
    keeper.take(END)
    trace = keeper.finish()

    assert keeper.failure is not None
    assert "no space left" in str(keeper.failure)
    assert [e.pid for e in trace.events()] == [*range(1, 5001), *range(6000, 11000), 20000, None]
    assert [e.pid for e in open_trace(str(path)).events()] == [*range(1, 5001)]


def test_a_flush_that_fails_half_way_tells_no_row_twice(tmp_path: Path) -> None:
    """A flush of much text is several writes: those that worked are in the file, the rest is kept."""
    path = tmp_path / "x.ftrace"
    keeper = kept(path, [])
    fill_up(keeper, 60_000)
    texts = [os.urandom(20_000).hex() * 100 for _ in range(4)]  # 4 MB a row; too much for one piece
    keeper.take(Batch.from_rows((Kind.EXEC, {"ts_ns": i, "pid": i, "argv": [t]}) for i, t in enumerate(texts)))
    keeper.take(END)
    trace = keeper.finish()
    written = [e.pid for e in open_trace(str(path)).events()]

    assert keeper.failure is not None
    assert 0 < len(written) < 4, "the test itself: some of it should have been written"
    assert [e.pid for e in trace.events()] == [0, 1, 2, 3, None]


def test_a_file_that_can_not_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    keeper = Keeper(session(), str(tmp_path / "no" / "x.ftrace"))

    with pytest.raises(CannotWriteError, match="there is no folder"):
        keeper.open()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """With root's rights, a link in /tmp would give any file away."""
    (tmp_path / "x.ftrace").symlink_to(tmp_path / "victim")

    with pytest.raises(CannotWriteError, match="symbolic link"):
        kept(tmp_path / "x.ftrace", [])

    assert not (tmp_path / "victim").exists()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A FIFO, and what its reader got by the end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    yield path, got
    with suppress(OSError):  # were the test to fail before it opened the pipe
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    reader.join()


def test_what_goes_into_a_pipe_can_still_be_reported(fifo: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, got = fifo
    keeper = Keeper(session(), str(path))

    def opened() -> bool:
        with suppress(CannotWriteError):  # its reader is not there yet
            keeper.open()
            return True
        return False

    wait_until("the pipe has a reader", opened)
    keeper.take(forks(1, 3))
    trace = keeper.finish()

    assert [e.pid for e in trace.events()] == [1, 2, 3]
    wait_until("the reader is done", lambda: bool(got))
    (tmp_path / "copy").write_bytes(got[0])
    assert [e.pid for e in open_trace(str(tmp_path / "copy")).events()] == [1, 2, 3, None]


def test_secrets_are_taken_out_before_they_are_kept() -> None:
    rows = [(Kind.EXEC, {"ts_ns": 1, "pid": 1, "argv": ["mysql", "--password=hunter2"]})]
    shown = next(iter(kept(None, [Batch.from_rows(rows)]).finish().events())).argv
    hidden = next(iter(kept(None, [Batch.from_rows(rows)], redact=True).finish().events())).argv

    assert "hunter2" in "".join(shown)
    assert "hunter2" not in "".join(hidden)


def test_end_of_the_tracer_itself_is_in_the_file(tmp_path: Path) -> None:
    kept(tmp_path / "x.ftrace", [forks(1), END]).finish()
    trace = open_trace(str(tmp_path / "x.ftrace"))

    assert list(trace.events())[-1] == Event(Kind.END, {"ts_ns": 999, "count": 1, "utime_ns": 5})
    assert not trace.torn


def test_opening_what_is_not_there() -> None:
    with pytest.raises(NoInputError):
        open_trace("/no/such/trace.ftrace")


def test_progress_is_told_while_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    with Writer(path, META) as writer:
        writer.write(forks(1, 100))
    told: list[tuple[int, int]] = []
    list(open_trace(str(path), lambda at, size: told.append((at, size))).events())

    assert told
    assert told[-1][1] == path.stat().st_size


def test_status_of_the_program_is_the_traces() -> None:
    one = session()
    one.status = SimpleNamespace(exit_code=3)  # type: ignore[assignment]

    assert Keeper(one, None).finish().status is one.status
