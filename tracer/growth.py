"""How a fork tree grows: what happens in a life, batch by batch, as columns.

Within one batch births are taken first (rows.py), then execs, ends and releases; identity makes that safe. Nothing that
a source can produce raises: records may be lost, rows may not.

Knows no source, and nothing of how the tree is read: that is tree.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.events import NULL, Batch, Kind, Part, nulls
from tracer.processes import COW_COLUMNS, add_rows, set_rows
from tracer.rows import Loss, Rows, typed

_COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
_COW: Final = (*COW_COLUMNS, "cow_unknown", "cow_gup")


class Growth(Rows):
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
        first, last = min(t for t in stamps), max(stamps)
        if first == NULL:
            known = [t for t in stamps if t != NULL]
            if not known:
                return
            first = min(known)
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = last if self.last_ns is None else max(self.last_ns, last)

    def _execs(self, part: Part) -> None:
        rows = self._rows(part)
        n = len(rows)
        stamps = part["ts_ns"]
        base = len(self._exec_row)
        self._exec_row.extend(rows)
        self._exec_ts.extend(stamps)
        self._exec_exe.extend(part.get("exe") or [None] * n)
        self._exec_argv.extend(self._intern(part.get("argv") or [None] * n))
        self._exec_old_tid.extend(part.get("old_tid") or array("q", [NULL]) * n)
        last, execs, first = self._col("last_exec"), self._col("execs"), self._col("exec_ns")
        done = part.get("vfork_done_ns")
        how, birth, blocked = self._col("how"), self._col("birth_ts"), self._col("vfork_blocked_ns")
        for i, row in enumerate(rows):
            last[row] = base + i
            if execs[row] == NULL:
                execs[row] = 1
                first[row] = stamps[i]
                if how[row] == "root":
                    for name in _COUNTERS:
                        if name in part and self._col("base_" + name)[row] == NULL:
                            self._col("base_" + name)[row] = part[name][i]
                elif how[row] in ("vfork", "posix_spawn") and birth[row] != NULL:
                    end = done[i] if done is not None and done[i] != NULL else stamps[i]
                    if end != NULL:
                        blocked[row] = end - birth[row]
            else:
                execs[row] += 1
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
            for row, tid, ts in zip(rows, part["old_tid"], stamps, strict=True):
                self._thread_end_at(tid, row, ts)
        self._adoptions(rows, part)

    def _renames(self, part: Part) -> None:
        """A process' new names. An exec gives one too, and those of the same batch were taken before."""
        rows, stamps = self._rows(part), part["ts_ns"]
        last, exec_ts = self._col("last_exec"), self._exec_ts
        keep = [i for i, row in enumerate(rows) if last[row] == NULL or exec_ts[last[row]] <= stamps[i]]
        names = part["comm"]
        set_rows(self._col("comm"), [rows[i] for i in keep], [names[i] for i in keep])

    def _intern(self, argvs: Sequence[Sequence[str] | None]) -> list[tuple[str, ...] | None]:
        known = self._known_argv
        if len(known) > 200_000:
            known.clear()
        result: list[tuple[str, ...] | None] = []
        for argv in argvs:
            if argv is None:
                result.append(None)
            else:
                words = tuple(argv)
                result.append(known.setdefault(words, words))
        return result

    def _adoptions(self, rows: Sequence[int], part: Part) -> None:
        ppids = part.get("ppid")
        if ppids is None:
            return
        born_to, adopted, since = self._col("ppid"), self._col("adopted_by"), self._col("adopted_ns")
        for row, ppid, ts in zip(rows, ppids, part["ts_ns"], strict=True):
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
            for i, row in enumerate(rows):
                if tids[i] != pids[i]:
                    self._thread_end_at(tids[i], row, part["ts_ns"][i])
        if last is not None and not all(v == 1 for v in last):
            keep = [i for i, v in enumerate(last) if v == 1]
            part = {name: type(col)(*typed(col, keep)) for name, col in part.items()}
            rows = [rows[i] for i in keep]
        set_rows(self._col("exit_ns"), rows, part["ts_ns"])
        ended = self._col("ended")
        for row in rows:
            ended[row] = 1
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
        for i, row in enumerate(rows):
            if how[row] in ("vfork", "posix_spawn") and execs[row] == NULL and NULL not in (birth[row], stamps[i]):
                blocked[row] = stamps[i] - birth[row]

    def _zombies(self, part: Part) -> None:
        """Told when they begin to be; or found, with how they ended, and whose they are by now."""
        rows = self._rows(part)
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
        ended = self._col("ended")
        for row in rows:
            ended[row] = 1
        for name in ("exit_code", "signal", "core_dumped"):
            if name in part:
                set_rows(self._col(name), rows, part[name])
        self._adoptions(rows, part)

    def _reaps(self, part: Part) -> None:
        rows = self._rows(part)
        for name in _COUNTERS:
            if name in part:
                add_rows(self._col(name), rows, part[name])
        released = self._col("released")
        pids: Any = part["pid"]
        tids: Any = part.get("tid", pids)
        for i, row in enumerate(rows):
            if tids[i] == pids[i]:
                released[row] = 1
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
            add_rows(self._col("cow_before_exec"), [rows[i] for i in keep], [copies[i] for i in keep])
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
        rows, counts = self._rows(part), part["count"]
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
