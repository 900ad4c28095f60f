from __future__ import annotations

import errno
import io
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from tests.conftest import need
from tests.recording.rows import META, batches, build, fork, forks
from tracer.errors import CannotWriteError
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.recording import Reader, Writer, writer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def rows_in(data: bytes) -> list[Any]:
    return [row for batch in Reader(io.BytesIO(data)) for row in batch.rows()]


@given(st.lists(batches, max_size=4), st.booleans())
def test_what_is_written_is_read(written: list[Batch], flush: bool) -> None:
    file = io.BytesIO()
    out = Writer(file, META)
    for batch in written:
        out.write(batch)
        if flush:
            out.flush()
    out.close()
    reader = Reader(io.BytesIO(file.getvalue()))
    read = [row for batch in reader for row in batch.rows()]
    expected = [row for batch in written for row in batch.rows()]

    assert read == [*expected, (Kind.END, {"count": len(expected)})]
    assert reader.meta == META
    assert not reader.torn


def test_any_arrow_reader_opens_it() -> None:
    file = io.BytesIO()
    with Writer(file, META) as out:
        out.write(Batch.from_rows([fork(7, comm="sh", ns_pids=[7, 1])]))
    table = pa.ipc.open_stream(file.getvalue()).read_all()

    assert table.column("kind").to_pylist() == ["fork", "end"]
    assert table.column("ns_pids").to_pylist() == [[7, 1], None]
    assert table.schema.metadata[b"forktrace.format"] == b"1"


def test_rows_wait_for_company_or_a_second() -> None:
    clock, file = Clock(), io.BytesIO()
    out = Writer(file, META, clock=clock)
    out.write(forks(200))
    assert out.next_flush_at == 101.0
    clock.now = 100.9
    assert not out.maybe_flush()
    assert not file.getvalue()
    clock.now = 101.0
    assert out.maybe_flush()
    assert len(rows_in(file.getvalue())) == 200
    assert not out.maybe_flush()


def test_nothing_is_due_while_no_row_waits() -> None:
    out = Writer(io.BytesIO(), META)
    assert out.next_flush_at is None


def test_4096_rows_do_not_wait() -> None:
    file = io.BytesIO()
    out = Writer(file, META, clock=Clock())
    out.write(forks(4000))
    assert not file.getvalue()
    out.write(forks(96))
    assert len(rows_in(file.getvalue())) == 4096


def test_a_slow_stream_backs_off_to_ten_seconds_and_a_fast_one_comes_back() -> None:
    clock = Clock()
    out = Writer(io.BytesIO(), META, clock=clock)
    waits = []
    for rows in (1, 1, 1, 1, 1, 50, 5000, 1):
        out.write(forks(rows))
        due = out.next_flush_at
        if due is None:  # 5000 rows went at once
            continue
        waits.append(due - clock.now)
        assert out.maybe_flush(due)
        clock.now = due

    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 1.0]


def test_a_hundred_rows_a_second_are_not_slow() -> None:
    clock = Clock()
    out = Writer(io.BytesIO(), META, clock=clock)
    for _ in range(3):
        out.write(forks(100))
        assert out.next_flush_at == clock.now + 1
        clock.now += 1
        out.maybe_flush()


def test_each_flush_is_one_write_to_an_unbuffered_file() -> None:
    class Counting(io.BytesIO):
        writes = 0

        def write(self, data: Any, /) -> int:
            Counting.writes += 1
            return super().write(data)

    out = Writer(Counting(), META)
    for _ in range(3):
        out.write(forks(10))
        out.flush()

    assert Counting.writes == 3


