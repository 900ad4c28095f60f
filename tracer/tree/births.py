"""The rows of a fork tree: who gets one, when, and below whom. One row per process, in order of birth.

A process is found by (pid, born_ns). One that is first heard of by its exec or its end gets a row all the same, marked
as a gap; a parent that is heard of after its children gets them then. No process is its own ancestor, whatever a file
says. Knows births and threads; what happens in a life is growth.py's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.model.batch import Event
from tracer.model.frozen import record
from tracer.model.meta import Meta
from tracer.model.schema import LISTS, NULL, Kind, Part
from tracer.tree.index import Index
from tracer.tree.lazy_events import Told
from tracer.tree.table import add_rows, set_rows

CLONE_THREAD: Final = 0x10000

# Columns that come with a birth, and the event field each is.
BIRTH: Final = (
    ("pid", "pid"), ("born_ns", "born_ns"), ("ppid", "ppid"), ("creator_pid", "creator_pid"), ("pgid", "pgid"),
    ("sid", "sid"), ("uid", "uid"), ("clone_flags", "clone_flags"), ("fork_ns", "fork_ns"),
    ("pgtables_bytes", "pgtables_bytes"), ("rss_bytes", "rss_bytes"), ("how", "how"), ("syscall", "syscall"),
    ("ns_pids", "ns_pids"), ("cgroup", "cgroup"), ("comm", "comm"), ("birth_ts", "ts_ns"),
    ("exit_signal", "exit_signal"),
)  # fmt: skip


@record
class Loss:
    """Records that are missing, and where they went missing; `time_ns` and `count` may be unknown.

    `where` is a place, or a place and what was lost there: `events ring`, `skipped by the kernel: ends`.
    """

    time_ns: int | None
    count: int | None
    where: str | None

    @property
    def place(self) -> str | None:
        """Where it was lost."""
        return self.where.partition(": ")[0] if self.where else None

    @property
    def what(self) -> str | None:
        """What was lost: births, ends, ...; None where it may be anything."""
        return (self.where or "").partition(": ")[2] or None

    @property
    def may_be_ends(self) -> bool:
        """Whether ends of processes may be among it."""
        return self.what in (None, "ends")


class Rows:
    """The tables of a tree, and the births that fill them."""

    def __init__(self, meta: Meta | None = None) -> None:
        self.meta = meta or Meta(source="")
        self.losses: list[Loss] = []
        self.failed_execs, self.failed_forks = Told(Kind.EXEC_FAILED), Told(Kind.FORK_FAILED)
        self.end: Event | None = None
        self.decay: dict[tuple[int, bool], list[int]] = {}
        """(row, since its own last fork, else since its birth): copies by log2 of the time since, 1024 ns first.

        Row -1: those together that copied too little to have their own.
        """
        self.stacks: dict[tuple[int, bool, tuple[str, ...]], list[int]] = {}
        """(row, before its exec, functions with the one that wrote first): [copies that they stand for, samples]."""
        self.stacks_sampled = False  # and so their copies are estimates
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.counts: dict[str, int] = {}
        self._n = 0
        self._columns: dict[str, Any] = {"pid": array("q"), "born_ns": array("q")}
        self._index = Index(self._columns["pid"], self._columns["born_ns"])
        self._parent = array("q")  # row, -1: outside
        self._parent_keys: dict[int, tuple[int, int]] = {}  # rows whose parent was not there yet
        self._strays: dict[tuple[int, int], list[int]] = {}  # the same by parent
        self._gap = bytearray()
        # execs, one row each, in order; _last_exec points into them
        self._exec_row, self._exec_ts, self._exec_old_tid = array("q"), array("q"), array("q")
        self._exec_exe: list[str | None] = []
        self._exec_words: dict[str, list[str | None]] = {}  # interpreter, cwd; may be shorter than the execs
        self._exec_argv = array("q")  # where in _argvs; NULL: not known
        self._argvs: list[tuple[str, ...]] = []  # each different one, once at least
        self._known_argv: dict[tuple[str, ...], int] = {}
        # threads: process row, tid, birth, end
        self._thread_row, self._thread_tid = array("q"), array("q")
        self._thread_born, self._thread_end = array("q"), array("q")
        self._live_threads: dict[tuple[int, int], tuple[int, ...]] = {}  # by (tid, row); tids are used again
        self._changes = 0  # feeds so far: what is derived from the tables is made anew after one

    def __len__(self) -> int:
        return self._n

    def _col(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            column = [None] * self._n if name in LISTS else array("q", [NULL]) * self._n
            self._columns[name] = column
        return column

    def _grow(self, n: int) -> None:
        self._n += n
        for name, column in self._columns.items():
            missing = self._n - len(column)
            if missing > 0:
                column.extend([None] * missing if name in LISTS else array("q", [NULL]) * missing)

    def _births(self, part: Part, *, fork: bool) -> None:
        flags: Any = part.get("clone_flags")
        how: Any = part.get("how") or [None] * len(part["pid"])
        pids, borns = part["pid"], part["born_ns"]
        n = len(pids)
        tids: Any = part.get("tid", pids)
        fresh: list[int] = []
        again: list[tuple[int, int]] = []
        threads: list[tuple[tuple[int, int], int, int]] = []
        index, parent = self._index, self._parent
        row = first = self._n
        for i in range(n):
            key = (pids[i], borns[i])
            if tids[i] != pids[i] or (flags is not None and flags[i] != NULL and flags[i] & CLONE_THREAD):
                if how[i] != "io_worker":
                    threads.append((key, tids[i], part["ts_ns"][i]))
                continue
            known = index.get(key)
            if known >= first:
                if fork:  # a source has put itself right within one batch
                    again.append((known, i))
                continue
            if known >= 0:
                # A fork record is the truth about parentage; anything else only fills gaps.
                if fork or self._gap[known]:
                    self._rebirth(known, part, i)
                continue
            index[key] = row
            above = self._above(part, i)
            above_row = index.get(above) if above and above != key else -1
            if above and above_row < 0:
                self._await_parent(row, above)
            parent.append(above_row)
            self._gap.append(0)
            fresh.append(i)
            row += 1
        if fresh:
            whole = len(fresh) == n
            for name, source in BIRTH:
                values = part.get(source)
                if values is not None:
                    self._col(name).extend(values if whole else type(values)(*typed(values, fresh)))
            self._grow(len(fresh))
            self._gather_all(first)
        for known, i in again:
            self._rebirth(known, part, i)
        for key, tid, ts in threads:
            self._thread_birth(key, tid, ts)

    def _above(self, part: Part, i: int) -> tuple[int, int] | None:
        """Who the parent of a birth is; None if that is nobody's business, or not known."""
        ppids, borns, how = part.get("ppid"), part.get("parent_born_ns"), part.get("how")
        if ppids is None or borns is None or (how is not None and how[i] == "root"):
            return None
        return ppids[i], borns[i]

    def _rebirth(self, row: int, part: Part, i: int) -> None:
        for name, source in BIRTH:
            values = part.get(source)
            if values is not None:
                set_rows(self._col(name), (row,), (values[i],))
        self._gap[row] = 0
        above = self._above(part, i)
        if above:
            self._link_or_await(row, above)

    def _link_or_await(self, row: int, key: tuple[int, int]) -> None:
        known = self._index.get(key)
        if known >= 0:
            self._link(row, known)
        else:
            self._parent[row] = -1
            self._await_parent(row, key)

    def _await_parent(self, row: int, key: tuple[int, int]) -> None:
        self._parent_keys[row] = key
        self._strays.setdefault(key, []).append(row)

    def _gather_all(self, first: int) -> None:
        """The rows from `first` on are new, and some of them may be waited for."""
        if not self._strays:
            return
        if len(self._strays) * 8 < self._n - first:
            found = [(row, key) for key in self._strays if (row := self._index.get(key)) >= first]
        else:
            keys = zip(self._columns["pid"][first:], self._columns["born_ns"][first:], strict=True)
            found = [(row, key) for row, key in enumerate(keys, first) if key in self._strays]
        for row, key in sorted(found):
            self._gather(key, row)

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
        if row < 0:
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

    def _rows(self, part: Part) -> Any:
        """The row of each event of a part, as a list or numpy's; unknown processes get a gap row."""
        get = self._index.get
        rows = list(map(get, zip(part["pid"], part["born_ns"], strict=True)))
        if -1 in rows:
            for i, row in enumerate(rows):
                if row < 0:
                    rows[i] = self._found_or_gap(part, i)
        return rows

    def _found_or_gap(self, part: Part, i: int) -> int:
        key = part["pid"][i], part["born_ns"][i]
        row = self._index.get(key)
        if row < 0:
            row = self._gap_row(key)
            ppids, parent_borns = part.get("ppid"), part.get("parent_born_ns")
            if ppids is not None:
                self._col("ppid")[row] = ppids[i]
                if parent_borns is not None:
                    self._link_or_await(row, (ppids[i], parent_borns[i]))
        return row


def typed(values: Any, keep: Sequence[int]) -> tuple[Any, ...]:
    """Arguments that make a column of the type of `values` from the rows in `keep`."""
    picked = [values[i] for i in keep]
    return (picked,) if isinstance(values, list) else (values.typecode, picked)
