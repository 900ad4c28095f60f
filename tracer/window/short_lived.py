"""Processes that are born and end in one batch, found and summed by columns: in a storm that is nearly all of them.

    brief = find(parts, lives, least_ns=..., reaps=...)    None where there are too few to be worth it
    brief.others(), brief.sums(numbers), ...               what is left, and what these add up to: brief_sums.py

Taken here is only what can not have touched another life: a birth below a parent that was known before, does not exec
and is not let go of in this batch; one end, one release and one exec at most; no new name, and nobody below it. So a
window that is fed by both ways says what one says that is fed life by life. Pure columns; knows no window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from tracer.model.schema import Kind, Part
from tracer.window.lineage import Key, Life, Lives
from tracer.window.short_lived_sums import USED, Brief, array_of

MANY: Final = 256  # births in a batch: numpy's calls, some eighty, cost as much as so many lives one by one
_ALIKE: Final = 16  # births below one parent
_PID_BITS, _SPAN_BITS = 22, 41  # of pids as the kernel makes them, and of ns since the first birth: 36 minutes
_SECONDS: Final = 64
_NS: Final = 10**9


def find(parts: Mapping[int, Part], lives: Lives, *, least_ns: int, reaps: bool) -> Brief | None:
    """`lives`: who is known; `least_ns`: nothing before it is taken; `reaps`: the source tells of releases."""
    fork = parts.get(Kind.FORK)
    if fork is None or len(fork["pid"]) < MANY or Kind.EXISTING in parts or Kind.EXIT not in parts:
        return None
    if fork.get("creator_pid") is None or fork.get("creator_born_ns") is None or fork.get("ts_ns") is None:
        return None
    if "snapshot" in parts.get(Kind.ZOMBIE, {}).get("evidence", ()):
        return None
    import numpy as np

    pids, borns = array_of(fork["pid"]), array_of(fork["born_ns"])
    tids = array_of(fork.get("tid") or fork["pid"])
    whole = tids == pids
    if not whole.any():
        return None
    base = int(borns[whole].min())

    def numbers(pids: Any, borns: Any) -> Any:
        """Identities as one number each; -1 for who was born before, or much later."""
        since = borns - base  # a NULL wraps round to what is no time since either
        good = (borns >= base) & (since < 1 << _SPAN_BITS) & (pids >= 0) & (pids < 1 << _PID_BITS)
        return np.where(good, since << _PID_BITS | pids, -1)

    keys = numbers(pids, borns)
    mine = np.flatnonzero(whole)
    if (keys[mine] < 0).any():
        return None
    mine = mine[np.argsort(keys[mine], kind="stable")]
    ordered = keys[mine]
    if (ordered[1:] == ordered[:-1]).any():
        return None

    def belongs(pids: Any, borns: Any) -> Any:
        """For each row, the place among `mine` of the birth that it belongs to; -1: none."""
        wanted = numbers(pids, borns)
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        return np.where(ordered[at] == wanted, at, -1)

    rows: dict[int, Any] = {}
    taken = np.ones(len(mine), bool)
    for kind in USED:
        if kind == Kind.FORK or kind not in parts or (kind == Kind.REAP and not reaps):
            continue
        part = parts[kind]
        if part.get("ts_ns") is None:
            return None
        place = belongs(array_of(part["pid"]), array_of(part["born_ns"]))
        if kind == Kind.EXIT and part.get("last") is not None:
            place[array_of(part["last"]) != 1] = -1
        elif kind == Kind.REAP and part.get("tid") is not None:
            place[array_of(part["tid"]) != array_of(part["pid"])] = -1
        elif kind == Kind.FAULTS:
            if part.get("cow_copies") is None:
                continue
            place[array_of(part["cow_copies"]) <= 0] = -1
        known = place >= 0
        times = np.bincount(place[known], minlength=len(mine))
        if kind == Kind.EXIT:
            taken &= times == 1
        elif kind != Kind.FAULTS:
            taken &= times <= 1
        early = known & (array_of(part["ts_ns"]) < least_ns)
        taken[place[early]] = False
        rows[kind] = place
    for kind in (Kind.RENAME, Kind.FORK_FAILED):
        if kind in parts:
            place = belongs(array_of(parts[kind]["pid"]), array_of(parts[kind]["born_ns"]))
            taken[place[place >= 0]] = False
    above_pids, above_borns = array_of(fork["creator_pid"]), array_of(fork["creator_born_ns"])
    makers = belongs(above_pids[mine], above_borns[mine])
    taken[makers[makers >= 0]] = False
    taken &= array_of(fork["ts_ns"])[mine] >= least_ns
    if "root" in fork.get("how", ()):
        taken &= np.fromiter((fork["how"][i] != "root" for i in mine.tolist()), bool, len(mine))
    parents = _parents(parts, lives.of, above_pids[mine].tolist(), above_borns[mine].tolist())
    taken &= parents
    if int(taken.sum()) < _ALIKE:
        return None
    told = list(zip(pids[mine].tolist(), borns[mine].tolist(), strict=True))
    if not lives.of.keys().isdisjoint(told) or not lives.resting.keys().isdisjoint(told):
        return None
    return _brief(parts, rows, mine, taken, reaps=reaps)


def _brief(parts: Mapping[int, Part], rows: dict[int, Any], mine: Any, taken: Any, *, reaps: bool) -> Brief | None:
    import numpy as np

    # Numbered anew in the order in which they were told of: the first of two groups is the first that came.
    births = np.sort(mine[taken])
    anew = np.full(len(mine), -1)
    anew[taken] = np.searchsorted(births, mine[taken])
    found: dict[int, Any] = {}
    fork = np.full(len(parts[Kind.FORK]["pid"]), -1)
    fork[births] = np.arange(len(births))
    found[Kind.FORK] = fork
    for kind, place in rows.items():
        found[kind] = np.where(place >= 0, anew[place], -1)
    stamps = [array_of(parts[kind]["ts_ns"])[of >= 0] for kind, of in found.items()]
    stamps = [each for each in stamps if len(each)]
    first, last = min(int(each.min()) for each in stamps) // _NS, max(int(each.max()) for each in stamps) // _NS
    return Brief(parts, found, births, first, reaps=reaps) if last - first < _SECONDS else None


def _parents(parts: Mapping[int, Part], of: Mapping[Key, Life], pids: list[int], borns: list[int]) -> Any:
    """Which of these are parents of many, known before, and stay what they are in this batch."""
    import numpy as np

    above = list(zip(pids, borns, strict=True))
    good: dict[Key, bool] = {}
    for key, n in Counter(above).items():
        if n < _ALIKE or key not in of:
            continue
        good[key] = not any(
            ((array_of(parts[kind]["pid"]) == key[0]) & (array_of(parts[kind]["born_ns"]) == key[1])).any()
            for kind in (Kind.FORK, Kind.EXEC, Kind.REAP)
            if kind in parts
        )
    return np.fromiter((good.get(key, False) for key in above), bool, len(above))
