from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from tests.recording.rows import META, build, changed, exit_, fork, forks
from tracer.errors import BadDataError, NoInputError
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.recording import Reader, Writer, header
from tracer.recording.columns import wide_schema, widen
from tracer.recording.frames import Frames

TAIL = 8  # the end-of-stream marker


def trace(*batches: Batch, end: bool = True) -> bytes:
    """Each batch flushed by itself."""
    file = io.BytesIO()
    out = Writer(file, META)
    for batch in batches:
        out.write(batch)
        out.flush()
    if end:
        out.close()
    return file.getvalue()


def boundaries(data: bytes) -> list[int]:
    """Where the messages of a stream begin, and where the last one ends."""
    frames = Frames(io.BytesIO(data))
    found = [0]
    while frames.next() is not None:
        found.append(frames.position)
    return found


def pids(reader: Reader) -> list[int]:
    return [values["pid"] for batch in reader for kind, values in batch.rows() if kind != Kind.END]


SMALL = trace(*(Batch.from_rows([fork(i), exit_(i, exit_code=0)]) for i in range(1, 4)))
MARKS = boundaries(SMALL)


@pytest.mark.parametrize("message", range(1, len(MARKS) - 1))
@pytest.mark.parametrize("where", ["start", "marker", "size", "description", "body", "last"])
def test_a_torn_file_loses_the_last_batch_only(message: int, where: str) -> None:
    start, end = MARKS[message], MARKS[message + 1]
    description = struct.unpack_from("<i", SMALL, start + 4)[0]
    cut = {
        "start": start,
        "marker": start + 3,
        "size": start + 6,
        "description": start + 8 + description // 2,
        "body": start + 8 + description + 9,
        "last": end - 1,
    }[where]
    reader = Reader(io.BytesIO(SMALL[:cut]))

    assert pids(reader) == [i for i in range(1, message) for _ in range(2)]
    assert reader.torn
    assert reader.damage is not None
    assert "\n" not in reader.damage


def test_a_cut_at_any_byte_is_no_exception() -> None:
    for cut in range(MARKS[1], len(SMALL), 29):
        reader = Reader(io.BytesIO(SMALL[:cut]))
        found = pids(reader)
        whole = sum(1 for mark in MARKS[2:] if mark <= cut)

        assert len(found) == 2 * min(whole, 3)
        # The end row is in the last message, and what follows is only Arrow's own mark.
        assert reader.torn == (cut < MARKS[-1])


def test_a_file_that_was_closed_is_not_torn() -> None:
    reader = Reader(io.BytesIO(SMALL))

    assert pids(reader) == [1, 1, 2, 2, 3, 3]
    assert (reader.torn, reader.damage) == (False, None)
    assert reader.rows == 7


def test_an_end_of_stream_without_an_end_row_is_torn() -> None:
    data = trace(forks(3), end=False) + SMALL[-TAIL:]
    reader = Reader(io.BytesIO(data))

    assert pids(reader) == [1, 2, 3]
    assert reader.torn
    assert "has no end" in str(reader.damage)
    assert not reader.broken


@pytest.mark.parametrize("junk", [b"\0" * 500, b"junk" * 50, b"\xff" * 200, SMALL[: MARKS[1]]])
def test_junk_after_the_last_batch_ends_the_reading(junk: bytes) -> None:
    reader = Reader(io.BytesIO(trace(forks(3), end=False) + junk))

    assert pids(reader) == [1, 2, 3]
    assert reader.torn
    assert "at byte" in str(reader.damage)
    assert reader.broken


def test_a_flipped_byte_is_never_more_than_a_torn_file() -> None:
    whole = trace(build(3), build(3, seed=1))
    first = boundaries(whole)[1]
    for at in range(first, len(whole), 71):
        data = bytearray(whole)
        data[at] ^= 0xFF
        reader = Reader(io.BytesIO(bytes(data)))
        for batch in reader:
            list(batch.rows())


