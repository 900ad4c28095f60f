"""Whole messages to valid Arrow record batches, with no more columns than hold something.

A wide table is mostly null: of 76 columns a busy trace fills 30. What the message says of its columns (how many
rows, how many nulls) is enough to leave the empty ones packed, which halves the time of reading. validity.py then
checks the values.

Knows Arrow; knows nothing of files or of kinds.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

from tracer.recording import validity
from tracer.recording.columns import COLUMNS
from tracer.recording.frames import Message, RefusedError, Type


class Decoder:
    """Decodes the messages after `head`, the schema's, in order. `names`: the only columns to decode, and `kind`.

    Raises what Arrow raises for a `head` or a message that is damaged: ArrowException, OSError, ValueError,
    MemoryError.
    """

    def __init__(self, head: Message, names: Collection[str] | None = None) -> None:
        import pyarrow as pa

        self._head = head.raw
        self.schema = pa.ipc.read_schema(pa.py_buffer(head.raw))
        wanted = {f.name for f in COLUMNS} if names is None else {"kind", *names}
        self._wanted = frozenset(i for i, name in enumerate(self.schema.names) if name in wanted)
        self._identity = wanted.issuperset(validity.IDENTITY)
        self._kind = self.schema.get_field_index("kind")
        self._nodes = _node_numbers(self.schema)
        self._included: frozenset[int] = frozenset()
        self._feed = Feed()
        self._stream: Any = None

    def decode(self, message: Message) -> tuple[Any, Any]:
        """(record batch, its metadata or None), or (None, None) when the message is no batch.

        All columns are valid in full, and may be taken by their buffers. Later batches have the columns of
        earlier ones, and may have more.
        """
        if message.type == Type.DICTIONARY and self._nodes is None:  # of a column that we do not know
            self._open(self._wanted)
            self._feed.put(message.raw)
            return None, None
        if message.type != Type.BATCH:
            raise RefusedError("there is a record of another sort")
        self._open(self._filled(message))
        self._feed.put(message.raw)
        batch, metadata = self._stream.read_next_batch_with_custom_metadata()
        # Offsets, null counts and UTF-8, too: only then is it safe to look into the buffers.
        batch.validate(full=True)
        validity.refuse(batch, identity=self._identity)
        return batch, metadata

    def _filled(self, message: Message) -> frozenset[int]:
        if self._nodes is None:
            return self._wanted
        if len(message.nodes) <= max(self._nodes):
            raise RefusedError("a record lacks columns")
        filled = {i for i in self._wanted if message.nodes[self._nodes[i]][1] < message.rows}
        return self._included | filled | {self._kind}

    def _open(self, included: frozenset[int]) -> None:
        import pyarrow as pa

        if self._stream is None or included != self._included:
            self._included = included
            self._feed = Feed()
            self._feed.put(self._head)
            options = pa.ipc.IpcReadOptions(included_fields=sorted(included))
            self._stream = pa.ipc.open_stream(self._feed, options=options)


class Feed(io.RawIOBase):
    """Gives Arrow the messages that were found to be whole, as the file that it wants to read."""

    def __init__(self) -> None:
        self._data = memoryview(b"")

    def put(self, data: bytes) -> None:
        """Append a whole message."""
        self._data = memoryview(bytes(self._data) + data if self._data else data)

    def readable(self) -> bool:
        """Always: Arrow asks."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes of what was put; all of it by default."""
        taken = self._data if size < 0 else self._data[:size]
        self._data = self._data[len(taken) :]
        return bytes(taken)


def _node_numbers(schema: Any) -> list[int] | None:
    """Where in a message's list of nodes each column stands; None if it has columns of sorts that we never write."""
    import pyarrow as pa

    numbers = []
    n = 0
    for field in schema:
        numbers.append(n)
        flat = field.type.value_type if pa.types.is_list(field.type) else field.type
        if flat not in (pa.int64(), pa.int32(), pa.bool_(), pa.string()):
            return None
        n += 1 + pa.types.is_list(field.type)
    return numbers
