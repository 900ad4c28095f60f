"""The dump shows every message and record of a file as it stands there, and where damage begins."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tracer.errors import BadDataError, NoInputError
from tracer.recording.dump import messages

TRACE = Path(__file__).parents[2] / "samples" / "recordings" / "zombies.ftrace"


def test_messages_lie_one_behind_the_other_and_cover_the_file() -> None:
    found = list(messages(TRACE))

    assert [m.type for m in found] == ["schema", "batch", "end"]
    assert [m.offset for m in found] == [0, found[0].size, found[0].size + found[1].size]
    assert sum(m.size for m in found) == TRACE.stat().st_size


def test_records_are_what_arrow_reads_without_the_nulls() -> None:
    with pa.ipc.open_stream(TRACE) as stream:
        rows = stream.read_all().to_pylist()
    found = [record for message in messages(TRACE) for record in message.records]

    assert found == [{key: value for key, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize(("cut", "words"), [(1, "7 bytes of a message"), (8, "the end of the stream is missing")])
def test_a_torn_file_ends_with_the_damage_and_its_offset(tmp_path: Path, cut: int, words: str) -> None:
    torn = tmp_path / "torn.ftrace"
    torn.write_bytes(TRACE.read_bytes()[:-cut])
    *_, batch, last = messages(torn)

    assert batch.type == "batch"
    assert (last.type, last.offset) == ("damage", TRACE.stat().st_size - 8)
    assert words in last.text


def test_a_damaged_message_is_named_by_its_offset(tmp_path: Path) -> None:
    data = bytearray(TRACE.read_bytes())
    at = next(m.offset for m in messages(TRACE) if m.type == "batch")
    data[at] = 0
    bad = tmp_path / "bad.ftrace"
    bad.write_bytes(data)
    *_, last = messages(bad)

    assert (last.type, last.offset) == ("damage", at)


def test_columns_that_this_version_does_not_know_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "newer.ftrace"
    with pa.ipc.open_stream(TRACE) as stream:
        table = stream.read_all()
    wider = table.append_column("colour", pa.array(["red"] * table.num_rows))
    with pa.ipc.new_stream(path, wider.schema) as writer:
        writer.write_table(wider)
    (batch,) = (m for m in messages(path) if m.type == "batch")

    assert {record["colour"] for record in batch.records} == {"red"}


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, world\n" * 9)

    with pytest.raises(BadDataError, match="is not a trace"):
        list(messages(tmp_path / "text"))
    with pytest.raises(NoInputError):
        list(messages(tmp_path / "nothing"))