def test_a_flipped_byte_in_the_head_is_one_sentence() -> None:
    for at in range(0, MARKS[1], 5):
        data = bytearray(SMALL)
        data[at] ^= 0xFF
        try:
            for batch in Reader(io.BytesIO(bytes(data))):
                list(batch.rows())
        except BadDataError as e:
            assert "\n" not in str(e)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (SMALL[:3], "is cut off or damaged in its first record"),
        (SMALL[: MARKS[1] - 1], "is cut off or damaged in its first record"),
        (b"no", "is not a trace; `forktrace import`"),
        (b'1234 execve("/bin/true", ["true"], 0x7ffd /* 9 vars */) = 0\n', "is not a trace; `forktrace import`"),
        (b"\0" * 100, "is not a trace"),
        (b"PAR1" + b"x" * 100, "is a Parquet file, not a trace"),
        (b"ARROW1\0\0" + b"x" * 100, "is an Arrow file, not a trace"),
        (b"\x1f\x8b\x08" + b"x" * 100, "is compressed with gzip, not a trace; unpack it first"),
        (b"PERFILE2" + b"x" * 100, "is a perf.data file, not a trace"),
        (b"\xff\xff\xff\xff\x10\0\0\0" + b"x" * 100, "is cut off or damaged in its first record"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100, "is cut off or damaged in its first record"),
        (b"\xff\xff\xff\xff\0\0\0\0", "is empty"),
    ],
)
def test_what_is_not_a_trace_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.ftrace"
    path.write_bytes(content)
    with pytest.raises(BadDataError) as caught:
        Reader(path)

    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(NoInputError, match=words):
            Reader(path)
    with pytest.raises(NoInputError, match="can not be read"):
        Reader("a\0b")


# -- hostile files: right in form, wrong in content -----------------------------------------------------------


def forged(schema: pa.Schema, *batches: pa.RecordBatch, compression: str | None = "zstd") -> io.BytesIO:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    file.seek(0)
    return file


