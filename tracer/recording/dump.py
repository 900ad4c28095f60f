"""The messages of a .ftrace file as they stand in it: where each begins, its size, and the records inside.

    for message in messages("x.ftrace"):  message.offset, message.size, message.type, message.records

For whoever debugs the file or a decoder, so nothing is judged, joined or left out: columns and kinds that this
forktrace does not know are shown as they are. Damage is the last message, and says where and why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracer.errors import NoInputError
from tracer.recording.decoder import Feed
from tracer.recording.frames import Frames, Message, RefusedError, Type
from tracer.recording.source import no_trace, open_source


class Dumped(NamedTuple):
    """One message. `offset`, `size`: bytes. `type`: schema dictionary batch end damage.

    `text` is what a schema or damage says. `records` are the rows of a batch, without their nulls.
    """

    offset: int
    size: int
    type: str
    rows: int = 0
    text: str = ""
    records: tuple[dict[str, Any], ...] = ()


def messages(path: str | os.PathLike[str]) -> Iterator[Dumped]:
    """Every message of the file, in order; "-" is the standard input.

    Raises NoInputError, and BadDataError for a file that does not begin with an Arrow schema.
    """
    import pyarrow as pa

    file, name = open_source(path)
    try:
        frames = Frames(file)
        feed, stream = Feed(), None
        while True:
            offset = frames.position
            try:
                message = frames.next()
                if message is None:
                    break
                if stream is None:
                    schema = pa.ipc.read_schema(pa.py_buffer(message.raw))
                    feed.put(message.raw)
                    stream = pa.ipc.open_stream(feed)
                    yield Dumped(offset, len(message.raw), "schema", text=_described(schema))
                else:
                    yield _decoded(message, offset, feed, stream)
            except (RefusedError, pa.ArrowException, ValueError, MemoryError) as e:
                if stream is None:
                    raise no_trace(name, frames.head) from None
                yield Dumped(offset, len(frames.head), "damage", text=str(e).splitlines()[0] if str(e) else "no memory")
                return
        if stream is None:
            raise no_trace(name, frames.head)
        if frames.ended:
            yield Dumped(offset, frames.position - offset, "end")
        else:
            held = len(frames.head)
            text = f"{held} bytes of a message that is not whole" if held else "the end of the stream is missing"
            yield Dumped(offset, held, "damage", text=text)
    except OSError as e:
        raise NoInputError(f"{name} cannot be read: {(e.strerror or str(e)).lower()}") from None
    finally:
        file.close()


def _decoded(message: Message, offset: int, feed: Feed, stream: Any) -> Dumped:
    feed.put(message.raw)
    if message.type != Type.BATCH:
        return Dumped(offset, len(message.raw), Type(message.type).name.lower())
    batch, said = stream.read_next_batch_with_custom_metadata()
    batch.validate(full=True)
    rows = ({key: value for key, value in row.items() if value is not None} for row in batch.to_pylist())
    return Dumped(offset, len(message.raw), "batch", batch.num_rows, _metadata(said), tuple(rows))


def _described(schema: Any) -> str:
    return f"{len(schema.names)} columns; {_metadata(schema.metadata)}"


def _metadata(said: Any) -> str:
    """Custom metadata as one line; its values are bytes of anybody."""
    return " ".join(
        f"{key.decode(errors='replace')}={value.decode(errors='replace')}" for key, value in dict(said or {}).items()
    )
