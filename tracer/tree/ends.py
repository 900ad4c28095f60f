"""Ingest EXIT, ZOMBIE, ADOPT, REAP, BASE and ALIVE: how processes end, and what they had used."""

from __future__ import annotations

import numpy as np

from tracer.model.schema import LAST, NULL, SUMS, Kind, Part
from tracer.model.vector_ops import view
from tracer.tree.execs import BASED
from tracer.tree.parents import adoptions
from tracer.tree.table import Table, mark_rows, set_rows, subset
from tracer.tree.threads import Threads


class Ends:
    """Writes ends into the process table."""

    def __init__(self, table: Table, threads: Threads) -> None:
        self._table = table
        self._threads = threads

    def exits(self, part: Part) -> None:
        """EXIT: every task adds its counters; the last one of a process says how it ended."""
        table = self._table
        rows = table.rows(part)
        table.add(SUMS[Kind.EXIT], rows, part)
        adoptions(table, rows, part)
        tids, pids, last = part.get("tid"), part["pid"], part.get("last")
        if tids is not None and self._threads:
            for i, row in enumerate(rows.tolist()):
                if tids[i] != pids[i]:
                    self._threads.ended(row, tids[i], part["ts_ns"][i])
        if last is not None and last.count(1) < len(last):
            keep = np.flatnonzero(view(last) == 1).tolist()
            part, rows = subset(part, keep), rows[keep]
        set_rows(table.column("exit_ns"), rows, part["ts_ns"])
        mark_rows(table.column("ended"), rows)
        table.replace(LAST[Kind.EXIT], rows, part)
        how, birth, blocked = table.column("how"), table.column("birth_ts"), table.column("vfork_blocked_ns")
        stamps = part["ts_ns"]
        for i in np.flatnonzero(view(table.column("execs"))[rows] == NULL).tolist():
            row = int(rows[i])
            if how[row] in ("vfork", "posix_spawn") and NULL not in (birth[row], stamps[i]):
                blocked[row] = stamps[i] - birth[row]

    def zombies(self, part: Part) -> None:
        """ZOMBIE: one begins to be a zombie; or was found as one, with its status and its parent by now."""
        table = self._table
        rows = table.rows(part)
        since = table.column("zombie_at")
        for row, ts in zip(rows.tolist(), part["ts_ns"], strict=True):
            if since[row] == NULL:
                since[row] = ts
        table.accumulate(Kind.ZOMBIE, rows, part)
        found = [i for i, how in enumerate(part.get("evidence", ())) if how == "snapshot"]
        if found:
            mark_rows(table.column("ended"), rows[found])
            adoptions(table, rows[found], subset(part, found))

    def adopted(self, part: Part) -> None:
        """ADOPT: a zombie has another parent now."""
        adoptions(self._table, self._table.rows(part), part)

    def reaps(self, part: Part) -> None:
        """REAP: the kernel released a task."""
        table = self._table
        rows = table.rows(part)
        table.accumulate(Kind.REAP, rows, part)
        released = rows[view(part["tid"]) == view(part["pid"])] if "tid" in part else rows
        mark_rows(table.column("released"), released)
        adoptions(table, rows, part)

    def bases(self, part: Part) -> None:
        """BASE, one row a thread: what they had used before anybody watched is not the trace's."""
        self._table.add(BASED, self._table.rows(part), part, prefix="base_")

    def alive(self, part: Part) -> None:
        """ALIVE: still there at the end of the trace."""
        rows = self._table.rows(part)
        self._table.accumulate(Kind.ALIVE, rows, part)
        mark_rows(self._table.column("alive"), rows)
        adoptions(self._table, rows, part)