def offsets(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


WIDE = widen(forks(3))
TEXT, GOOD = b"seventycharlie", offsets(0, 7, 11, 14)
HOSTILE = {
    "text that is not UTF-8": ("comm", TEXT, b"sevent\xffcharlie"),
    "text that is cut inside a character": ("comm", TEXT, b"sevent\xc3\xa9harlie"),
    "offsets that go back": ("comm", GOOD, offsets(0, 11, 7, 14)),
    "offsets beyond the text": ("comm", GOOD, offsets(0, 7, 11, 1 << 30)),
    "offsets below zero": ("comm", GOOD, offsets(-9, 7, 11, 14)),
    "kinds that are not UTF-8": ("kind", TEXT, b"sevent\xffcharlie"),
    "lists beyond their items": ("argv", offsets(0, 1, 2, 3), offsets(0, 1, 2, 999)),
    "lists that go back": ("argv", offsets(0, 1, 2, 3), offsets(0, 2, 1, 3)),
    "words beyond their text": ("argv", GOOD, offsets(0, 7, 11, 15000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_forged_column_ends_the_reading(name: str) -> None:
    column, true, forgery = HOSTILE[name]
    words = ["seventy", "char", "lie"]
    written = changed(WIDE, **{column: pa.array([[w] for w in words] if column == "argv" else words)})
    data = forged(header.header(META), WIDE, written, WIDE, compression=None).getvalue()
    assert data.count(true) == 1
    assert pids(Reader(io.BytesIO(data)))
    reader = Reader(io.BytesIO(data.replace(true, forgery)))

    assert pids(reader) == [1, 2, 3]
    assert reader.torn
    assert "a record is damaged" in str(reader.damage)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ts_ns", -1), ("ts_ns", 1 << 62), ("born_ns", -(1 << 62)), ("zombie_ns", (1 << 63) - 1), ("fork_ns", -(1 << 62))],
)
def test_a_time_that_no_clock_tells_ends_the_reading(name: str, value: int) -> None:
    """Differences of such would be beyond what a column holds."""
    odd = Kind.REAP, {"ts_ns": 30, "pid": 2, "tid": 2, "born_ns": 20} | {name: value}
    data = trace(*(Batch.from_rows(rows) for rows in ([fork(1)], [fork(2), odd], [fork(3)])))
    reader = Reader(io.BytesIO(data))

    assert pids(reader) == [1]
    assert reader.broken
    assert f"a record has a time that no clock tells, in {name}, and what comes behind was not" in str(reader.damage)


def test_times_at_the_edge_are_read() -> None:
    edge = (1 << 62) - 1
    rows = [fork(1), (Kind.REAP, {"ts_ns": edge, "pid": 1, "tid": 1, "born_ns": -edge, "zombie_ns": -5})]

    reader = Reader(io.BytesIO(trace(Batch.from_rows(rows))))

    assert pids(reader) == [1, 1]
    assert not reader.torn


def test_columns_may_be_missing_and_others_there() -> None:
    schema = header.header(META)
    for name in ("comm", "ts_ns"):
        schema = schema.remove(schema.get_field_index(name))
    schema = schema.append(pa.field("mood", pa.dictionary(pa.int8(), pa.string())))
    columns = [WIDE.column(n) if n != "mood" else pa.array(["a", "b", "a"]).dictionary_encode() for n in schema.names]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    reader = Reader(forged(schema, batch, batch))

    assert pids(reader) == [1, 2, 3, 1, 2, 3]


def test_columns_of_the_same_name_are_taken_once() -> None:
    schema = header.header(META).append(pa.field("pid", pa.int64()))
    batch = pa.RecordBatch.from_arrays([*WIDE.columns, pa.array([7, 8, 9])], schema=schema)

    assert pids(Reader(forged(schema, batch))) == [1, 2, 3]


def test_wrong_types_are_refused_at_once() -> None:
    at = wide_schema().get_field_index("argv")
    schema = header.header(META).set(at, pa.field("argv", pa.large_string()))
    with pytest.raises(BadDataError, match="column 'argv' of the trace is large_string, not list"):
        Reader(forged(schema))


def test_rows_of_unknown_kinds_are_counted() -> None:
    batch = changed(WIDE, kind=pa.array(["fork", "teleport", "fork"]))
    reader = Reader(forged(header.header(META), batch, changed(WIDE, kind=pa.array([None, "a", "b"], pa.string()))))

    assert pids(reader) == [1, 3]
    assert (reader.rows, reader.unknown) == (6, 4)


def test_the_end_row_alone_ends_a_trace_that_was_copied_by_another_tool() -> None:
    copied = pa.ipc.open_stream(SMALL).read_all()
    reader = Reader(forged(copied.schema, *copied.to_batches()))

    assert pids(reader) == [1, 1, 2, 2, 3, 3]
    assert not reader.torn
    assert reader.totals == {}


@pytest.mark.parametrize("totals", [b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_totals_that_make_no_sense_are_none(totals: bytes) -> None:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, header.header(META)) as writer:
        writer.write_batch(widen(Batch.from_rows([(Kind.END, {})])), {header.TOTALS_KEY: totals})
    file.seek(0)
    reader = Reader(file)
    list(reader)

    assert reader.totals == {}


def test_a_bomb_stays_small(tmp_path: Path) -> None:
    """A hundred kilobytes that would be many gigabytes, in a process that may have one."""
    n = 1 << 20
    zeros = pa.RecordBatch.from_arrays(
        [pa.array(["fork"] * n) if f.name == "kind" else pa.nulls(n, f.type) for f in wide_schema()],
        schema=header.header(META),
    )
    long = changed(WIDE, comm=pa.array(["x" * (140 << 20), None, None]), cwd=pa.array(["y" * (140 << 20), None, None]))
    (tmp_path / "bomb.ftrace").write_bytes(forged(header.header(META), WIDE, zeros, long).getvalue())
    code = f"""
import resource
from tracer.recording import Reader
import numpy, pyarrow
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
reader = Reader({str(tmp_path / "bomb.ftrace")!r})
print(sum(map(len, reader)), reader.damage)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ran.stderr == ""
    assert ran.stdout.startswith("3 ")
    assert "claims to become" in ran.stdout


# -- a good reader --------------------------------------------------------------------------------------------


def test_only_the_columns_asked_for() -> None:
    batches = list(Reader(io.BytesIO(trace(build(9))), columns=["pid", "argv"]))

    assert {name for batch in batches for part in batch.parts.values() for name in part} == {"pid", "argv"}
    assert len(batches[0]) == 4 * 9 + 1


def test_columns_that_fill_later_are_found() -> None:
    data = trace(Batch.from_rows([fork(1)]), Batch.from_rows([fork(2, comm="sh")]), Batch.from_rows([fork(3)]))

    assert [v.get("comm") for b in Reader(io.BytesIO(data)) for _, v in b.rows()] == [None, "sh", None, None]


def test_small_batches_are_joined_in_order() -> None:
    data = trace(*(forks(100, first=1 + 100 * i) for i in range(30)))
    reader = Reader(io.BytesIO(data))
    batches = list(reader)

    assert len(batches) < 10
    assert [v["pid"] for b in batches for _, v in b.rows() if "pid" in v] == list(range(1, 3001))


def test_size_and_position_are_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    path.write_bytes(SMALL)
    reader = Reader(path)
    assert reader.size == len(SMALL)
    assert reader.position == MARKS[1]
    list(reader)

    assert reader.position == MARKS[-1]
    assert reader.size == len(SMALL)


def test_a_trace_inside_a_file_is_measured_from_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"head" + SMALL)
    with open(tmp_path / "x", "rb") as file:
        file.seek(4)
        reader = Reader(file)
        assert reader.size == len(SMALL)
        assert len(pids(reader)) == 6
        assert not file.closed


def test_standard_input() -> None:
    code = "from tracer.recording import Reader\nr = Reader('-')\nprint(sum(map(len, r)), r.size, r.torn)"
    ran = subprocess.run([sys.executable, "-c", code], input=SMALL, capture_output=True, check=False)

    assert (ran.stdout, ran.stderr) == (b"7 None False\n", b"")


def test_a_file_given_by_name_is_closed_after_the_last_batch(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    path.write_bytes(SMALL)
    before = len(os.listdir("/proc/self/fd"))
    list(Reader(path))
    Reader(path).close()
    with pytest.raises(BadDataError):
        (tmp_path / "empty").touch()
        Reader(tmp_path / "empty")

    assert len(os.listdir("/proc/self/fd")) == before


# -- following ------------------------------------------------------------------------------------------------


def test_a_growing_file_is_followed_to_its_end_row(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    out = Writer(path, META)
    steps = iter([forks(5), forks(3, first=6), None, forks(2, first=9)])

    def grow(_seconds: float) -> None:
        batch = next(steps, "end")
        if batch == "end":
            out.close()
        elif isinstance(batch, Batch):
            out.write(batch)
            out.flush()

    reader = Reader(path, follow=True, wait=grow)
    sizes = [len(batch) for batch in reader]

    assert sizes == [5, 3, 2, 1]
    assert not reader.torn


def test_following_ends_when_told(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    path.write_bytes(trace(forks(4), end=False) + b"\xff\xff\xff\xff\x10")
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) < 3

    reader = Reader(path, follow=True, wait=wait)

    assert pids(reader) == [1, 2, 3, 4]
    assert len(asked) == 3
    assert reader.torn


def test_a_file_that_never_begins_is_not_followed_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.ftrace"
    path.touch()
    with pytest.raises(BadDataError, match="is empty"):
        Reader(path, follow=True, wait=lambda _: False)


def test_the_end_of_a_pipe_is_the_end() -> None:
    read, write = os.pipe()
    data = trace(forks(4), end=False)

    def send() -> None:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(data)

    with os.fdopen(read, "rb") as source:
        sender = threading.Thread(target=send)
        sender.start()
        reader = Reader(source, follow=True, wait=lambda _: pytest.fail("waits for a pipe that is closed"))
        assert pids(reader) == [1, 2, 3, 4]
        sender.join(10)
    assert reader.torn
