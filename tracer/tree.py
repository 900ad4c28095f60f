"""Batches to a fork tree: columns and index arrays, one row per process, in order of birth.

Rows are found by (pid, born_ns), so the order of feeding matters only where the same fact comes twice. A process that
is first heard of by its exec or its end gets a row all the same, marked as a gap: records may be lost, rows may not.
Within one batch births are taken first, then execs, ends and releases; identity makes that safe.

Knows no source and no report. A million processes are some 60 arrays, not a million objects.
"""

from __future__ import annotations

import signal as _signal
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracer.cgroups import place
from tracer.events import NULL, Batch, Event, Fact, Kind, Meta, Part, flag_names
from tracer.processes import COLUMN_TYPES, COW_COLUMNS, PROCESS_COLUMNS, add_rows, cpu_split, set_rows

_CLONE_THREAD: Final = 0x10000

# Columns that come with a birth, and the event field each is.
_BIRTH: Final = (
    ("pid", "pid"), ("born_ns", "born_ns"), ("ppid", "ppid"), ("creator_pid", "creator_pid"), ("pgid", "pgid"),
    ("sid", "sid"), ("uid", "uid"), ("clone_flags", "clone_flags"), ("fork_ns", "fork_ns"),
    ("pgtables_bytes", "pgtables_bytes"), ("rss_bytes", "rss_bytes"), ("how", "how"), ("syscall", "syscall"),
    ("ns_pids", "ns_pids"), ("cgroup", "cgroup"), ("comm", "comm"), ("birth_ts", "ts_ns"),
    ("exit_signal", "exit_signal"),
)  # fmt: skip
_COUNTERS: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count")
_COW: Final = (*COW_COLUMNS, "cow_unknown", "cow_gup")
_LISTS: Final = frozenset({"how", "syscall", "ns_pids", "cgroup", "comm"})
_SIGNALS: Final = {int(s): s.name for s in _signal.Signals}


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal as SIGRTMIN+n by the C library's numbers; else SIG99."""
    if number in _SIGNALS:
        return _SIGNALS[number]
    rtmin = int(_signal.SIGRTMIN)
    return f"SIGRTMIN+{number - rtmin}" if rtmin < number <= int(_signal.SIGRTMAX) else f"SIG{number}"


@dataclass(frozen=True)
class Exec:
    """One image of a process. `old_tid`: the thread that called execve, which takes the leader's place."""

    ts_ns: int
    exe: str | None
    argv: tuple[str, ...] | None
    old_tid: int | None


@dataclass(frozen=True)
class Loss:
    """Records that are missing, and where they went missing; `time_ns` may be unknown."""

    time_ns: int | None
    count: int | None
    where: str | None


