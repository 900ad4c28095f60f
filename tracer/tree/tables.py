"""Processes and events as tables: pandas frames for people, Arrow tables for files.

    processes_frame(tree)     one row per process, columns of processes.PROCESS_COLUMNS
    events_frame(batches)     one row per event, columns of schema.EVENT_COLUMNS
    processes_table(tree)     the processes as pyarrow; `process_batches` the same, in pieces
    event_batches(batches)    the events as pyarrow record batches

    type in the model    pandas                 Arrow          null means "not measured", never 0
    i  integer           Int64                  int64
    b  boolean           boolean                bool
    s  string            string (python)        utf8           odd bytes: surrogates in pandas, U+10FENN in Arrow
    S  list of strings   object: list or None   list<utf8>     (recording/text.py)
    I  list of integers  object: list or None   list<int32>

Units are in the names: `_ns` nanoseconds (`born_ns`, `exec_ns`, `exit_ns`, `reap_ns` and `ts_ns` on CLOCK_BOOTTIME,
others durations), `_bytes` bytes; faults, copies and re-uses are pages; signals are names in the process table and
numbers in events. What each column means stands beside its name in the model, and as `doc` in the Arrow schema.
Everything is built by columns. Knows no files and no formats.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import EVENT_COLUMNS, KIND_NAMES, NULL, PROCESS_COLUMNS, TYPES, Column

if TYPE_CHECKING:
    import pandas as pd

    from tracer.tree.tree import ProcessTree

PIECE_ROWS: Final = 65536


def processes_frame(tree: ProcessTree) -> pd.DataFrame:
    """The process table, a row per process in order of birth; `id` is the row number."""
    import pandas as pd

    columns = {f.name: _pandas(f.type, tree.column(f.name)) for f in PROCESS_COLUMNS}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(tree)), copy=False)


def events_frame(batches: Iterable[Batch], columns: Collection[str] | None = None) -> pd.DataFrame:
    """The event table, a row per event in stream order.

    All columns of four million events are 3 GB, most of them nulls: name in `columns` the ones you need.
    """
    import numpy as np
    import pandas as pd

    fields = [f for f in EVENT_COLUMNS if columns is None or f.name in columns]
    pieces: dict[str, list[Any]] = {f.name: [_blank(f.name, 0)] for f in fields}
    total = 0
    for batch in batches:
        total += len(batch)
        kinds = np.frombuffer(batch.kinds, np.uint8)
        rows = {kind: np.flatnonzero(kinds == kind) for kind in batch.parts}
        for name, piece in pieces.items():
            wide = _blank(name, len(batch))
            if name == "kind":
                wide = np.array([KIND_NAMES.get(kind) for kind in range(256)], object)[kinds]
            for kind, part in batch.parts.items():
                if name in part:
                    dense = part[name]
                    wide[rows[kind]] = np.fromiter(dense, object, len(dense)) if wide.dtype == object else dense
            piece.append(wide)
    whole = {f.name: _pandas(f.type, np.concatenate(pieces.pop(f.name))) for f in fields}
    return pd.DataFrame(whole, index=pd.RangeIndex(total), copy=False)


def processes_table(tree: ProcessTree) -> Any:
    """The process table as a pyarrow.Table."""
    import pyarrow as pa

    return pa.Table.from_batches(process_batches(tree, len(tree) or 1), schema=table_schema(PROCESS_COLUMNS, tree.meta))


def process_batches(tree: ProcessTree, rows: int = PIECE_ROWS) -> Iterator[Any]:
    """The process table as pyarrow record batches of at most `rows` rows."""
    import pyarrow as pa

    from tracer.recording.arrays import column

    schema = table_schema(PROCESS_COLUMNS, tree.meta)
    for n, columns in process_pieces(tree, rows):
        arrays = [
            column(f.type, columns[f.name]) if f.name in columns else pa.nulls(n, schema.field(f.name).type)
            for f in PROCESS_COLUMNS
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def process_pieces(tree: ProcessTree, rows: int = PIECE_ROWS) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of rows, {name: that piece of the column}) for `rows` processes at a time; columns of nulls left out."""
    columns = {}
    for field in PROCESS_COLUMNS:
        whole = tree.column(field.name)
        if whole.count(None if field.type in "sSI" else NULL) < len(whole):
            columns[field.name] = whole
    for start in range(0, len(tree), rows):
        yield min(rows, len(tree) - start), {name: whole[start : start + rows] for name, whole in columns.items()}


def event_batches(batches: Iterable[Batch], rows: int = PIECE_ROWS) -> Iterator[Any]:
    """The event table as pyarrow record batches of at least `rows` rows, the last one excepted."""
    import pyarrow as pa

    from tracer.recording.columns import widen

    held: list[Any] = []
    for batch in batches:
        held.append(widen(batch))
        if sum(b.num_rows for b in held) >= rows:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held = []
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def table_schema(fields: Sequence[Column], meta: Meta) -> Any:
    """The pyarrow schema of a table: `doc` in the metadata of each field, the Meta as JSON in `forktrace.meta`."""
    import pyarrow as pa

    from tracer.recording.arrays import arrow_type

    made = [pa.field(f.name, arrow_type(f.type), metadata={"doc": f.doc}) for f in fields]
    return pa.schema(made, metadata={"forktrace.meta": json.dumps(meta.as_dict())})


def _blank(name: str, n: int) -> Any:
    import numpy as np

    return np.full(n, None, object) if TYPES[name] in "sSI" else np.full(n, NULL, np.int64)


def _pandas(code: str, values: Any) -> Any:
    import numpy as np
    import pandas as pd

    if code in "ib":
        numbers = np.array(values, np.int64)
        null = numbers == NULL
        if code == "b":
            return pd.arrays.BooleanArray(numbers == 1, null)
        numbers[null] = 0
        return pd.arrays.IntegerArray(numbers, null)
    if code == "s":
        # Not the Arrow storage: it can not hold the surrogates that stand for odd bytes.
        return pd.array(np.asarray(values, object), pd.StringDtype("python"))
    return np.fromiter((None if v is None else list(v) for v in values), object, len(values))
