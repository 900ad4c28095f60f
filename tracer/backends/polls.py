"""Parents of many that come for any of their children (waitpid(-1, ..., WNOHANG) in a loop): who was taken when.

    found = polls(run, columns, reaps, ...); found.settle(reaps)

Of one read, and the same as _reaps.py would say, one parent at a time in a loop of its own. Taken here is only a parent
whose children nothing else touches in this read: no child is passed on, none is named in a wait, none was let go of
before it was taken. All others are left to who walks. Nothing is changed until `settle`. Knows no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any, Final

from tracer.backends import wire
from tracer.backends.reaps import Process, Reaps, Zombie

MANY: Final = 32  # children in a read: fewer are walked
_PID_BITS: Final = 22
_PID: Final = (1 << _PID_BITS) - 1
_OF_ONE: Final = ("pid", "born_ns", "time_ns", "pgid")


class Polls:
    """`of`: ZOMBIE records that are dealt with; `taken`: those of them that were waited for; `waits`: WAIT records."""

    def __init__(self, np: Any, ends: int, waits: int) -> None:
        self.of, self.taken = np.zeros(ends, bool), np.zeros(ends, bool)
        self.reap_ns, self.zombie_ns = np.zeros(ends, np.int64), np.zeros(ends, np.int64)
        self.waits = np.zeros(waits, bool)
        self.older: list[tuple[Zombie, int]] = []
        self.waiting: list[tuple[Process, int, int, int]] = []

    def settle(self, reaps: Reaps) -> None:
        """Have `reaps` remember what was found of those that it knows, and of those that wait on."""
        for z, at in self.older:
            reaps.take(z, at)
        for child, at, parent, pgid in self.waiting:
            reaps.zombie(child, at, parent, pgid, waited=False, maybe=False, auto=False)


def polls(
    run: wire.Run,
    columns: Mapping[int, wire.Columns],
    reaps: Reaps,
    *,
    keys: Any,
    young: Any,
    own: Any,
    free_keys: Any,
    least: int,
) -> Polls:
    """`keys` and `free_keys`: one number for each child of ZOMBIE and FREE; `young`: where that holds, from `least`."""
    np = run.np
    z, w = columns[wire.ZOMBIE], columns.get(wire.WAIT)
    found = Polls(np, z.n, w.n if w is not None else 0)
    if w is None:
        return found
    parents, flags = z.view(np, "parent_pid"), z.view(np, "flags")
    alone = flags & wire.WAITED == 0
    who, counts = np.unique(parents[alone], return_counts=True)
    who = who[counts >= MANY]
    if not len(who):
        return found
    waiters, targets = w.view(np, "pid"), w.view(np, "target")
    passed = _passed_on(np, columns.get(wire.ADOPT))
    read = _Read(run, reaps, z=z, w=w, keys=keys, least=least)
    read.released = dict(zip(free_keys[own].tolist(), run.where(wire.FREE)[own].tolist(), strict=True))
    odd = ~young | (flags & (wire.MAYBE | wire.AUTOREAP) != 0)
    for parent in who.tolist():
        ends, waits = np.flatnonzero(alone & (parents == parent)), np.flatnonzero(waiters == parent)
        if parent and parent not in passed and not odd[ends].any() and not targets[waits].any():
            read.take(found, parent, ends, waits)
    return found


class _Read:
    """One read, and what is known of it. `released`: number of a child: the record that lets go of it."""

    def __init__(self, run: wire.Run, reaps: Reaps, *, z: wire.Columns, w: wire.Columns, keys: Any, least: int) -> None:
        self._np = run.np
        self._z, self._w = z, w
        self._ends, self._waits = run.where(wire.ZOMBIE), run.where(wire.WAIT)
        self._reaps, self._keys, self._least = reaps, keys, least
        self.released: dict[int, int] = {}

    def take(self, found: Polls, parent: int, ends: Any, waits: Any) -> None:
        """Of one parent: `ends` of its children and its `waits`, as numbers of records of their kinds."""
        np, z = self._np, self._z
        stamps: list[int] = z.view(np, "time_ns")[ends].astype("i8").tolist()
        numbers: list[int] = self._keys[ends].tolist()
        n = len(numbers)
        older = self._reaps.waiting_of(parent)
        numbers += [(each.process[1] - self._least) << _PID_BITS | each.process[0] for each in older]
        stamps += [each.at for each in older]
        if len({number & _PID for number in numbers}) < len(numbers):
            return  # a pid that is used again: the release of the one before was lost
        taken = self._in_turn(numbers, stamps, ends, waits)
        if taken is None:
            return
        found.waits[waits] = True
        found.of[ends] = True
        got = np.fromiter((at is not None for at in taken[:n]), bool, n)
        found.taken[ends[got]] = True
        reaped = np.array([at for at in taken[:n] if at is not None], np.int64)
        found.reap_ns[ends[got]] = reaped
        found.zombie_ns[ends[got]] = np.maximum(reaped - np.array(stamps[:n], np.int64)[got], 0)
        found.older += [(each, at) for each, at in zip(older, taken[n:], strict=True) if at is not None]
        if not got.all():
            columns = (z.view(np, name)[ends[~got]].astype("i8").tolist() for name in _OF_ONE)
            found.waiting += [((pid, born), at, parent, pgid) for pid, born, at, pgid in zip(*columns, strict=True)]

    def _in_turn(self, numbers: list[int], stamps: list[int], ends: Any, waits: Any) -> list[int | None] | None:
        """When each child was taken: who was born first is taken first. None where there was a wait we have not seen.

        The first are those of `ends`, the others had ended before this read.
        """
        n = len(ends)
        places: list[int] = self._ends[ends].tolist()
        wait_stamps: list[int] = self._w.view(self._np, "time_ns")[waits].astype("i8").tolist()
        waiting = sorted((number, i) for i, number in enumerate(numbers[n:], n))
        taken: list[int | None] = [None] * len(numbers)
        when = [0] * len(numbers)
        next_end = 0
        for at, place in zip(wait_stamps, self._waits[waits].tolist(), strict=True):
            while next_end < n and places[next_end] < place:
                heappush(waiting, (numbers[next_end], next_end))
                next_end += 1
            if waiting and stamps[waiting[0][1]] <= at:
                child = heappop(waiting)[1]
                taken[child], when[child] = at, place
        for number, reaped, place in zip(numbers, taken, when, strict=True):
            gone = self.released.get(number)
            if gone is not None and (reaped is None or gone < place):
                return None
        return taken


def _passed_on(np: Any, adopt: wire.Columns | None) -> set[int]:
    """Parents whose children change hands, and those who get them."""
    if adopt is None:
        return set()
    return {*adopt.view(np, "pid").tolist(), *adopt.view(np, "parent_pid").tolist()}
