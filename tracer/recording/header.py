"""What a .ftrace file says about itself: the number of its format, the Meta, and the types of its columns.

Knows Arrow schemas; knows nothing of batches or of files.
"""

from __future__ import annotations

import json
from typing import Any, Final

from tracer.errors import BadDataError
from tracer.model.meta import Meta
from tracer.recording.arrays import arrow_type
from tracer.recording.columns import COLUMNS, wide_schema

FORMAT_VERSION: Final = 1
"""Raised only when an older forktrace would misread the file. A new column or kind is no reason."""

FORMAT_KEY: Final = b"forktrace.format"
META_KEY: Final = b"forktrace.meta"
TOTALS_KEY: Final = b"forktrace.totals"


def header(meta: Meta) -> Any:
    """The pyarrow schema that begins a file."""
    # Escaped to ASCII: a command line may hold lone surrogates, which JSON can say and UTF-8 can not.
    said = {FORMAT_KEY: str(FORMAT_VERSION).encode(), META_KEY: json.dumps(meta.as_dict()).encode()}
    return wide_schema().with_metadata(said)


def check(schema: Any, where: str) -> Meta:
    """The Meta of a file with this schema. Raises BadDataError when the file is no trace that can be read."""
    said = schema.metadata or {}
    if FORMAT_KEY not in said:
        raise BadDataError(f"{where} is an Arrow stream, but not a trace", "forktrace writes traces with -o")
    version = bytes(said[FORMAT_KEY])
    if version != str(FORMAT_VERSION).encode():
        word = version[:20].decode("ascii", "replace")
        raise BadDataError(
            f"{where} is a trace of format {word!r}, and this forktrace reads format {FORMAT_VERSION}",
            "read it with the forktrace that wrote it, or a newer one",
        )
    try:
        meta = Meta.from_dict(json.loads(said[META_KEY]))
        if not isinstance(meta.wall_offset_ns, int | None):
            raise TypeError("wall_offset_ns is no number")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise BadDataError(f"{where} does not say how it was made", "it is damaged") from None
    types = {f.name: arrow_type(f.type) for f in COLUMNS}
    if "kind" not in schema.names:
        raise BadDataError(f"{where} has no column 'kind'", "it is damaged, or forktrace did not write it")
    for field in schema:
        if field.name in types and field.type != types[field.name]:
            raise BadDataError(
                f"the column {field.name!r} of {where} is {str(field.type)[:60]}, not {types[field.name]}",
                "it is damaged, or forktrace did not write it",
            )
    return meta
