"""Births and look-ups of a whole batch at once, by numpy; small batches go one by one, as rows.py has it.

Whichever way is taken, the rows are the same. Knows what rows.py knows.
"""

from __future__ import annotations

from typing import Any

from tracer.model.schema import NULL, Part
from tracer.model.vector_ops import numpy_for, view
from tracer.tree.births import BIRTH, CLONE_THREAD, Rows


class Bulk(Rows):
    """Rows, many at a time."""

    def _births(self, part: Part, *, fork: bool) -> None:
        np = numpy_for(len(part["pid"]))
        if np is None or not self._many_births(np, part, fork=fork):
            super()._births(part, fork=fork)

    def _rows(self, part: Part) -> Any:
        np = numpy_for(len(part["pid"]))
        if np is None:
            return super()._rows(part)
        rows = self._index.find(np, view(np, part["pid"]), view(np, part["born_ns"]))
        for i in np.flatnonzero(rows < 0).tolist():
            rows[i] = self._found_or_gap(part, i)
        return rows

    def _many_births(self, np: Any, part: Part, *, fork: bool) -> bool:
        """False, and nothing done, where one is born twice in the batch: that is for who takes them in order."""
        pids, borns = view(np, part["pid"]), view(np, part["born_ns"])
        threads = _are_threads(np, part)
        at = np.flatnonzero(~threads)
        rows = self._index.find(np, pids[at], borns[at])
        fresh, again = at[rows < 0], at[rows >= 0]
        if _repeat(np, pids[fresh], borns[fresh]):
            return False
        if len(fresh):
            self._many_fresh(np, part, fresh)
        for i, row in zip(again.tolist(), rows[rows >= 0].tolist(), strict=True):
            # A fork record is the truth about parentage; anything else only fills gaps.
            if fork or self._gap[row]:
                self._rebirth(row, part, i)
        how = part.get("how")
        for i in np.flatnonzero(threads).tolist():
            if how is None or how[i] != "io_worker":
                self._thread_birth((part["pid"][i], part["born_ns"][i]), part["tid"][i], part["ts_ns"][i])
        return True

    def _many_fresh(self, np: Any, part: Part, fresh: Any) -> None:
        """Births of processes that have no row yet; `fresh`: where in the part."""
        first, n = self._n, len(fresh)
        places = fresh.tolist()
        whole = n == len(part["pid"])
        for name, source in BIRTH:
            values = part.get(source)
            if values is None:
                continue
            if whole:
                self._col(name).extend(values)
            elif isinstance(values, list):
                self._col(name).extend([values[i] for i in places])
            else:
                self._col(name).frombytes(view(np, values)[fresh].tobytes())
        self._gap.extend(bytes(n))
        self._grow(n)
        self._index.add(np, first, n)
        above = np.full(n, -1, np.int64)
        ppids, parent_borns = part.get("ppid"), part.get("parent_born_ns")
        if ppids is not None and parent_borns is not None:
            own = np.arange(first, first + n)
            above = self._index.find(np, view(np, ppids)[fresh], view(np, parent_borns)[fresh])
            above[above >= own] = -1  # one that comes after its child is linked when it gathers them
            how = part.get("how") or ()
            missing = set(np.flatnonzero(above < 0).tolist())
            if "root" in how:
                roots = [k for k, i in enumerate(places) if how[i] == "root"]
                above[roots] = -1
                missing.difference_update(roots)
            for k in sorted(missing):
                self._await_parent(first + k, (ppids[places[k]], parent_borns[places[k]]))
        self._parent.frombytes(above.tobytes())
        self._gather_all(first)


def _are_threads(np: Any, part: Part) -> Any:
    pids = view(np, part["pid"])
    threads = view(np, part["tid"]) != pids if "tid" in part else np.zeros(len(pids), bool)
    if "clone_flags" in part:
        flags = view(np, part["clone_flags"])
        threads |= (flags != NULL) & (flags & CLONE_THREAD != 0)
    return threads


def _repeat(np: Any, pids: Any, borns: Any) -> bool:
    """Whether a pair comes twice."""
    stamps = np.sort(borns)
    if (stamps[1:] != stamps[:-1]).all():
        return False
    order = np.lexsort((pids, borns))
    pids, borns = pids[order], borns[order]
    return bool(((borns[1:] == borns[:-1]) & (pids[1:] == pids[:-1])).any())
