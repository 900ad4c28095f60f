"""Ingest FAULTS, DECAY and STACKS: pages copied by each process, when, and by which code."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.model.schema import NULL, Kind, Part
from tracer.model.vector_ops import view
from tracer.tree.table import Table, add_rows


class Counters:
    """Counters that are columns of the process table, and those that are not."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.decay: dict[tuple[int, bool], list[int]] = {}
        """(row, since its own last fork, else since its creation): copies by log2 of the time since, 1024 ns first.

        Row -1: those together that copied too little to have their own.
        """
        self.stacks: dict[tuple[int, bool, tuple[str, ...]], list[int]] = {}
        """(row, before its exec, functions with the one that wrote first): [copies that they stand for, samples]."""
        self.sampled = False
        """Stacks were sampled, so their copies are estimates."""

    def faults(self, part: Part) -> None:
        """FAULTS: what a thread has counted since its previous such event."""
        rows = self._table.rows(part)
        # Of parent_cow_* and cow_total the last ones sent stand: sharing ends with the first exec or with the end.
        self._table.accumulate(Kind.FAULTS, rows, part)
        early = part.get("before_exec")
        if early is not None and "cow_copies" in part:
            keep = np.flatnonzero(view(early) == 1)
            if len(keep):
                copies = view(part["cow_copies"])[keep]
                add_rows(self._table.column("cow_before_exec"), rows[keep], copies)

    def decays(self, part: Part) -> None:
        """DECAY: copies by time since the fork; without a pid, of small processes together."""
        if not part.keys() >= {"since_own_fork", "decay"}:
            return
        pids, borns = part.get("pid"), part.get("born_ns")
        for i, (own, counts) in enumerate(zip(part["since_own_fork"], part["decay"], strict=True)):
            if counts is None:
                continue
            known = pids is not None and borns is not None and pids[i] != NULL
            row = self._table.row_of((pids[i], borns[i])) if known and pids is not None and borns is not None else -1
            have = self.decay.setdefault((row, own == 1), [0] * len(counts))
            for bucket, n in enumerate(counts[: len(have)]):
                have[bucket] += n

    def stacks_of(self, part: Part) -> None:
        """STACKS: one stack of one process, and the copies it stands for."""
        if not part.keys() >= {"frames", "count"}:
            return
        rows, counts = self._table.rows(part).tolist(), part["count"]
        samples: Any = part.get("samples", counts)
        early: Any = part.get("before_exec") or [0] * len(rows)
        self.sampled |= "inferred" in part.get("evidence", ())
        for row, before, frames, copies, found in zip(rows, early, part["frames"], counts, samples, strict=True):
            if not frames or copies == NULL:
                continue
            have = self.stacks.setdefault((row, before == 1, tuple(frames)), [0, 0])
            have[0] += copies
            have[1] += max(found, 0)
