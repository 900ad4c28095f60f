"""The messages of an Arrow IPC stream, one by one, whole, and of a size that memory can bear.

    ff ff ff ff | metadata size, int32 | metadata, a flatbuffer | body, its size is in the metadata
    ff ff ff ff | 0                      the end of the stream

Arrow's own reader believes every length a file declares. A trace may come from a stranger or from a full
disk, so each message is measured here before Arrow sees it: the metadata, the body, the rows, and what
every compressed buffer says it will become. What a message holds is Arrow's business: only its outside is
known here. Format: the Arrow columnar format, "Encapsulated message format"; Message.fbs, Schema.fbs.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

CONTINUATION: Final = b"\xff\xff\xff\xff"
MAX_METADATA: Final = 4 << 20  # bytes; ours are 4 KiB, the schema 8 KiB and the Meta
MAX_BODY: Final = 256 << 20  # bytes, as stored and as decompressed
MAX_ROWS: Final = 1 << 20
MAX_ITEMS: Final = 1 << 24  # elements of the lists of one column
_CHUNK: Final = 1 << 20


class Type(enum.IntEnum):
    """MessageHeader in Message.fbs."""

    SCHEMA = 1
    DICTIONARY = 2
    BATCH = 3


class Message(NamedTuple):
    """One whole message: `raw` is all of its bytes, prefix included.

    For a batch, `rows`, and `nodes`: (length, nulls) of each column, that of a list before that of its items.
    """

    type: int
    rows: int
    nodes: Sequence[tuple[int, int]]
    raw: bytes


class RefusedError(Exception):
    """A message that is damaged or too big: says why, in words that can follow "at byte N "."""


class Source(Protocol):
    """What is read from: a file object, or anything with its `read`."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; nothing at the end (which, in a file that grows, may move)."""


class Frames:
    """Takes messages off a stream. `position` is the number of bytes taken so far."""

    def __init__(self, source: Source) -> None:
        self.position = 0
        self.ended = False
        self._source = source
        self._held = bytearray()

    @property
    def head(self) -> bytes:
        """What was read of a message that is not whole, or was refused."""
        return bytes(self._held)

    def next(self) -> Message | None:
        """The next whole message, or None where the stream ends, or is not written any further yet.

        Raises RefusedError for what is no message or beyond the limits, OSError when the source can not be
        read.
        """
        if self.ended or not self._fill(8):
            return None
        if self._held[:4] != CONTINUATION:
            raise RefusedError("there is something that is not a record")
        (metadata_size,) = struct.unpack_from("<i", self._held, 4)
        if metadata_size == 0:
            self.ended = True
            self._take(8)
            return None
        if not 0 < metadata_size <= MAX_METADATA:
            raise RefusedError(f"a record claims {metadata_size} bytes of description")
        if not self._fill(8 + metadata_size):
            return None
        try:
            outside = _Outside(bytes(self._held[8 : 8 + metadata_size]))
        except (struct.error, ValueError):
            raise RefusedError("a record's description makes no sense") from None
        if not 0 <= outside.body <= MAX_BODY:
            raise RefusedError(f"a record claims {outside.body} bytes")
        if not self._fill(8 + metadata_size + outside.body):
            return None
        _check(outside, memoryview(self._held)[8 + metadata_size : 8 + metadata_size + outside.body])
        return Message(outside.type, outside.rows, outside.nodes, self._take(8 + metadata_size + outside.body))

    def _fill(self, size: int) -> bool:
        # Little by little: a length that is only claimed costs no memory.
        while len(self._held) < size:
            data = self._source.read(min(_CHUNK, size - len(self._held)))
            if not data:
                return False
            self._held += data
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        self.position += size
        return taken


def is_stream(head: bytes) -> bool:
    """Whether the first bytes of a file (64 will do) can be an Arrow IPC stream (it begins with a schema)."""
    if len(head) < 16 or head[:4] != CONTINUATION:
        return False
    metadata_size: int = struct.unpack_from("<i", head, 4)[0]
    if not 0 < metadata_size <= MAX_METADATA:
        return False
    try:
        table = _Table(head[8:], *struct.unpack_from("<i", head, 8))
        return table.number(1, "B") == Type.SCHEMA
    except (struct.error, ValueError):
        # The description's own table may lie further on than what was given.
        return len(head) < 8 + metadata_size


class _Table:
    """A flatbuffer table: fields by number, read where they lie."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.vtable = at - self._get("<i", at)
        self.vtable_size = self._get("<H", self.vtable)

    def number(self, field: int, code: str, default: int = 0) -> int:
        at = self._field(field)
        return self._get("<" + code, at) if at else default

    def table(self, field: int) -> _Table | None:
        at = self._field(field)
        return _Table(self.data, at + self._get("<I", at)) if at else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two int64."""
        at = self._field(field)
        if not at:
            return []
        at += self._get("<I", at)
        end = at + 4 + 16 * self._get("<I", at)
        if end > len(self.data):
            raise ValueError("a vector reaches beyond its message")
        return list(struct.iter_unpack("<qq", self.data[at + 4 : end]))

    def _field(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = self._get("<H", self.vtable + slot) if slot < self.vtable_size else 0
        return self.at + offset if offset else 0

    def _get(self, code: str, at: int) -> int:
        if at < 0:  # unpack_from would count from the end
            raise ValueError("an offset lies before its message")
        value: int = struct.unpack_from(code, self.data, at)[0]
        return value


class _Outside:
    """Message: version, header_type, header, bodyLength. RecordBatch: length, nodes, buffers, compression."""

    def __init__(self, metadata: bytes) -> None:
        message = _Table(metadata, *struct.unpack_from("<i", metadata))
        self.type = message.number(1, "B")
        self.body = message.number(3, "q")
        self.rows = 0
        self.nodes: list[tuple[int, int]] = []
        self.buffers: list[tuple[int, int]] = []
        self.compressed = False
        batch: Any = message.table(2)
        if batch is not None and self.type == Type.DICTIONARY:
            batch = batch.table(1)
        if batch is not None and self.type in (Type.DICTIONARY, Type.BATCH):
            self.rows = batch.number(0, "q")
            self.nodes = batch.pairs(1)
            self.buffers = batch.pairs(2)
            self.compressed = batch.table(3) is not None


def _check(outside: _Outside, body: memoryview) -> None:
    with body:
        most = max((length for length, _ in outside.nodes), default=0)
        if not 0 <= outside.rows <= MAX_ROWS or most > MAX_ITEMS:
            raise RefusedError(f"a record claims {max(outside.rows, most)} rows")
        total = 0
        for offset, size in outside.buffers:
            if min(offset, size) < 0 or offset + size > len(body):
                raise RefusedError("a column reaches beyond its record")
            becomes = size
            if outside.compressed and size >= 8:
                # Each buffer begins with the size it will have; -1 means that it is stored as it is.
                becomes = max(size, struct.unpack_from("<q", body, offset)[0])
            total += becomes
        if total > MAX_BODY:
            raise RefusedError(f"a record claims to become {total} bytes")