def test_a_buffer_of_the_file_holds_nothing_back(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb", buffering=1 << 20) as file:
        out = Writer(file, META)
        out.write(forks(3))
        out.flush()
        with Reader(tmp_path / "x") as reader:
            assert sum(map(len, reader)) == 3


def test_short_writes_are_carried_on() -> None:
    class Short(io.BytesIO):
        def write(self, data: Any, /) -> int:
            return super().write(bytes(data)[:100])

    file = Short()
    with Writer(file, META) as out:
        out.write(forks(300))

    assert len(rows_in(file.getvalue())) == 301


def test_the_end_row_counts_rows_and_losses() -> None:
    file = io.BytesIO()
    out = Writer(file, META)
    out.write(Batch.from_rows([fork(1), (Kind.LOST, {"count": 40, "where": "ring"}), (Kind.LOST, {})]))
    out.write(Batch.from_rows([(Kind.LOST, {"count": 2}), (Kind.END, {"count": 99})]))
    out.close({"ts_ns": 5, "forks": 1, "rows": "mine"})
    reader = Reader(io.BytesIO(file.getvalue()))
    last = [row for batch in reader for row in batch.rows()][-1]

    assert last == (Kind.END, {"ts_ns": 5, "count": 4})
    assert reader.totals == {"ts_ns": 5, "forks": 1, "rows": 4, "lost": 42}


def test_closing_twice_or_writing_late_is_harmless() -> None:
    file = io.BytesIO()
    out = Writer(file, META)
    out.close()
    size = len(file.getvalue())
    out.write(forks(5000))
    out.flush()
    out.close()

    assert len(file.getvalue()) == size


def test_an_exception_leaves_what_came_before_without_an_end() -> None:
    file = io.BytesIO()
    with pytest.raises(ZeroDivisionError), Writer(file, META) as out:
        out.write(forks(3))
        raise ZeroDivisionError
    reader = Reader(io.BytesIO(file.getvalue()))

    assert sum(map(len, reader)) == 3
    assert reader.torn


def test_a_huge_batch_is_cut_to_what_readers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH_TEXT", 1000)
    file = io.BytesIO()
    with Writer(file, META) as out:
        out.write(Batch.from_rows([(Kind.EXEC, {"pid": i, "argv": ["x" * 300] * 2}) for i in range(20)]))
        out.write(Batch.from_rows([(Kind.EXEC, {"pid": 20, "argv": [""] * 5000})]))
        out.write(forks(150_000, first=21))
    with pa.ipc.open_stream(file.getvalue()) as stream:
        sizes = [batch.num_rows for batch in stream]

    assert sizes[:20] == [1] * 20
    assert max(sizes) <= writer.MAX_BATCH_ROWS
    assert [values["pid"] for _, values in rows_in(file.getvalue())[:-1]] == list(range(150_021))


# -- files ----------------------------------------------------------------------------------------------------


def test_a_file_is_private_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    path.write_bytes(b"x" * 100_000)
    path.unlink()
    Writer(path, META).close()
    first = path.stat()
    Writer(str(path), META).close()

    assert stat.S_IMODE(first.st_mode) == 0o600
    assert path.stat().st_size == first.st_size


def test_the_opener_opens(tmp_path: Path) -> None:
    asked = []

    def opener(path: str, mode: str) -> Any:
        asked.append((path, mode))
        return open(tmp_path / "elsewhere", mode)

    Writer("x.ftrace", META, opener=opener).close()

    assert asked == [("x.ftrace", "wb")]
    assert (tmp_path / "elsewhere").stat().st_size


@pytest.mark.parametrize("name", ["no/such/folder/x", "", "."])
def test_a_file_that_can_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotWriteError, match="can not write"):
        Writer(name, META)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(CannotWriteError, match="it is a symbolic link"):
        Writer(tmp_path / "link", META)

    assert target.read_text() == "precious"


def test_a_kill_takes_back_nothing_that_was_flushed(tmp_path: Path) -> None:
    code = f"""
import sys
from tests.recording.rows import META, forks
from tracer.recording import Writer
out = Writer({str(tmp_path / "x")!r}, META)
for i in range(3):
    out.write(forks(5000, first=1 + 5000 * i))
out.write(forks(7, first=20000))
print("flushed", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"flushed\n"
        child.kill()
    reader = Reader(tmp_path / "x")

    assert sum(len(batch) for batch in reader) == 15_000
    assert reader.torn


# -- a full disk ----------------------------------------------------------------------------------------------


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond `size` fail with EFBIG; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_sentence_and_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    out = Writer(path, META)
    failures = []
    with file_size_limit(60_000):
        for i in range(30):
            try:
                out.write(build(256, seed=i))
                out.flush()
            except CannotWriteError as e:
                failures.append(str(e))
        out.close()
    reader = Reader(path)
    read = sum(len(batch) for batch in reader)

    assert len(failures) == 1
    assert "can not go on writing" in failures[0]
    assert "file too large" in failures[0]
    assert reader.torn
    assert read >= 1024
    assert read + out.unwritten == 30 * 1024
    # Half a batch was cut off: the stream ends where a batch does.
    assert reader.position == path.stat().st_size


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    need("root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "forktrace-test", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs can not be mounted here")
    try:
        out = Writer(tmp_path / "x.ftrace", META)
        with pytest.raises(CannotWriteError, match="no space left on device"):
            for i in range(30):
                out.write(build(256, seed=i))
                out.flush()
        out.close()
        with Reader(tmp_path / "x.ftrace") as reader:
            read = sum(len(batch) for batch in reader)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert read == out.rows - out.unwritten > 0
    assert reader.torn


def test_no_space_at_all() -> None:
    out = Writer("/dev/full", META)
    out.write(forks(10))
    with pytest.raises(CannotWriteError, match="no space left on device") as caught:
        out.close()

    assert out.failed is caught.value
    assert out.unwritten == 10
    out.close()


def test_a_reader_of_a_pipe_that_went_away() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        out = Writer(pipe, META)
        out.write(forks(10))
        with pytest.raises(CannotWriteError, match="broken pipe"):
            out.flush()
        out.write(forks(10_000))
        out.close()
    assert out.unwritten == 10_010


def test_an_error_is_not_swallowed_by_a_buffered_file() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = io.BufferedWriter(Full())
    out = Writer(file, META)
    out.write(forks(1))
    with pytest.raises(CannotWriteError):
        out.flush()
    assert out.unwritten == 1
