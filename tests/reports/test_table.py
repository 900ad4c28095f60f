from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import IO, Any

import hypothesis.strategies as st
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from tests.recording.rows import META, batches, build, exit_, fork
from tracer.api.trace import Trace
from tracer.errors import CannotWriteError, UsageError
from tracer.model.batch import Batch
from tracer.model.schema import PROCESS_COLUMNS, TYPES, Kind
from tracer.recording import text
from tracer.reports import Options, by_name

NAMES = {"processes": [f.name for f in PROCESS_COLUMNS], "events": list(TYPES)}


def trace(*given_batches: Batch) -> Trace:
    return Trace(META, lambda: given_batches)


def exported(name: str, what: Trace, table: str) -> bytes:
    out = io.BytesIO()
    by_name(name).write(what, out, Options(table=table))
    return out.getvalue()


def objects(what: Trace, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported("jsonl", what, table).decode("ascii").splitlines()]


def cells(what: Trace, table: str) -> list[dict[str, str]]:
    data = exported("csv", what, table).decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(data, newline="")))


ODD = [
    "plain",
    "",
    " ",
    "é",
    "caf\udce9",
    "a,b",
    'say "hi"',
    "two\nlines",
    "cr\rlf\r\n",
    "tab\there",
    "\x1b[31mred",
    "\0",
    "\U0001f600",
    "100%",
    "%s",
    "{}",
    "null",
    "\x7f",
    "</script>",
    "\U0010fee9",
]
FORMULAS = ["=1+1", "+1", "-bash", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x","y")']


def named(*words: str) -> Trace:
    return trace(Batch.from_rows([fork(i, comm=w, how="fork", cgroup=w) for i, w in enumerate(words, 1)]))


@pytest.mark.parametrize("table", ["processes", "events"])
@pytest.mark.parametrize("pieces", [1, 2, 4096])
def test_jsonl_has_every_word_as_it_was(table: str, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracer.reports.table.PIECE_ROWS", pieces)
    rows = objects(named(*ODD, *FORMULAS), table)

    assert [row["comm"] for row in rows] == ODD + FORMULAS
    assert all(list(row) == NAMES[table] for row in rows)


def test_jsonl_is_ascii_and_safe_for_a_terminal() -> None:
    data = exported("jsonl", named(*ODD), "processes")

    assert not set(data) & (set(range(32)) - {10})
    assert b'"caf\\udce9"' in data


@pytest.mark.parametrize("table", ["processes", "events"])
def test_csv_has_every_word_as_it_was(table: str) -> None:
    rows = cells(named(*ODD), table)

    assert [row["comm"] for row in rows] == ODD
    assert all(list(row) == NAMES[table] for row in rows)


def test_csv_gives_odd_bytes_back() -> None:
    data = exported("csv", named("caf\udce9", "\ud800"), "events")

    assert b",caf\xe9," in data
    assert "\N{REPLACEMENT CHARACTER}".encode() in data


@pytest.mark.parametrize("formula", FORMULAS)
def test_csv_cells_are_no_formulas(formula: str) -> None:
    (row,) = cells(named(formula), "events")

    assert row["comm"] == "'" + formula
    assert row["cgroup"] == "'" + formula


def test_csv_keeps_unknown_zero_and_empty_apart() -> None:
    what = trace(Batch.from_rows([fork(1, uid=0, comm="", ns_pids=[]), exit_(1, core_dumped=False, last=True)]))
    lines = exported("csv", what, "events").decode().splitlines()
    first, second = (dict(zip(NAMES["events"], line.split(","), strict=True)) for line in lines[1:])

    assert (first["uid"], first["comm"], first["ns_pids"], first["exe"]) == ("0", '""', '"[]"', "")
    assert (second["core_dumped"], second["last"], second["oom_killed"], second["comm"]) == ("false", "true", "", "")


def test_csv_lists_are_json() -> None:
    what = trace(Batch.from_rows([(Kind.EXEC, {"pid": 1, "argv": ["=x", 'a"b', "\udcff", ""], "ns_pids": [1, 22]})]))
    (row,) = cells(what, "events")

    assert json.loads(row["argv"]) == ["=x", 'a"b', "\udcff", ""]
    assert json.loads(row["ns_pids"]) == [1, 22]


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_csv_on_a_terminal_can_not_move_the_cursor() -> None:
    out = Terminal()
    by_name("csv").write(named("\x1b[2J\x9b", "plain"), out, Options(table="events"))

    assert not set(out.getvalue()) & (set(range(32)) - {10})
    assert b"\x1b" in exported("csv", named("\x1b[2J"), "events")
    assert b",plain," in out.getvalue()


@pytest.mark.parametrize("table", ["processes", "events"])
def test_parquet_has_every_word_and_its_meta(table: str) -> None:
    words = ODD + FORMULAS
    read = pq.read_table(io.BytesIO(exported("parquet", named(*words), table)))
    read.validate(full=True)

    assert [text.restore(w) for w in read.column("comm").to_pylist()] == words
    assert read.schema.names == NAMES[table]
    assert json.loads(read.schema.metadata[b"forktrace.meta"])["source"] == "bpf"
    assert read.schema.field("fork_ns").metadata[b"doc"]


@given(st.lists(batches, max_size=3))
@settings(max_examples=30)
def test_the_three_say_the_same_of_events(given_batches: list[Batch]) -> None:
    what = trace(*given_batches)
    rows = [{"kind": k.name.lower(), **v} for batch in given_batches for k, v in batch.rows()]
    read = pq.read_table(io.BytesIO(exported("parquet", what, "events"))).to_pylist()
    lines = cells(what, "events")

    assert [{k: v for k, v in row.items() if v is not None} for row in objects(what, "events")] == rows
    assert len(read) == len(lines) == len(rows)
    for row, line, expected in zip(read, lines, rows, strict=True):
        for name, code in TYPES.items():
            value = expected.get(name)
            if code in "ib":
                assert row[name] == value
                assert line[name] == ("" if value is None else str(value).lower())
            elif code == "s":
                assert (row[name] is None) == (value is None)
                assert line[name].removeprefix("'") == (value or "").removeprefix("'")
            else:
                assert line[name] == ("" if value is None else json.dumps(value, separators=(",", ":")))


@pytest.mark.parametrize("table", ["processes", "events"])
def test_nothing_is_still_a_table(table: str) -> None:
    assert exported("jsonl", trace(), table) == b""
    assert exported("csv", trace(), table) == (",".join(NAMES[table]) + "\n").encode()
    assert pq.read_table(io.BytesIO(exported("parquet", trace(), table))).schema.names == NAMES[table]


def test_processes_are_the_tree() -> None:
    what = trace(build(50))
    rows = objects(what, "processes")

    assert rows == [{k: list(v) if isinstance(v, tuple) else v for k, v in r.items()} for r in what.tree.records()]


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_a_table_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="no table 'threads'; there are processes and events"):
        exported(name, trace(), "threads")


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("table", ["processes", "events"])
def test_a_full_disk_is_one_sentence(name: str, table: str) -> None:
    with (
        pytest.raises(CannotWriteError, match="can not be written: no space left on device"),
        open("/dev/full", "wb", buffering=0) as out,
    ):
        by_name(name).write(trace(build(2000)), out, Options(table=table))


class Counter(io.RawIOBase):
    """Takes everything, keeps nothing, and can not seek or tell."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.size += len(data)
        return len(data)


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_it_streams_to_what_can_not_seek(name: str) -> None:
    out: Any = Counter()
    by_name(name).write(trace(build(100)), out, Options(table="events"))

    assert out.size > 1000


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_trace(name: str) -> None:
    def peak(n: int) -> int:
        def source() -> Any:
            for i in range(n):
                yield build(500, seed=i)

        out: Any = Counter()
        tracemalloc.start()
        try:
            by_name(name).write(Trace(META, source), out, Options(table="events"))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(8) < 1.5 * peak(2)


def test_the_list_of_reports_is_true() -> None:
    from tracer.reports import REPORTS, by_suffix

    writers: list[Callable[[Trace, IO[bytes], Options], None]] = []
    for listed in REPORTS:
        report = by_name(listed.name)
        writers.append(report.write)
        assert (report.name, report.suffixes) == (listed.name, listed.suffixes)
        for suffix in listed.suffixes:
            found = by_suffix(f"/some.where/x{suffix.upper()}")
            assert found is not None
            assert found.name == listed.name
    assert len({listed.name for listed in REPORTS}) == len(REPORTS)
    assert by_suffix("x.ftrace") is None
    with pytest.raises(UsageError, match="no output called 'docx'; there are jsonl, csv, parquet"):
        by_name("docx")
