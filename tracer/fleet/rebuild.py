"""One saved trace into rows of a data set: Parquet in memory, a piece for each host and day.

    rebuild(source, name, host) -> Rebuilt     source: bytes of the trace, or the address to read them from

Pure in what it gives: the same trace makes the same bytes, wherever and however often. So a worker that dies costs
only the time to do it again. Knows no data set and no cluster.

Columns of `processes` (null: not measured): trace, id, parent_id, pid, how, born (of this trace, or there before),
ts (its birth, UTC), comm, program, template, unit, container, uid, life_ns, exit_code, signal, cpu_ns, fork_ns,
rss_bytes, cow_copies, zombie_ns.
Of `troubles`: trace, ts, kind (fork_failed exec_failed lost), pid, error, cause, count.
Of `traces`: trace, source, kernel, ts (its beginning), ended, processes, whole, and what it could see:
sees_failures, sees_copies.
"""

from __future__ import annotations

import datetime
import gc
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, NamedTuple

from tracer.analyses.labels import label
from tracer.errors import BadDataError
from tracer.host.cgroups import place
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import NULL, Kind
from tracer.tree.tree import ProcessTree

PAGE: Final = 4096
"""Bytes of what a data set calls a page: hosts with pages of different sizes are added up."""

TABLES: Final = ("processes", "troubles", "traces")
UNKNOWN_HOST: Final = "unknown"

_BORN: Final = frozenset({"fork", "vfork", "clone", "posix_spawn"})
_DAY_NS: Final = 86_400 * 10**9


class Piece(NamedTuple):
    """Rows of one table, of one host and one day (UTC), as a Parquet file."""

    table: str
    host: str
    day: str
    rows: int
    parquet: bytes


@dataclass(frozen=True)
class Rebuilt:
    """What came of a trace. `trouble`: why nothing, or not all, could be read."""

    name: str
    pieces: tuple[Piece, ...]
    processes: int
    trouble: str | None = None


def template(argv: Sequence[str] | None, comm: str | None) -> str | None:
    """A command without what differs from run to run: `gcc -c …`. The same everywhere; without secrets."""
    return label(argv, scripts=False) if argv else comm


def rebuild(source: bytes | str, name: str, host: str | None = None) -> Rebuilt:
    """`name` is what the trace is called in the data set, `host` what it is said to be of, else what it says itself.

    A trace that can not be read at all is no error here: its trouble says why, as one among a thousand stops nothing.
    """
    try:
        with _opened(source) as file:
            return _rebuilt(file, name, host)
    except BadDataError as e:
        return Rebuilt(name, (), 0, e.message)
    except OSError as e:
        return Rebuilt(name, (), 0, f"it can not be read: {(e.strerror or str(e)).lower()}")


def _opened(source: bytes | str) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    import fsspec

    file: IO[bytes] = fsspec.open(source, "rb").open()
    return file


def _rebuilt(file: IO[bytes], name: str, host: str | None) -> Rebuilt:
    from tracer.recording import Recording

    saved = Recording(file)
    meta = saved.meta
    tree = ProcessTree(meta)
    troubles = _Troubles(name)
    collecting = gc.isenabled()
    gc.disable()  # columns make many objects and no circles
    try:
        for batch in saved.batches():
            troubles.take(batch)
            tree.feed(batch)
    finally:
        if collecting:
            gc.enable()
    host = host or meta.host or UNKNOWN_HOST
    offset = meta.wall_offset_ns
    if offset is None:
        return Rebuilt(name, (), len(tree), "its source has no clock that says the day")
    pieces = [
        *_pieces("processes", host, offset, _processes(tree, name)),
        *_pieces("troubles", host, offset, troubles.columns),
    ]
    times = [t for column in ("born_ns", "exit_ns") for t in tree.column(column) if t != NULL]
    if not times:
        return Rebuilt(name, (), len(tree), saved.damage or "there is no process in it")
    # What was there before says nothing of when the trace began
    births = zip(tree.column("born_ns"), tree.column("how"), strict=True)
    born = [t for t, how in births if t != NULL and how != "existing"]
    row = {
        "ts": [min(born, default=max(times))],
        "trace": [name],
        "source": [meta.source],
        "kernel": [meta.kernel],
        "ended": [max(times)],
        "processes": [len(tree)],
        "whole": [saved.damage is None],
        "sees_failures": [Fact.FORK_FAILED in meta.facts],
        "sees_copies": [Fact.COW in meta.facts],
    }
    pieces += _pieces("traces", host, offset, row)  # last: it says that the rest is there
    return Rebuilt(name, tuple(pieces), len(tree), saved.damage)


