"""How a fork tree grows: what happens in a life, batch by batch, as columns.

Within one batch births are taken first (rows.py), then execs, ends and releases; identity makes that safe. Nothing that
a source can produce raises: records may be lost, rows may not.

Knows no source, and nothing of how the tree is read: that is tree.py.
"""

from __future__ import annotations

from typing import Any, Final

from tracer.model.batch import Batch, nulls
from tracer.model.schema import COW_COLUMNS, NULL, Kind, Part
from tracer.model.vector_ops import least_and_most, numpy_of, view
from tracer.tree.births import typed
from tracer.tree.execs import COUNTERS, Execs, as_list, taken
from tracer.tree.failures import Loss
from tracer.tree.lazy_events import Told
from tracer.tree.table import add_rows, mark_rows, set_rows

_RARE: Final = frozenset({Kind.LOST, Kind.END, Kind.EXEC_FAILED, Kind.FORK_FAILED})
_COW: Final = (*COW_COLUMNS, "cow_unknown", "cow_gup")


class Growth(Execs):
    """Feed it batches in stream order."""

    def feed(self, batch: Batch) -> None:
        """Take in a batch. Never raises for what a source can produce: gaps are rows, not exceptions."""
        parts = batch.parts
        for kind, part in parts.items():
            n = len(part["ts_ns"]) if "ts_ns" in part else batch.kinds.count(kind)
            name = Kind(kind).name.lower()
            self.counts[name] = self.counts.get(name, 0) + n
            if kind != Kind.END:  # when we were done is no event of the program's
                self._span(part)
        for kind in (Kind.EXISTING, Kind.FORK):
            if kind in parts:
                self._births(parts[kind], fork=kind == Kind.FORK)
        if Kind.EXEC in parts:
            self._execs(parts[Kind.EXEC])
        if Kind.RENAME in parts:
            self._renames(parts[Kind.RENAME])
        if Kind.EXIT in parts:
            self._exits(parts[Kind.EXIT])
        if Kind.ZOMBIE in parts:
            self._zombies(parts[Kind.ZOMBIE])
        if Kind.ADOPT in parts:
            self._adoptions(self._rows(parts[Kind.ADOPT]), parts[Kind.ADOPT])
        if Kind.REAP in parts:
            self._reaps(parts[Kind.REAP])
        if Kind.BASE in parts:
            self._bases(parts[Kind.BASE])
        if Kind.ALIVE in parts:
            self._alive(parts[Kind.ALIVE])
        if Kind.FAULTS in parts:
            self._faults(parts[Kind.FAULTS])
        if Kind.DECAY in parts and parts[Kind.DECAY].keys() >= {"since_own_fork", "decay"}:
            self._decay(parts[Kind.DECAY])
        if Kind.STACKS in parts and parts[Kind.STACKS].keys() >= {"frames", "count"}:
            self._stacks(parts[Kind.STACKS])
        if parts.keys() & _RARE:
            self._rare(batch)
        self._changes += 1

    def _span(self, part: Part) -> None:
        stamps = part.get("ts_ns")
        if not stamps:
            return
        known = least_and_most(stamps, range(len(stamps)))
        if known is None:
            return
        first, last = known
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = last if self.last_ns is None else max(self.last_ns, last)

    def _exits(self, part: Part) -> None:
        rows = self._rows(part)
        for name in COUNTERS:
            if name in part:
                add_rows(self._col(name), rows, part[name])
        self._adoptions(rows, part)
        last = part.get("last")
        tids, pids = part.get("tid"), part["pid"]
        if tids is not None and self._live_threads:
            for i, row in enumerate(as_list(rows)):
                if tids[i] != pids[i]:
                    self._thread_end_at(tids[i], row, part["ts_ns"][i])
        if last is not None and last.count(1) < len(last):
            keep = [i for i, v in enumerate(last) if v == 1]
            part = {name: type(col)(*typed(col, keep)) for name, col in part.items()}
            rows = taken(rows, keep)
        set_rows(self._col("exit_ns"), rows, part["ts_ns"])
        mark_rows(self._col("ended"), rows)
        for name in (
            "exit_code",
            "signal",
            "core_dumped",
            "killed_by",
            "oom_killed",
            "max_rss_bytes",
            "uid",
            "comm",
        ):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        how, birth, execs = self._col("how"), self._col("birth_ts"), self._col("execs")
        blocked, stamps = self._col("vfork_blocked_ns"), part["ts_ns"]
        np = numpy_of(rows)
        if np is not None:
            at = np.flatnonzero(view(np, execs)[rows] == NULL).tolist()
            rows, stamps = rows[at].tolist(), [stamps[i] for i in at]
        for i, row in enumerate(rows):
            if how[row] in ("vfork", "posix_spawn") and execs[row] == NULL and NULL not in (birth[row], stamps[i]):
                blocked[row] = stamps[i] - birth[row]

    def _zombies(self, part: Part) -> None:
        """Told when they begin to be; or found, with how they ended, and whose they are by now."""
        rows = as_list(self._rows(part))
        since = self._col("zombie_at")
        for row, ts in zip(rows, part["ts_ns"], strict=True):
            if since[row] == NULL:
                since[row] = ts
        if "sigchld" in part:
            set_rows(self._col("sigchld"), rows, part["sigchld"])
        found = [i for i, how in enumerate(part.get("evidence", ())) if how == "snapshot"]
        if not found:
            return
        part = {name: type(column)(*typed(column, found)) for name, column in part.items()}
        rows = [rows[i] for i in found]
        mark_rows(self._col("ended"), rows)
        for name in ("exit_code", "signal", "core_dumped"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        self._adoptions(rows, part)

    def _reaps(self, part: Part) -> None:
        rows = self._rows(part)
        for name in COUNTERS:
            if name in part:
                add_rows(self._col(name), rows, part[name])
        pids: Any = part["pid"]
        tids: Any = part.get("tid", pids)
        if tids == pids:
            mark_rows(self._col("released"), rows)
        else:
            mark_rows(self._col("released"), taken(rows, [i for i, tid in enumerate(tids) if tid == pids[i]]))
        for name in ("reaped_by", "reap_ns", "zombie_ns", "max_rss_bytes"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        self._adoptions(rows, part)

    def _bases(self, part: Part) -> None:
        """One row a thread: what they had used before anybody watched is not the trace's."""
        rows = self._rows(part)
        for name in COUNTERS:
            if name in part:
                add_rows(self._col("base_" + name), rows, part[name])

    def _alive(self, part: Part) -> None:
        rows = self._rows(part)
        for name in COUNTERS:
            if name in part:
                add_rows(self._col(name), rows, part[name])
        mark_rows(self._col("alive"), rows)
        for name in ("max_rss_bytes", "uid", "comm"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        self._adoptions(rows, part)

    def _faults(self, part: Part) -> None:
        rows = self._rows(part)
        for name in _COW:
            if name in part:
                add_rows(self._col(name), rows, part[name])
        early = part.get("before_exec")
        if early is not None and 1 in early and "cow_copies" in part:
            copies = part["cow_copies"]
            keep = [i for i, e in enumerate(early) if e == 1]
            add_rows(self._col("cow_before_exec"), taken(rows, keep), [copies[i] for i in keep])
        # The last pair that was sent stands: sharing ends with the first exec or with the end.
        for name in ("parent_cow_birth", "parent_cow_end", "cow_total"):
            if name in part:
                set_rows(self._col(name), rows, part[name])

    def _decay(self, part: Part) -> None:
        pids: Any = part.get("pid") or nulls("pid", len(part["decay"]))
        for i, (own, counts) in enumerate(zip(part["since_own_fork"], part["decay"], strict=True)):
            if counts is None:
                continue
            row = -1  # no process' own: of many small ones together
            if pids[i] != NULL:
                row = self._rows({name: part[name][i : i + 1] for name in ("pid", "born_ns")})[0]
            have = self.decay.setdefault((row, own == 1), [0] * len(counts))
            for bucket, n in enumerate(counts[: len(have)]):
                have[bucket] += n

    def _stacks(self, part: Part) -> None:
        rows, counts = as_list(self._rows(part)), part["count"]
        samples: Any = part.get("samples", counts)
        early: Any = part.get("before_exec") or [0] * len(rows)
        self.stacks_sampled |= "inferred" in part.get("evidence", ())
        for row, before, frames, copies, found in zip(rows, early, part["frames"], counts, samples, strict=True):
            if not frames or copies == NULL:
                continue
            have = self.stacks.setdefault((row, before == 1, tuple(frames)), [0, 0])
            have[0] += copies
            have[1] += max(found, 0)

    def _rare(self, batch: Batch) -> None:
        kept: dict[int, Told] = {Kind.EXEC_FAILED: self.failed_execs, Kind.FORK_FAILED: self.failed_forks}
        for kind in batch.parts.keys() & _RARE:
            told = kept[kind] if kind in kept else Told(Kind(kind))
            told.add(batch.parts[kind], batch.kinds.count(kind))
            if kind == Kind.LOST:
                self.losses += [Loss(event.ts_ns, event.count, event.where) for event in told]
            elif kind == Kind.END:
                self.end = list(told)[-1]