class ProcessTree:
    """Feed it batches in stream order; read it at any time."""

    def __init__(self, meta: Meta | None = None) -> None:
        self.meta = meta or Meta(source="")
        self.losses: list[Loss] = []
        self.failed_execs: list[Event] = []
        self.failed_forks: list[Event] = []
        self.end: Event | None = None
        self.decay: dict[tuple[int, bool], list[int]] = {}
        """(row, since its own last fork, else since its birth): copies by log2 of the time since, 1024 ns first."""
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.counts: dict[str, int] = {}
        self._n = 0
        self._columns: dict[str, Any] = {}
        self._index: dict[tuple[int, int], int] = {}
        self._parent = array("q")  # row, -1: outside
        self._parent_keys: dict[int, tuple[int, int]] = {}  # rows whose parent was not there yet
        self._strays: dict[tuple[int, int], list[int]] = {}  # the same by parent
        self._gap = bytearray()
        # execs, one row each, in order; _last_exec points into them
        self._exec_row, self._exec_ts, self._exec_old_tid = array("q"), array("q"), array("q")
        self._exec_exe: list[str | None] = []
        self._exec_words: dict[str, list[str | None]] = {}  # interpreter, cwd; may be shorter than the execs
        self._exec_argv: list[tuple[str, ...] | None] = []
        self._known_argv: dict[tuple[str, ...], tuple[str, ...]] = {}
        # threads: process row, tid, birth, end
        self._thread_row, self._thread_tid = array("q"), array("q")
        self._thread_born, self._thread_end = array("q"), array("q")
        self._live_threads: dict[tuple[int, int], tuple[int, ...]] = {}  # by (tid, row); tids are used again
        self._child_start: array[int] | None = None
        self._child_rows = array("q")

    def __len__(self) -> int:
        return self._n

    # -- feeding ----------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> None:
        """Take in a batch. Never raises for what a source can produce: gaps are rows, not exceptions."""
        parts = batch.parts
        for kind, part in parts.items():
            n = len(part["ts_ns"]) if "ts_ns" in part else batch.kinds.count(kind)
            name = Kind(kind).name.lower()
            self.counts[name] = self.counts.get(name, 0) + n
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
            part = parts[Kind.ZOMBIE]
            set_rows(self._col("zombie_at"), self._rows(part), part["ts_ns"])
        if Kind.REAP in parts:
            self._reaps(parts[Kind.REAP])
        if Kind.ALIVE in parts:
            self._alive(parts[Kind.ALIVE])
        if Kind.FAULTS in parts:
            self._faults(parts[Kind.FAULTS])
        if Kind.DECAY in parts and parts[Kind.DECAY].keys() >= {"since_own_fork", "decay"}:
            self._decay(parts[Kind.DECAY])
        if parts.keys() & {Kind.LOST, Kind.END, Kind.EXEC_FAILED, Kind.FORK_FAILED}:
            self._rare(batch)
        self._child_start = None

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

    def _col(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            column = [None] * self._n if name in _LISTS else array("q", [NULL]) * self._n
            self._columns[name] = column
        return column

    def _grow(self, n: int) -> None:
        self._n += n
        for name, column in self._columns.items():
            missing = self._n - len(column)
            if missing > 0:
                column.extend([None] * missing if name in _LISTS else array("q", [NULL]) * missing)

    def _births(self, part: Part, *, fork: bool) -> None:
        flags: Any = part.get("clone_flags")
        how: Any = part.get("how") or [None] * len(part["pid"])
        pids, borns = part["pid"], part["born_ns"]
        n = len(pids)
        tids: Any = part.get("tid", pids)
        ppids: Any = part.get("ppid")
        parent_borns: Any = part.get("parent_born_ns")
        fresh: list[int] = []
        threads: list[tuple[tuple[int, int], int, int]] = []
        index, parent = self._index, self._parent
        row = self._n
        for i in range(n):
            key = (pids[i], borns[i])
            if tids[i] != pids[i] or (flags is not None and flags[i] != NULL and flags[i] & _CLONE_THREAD):
                if how[i] != "io_worker":
                    threads.append((key, tids[i], part["ts_ns"][i]))
                continue
            above = None
            if ppids is not None and parent_borns is not None and how[i] != "root":
                above = (ppids[i], parent_borns[i])
            known = index.get(key)
            if known is not None and known >= self._n:
                continue  # born twice in one batch: the first stands
            if known is not None:
                # A fork record is the truth about parentage; anything else only fills gaps.
                if fork or self._gap[known]:
                    self._rebirth(known, part, i, above)
                continue
            index[key] = row
            above_row = index.get(above, -1) if above and above != key else -1
            if above and above_row < 0:
                self._await_parent(row, above)
            parent.append(above_row)
            self._gap.append(0)
            fresh.append(i)
            row += 1
        if fresh:
            whole = len(fresh) == n
            for name, source in _BIRTH:
                values = part.get(source)
                if values is not None:
                    self._col(name).extend(values if whole else type(values)(*_typed(values, fresh)))
            self._grow(len(fresh))
            if self._strays:
                for at in range(self._n - len(fresh), self._n):
                    self._gather((self._col("pid")[at], self._col("born_ns")[at]), at)
        for key, tid, ts in threads:
            self._thread_birth(key, tid, ts)

    def _rebirth(self, row: int, part: Part, i: int, above: tuple[int, int] | None) -> None:
        for name, source in _BIRTH:
            values = part.get(source)
            if values is not None:
                set_rows(self._col(name), (row,), (values[i],))
        self._gap[row] = 0
        if above:
            self._link_or_await(row, above)

    def _link_or_await(self, row: int, key: tuple[int, int]) -> None:
        if key in self._index:
            self._link(row, self._index[key])
        else:
            self._parent[row] = -1
            self._await_parent(row, key)

    def _await_parent(self, row: int, key: tuple[int, int]) -> None:
        self._parent_keys[row] = key
        self._strays.setdefault(key, []).append(row)

    def _gather(self, key: tuple[int, int], parent: int) -> None:
        """A process has got its row after its children had theirs."""
        for row in self._strays.pop(key, ()):
            if self._parent_keys.get(row) == key:
                self._link(row, parent)

    def _link(self, row: int, above: int) -> None:
        """Make `above` the parent. No process is its own ancestor: a file that says so is not believed."""
        self._parent_keys.pop(row, None)
        self._parent[row] = -1
        up = above
        while up >= 0:
            if up == row:
                return
            up = self._parent[up]
        self._parent[row] = above

    def _thread_birth(self, key: tuple[int, int], tid: int, ts: int) -> None:
        row = self._index.get(key)
        if row is None:
            row = self._gap_row(key)
        self._live_threads[tid, row] = (*self._live_threads.get((tid, row), ()), len(self._thread_row))
        self._thread_row.append(row)
        self._thread_tid.append(tid)
        self._thread_born.append(ts)
        self._thread_end.append(NULL)
        add_rows(self._col("threads"), (row,), (1,))

    def _thread_end_at(self, tid: int, row: int, ts: int) -> None:
        """Of those that had this tid, the last one born by then: births of a batch are taken before ends."""
        living = self._live_threads.get((tid, row), ())
        born = self._thread_born
        at = next((i for i in reversed(living) if NULL in (ts, born[i]) or born[i] <= ts), None)
        if at is None:
            return  # an io_uring worker had the number before
        self._thread_end[at] = ts
        rest = tuple(i for i in living if i != at)
        if rest:
            self._live_threads[tid, row] = rest
        else:
            del self._live_threads[tid, row]

    def _gap_row(self, key: tuple[int, int]) -> int:
        row = self._n
        self._index[key] = row
        self._parent.append(-1)
        self._gap.append(1)
        self._grow(1)
        self._col("pid")[row], self._col("born_ns")[row] = key
        self._gather(key, row)
        return row

    def _rows(self, part: Part) -> list[int]:
        """The row of each event of a part; unknown processes get a gap row."""
        index = self._index
        keys = list(zip(part["pid"], part["born_ns"], strict=True))
        rows = [index.get(key, -1) for key in keys]
        if -1 in rows:
            ppids, parent_borns = part.get("ppid"), part.get("parent_born_ns")
            for i, row in enumerate(rows):
                if row >= 0:
                    continue
                row = index.get(keys[i], -1)
                if row < 0:
                    row = self._gap_row(keys[i])
                    if ppids is not None:
                        self._col("ppid")[row] = ppids[i]
                        if parent_borns is not None:
                            self._link_or_await(row, (ppids[i], parent_borns[i]))
                rows[i] = row
        return rows

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
                        if name in part:
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
            part = {name: type(col)(*_typed(col, keep)) for name, col in part.items()}
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
        for row, own, counts in zip(self._rows(part), part["since_own_fork"], part["decay"], strict=True):
            if counts is None:
                continue
            have = self.decay.setdefault((row, own == 1), [0] * len(counts))
            for i, n in enumerate(counts[: len(have)]):
                have[i] += n

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

    # -- reading ----------------------------------------------------------------------------------------------

    def row(self, pid: int, born_ns: int) -> int | None:
        """The row of a process."""
        return self._index.get((pid, born_ns))

    def parent(self, row: int) -> int | None:
        """Row of the parent, None if it is outside."""
        above = self._parent[row]
        return above if above >= 0 else None

    def children(self, row: int) -> Sequence[int]:
        """Rows of the children, in order of birth."""
        start = self._children()
        return self._child_rows[start[row] : start[row + 1]]

    def roots(self) -> list[int]:
        """Rows without a parent in the trace."""
        return [row for row, above in enumerate(self._parent) if above < 0]

    def _children(self) -> array[int]:
        if self._child_start is None:
            start = array("q", [0]) * (self._n + 1)
            for above in self._parent:
                if above >= 0:
                    start[above + 1] += 1
            for i in range(self._n):
                start[i + 1] += start[i]
            at, rows = array("q", start), array("q", [0]) * start[-1]
            for row, above in enumerate(self._parent):
                if above >= 0:
                    rows[at[above]] = row
                    at[above] += 1
            self._child_start, self._child_rows = start, rows
        return self._child_start

    def is_gap(self, row: int) -> bool:
        """Its birth was not seen: the row stands for a process first heard of later."""
        return bool(self._gap[row])

    def ended(self, row: int) -> bool:
        """Its end was seen."""
        return bool(self._col("ended")[row] == 1)

    def released(self, row: int) -> bool:
        """The kernel has let go of it: it is not a zombie any more."""
        return bool(self._col("released")[row] == 1)

    def zombie_since(self, row: int) -> int | None:
        """When its parent was told of its end and did not come; None if it was reaped at once, or is not known."""
        at = self._col("zombie_at")[row]
        return None if at == NULL else int(at)

    def begin_ns(self, row: int) -> int | None:
        """Where its life begins on the screen: its birth; for the program forktrace started, its first exec."""
        how = self._col("how")[row]
        at = self._col("exec_ns" if how == "root" else "birth_ts")[row]
        if at == NULL:
            at = self._col("born_ns")[row] if how != "root" else self._col("birth_ts")[row]
        return None if at == NULL else int(at)

    def execs(self, row: int) -> list[Exec]:
        """Every image it had, in order."""
        return [
            Exec(
                self._exec_ts[i], self._exec_exe[i], self._exec_argv[i],
                None if self._exec_old_tid[i] == NULL else self._exec_old_tid[i],
            )
            for i, at in enumerate(self._exec_row)
            if at == row
        ]  # fmt: skip

    def all_execs(self) -> tuple[Sequence[int], Sequence[int]]:
        """(process row, time) of every exec, in stream order."""
        return self._exec_row, self._exec_ts

    def threads(self, row: int) -> list[tuple[int, int | None, int | None]]:
        """(tid, birth, end) of each thread it made, in order of birth."""
        born, end = self._thread_born, self._thread_end
        return [
            (self._thread_tid[i], None if born[i] == NULL else born[i], None if end[i] == NULL else end[i])
            for i, at in enumerate(self._thread_row)
            if at == row
        ]

    def column(self, name: str) -> Any:
        """A process column in row order: array("q") with NULL, or a list with None, by its type in PROCESS_COLUMNS."""
        make = getattr(self, "_make_" + name, None)
        if make is not None:
            return make()
        column = self._col(name)
        if name in COLUMN_TYPES and not self._can_see(name):
            return [None] * self._n if name in _LISTS else array("q", [NULL]) * self._n
        return column

    def value(self, row: int, name: str) -> Any:
        """One value of one process, None for null; booleans as bool."""
        one = getattr(self, "_one_" + name, None)
        if one is not None:
            return one(row)
        v = self._col(name)[row]
        if v is None or v == NULL:
            return None
        return bool(v) if COLUMN_TYPES.get(name) == "b" else v

    def record(self, row: int) -> dict[str, Any]:
        """All columns of one process; None for null."""
        return {f.name: self.value(row, f.name) for f in PROCESS_COLUMNS}

    def records(self) -> Iterator[dict[str, Any]]:
        """`record` of every process, in order of birth."""
        for row in range(self._n):
            yield self.record(row)

    def _can_see(self, name: str) -> bool:
        return name != "threads" or Fact.THREADS in self.meta.facts

    # Derived columns: `_one_X` gives one value, `_make_X` the whole column.

    def _one_id(self, row: int) -> int:
        return row

    def _make_id(self) -> array[int]:
        return array("q", range(self._n))

    def _one_parent_id(self, row: int) -> int | None:
        return self.parent(row)

    def _make_parent_id(self) -> array[int]:
        return array("q", [NULL if above < 0 else above for above in self._parent])

    def _one_flags(self, row: int) -> list[str] | None:
        bits = self._col("clone_flags")[row]
        return None if bits == NULL else flag_names(bits)

    def _make_flags(self) -> list[list[str] | None]:
        names: dict[int, list[str] | None] = {NULL: None}
        return [names[b] if b in names else names.setdefault(b, flag_names(b)) for b in self._col("clone_flags")]

    def _one_ns_pids(self, row: int) -> list[int] | None:
        pids = self._col("ns_pids")[row]
        return None if pids is None else list(pids)

    def _make_ns_pids(self) -> list[Any]:
        return [None if p is None else list(p) for p in self._col("ns_pids")]

    def _of_exec(self, row: int, table: Sequence[Any]) -> Any:
        at = self._col("last_exec")[row]
        return None if at == NULL or at >= len(table) else table[at]

    def _one_exe(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_exe)  # type: ignore[no-any-return]

    def _make_exe(self) -> list[str | None]:
        return [self._of_exec(row, self._exec_exe) for row in range(self._n)]

    def _one_argv(self, row: int) -> list[str] | None:
        argv = self._of_exec(row, self._exec_argv)
        return None if argv is None else list(argv)

    def _make_argv(self) -> list[Any]:
        return [self._of_exec(row, self._exec_argv) for row in range(self._n)]

    def _one_interpreter(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("interpreter", ()))  # type: ignore[no-any-return]

    def _make_interpreter(self) -> list[str | None]:
        return [self._one_interpreter(row) for row in range(self._n)]

    def _one_cwd(self, row: int) -> str | None:
        return self._of_exec(row, self._exec_words.get("cwd", ()))  # type: ignore[no-any-return]

    def _make_cwd(self) -> list[str | None]:
        return [self._one_cwd(row) for row in range(self._n)]

    def _one_execs(self, row: int) -> int:
        n = self._col("execs")[row]
        return 0 if n == NULL else int(n)

    def _make_execs(self) -> array[int]:
        return array("q", [0 if n == NULL else n for n in self._col("execs")])

    def _one_threads(self, row: int) -> int | None:
        n = self._col("threads")[row]
        return (0 if Fact.THREADS in self.meta.facts else None) if n == NULL else int(n)

    def _make_threads(self) -> array[int]:
        none = 0 if Fact.THREADS in self.meta.facts else NULL
        return array("q", [none if n == NULL else n for n in self._col("threads")])

    def _one_signal(self, row: int) -> str | None:
        n = self._col("signal")[row]
        return None if n == NULL else signal_name(n)

    def _make_signal(self) -> list[str | None]:
        return [None if n == NULL else signal_name(n) for n in self._col("signal")]

    def _one_container(self, row: int) -> str | None:
        path = self._col("cgroup")[row]
        return place(path).container if path else None

    def _make_container(self) -> list[str | None]:
        known: dict[str | None, str | None] = {None: None}
        return [
            known[p] if p in known else known.setdefault(p, place(p).container if p else None)
            for p in self._col("cgroup")
        ]

    def _counter(self, row: int, name: str) -> int | None:
        value, base = self._col(name)[row], self._col("base_" + name)[row]
        if value == NULL:
            return None
        return int(value) if base == NULL else max(0, value - base)

    def _one_min_flt(self, row: int) -> int | None:
        return self._counter(row, "min_flt")

    def _one_maj_flt(self, row: int) -> int | None:
        return self._counter(row, "maj_flt")

    def _one_wpcopy_count(self, row: int) -> int | None:
        return self._counter(row, "wpcopy_count")

    def _make_wpcopy_count(self) -> array[int]:
        return self._by_row(self._one_wpcopy_count)

    def _one_cpu_user_ns(self, row: int) -> int | None:
        return self._cpu(row)[0]

    def _one_cpu_system_ns(self, row: int) -> int | None:
        return self._cpu(row)[1]

    def _cpu(self, row: int) -> tuple[int | None, int | None]:
        runtime = self._counter(row, "runtime_ns")
        utime, stime = self._counter(row, "utime_ns"), self._counter(row, "stime_ns")
        if utime is None or stime is None:
            return None, None
        return (utime, stime) if runtime is None else cpu_split(utime, stime, runtime)

    def _make_min_flt(self) -> array[int]:
        return self._by_row(self._one_min_flt)

    def _make_maj_flt(self) -> array[int]:
        return self._by_row(self._one_maj_flt)

    def _make_cpu_user_ns(self) -> array[int]:
        return self._by_row(self._one_cpu_user_ns)

    def _make_cpu_system_ns(self) -> array[int]:
        return self._by_row(self._one_cpu_system_ns)

    def _by_row(self, one: Any) -> array[int]:
        return array("q", [NULL if (v := one(row)) is None else v for row in range(self._n)])


def _typed(values: Any, keep: Sequence[int]) -> tuple[Any, ...]:
    """Arguments that make a column of the type of `values` from the rows in `keep`."""
    picked = [values[i] for i in keep]
    return (picked,) if isinstance(values, list) else (values.typecode, picked)