def _processes(tree: Any, name: str) -> dict[str, Sequence[Any]]:
    n = len(tree)
    columns = {
        field: _nulls(tree.column(field))
        for field in (
            "id",
            "parent_id",
            "pid",
            "how",
            "comm",
            "argv",
            "exe",
            "uid",
            "cgroup",
            "container",
            "exit_code",
            "signal",
            "born_ns",
            "exit_ns",
            "cpu_user_ns",
            "cpu_system_ns",
            "fork_ns",
            "rss_bytes",
            "cow_copies",
            "zombie_ns",
        )
    }
    places = {path: place(path) for path in set(columns["cgroup"]) if path is not None}
    known: dict[Any, str | None] = {}
    templates = []
    for argv, comm in zip(columns["argv"], columns["comm"], strict=True):
        key = comm if argv is None else tuple(argv)
        if key not in known:
            known[key] = template(argv, comm)
        templates.append(known[key])
    # What a process was before forktrace came is no birth, and its life is longer than the trace knows.
    return {
        "ts": columns["born_ns"],
        "trace": [name] * n,
        "id": columns["id"],
        "parent_id": columns["parent_id"],
        "pid": columns["pid"],
        "how": columns["how"],
        "born": [how in _BORN for how in columns["how"]],
        "comm": columns["comm"],
        "program": [None if exe is None else exe.rpartition("/")[2] for exe in columns["exe"]],
        "template": templates,
        "unit": [places[path].unit if path is not None else None for path in columns["cgroup"]],
        "container": columns["container"],
        "uid": columns["uid"],
        "life_ns": _sums(columns["exit_ns"], columns["born_ns"], -1),
        "exit_code": columns["exit_code"],
        "signal": columns["signal"],
        "cpu_ns": _sums(columns["cpu_user_ns"], columns["cpu_system_ns"]),
        "fork_ns": columns["fork_ns"],
        "rss_bytes": columns["rss_bytes"],
        "cow_copies": _of_4_kib(columns["cow_copies"], tree.meta.page_size),
        "zombie_ns": [
            None if how == "root" else ns  # it is forktrace itself that waits for the program
            for how, ns in zip(columns["how"], columns["zombie_ns"], strict=True)
        ],
    }


def _nulls(column: Any) -> list[Any]:
    return list(column) if isinstance(column, list) else [None if v == NULL else v for v in column]


def _of_4_kib(pages: Sequence[int | None], page: int | None) -> list[int | None]:
    return [None if n is None or page is None else n * page // PAGE for n in pages]


def _sums(left: Iterable[int | None], right: Iterable[int | None], sign: int = 1) -> list[int | None]:
    return [None if a is None or b is None else a + sign * b for a, b in zip(left, right, strict=True)]


class _Troubles:
    """Collects failed forks and execs, and losses, as they pass."""

    def __init__(self, name: str) -> None:
        self.columns: dict[str, list[Any]] = {
            key: [] for key in ("ts", "trace", "kind", "pid", "error", "cause", "count")
        }
        self._name = name
        self._last: int | None = None  # a loss may not know its time: it is told where it was found

    def take(self, batch: Batch) -> None:
        """Look at a batch; it may be given away after that."""
        for part in batch.parts.values():
            stamps = part.get("ts_ns")
            if stamps:
                self._last = max(stamps[-1], self._last or stamps[-1])
        for kind in sorted(batch.parts.keys() & {Kind.FORK_FAILED, Kind.EXEC_FAILED, Kind.LOST}):
            part, n = batch.parts[kind], batch.kinds.count(kind)
            got = {key: _nulls(part[key]) if key in part else [None] * n for key in ("ts_ns", "count", *self.columns)}
            got["ts"] = [self._last if ts is None else ts for ts in got["ts_ns"]]
            got["trace"] = [self._name] * n
            got["kind"] = [Kind(kind).name.lower()] * n
            got["count"] = got["count"] if kind == Kind.LOST else [1] * n
            for key, column in self.columns.items():
                column += got[key]


_TYPES: Final = {
    "ts": "time",
    "trace": "s",
    "id": "i",
    "parent_id": "i",
    "pid": "i",
    "how": "s",
    "born": "b",
    "comm": "s",
    "program": "s",
    "template": "s",
    "unit": "s",
    "container": "s",
    "uid": "i",
    "life_ns": "i",
    "exit_code": "i",
    "signal": "s",
    "cpu_ns": "i",
    "fork_ns": "i",
    "rss_bytes": "i",
    "cow_copies": "i",
    "zombie_ns": "i",
    "kind": "s",
    "error": "s",
    "cause": "s",
    "count": "i",
    "source": "s",
    "kernel": "s",
    "ended": "time",
    "processes": "i",
    "whole": "b",
    "sees_failures": "b",
    "sees_copies": "b",
}


def _pieces(table: str, host: str, offset: int, columns: Mapping[str, Sequence[Any]]) -> Iterable[Piece]:
    """Split by day of `ts`, in order of day. A row without a time has no day, and its host's clock can not place it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    days: dict[int, list[int]] = {}
    for i, at in enumerate(columns["ts"]):
        if at is not None:
            days.setdefault((at + offset) // _DAY_NS, []).append(i)
    types = {"i": pa.int64(), "s": pa.string(), "b": pa.bool_(), "time": pa.timestamp("us")}  # UTC
    for day, rows in sorted(days.items()):
        arrays = []
        for name, values in columns.items():
            picked = [values[i] for i in rows]
            if _TYPES[name] == "time":
                picked = [(at + offset) // 1000 for at in picked]
            elif _TYPES[name] == "s":
                picked = [None if v is None else _utf8(v) for v in picked]
            arrays.append(pa.array(picked, types[_TYPES[name]]))
        out = io.BytesIO()
        pq.write_table(pa.table(arrays, names=list(columns)), out, compression="zstd")
        date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
        yield Piece(table, host, date.isoformat(), len(rows), out.getvalue())


def _utf8(text: str) -> str:
    """Odd bytes of a name as \\xNN: a column of Parquet is text, and who reads it here reads it on a screen."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
