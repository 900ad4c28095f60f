"""Saved traces: `.ftrace` files, written as they happen, read back whole or torn.

A `.ftrace` is one Arrow IPC *stream* (not the IPC file format, which is unreadable until it is closed),
compressed with zstd; any Arrow reader opens it. In it

    schema      one wide table: the columns of tracer.model.batch, null where a kind has no such field
                metadata "forktrace.format": the number of this format, "forktrace.meta": events.Meta as JSON
    batches     rows in stream order; a torn file costs the last of them at most
    end         the last row, kind `end`: its `count` is the rows before it. Its batch carries the metadata
                "forktrace.totals": JSON, {"rows": .., "lost": .., and what the tracer adds}

    Writer(path or file, meta)    write(batch), maybe_flush(), close(totals)
    Reader(path, file or "-")     iterates batches; .meta, .torn, .totals, .position and .size
    Recording(path or "-")        the same, as often as wanted: batches(), .meta, .torn
    sniff(first_bytes)            whether it may be worth opening

columns.py turns batches into the wide table and back, arrays.py a column, text.py a string of any bytes;
frames.py takes a stream apart message by message within limits. None of them knows where batches come from
or go to.
"""

from tracer.recording.columns import COLUMNS
from tracer.recording.frames import is_stream as sniff
from tracer.recording.reader import Reader
from tracer.recording.saved import Recording
from tracer.recording.writer import Writer

__all__ = ["COLUMNS", "Reader", "Recording", "Writer", "sniff"]
