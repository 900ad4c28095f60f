"""Ingest FORK and EXISTING: who gets a row, when, and below whom.

A process is found by (pid, born_ns). One that is first heard of by its exec or its end gets a gap row (table.py), which
its birth fills later. A FORK is the truth about parentage; anything else only fills gaps.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tracer.model.flags import CloneFlags
from tracer.model.schema import LAST, NULL, Kind, Part
from tracer.model.vector_ops import view
from tracer.tree.table import Key, Table, set_rows
from tracer.tree.threads import Threads

_THREAD: Final = int(CloneFlags.CLONE_THREAD)
_STORED: Final = (*((name, name) for name in LAST[Kind.FORK]), ("birth_ts", "ts_ns"))
"""(stored column, event column) of what a birth says."""


class Births:
    """Gives processes their rows and threads to their processes."""

    def __init__(self, table: Table, threads: Threads) -> None:
        self._table = table
        self._threads = threads

    def forks(self, part: Part) -> None:
        """FORK: processes and threads that were created."""
        self._births(part, fork=True)

    def existing(self, part: Part) -> None:
        """EXISTING: processes that were there before, or were found again."""
        self._births(part, fork=False)

    def _births(self, part: Part, *, fork: bool) -> None:
        table = self._table
        pids, borns = view(part["pid"]), view(part["born_ns"])
        threads = _are_threads(part)
        at = np.flatnonzero(~threads)
        rows = table.index.find(pids[at], borns[at])
        unknown = at[rows < 0]
        first = table.size
        repeats = _repeats(pids[unknown], borns[unknown])
        if len(unknown):
            self._add(part, unknown if repeats is None else unknown[~repeats])
        for i, row in zip(at[rows >= 0].tolist(), rows[rows >= 0].tolist(), strict=True):
            if fork or table.gap[row]:
                self._again(row, part, i)
        if repeats is not None and fork:  # the source has corrected itself within one batch
            for i in unknown[repeats].tolist():
                row = table.index.get((int(pids[i]), int(borns[i])))
                if row >= first:
                    self._again(row, part, i)
        how = part.get("how")
        for i in np.flatnonzero(threads).tolist():
            if how is None or how[i] != "io_worker":
                row = table.row_of((part["pid"][i], part["born_ns"][i]))
                self._threads.began(row, part["tid"][i], part["ts_ns"][i])

    def _add(self, part: Part, fresh: Any) -> None:
        """Births of processes that have no row yet; `fresh`: their places in the part."""
        table = self._table
        first, n = table.size, len(fresh)
        places = fresh.tolist()
        for name, source in _STORED:
            values = part.get(source)
            if values is None:
                continue
            if n == len(part["pid"]):
                table.column(name).extend(values)
            elif isinstance(values, list):
                table.column(name).extend([values[i] for i in places])
            else:
                table.column(name).frombytes(view(values)[fresh].tobytes())
        table.gap.extend(bytes(n))
        table.grow(n)
        table.index.add(first, n)
        parents = np.full(n, -1, np.int64)
        ppids, parent_borns = part.get("ppid"), part.get("parent_born_ns")
        if ppids is not None and parent_borns is not None:
            parents = table.index.find(view(ppids)[fresh], view(parent_borns)[fresh])
            parents[parents >= np.arange(first, first + n)] = -1  # one that comes after its child is linked later
            how = part.get("how") or ()
            missing = set(np.flatnonzero(parents < 0).tolist())
            if "root" in how:
                roots = [k for k, i in enumerate(places) if how[i] == "root"]
                parents[roots] = -1
                missing.difference_update(roots)
            for k in sorted(missing):
                table.await_parent(first + k, (ppids[places[k]], parent_borns[places[k]]))
        table.parent.frombytes(parents.tobytes())
        table.gather_all(first)

    def _again(self, row: int, part: Part, i: int) -> None:
        """A birth of a process that has a row already."""
        table = self._table
        for name, source in _STORED:
            values = part.get(source)
            if values is not None:
                set_rows(table.column(name), np.array([row]), [values[i]])
        table.gap[row] = 0
        parent = _parent(part, i)
        if parent is not None:
            table.link_or_await(row, parent)


def _parent(part: Part, i: int) -> Key | None:
    """The parent of a birth; None if it does not apply, or is not known."""
    ppids, borns, how = part.get("ppid"), part.get("parent_born_ns"), part.get("how")
    if ppids is None or borns is None or (how is not None and how[i] == "root"):
        return None
    return ppids[i], borns[i]


def _are_threads(part: Part) -> Any:
    pids = view(part["pid"])
    threads = view(part["tid"]) != pids if "tid" in part else np.zeros(len(pids), bool)
    if "clone_flags" in part:
        flags = view(part["clone_flags"])
        threads |= (flags != NULL) & (flags & _THREAD != 0)
    return threads


def _repeats(pids: Any, borns: Any) -> Any:
    """Which pairs came before in these columns; None if there is none."""
    stamps = np.sort(borns)
    if (stamps[1:] != stamps[:-1]).all():
        return None
    order = np.lexsort((pids, borns))  # stable: of equal pairs the first one stays first
    p, b = pids[order], borns[order]
    again = np.zeros(len(pids), bool)
    again[order[1:]] = (b[1:] == b[:-1]) & (p[1:] == p[:-1])
    return again if again.any() else None
