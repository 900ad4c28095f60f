from __future__ import annotations

import io
import struct

import pyarrow as pa
import pytest

from tracer.recording import frames
from tracer.recording.frames import Frames, RefusedError, Type, is_stream

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))])
BATCH = pa.record_batch([pa.array([1, None, 3]), pa.array([["x", "y"], None, []])], schema=SCHEMA)


def stream(*batches: pa.RecordBatch, compression: str | None = "zstd") -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_takes_a_stream_apart_and_loses_nothing(compression: str | None) -> None:
    whole = stream(BATCH, BATCH.slice(1), compression=compression)
    source = Frames(io.BytesIO(whole))
    found = [source.next() for _ in range(4)]
    messages = [m for m in found if m is not None]

    assert [(m.type, m.rows) for m in messages] == [(Type.SCHEMA, 0), (Type.BATCH, 3), (Type.BATCH, 2)]
    assert list(messages[1].nodes) == [(3, 1), (3, 1), (2, 0)]
    assert b"".join(m.raw for m in messages) + whole[-8:] == whole
    assert source.ended
    assert source.position == len(whole)


def test_a_message_is_given_when_its_last_byte_is_there() -> None:
    whole = stream(BATCH)
    source = io.BytesIO()
    reader = Frames(source)
    sizes = []
    for i in range(len(whole)):
        source.seek(0, io.SEEK_END)
        source.write(whole[i : i + 1])
        source.seek(i)
        message = reader.next()
        if message is not None:
            sizes.append(len(message.raw))
            assert reader.position == i + 1

    assert len(sizes) == 2
    assert reader.ended


def damaged(whole: bytes, at: int, code: str, value: int) -> Frames:
    data = bytearray(whole)
    struct.pack_into(code, data, at, value)
    return Frames(io.BytesIO(bytes(data)))


def second(whole: bytes) -> int:
    source = Frames(io.BytesIO(whole))
    source.next()
    return source.position


@pytest.mark.parametrize("size", [-1, -(1 << 31), frames.MAX_METADATA + 1, (1 << 31) - 1])
def test_a_description_of_no_bearable_size_is_refused(size: int) -> None:
    with pytest.raises(RefusedError, match="bytes of description"):
        damaged(stream(BATCH), 4, "<i", size).next()


def test_a_body_of_no_bearable_size_is_refused_before_it_is_read() -> None:
    whole = stream(BATCH)
    at = second(whole)
    source = Frames(io.BytesIO(whole))
    source.next()
    message = source.next()
    assert message is not None
    body = len(message.raw) - 8 - struct.unpack_from("<i", message.raw, 4)[0]
    place = whole.index(struct.pack("<q", body), at)
    for claim in (frames.MAX_BODY + 1, 1 << 60, -8):
        reader = damaged(whole, place, "<q", claim)
        reader.next()
        with pytest.raises(RefusedError, match=f"claims {claim} bytes"):
            reader.next()


def test_a_small_buffer_that_claims_to_become_huge_is_refused() -> None:
    whole = stream(pa.record_batch([pa.array(range(4096)), pa.nulls(4096, SCHEMA.field(1).type)], schema=SCHEMA))
    reader = damaged(whole, whole.index(struct.pack("<q", 4096 * 8)), "<q", 1 << 40)
    reader.next()

    with pytest.raises(RefusedError, match="claims to become"):
        reader.next()


def test_more_rows_than_bearable_are_refused() -> None:
    many = pa.record_batch([pa.nulls(frames.MAX_ROWS + 1, t) for t in SCHEMA.types], schema=SCHEMA)
    reader = Frames(io.BytesIO(stream(many)))
    reader.next()

    with pytest.raises(RefusedError, match=f"claims {frames.MAX_ROWS + 1} rows"):
        reader.next()


def test_every_byte_of_a_description_may_be_wrong() -> None:
    whole = stream(BATCH)
    for at in range(second(whole) + 400):
        for value in (0, 0x7F, 0xFF):
            reader = damaged(whole, at, "B", value)
            try:
                while reader.next() is not None:
                    pass
            except RefusedError:
                pass


def test_something_else_is_refused() -> None:
    with pytest.raises(RefusedError, match="not a record"):
        Frames(io.BytesIO(b"#!/bin/sh\necho hello\n")).next()


def test_sniffing() -> None:
    whole = stream()

    assert is_stream(whole[:64])
    assert is_stream(whole)
    assert not is_stream(whole[:4])
    assert not is_stream(b"")
    assert not is_stream(b'12:00:01 execve("/bin/true", ["true"], 0x7ffe) = 0\n' * 3)
    assert not is_stream(b"\xff" * 64)
    assert not is_stream(stream(BATCH)[second(stream(BATCH)) :])
