"""The fork tree: fed with batches in stream order, read at any time.

    tree = ProcessTree(meta); tree.feed(batch) ...; tree.children(row); tree.value(row, "argv"); tree.column("pid")

Composed of tables that each ingest some kinds of event (`ProcessTree._handlers`). Nothing that a source can produce
raises: records may be lost, rows may not. Within one batch births are taken first, then execs, ends and releases;
identity makes that safe.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tracer.model.batch import Batch, Event, nulls
from tracer.model.meta import Meta
from tracer.model.schema import NULL, PROCESS_COLUMNS, Kind, Part
from tracer.model.vector_ops import Groups, least_and_most, view
from tracer.tree.births import Births
from tracer.tree.columns import Columns, signal_name
from tracer.tree.counters import Counters
from tracer.tree.ends import Ends
from tracer.tree.execs import Exec, Execs
from tracer.tree.failures import Failures, LazyEvents, Loss
from tracer.tree.table import Table
from tracer.tree.threads import Threads

__all__ = ["Exec", "Loss", "ProcessTree", "signal_name"]

_BOOLEANS = frozenset(c.name for c in PROCESS_COLUMNS if c.type == "b")


class ProcessTree:
    """Feed it batches in stream order; read it at any time."""

    def __init__(self, meta: Meta | None = None) -> None:
        self.meta = meta or Meta(source="")
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.counts: dict[str, int] = {}
        """Events taken in so far, by kind."""
        self._feeds = 0
        self._table = Table()
        self._threads = Threads(self._table)
        self._execs = Execs(self._table, self._threads)
        self._births = Births(self._table, self._threads)
        self._ends = Ends(self._table, self._threads)
        self._counters = Counters(self._table)
        self._failures = Failures()
        self._columns = Columns(self.meta, self._table, self._execs, lambda: (len(self), self._feeds))
        self._handlers: Mapping[Kind, Callable[[Part], None]] = {  # the order in which a batch's kinds are taken
            Kind.EXISTING: self._births.existing,
            Kind.FORK: self._births.forks,
            Kind.EXEC: self._execs.execs,
            Kind.RENAME: self._execs.renames,
            Kind.EXIT: self._ends.exits,
            Kind.ZOMBIE: self._ends.zombies,
            Kind.ADOPT: self._ends.adopted,
            Kind.REAP: self._ends.reaps,
            Kind.BASE: self._ends.bases,
            Kind.ALIVE: self._ends.alive,
            Kind.FAULTS: self._counters.faults,
            Kind.DECAY: self._counters.decays,
            Kind.STACKS: self._counters.stacks_of,
            Kind.EXEC_FAILED: self._failures.failed_execs,
            Kind.FORK_FAILED: self._failures.failed_forks,
            Kind.LOST: self._failures.lost,
            Kind.END: self._failures.ended,
        }
        self._grouped: dict[str, tuple[tuple[int, int], Groups]] = {}
        self._worded: dict[str, tuple[tuple[int, int], tuple[Any, list[str | None]]]] = {}

    def feed(self, batch: Batch) -> None:
        """Take in a batch. Never raises for what a source can produce: gaps are rows, not exceptions."""
        for kind, part in batch.parts.items():
            if "ts_ns" not in part:
                part["ts_ns"] = nulls("ts_ns", batch.kinds.count(kind))
            name = Kind(kind).name.lower()
            self.counts[name] = self.counts.get(name, 0) + len(part["ts_ns"])
            if kind != Kind.END:  # when the trace was closed is no event of the program's
                self._span(part["ts_ns"])
        for kind, handle in self._handlers.items():
            found = batch.parts.get(kind)
            if found is not None and len(found["ts_ns"]):
                handle(found)
        self._feeds += 1

    def _span(self, stamps: Sequence[int]) -> None:
        known = least_and_most(stamps, range(len(stamps)))
        if known is not None:
            first, last = known
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)

    def __len__(self) -> int:
        return self._table.size

    # -- beside the processes -------------------------------------------------------------------------------------

    @property
    def losses(self) -> list[Loss]:
        """Where records are missing."""
        return self._failures.losses

    @property
    def failed_execs(self) -> LazyEvents:
        """EXEC_FAILED events, in stream order."""
        return self._failures.execs

    @property
    def failed_forks(self) -> LazyEvents:
        """FORK_FAILED events, in stream order."""
        return self._failures.forks

    @property
    def end(self) -> Event | None:
        """The END event; None while the trace is open, or if it was cut off."""
        return self._failures.end

    @property
    def decay(self) -> dict[tuple[int, bool], list[int]]:
        """{(row, since its own last fork, else its creation): copies by time}; see Counters.decay."""
        return self._counters.decay

    @property
    def stacks(self) -> dict[tuple[int, bool, tuple[str, ...]], list[int]]:
        """{(row, before its exec, functions): [copies, samples]}; see Counters.stacks."""
        return self._counters.stacks

    @property
    def stacks_sampled(self) -> bool:
        """Stacks were sampled, so their copies are estimates."""
        return self._counters.sampled

    # -- reading ----------------------------------------------------------------------------------------------

    def row(self, pid: int, born_ns: int) -> int | None:
        """The row of a process; None if there is none."""
        row = self._table.index.get((pid, born_ns))
        return row if row >= 0 else None

    def parent(self, row: int) -> int | None:
        """Row of the parent, None if it is outside."""
        parent = self._table.parent[row]
        return parent if parent >= 0 else None

    def children(self, row: int) -> Sequence[int]:
        """Rows of the children, in order of birth."""
        return self._groups("children", self._table.parent).places(row)

    def roots(self) -> list[int]:
        """Rows without a parent in the trace."""
        roots: list[int] = np.flatnonzero(view(self._table.parent) < 0).tolist()
        return roots

    def is_gap(self, row: int) -> bool:
        """Its birth was not seen: the row stands for a process first heard of later."""
        return bool(self._table.gap[row])

    def ended(self, row: int) -> bool:
        """Its end was seen."""
        return bool(self._table.peek("ended")[row] == 1)

    def released(self, row: int) -> bool:
        """The kernel has released it: it is not a zombie any more."""
        return bool(self._table.peek("released")[row] == 1)

    def zombie_since(self, row: int) -> int | None:
        """When it ended without a waiting parent; None if it was reaped at once, or is not known."""
        at = self._table.peek("zombie_at")[row]
        return None if at == NULL else int(at)

    def begin_ns(self, row: int) -> int | None:
        """Where it begins on the screen: its creation; for the program forktrace started, its first exec."""
        peek = self._table.peek
        how = peek("how")[row]
        at = peek("exec_ns" if how == "root" else "birth_ts")[row]
        if at == NULL and how == "root":
            at = peek("birth_ts")[row]
        elif at == NULL and how != "existing" and peek("creator_pid")[row] == NULL:
            at = peek("born_ns")[row]  # its birth was never seen: the kernel's own stamp. A log's is none.
        return None if at == NULL else int(at)

    def execs(self, row: int) -> list[Exec]:
        """Every image it had, in order."""
        return [self._execs.one(i) for i in self._groups("execs", self._execs.process).places(row)]

    def all_execs(self) -> tuple[Sequence[int], Sequence[int]]:
        """(process row, time) of every exec, in stream order."""
        return self._execs.process, self._execs.ts

    def argvs(self) -> tuple[Sequence[tuple[str, ...]], Sequence[int]]:
        """(arguments, each different one once at least; where in these those of every exec are, NULL: not known).

        The execs are as `all_execs` has them.
        """
        return self._execs.argvs, self._execs.argv

    def last_argvs(self) -> Sequence[int]:
        """Where in `argvs` those of each process' last exec are; NULL: not known, or it never exec'd."""
        return self._columns.last_argvs()

    def stored(self, name: str) -> Any:
        """A column as it is stored: a signal by its number, flags by their bits. Not to be changed."""
        return self._table.whole(name)

    def counters(self, name: str) -> Any:
        """A stored counter, less what was there at the beginning. Not to be changed."""
        return self._columns.counters(name)

    def marks(self, name: str) -> bytearray:
        """1 where a stored column is 1."""
        column = self._table.columns.get(name)
        return bytearray(len(self)) if column is None else bytearray((view(column) == 1).tobytes())

    def keeps(self, name: str) -> bool:
        """Whether any source has reported anything for a stored column."""
        return name in self._table.columns

    def above(self) -> array[int]:
        """Row of the parent of each, -1 for none. Not to be changed."""
        return self._table.parent

    def gaps(self) -> bytearray:
        """1 where the birth was not seen. Not to be changed."""
        return self._table.gap

    def words(self, name: str) -> tuple[Any, list[str | None]]:
        """A stored column of words as numbers (numpy int64), and the word that each stands for."""
        known = self._worded.get(name)
        stamp = (len(self), self._feeds)
        if known is None or known[0] != stamp:
            column = self._table.whole(name)
            numbers: dict[str | None, int] = {word: n for n, word in enumerate(dict.fromkeys(column))}
            codes = np.fromiter(map(numbers.__getitem__, column), np.int64, len(self))
            known = self._worded[name] = (stamp, (codes, list(numbers)))
        return known[1]

    def threads(self, row: int) -> list[tuple[int, int | None, int | None]]:
        """(tid, creation, end) of each thread it made, in order of creation."""
        threads = self._threads
        born, end = threads.born, threads.end
        return [
            (threads.tid[i], None if born[i] == NULL else born[i], None if end[i] == NULL else end[i])
            for i in self._groups("threads", threads.process).places(row)
        ]

    def column(self, name: str) -> Any:
        """A process column in row order: array("q") with NULL, or a list with None. Not to be changed."""
        return self._columns.column(name)

    def value(self, row: int, name: str) -> Any:
        """One value of one process, None for null; booleans as bool."""
        value = self._columns.value(row, name)
        return bool(value) if value is not None and name in _BOOLEANS else value

    def record(self, row: int) -> dict[str, Any]:
        """All columns of one process; None for null."""
        return {c.name: self.value(row, c.name) for c in PROCESS_COLUMNS}

    def records(self) -> Iterator[dict[str, Any]]:
        """`record` of every process, in order of creation."""
        for row in range(len(self)):
            yield self.record(row)

    def _groups(self, name: str, of: Sequence[int]) -> Groups:
        """Made anew when the tree has grown since."""
        stamp = (len(self), len(of) + self._feeds)
        known = self._grouped.get(name)
        if known is None or known[0] != stamp:
            known = self._grouped[name] = (stamp, Groups(of, len(self)))
        return known[1]

    def _repr_html_(self) -> str:
        from tracer.tree.notebook_tree import outline

        return outline(self)
