"""What may be left out of a batch when there is no room: details, never who was born, became what, and ended how.

    thin(batch)      a smaller batch, and how many rows were left out of it
    weight(batch)    bytes that it takes in memory, about

Pure: columns in, columns out.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any, Final

from tracer.model.batch import Batch
from tracer.model.schema import NULL, TYPES, Kind, Part

LIFE: Final = frozenset(
    {Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.REAP, Kind.FORK_FAILED, Kind.EXISTING, Kind.LOST, Kind.END}
)
"""Kinds that stay."""

_STAYS: Final = frozenset(
    {
        "ts_ns",
        "pid",
        "tid",
        "born_ns",
        "creator_pid",
        "creator_born_ns",
        "ppid",
        "parent_born_ns",
        "how",
        "clone_flags",
        "uid",
        "cgroup",
        "comm",
        "exe",
        "exit_code",
        "signal",
        "last",
        "killed_by",
        "oom_killed",
        "reap_ns",
        "zombie_ns",
        "reaped_by",
        "runtime_ns",
        "errno",
        "error",
        "cause",
        "count",
        "where",
        "fork_ns",
    }
)
_WORD: Final = 60  # bytes of a short string object, its place in the column included
_MANY: Final = 256  # stamps that are worth numpy's calls, where somebody has imported it
_BATCH: Final = 2000  # dictionaries and empty columns


def thin(batch: Batch) -> tuple[Batch, int]:
    """Only LIFE, of processes' first threads, and only the columns that tell it."""
    if not any(_has_threads(batch.parts[kind]) for kind in batch.parts if kind in LIFE and kind != Kind.EXIT):
        gone = bytes(kind for kind in batch.parts if kind not in LIFE)
        left = batch.kinds.translate(None, gone)
        whole = {
            k: {name: part[name] for name in part if name in _STAYS} for k, part in batch.parts.items() if k in LIFE
        }
        return Batch(left, whole), len(batch.kinds) - len(left)
    kinds = bytearray()
    keep: dict[int, bytearray] = {kind: bytearray() for kind in batch.parts}
    at = dict.fromkeys(batch.parts, 0)
    tids: dict[int, Any] = {k: (p.get("tid"), p.get("pid")) for k, p in batch.parts.items()}
    stays = {kind for kind in batch.parts if kind in LIFE}
    for kind in batch.kinds:
        i = at[kind]
        at[kind] = i + 1
        tid, pid = tids[kind]
        # A thread is one by its birth and its release; an end of any thread may be the last one of the process.
        ok = kind in stays and (kind == Kind.EXIT or tid is None or pid is None or tid[i] == pid[i])
        keep[kind].append(ok)
        if ok:
            kinds.append(kind)
    parts: dict[int, Part] = {}
    for kind in stays:
        kept = keep[kind]
        n = sum(kept)
        if n:
            part = batch.parts[kind]
            parts[kind] = {name: _picked(part[name], kept, n) for name in part if name in _STAYS}
    return Batch(bytes(kinds), parts), len(batch.kinds) - len(kinds)


def _has_threads(part: Part) -> bool:
    tid, pid = part.get("tid"), part.get("pid")
    return tid is not None and pid is not None and tid != pid


def _picked(column: Any, kept: bytearray, n: int) -> Any:
    if n == len(column):
        return column
    values = [v for v, ok in zip(column, kept, strict=True) if ok]
    return values if isinstance(column, list) else array("q", values)


def weight(batch: Batch) -> int:
    """Bytes. Lists of words are looked into; other strings are taken for short ones, as most are."""
    total = _BATCH + len(batch.kinds)
    for part in batch.parts.values():
        for name, column in part.items():
            if not isinstance(column, list):
                total += 8 * len(column)
            elif TYPES.get(name) == "S":
                total += 8 * len(column)
                for words in column:
                    if words:
                        total += 64 + 57 * len(words) + sum(map(len, words))
            else:
                total += 8 * len(column) + _WORD * (len(column) - column.count(None))
    return total


def latest(batch: Batch) -> int:
    """The last stamp in it; NULL if it has none."""
    return max((_most(part["ts_ns"]) for part in batch.parts.values() if part.get("ts_ns")), default=NULL)


def _most(column: Any) -> int:
    np = sys.modules.get("numpy") if len(column) >= _MANY else None
    return max(column) if np is None or isinstance(column, list) else int(np.frombuffer(column, "q").max())


def earliest(batch: Batch) -> int:
    """The first stamp in it; NULL if it has none."""
    stamps = (ts for part in batch.parts.values() for ts in part.get("ts_ns", ()) if ts != NULL)
    return min(stamps, default=NULL)
