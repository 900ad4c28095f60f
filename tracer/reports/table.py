"""The process table or the event table as JSON lines, CSV or Parquet, streamed: memory does not grow with the trace.

    value              JSON lines                    CSV                              Parquet (see tables.py)
    not measured       null                          nothing between the commas       null
    integer, boolean   12, true                      12, true                         int64, bool
    string             "..", ASCII; odd bytes as     as bytes, odd ones too; quoted   utf8; an odd byte 0xNN is
                       \\udcNN (Python's way)         if need be, "" when empty        U+10FENN
    list               [..]                          JSON in a cell                   list

Every row has every column, in the order of the model (schema.PROCESS_COLUMNS, schema.EVENT_COLUMNS).
A string that begins like a formula (= + - @ tab CR LF), or with an apostrophe, gets an apostrophe before it in CSV, as
spreadsheets run what they open: whoever takes one away from each that has one has what was there. On a terminal, CSV
cells are escaped as everywhere else. Knows rows and columns; nothing of their meaning.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as json_string
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from tracer.errors import CannotWriteError, UsageError
from tracer.model.schema import EVENT_COLUMNS, KIND_NAMES, NULL, PROCESS_COLUMNS, Column
from tracer.reports import Options
from tracer.reports.terminal import clean
from tracer.tree.tables import event_batches, process_batches, process_pieces, table_schema

if TYPE_CHECKING:
    from tracer.api.trace import Trace

PIECE_ROWS: Final = 4096

Render = Callable[[Sequence[Column], int, Mapping[str, Any]], Sequence[str]]


class Jsonl:
    """One JSON object a line."""

    name: ClassVar = "jsonl"
    suffixes: ClassVar = (".jsonl", ".ndjson")
    binary: ClassVar = False
    says_source: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        with _writing():
            for lines in _lines(trace, options.table, json_lines):
                out.write(("\n".join(lines) + "\n").encode("ascii"))


class Csv:
    """Comma-separated values with a head line; rows end in LF."""

    name: ClassVar = "csv"
    suffixes: ClassVar = (".csv",)
    binary: ClassVar = False
    says_source: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        guard = clean if out.isatty() else str

        def render(fields: Sequence[Column], n: int, columns: Mapping[str, Any]) -> Sequence[str]:
            return csv_lines(fields, n, columns, guard)

        with _writing():
            out.write((",".join(f.name for f in _fields(options.table)) + "\n").encode())
            for lines in _lines(trace, options.table, render):
                out.write(as_bytes("\n".join(lines) + "\n"))


class Parquet:
    """One Parquet file, zstd, in row groups of some 65536 rows."""

    name: ClassVar = "parquet"
    suffixes: ClassVar = (".parquet",)
    binary: ClassVar = True
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = table_schema(_fields(options.table), trace.meta)
        batches = process_batches(trace.tree) if options.table == "processes" else event_batches(trace.batches())
        with _writing(), pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def json_lines(fields: Sequence[Column], n: int, columns: Mapping[str, Any]) -> Sequence[str]:
    """`n` rows as JSON objects with a key for each of `fields`; a column that is not there is null."""
    parts, cells = [], []
    for name, code, *_ in fields:
        column = columns.get(name)
        if column is None:
            parts.append(f'"{name}":null')
        elif isinstance(column, str):
            parts.append(f'"{name}":{json_string(column)}')
        else:
            parts.append(f'"{name}":%s')
            cells.append(_json_cells(code, column))
    template = "{" + ",".join(parts) + "}"
    return [template % row for row in zip(*cells, strict=True)] if cells else [template] * n


def csv_lines(
    fields: Sequence[Column], n: int, columns: Mapping[str, Any], guard: Callable[[str], str] = str
) -> Sequence[str]:
    """`n` rows as CSV lines; `guard` makes each string fit for where it goes."""
    parts, cells = [], []
    for name, code, *_ in fields:
        column = columns.get(name)
        if column is None:
            parts.append("")
        elif isinstance(column, str):
            parts.append(column)
        else:
            parts.append("%s")
            cells.append(_csv_cells(code, column, guard))
    template = ",".join(parts)
    return [template % row for row in zip(*cells, strict=True)] if cells else [template] * n


def _fields(table: str) -> tuple[Column, ...]:
    tables = {"processes": PROCESS_COLUMNS, "events": EVENT_COLUMNS}
    if table not in tables:
        raise UsageError(f"there is no table {table!r}", "there are processes and events")
    return tables[table]


def _lines(trace: Trace, table: str, render: Render) -> Iterator[Sequence[str]]:
    fields = _fields(table)
    if table == "processes":
        for n, columns in process_pieces(trace.tree, PIECE_ROWS):
            yield render(fields, n, columns)
        return
    for batch in (piece for whole in trace.batches() for piece in whole.pieces(PIECE_ROWS)):
        # Each kind has its own columns, so its rows share a template; then they are dealt out in stream order.
        made = {
            kind: iter(render(fields, batch.kinds.count(kind), {**part, "kind": KIND_NAMES[kind]}))
            for kind, part in batch.parts.items()
        }
        yield [next(made[kind]) for kind in batch.kinds]


def _json_cells(code: str, column: Sequence[Any]) -> Iterable[Any]:
    if code == "i":
        return ["null" if v == NULL else v for v in column]
    if code == "b":
        return ["null" if v == NULL else "true" if v else "false" for v in column]
    if code == "s":
        return ["null" if v is None else json_string(v) for v in column]
    return ["null" if v is None else _json_list(code, v) for v in column]


def _json_list(code: str, values: Sequence[Any]) -> str:
    return "[" + ",".join(map(json_string if code == "S" else str, values)) + "]"


def _csv_cells(code: str, column: Sequence[Any], guard: Callable[[str], str]) -> Iterable[Any]:
    if code == "i":
        return ["" if v == NULL else v for v in column]
    if code == "b":
        return ["" if v == NULL else "true" if v else "false" for v in column]
    cells: dict[Any, str] = {None: ""}
    if code == "s":
        return [cells[v] if v in cells else cells.setdefault(v, _csv_cell(v, guard)) for v in column]
    return ["" if v is None else _quoted(_json_list(code, v)) for v in column]


_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|^\s|\s$|^$')
_FORMULA: Final = frozenset("=+-@\t\r\n'")


def _csv_cell(value: str, guard: Callable[[str], str]) -> str:
    if value[:1] in _FORMULA and value:
        value = "'" + value
    value = guard(value)
    return _quoted(value) if _NEEDS_QUOTES.search(value) else value


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def as_bytes(lines: str) -> bytes:
    """UTF-8, odd bytes as they were."""
    try:
        return lines.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that no byte made
        kept = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\N{REPLACEMENT CHARACTER}", lines)
        return kept.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does: not an error of ours to describe
        raise
    except OSError as e:
        raise CannotWriteError(f"the export can not be written: {(e.strerror or str(e)).lower()}") from None
