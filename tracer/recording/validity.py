"""Check a decoded record batch against the schema, once: what is behind the reader does not check again.

    refuse(batch)     raise RefusedError for the first value that no source writes
    SUPPLIED          columns that every part of a kind has, null where the file holds nothing

A file may come from a stranger. Arrow guarantees the types; this module guarantees the rest: no null where an
identity or an item of a list must stand, and every integer within the range of its column, so that sums, differences
and dates made of them cannot overflow. The ranges are those of the kernel's own types and no narrower: a value that is
odd, and real, must never end the reading of a trace. A history that makes no sense is left to the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracer.model.schema import HEAD, KIND_NAMES, TYPES, Kind
from tracer.recording import arrays
from tracer.recording.frames import RefusedError

LATEST_NS: Final = (1 << 62) - 1
"""146 years after the boot: beyond that, differences of times are not 64-bit integers."""

_INT: Final = (-(1 << 31), (1 << 32) - 1)  # with a sign or without: the exit_signal of a thread is -1, as 32 bits
_LONG: Final = (-LATEST_NS, LATEST_NS)  # counters too: some are differences, and what was counted may be taken back

RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "ts_ns": (0, LATEST_NS),
    **dict.fromkeys(("pid", "tid", "creator_pid", "creator_tid", "ppid", "pgid", "sid", "old_tid"), _INT),
    **dict.fromkeys(("killed_by", "reaped_by", "exit_signal", "exit_code", "signal", "errno", "uid"), _INT),
    "clone_flags": (-(1 << 63), (1 << 63) - 1),  # 64 bits of any value
    **dict.fromkeys(("born_ns", "creator_born_ns", "parent_born_ns", "vfork_done_ns", "reap_ns"), _LONG),
    **dict.fromkeys(("fork_ns", "zombie_ns", "utime_ns", "stime_ns", "runtime_ns", "min_flt", "maj_flt"), _LONG),
    **dict.fromkeys(("pgtables_bytes", "rss_bytes", "max_rss_bytes", "count", "samples", "wpcopy_count"), _LONG),
    **dict.fromkeys(("wp_faults", "cow_copies", "cow_heap", "cow_stack", "cow_anon", "cow_file", "file_copies"), _LONG),
    **dict.fromkeys(
        ("zero_copies", "large_copies", "ksm_copies", "reuses", "mkwrites", "failed_wp", "cow_unknown", "cow_gup"),
        _LONG,
    ),
    **dict.fromkeys(("parent_cow_birth", "parent_cow_end", "cow_total"), _LONG),
}
"""Least and most of each integer column."""

ITEM_RANGES: Final[Mapping[str, tuple[int, int]]] = dict.fromkeys(("ns_pids", "decay"), (-(1 << 31), (1 << 31) - 1))
"""The same for the items of the columns that are lists of integers."""

_MOST_ITEMS: Final = {"ns_pids": 64, "decay": 128}  # PID_NS_LEVEL is 32; the probes have fewer than 64 buckets
_WITHOUT_PROCESS: Final = frozenset({Kind.LOST, Kind.END, Kind.DECAY, Kind.FORK_FAILED, Kind.EXEC_FAILED})
IDENTITY: Final = ("pid", "born_ns")
"""What a row about a process has one of at least: the root of a log may have no pid, and a birth may not be known."""

_HEAD: Final = tuple(field.name for field in HEAD if field.name != "kind")
SUPPLIED: Final[Mapping[int, tuple[str, ...]]] = {
    **dict.fromkeys(map(int, Kind), _HEAD),
    int(Kind.RENAME): (*_HEAD, "comm"),
    int(Kind.LOST): (*_HEAD, "count"),
}
"""Columns that a part of the kind always has: code that needs one may index it."""


def refuse(batch: Any, *, identity: bool = True) -> None:
    """Raise RefusedError if a value of `batch`, a RecordBatch of wide columns that Arrow has validated, is not valid.

    A column that is not in `batch` is null in all of its rows; without `identity` those of IDENTITY were not asked for.
    """
    names = batch.schema.names
    for name, column in zip(names, batch.columns, strict=True):
        code = TYPES.get(name)
        if code is None or column.null_count == len(column):
            continue
        if code == "i":
            _refuse_numbers(name, column, *RANGES[name])
        elif code in "SI":
            _refuse_lists(name, code, column)
    if identity:
        held = [batch.column(names.index(name)) for name in IDENTITY if name in names]
        if not any(column.null_count == 0 for column in held):
            _refuse_strangers(held, batch.column(names.index("kind")))


def _refuse_numbers(name: str, column: Any, least: int, most: int) -> None:
    held = arrays.read_integers(column)
    if held.min() >= least and held.max() <= most:  # nulls included: forktrace writes a neighbour there
        return
    if column.null_count:
        held = held[arrays.is_valid(column)]
    if held.min() < least or held.max() > most:
        if name.endswith("_ns"):
            raise RefusedError(f"a record has a time that no clock tells, in {name}")
        raise RefusedError(f"a record has an impossible number, in {name}")


def _refuse_lists(name: str, code: str, column: Any) -> None:
    import numpy as np

    items = column.values
    if items.null_count:
        raise RefusedError(f"a record has a list with an unknown item, in {name}")
    if code == "S" or not len(items):
        return
    _refuse_numbers(name, items, *ITEM_RANGES[name])
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    if np.diff(offsets).max() > _MOST_ITEMS[name]:
        raise RefusedError(f"a record has a list that is too long, in {name}")


def _refuse_strangers(held: list[Any], kinds: Any) -> None:
    """Rows without an identity may only be of kinds that are about no process, or of kinds that are not known."""
    import numpy as np

    indices, words = arrays.encode_strings(kinds)
    about = {KIND_NAMES[kind] for kind in Kind if kind not in _WITHOUT_PROCESS}
    stranger = np.array([word in about for word in words], bool)[indices]
    for column in held:
        stranger &= ~arrays.is_valid(column)
    if stranger.any():
        raise RefusedError("a record does not say which process it is about")
