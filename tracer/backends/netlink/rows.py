"""Rows of the netlink backend, before they are columns: [position in time, kind, values in the order of COLUMNS].

The last values of a row may be left out; then they are null. Knows nothing of where the values come from.
"""

from __future__ import annotations

from array import array
from operator import itemgetter
from typing import Any, Final

from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind, Part, is_list

Row = list[Any]

COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
_WHO: Final = ("ts_ns", "pid", "tid", "born_ns")
COLUMNS: Final[dict[int, tuple[str, ...]]] = {
    Kind.EXISTING: (*_WHO, "ppid", "parent_born_ns", "how", "uid", "comm", "evidence"),
    Kind.FORK: (*_WHO, "ppid", "parent_born_ns", "how", "uid", "comm"),
    Kind.EXEC: (
        *_WHO,
        "old_tid",
        "uid",
        "exe",
        "argv",
        "interpreter",
        "cwd",
        "env",
        "comm",
        "evidence",
        *COUNTERS,
    ),
    Kind.RENAME: (*_WHO, "comm"),
    Kind.EXIT: (
        *_WHO,
        "last",
        "exit_code",
        "signal",
        "core_dumped",
        "uid",
        "comm",
        "max_rss_bytes",
        *COUNTERS,
        "evidence",
    ),
    Kind.ALIVE: (*_WHO, "uid", "comm", "max_rss_bytes", *COUNTERS),
    Kind.LOST: ("ts_ns", "count", "where"),
}

EXISTING, FORKED, EXECED, RENAMED, ENDED, ALIVE, LOST = map(int, COLUMNS)


def cut(rows: list[Row], until: int | None) -> Batch | None:
    """Take the rows before `until` (None: all) out of `rows`, sorted by time, as a batch; None if there are none."""
    rows.sort(key=itemgetter(0))
    n = len(rows)
    if until is not None:
        while n and rows[n - 1][0] >= until:
            n -= 1
    if not n:
        return None
    ready, rows[:n] = rows[:n], []
    grouped: dict[int, list[Any]] = {}
    for _, kind, values in ready:
        try:
            grouped[kind].append(values)
        except KeyError:
            grouped[kind] = [values]
    parts = {kind: _part(COLUMNS[kind], values) for kind, values in grouped.items()}
    return Batch(bytes([kind for _, kind, _ in ready]), parts)


def _part(names: tuple[str, ...], rows: list[Any]) -> Part:
    widest = max(map(len, rows))
    if min(map(len, rows)) < widest:
        nothing = [None if is_list(name) else NULL for name in names]
        rows = [(*row, *nothing[len(row) : widest]) for row in rows]
    part: Part = {}
    for name, column in zip(names, zip(*rows, strict=True), strict=False):
        if not is_list(name):
            part[name] = array("q", column)
        elif column.count(None) < len(column):
            part[name] = list(column)
    return part
