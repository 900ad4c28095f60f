"""How a fork tree grows: what happens in a life, batch by batch, as columns.

Within one batch births are taken first (rows.py), then execs, ends and releases; identity makes that safe. Nothing that
a source can produce raises: records may be lost, rows may not.

Knows no source, and nothing of how the tree is read: that is tree.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.bulk import Bulk
from tracer.events import NULL, Batch, Kind, Part, nulls
from tracer.processes import COW_COLUMNS, add_rows, mark_rows, set_rows
from tracer.rows import Loss, typed
from tracer.whole import least_and_most, numpy_of, view

_AT_FIRST_EXEC: Final = frozenset({"root", "vfork", "posix_spawn"})
_COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
_COW: Final = (*COW_COLUMNS, "cow_unknown", "cow_gup")


class Growth(Bulk):
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
        if parts.keys() & {Kind.LOST, Kind.END, Kind.EXEC_FAILED, Kind.FORK_FAILED}:
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

    def _execs(self, part: Part) -> None:
        rows = self._rows(part)
        n = len(rows)
        base = len(self._exec_row)
        extend(self._exec_row, rows)
        self._exec_ts.extend(part["ts_ns"])
        self._exec_exe.extend(part.get("exe") or [None] * n)
        self._exec_argv.extend(self._numbered(part.get("argv") or [None] * n))
        self._exec_old_tid.extend(part.get("old_tid") or array("q", [NULL]) * n)
        first, at = self._count_execs(rows, base)
        set_rows(self._col("exec_ns"), first, [part["ts_ns"][i] for i in as_list(at)])
        how = self._col("how")
        for row, i in zip(as_list(first), as_list(at), strict=True):
            if how[row] in _AT_FIRST_EXEC:
                self._first_exec(row, part, i)
        for name in ("interpreter", "cwd"):
            values = part.get(name)
            if values is not None:
                table = self._exec_words.setdefault(name, [])
                table.extend([None] * (base - len(table)))
                table.extend(values)
        for name in ("uid", "cgroup", "comm"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        if "old_tid" in part and self._live_threads:  # it becomes the leader, and as a thread it never ends
            for row, tid, ts in zip(as_list(rows), part["old_tid"], part["ts_ns"], strict=True):
                self._thread_end_at(tid, row, ts)
        self._adoptions(rows, part)

    def _count_execs(self, rows: Any, base: int) -> tuple[Any, Any]:
        """Rows of the processes that had none before, and which of these execs is the first of each."""
        last, execs = self._col("last_exec"), self._col("execs")
        np = numpy_of(rows)
        if np is None:
            first = []
            for i, row in enumerate(rows):
                last[row] = base + i
                if execs[row] == NULL:
                    execs[row] = 1
                    first.append(i)
                else:
                    execs[row] += 1
            return [rows[i] for i in first], first
        numbers = np.arange(base, base + len(rows))
        view(np, last)[rows] = numbers  # of one that has several, the last one stays
        if (view(np, last)[rows] == numbers).all():  # none has
            whose, at, times = rows, numbers - base, np.ones_like(rows)
        else:
            whose, at, times = np.unique(rows, return_index=True, return_counts=True)
        counted = view(np, execs)
        new = counted[whose] == NULL
        counted[whose] = np.where(new, times, counted[whose] + times)
        return whose[new], at[new]

    def _first_exec(self, row: int, part: Part, i: int) -> None:
        """What the first exec of a root or of a vfork means."""
        if self._col("how")[row] == "root":
            for name in _COUNTERS:
                if name in part and self._col("base_" + name)[row] == NULL:
                    self._col("base_" + name)[row] = part[name][i]
            return
        done, birth = part.get("vfork_done_ns"), self._col("birth_ts")[row]
        end = done[i] if done is not None and done[i] != NULL else part["ts_ns"][i]
        if NULL not in (birth, end):
            self._col("vfork_blocked_ns")[row] = end - birth

    def _renames(self, part: Part) -> None:
        """A process' new names. An exec gives one too, and those of the same batch were taken before."""
        rows, stamps = as_list(self._rows(part)), part["ts_ns"]
        last, exec_ts = self._col("last_exec"), self._exec_ts
        keep = [i for i, row in enumerate(rows) if last[row] == NULL or exec_ts[last[row]] <= stamps[i]]
        names = part["comm"]
        set_rows(self._col("comm"), [rows[i] for i in keep], [names[i] for i in keep])

    def _numbered(self, argvs: Sequence[Sequence[str] | None]) -> array[int]:
        """Where in the table of arguments each is; equal ones are mostly one."""
        known, table = self._known_argv, self._argvs
        if len(known) > 200_000:
            known.clear()
        # A reader may have made one list of those that are equal, which is seen sooner than that they are.
        numbers: dict[int, int] = {}
        for one, argv in {id(argv): argv for argv in argvs}.items():
            if argv is None:
                numbers[one] = NULL
                continue
            words = tuple(argv)
            number = numbers[one] = known.setdefault(words, len(table))
            if number == len(table):
                table.append(words)
        return array("q", map(numbers.__getitem__, map(id, argvs)))

    def _adoptions(self, rows: Sequence[int], part: Part) -> None:
        ppids = part.get("ppid")
        if ppids is None:
            return
        born_to, adopted, since = self._col("ppid"), self._col("adopted_by"), self._col("adopted_ns")
        stamps = part["ts_ns"]
        np = numpy_of(rows)
        if np is not None:  # most have the parent that they were born to
            moved = np.flatnonzero(view(np, born_to)[rows] != view(np, ppids)).tolist()
            rows, ppids, stamps = rows[moved].tolist(), [ppids[i] for i in moved], [stamps[i] for i in moved]
        for row, ppid, ts in zip(rows, ppids, stamps, strict=True):
            first = born_to[row]
            if ppid in (first, NULL) or first == NULL:
                continue
            # An exec may be taken before the earlier end of a thread: the first new parent by time counts.
            if adopted[row] == NULL or NULL < ts < since[row]:
                adopted[row], since[row] = ppid, ts

    def _exits(self, part: Part) -> None:
        rows = self._rows(part)
        for name in _COUNTERS:
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
        for name in _COUNTERS:
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
        for name in _COUNTERS:
            if name in part:
                add_rows(self._col("base_" + name), rows, part[name])

    def _alive(self, part: Part) -> None:
        rows = self._rows(part)
        for name in _COUNTERS:
            if name in part:
                add_rows(self._col(name), rows, part[name])
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
        for event in batch.events():
            if event.kind == Kind.LOST:
                self.losses.append(Loss(event.ts_ns, event.count, event.where))
            elif event.kind == Kind.EXEC_FAILED:
                self.failed_execs.append(event)
            elif event.kind == Kind.FORK_FAILED:
                self.failed_forks.append(event)
            elif event.kind == Kind.END:
                self.end = event


def as_list(rows: Any) -> list[int]:
    """Row numbers as Python has them."""
    return rows if isinstance(rows, list) else rows.tolist()


def taken(rows: Any, keep: Sequence[int]) -> Any:
    """Some of these, of the sort they are."""
    return [rows[i] for i in keep] if isinstance(rows, list) else rows[keep]


def extend(column: array[int], rows: Any) -> None:
    """More numbers at the end of a column."""
    if isinstance(rows, list):
        column.extend(rows)
    else:
        column.frombytes(rows.tobytes())
