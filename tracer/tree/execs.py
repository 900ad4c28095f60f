"""Ingest EXEC and RENAME: the images of each process, one after the other, and what the first exec means.

Every exec has a row of its own, in stream order; each process knows its last. Arguments are kept once however often
they come.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from tracer.model.frozen import record
from tracer.model.schema import NULL, SUMS, Kind, Part
from tracer.model.vector_ops import view
from tracer.tree.parents import adoptions
from tracer.tree.table import Table, set_rows
from tracer.tree.threads import Threads

BASED: Final = SUMS[Kind.ALIVE]
"""Running totals: what they were when the trace's part of a process began is kept as base_NAME."""

_AT_FIRST_EXEC: Final = frozenset({"root", "vfork", "posix_spawn"})
_KNOWN_MOST: Final = 200_000


@record
class Exec:
    """One image of a process. `old_tid`: the thread that called execve, which takes the leader's place."""

    ts_ns: int
    exe: str | None
    argv: tuple[str, ...] | None
    old_tid: int | None


class Execs:
    """The table of execs."""

    def __init__(self, table: Table, threads: Threads) -> None:
        self._table = table
        self._threads = threads
        self.process, self.ts, self.old_tid = array("q"), array("q"), array("q")
        self.exe: list[str | None] = []
        self.words: dict[str, list[str | None]] = {}
        """interpreter and cwd of each exec; may be shorter than the execs."""
        self.argv = array("q")
        """Where in `argvs` the arguments of each exec are; NULL: not known."""
        self.argvs: list[tuple[str, ...]] = []
        """Arguments, each different one once at least."""
        self._known: dict[tuple[str, ...], int] = {}

    def execs(self, part: Part) -> None:
        """EXEC: a new image."""
        table = self._table
        rows = table.rows(part)
        n, base = len(rows), len(self.process)
        self.process.frombytes(rows.tobytes())
        self.ts.extend(part["ts_ns"])
        self.exe.extend(part.get("exe") or [None] * n)
        self.argv.extend(self._numbered(part.get("argv") or [None] * n))
        self.old_tid.extend(part.get("old_tid") or array("q", [NULL]) * n)
        first, at = self._count(rows, base)
        set_rows(table.column("exec_ns"), first, view(part["ts_ns"])[at])
        how = table.column("how")
        for row, i in zip(first.tolist(), at.tolist(), strict=True):
            if how[row] in _AT_FIRST_EXEC:
                self._first(row, part, i)
        for name in ("interpreter", "cwd"):
            values = part.get(name)
            if values is not None:
                words = self.words.setdefault(name, [])
                words.extend([None] * (base - len(words)))
                words.extend(values)
        table.accumulate(Kind.EXEC, rows, part)
        if "old_tid" in part and self._threads:  # it becomes the leader, and as a thread it never ends
            for row, tid, ts in zip(rows.tolist(), part["old_tid"], part["ts_ns"], strict=True):
                self._threads.ended(row, tid, ts)
        adoptions(table, rows, part)

    def renames(self, part: Part) -> None:
        """RENAME: a new comm. An exec sets one too, and those of the same batch were taken before."""
        rows, stamps = self._table.rows(part), part["ts_ns"]
        names = part.get("comm")
        if names is None:
            return
        last = self._table.column("last_exec")
        keep = [i for i, row in enumerate(rows.tolist()) if last[row] == NULL or self.ts[last[row]] <= stamps[i]]
        set_rows(self._table.column("comm"), rows[keep], [names[i] for i in keep])

    def argv_of(self, at: int) -> tuple[str, ...] | None:
        """The arguments of one exec."""
        number = self.argv[at]
        return None if number == NULL else self.argvs[number]

    def word_of(self, name: str) -> Callable[[int], str | None]:
        """How to read `interpreter` or `cwd` of one exec."""
        words = self.words.get(name, ())
        n = len(words)
        return lambda at: words[at] if at < n else None

    def one(self, at: int) -> Exec:
        """One exec."""
        old_tid = self.old_tid[at]
        return Exec(self.ts[at], self.exe[at], self.argv_of(at), None if old_tid == NULL else old_tid)

    def _count(self, rows: Any, base: int) -> tuple[Any, Any]:
        """Rows of the processes that had none before, and which of these execs is the first of each."""
        last, execs = view(self._table.column("last_exec")), view(self._table.column("execs"))
        numbers = np.arange(base, base + len(rows))
        last[rows] = numbers  # of one that has several, the last one stays
        if (last[rows] == numbers).all():  # none has
            processes, at, times = rows, numbers - base, np.ones_like(rows)
        else:
            processes, at, times = np.unique(rows, return_index=True, return_counts=True)
        new = execs[processes] == NULL
        execs[processes] = np.where(new, times, execs[processes] + times)
        return processes[new], at[new]

    def _first(self, row: int, part: Part, i: int) -> None:
        """What the first exec of a root or of a vfork means."""
        table = self._table
        if table.column("how")[row] == "root":
            for name in BASED:
                if name in part and table.column("base_" + name)[row] == NULL:
                    table.column("base_" + name)[row] = part[name][i]
            return
        done, birth = part.get("vfork_done_ns"), table.column("birth_ts")[row]
        end = done[i] if done is not None and done[i] != NULL else part["ts_ns"][i]
        if NULL not in (birth, end):
            table.column("vfork_blocked_ns")[row] = end - birth

    def _numbered(self, argvs: Sequence[Sequence[str] | None]) -> array[int]:
        """Where in `argvs` each is; equal ones are mostly one."""
        known, table = self._known, self.argvs
        if len(known) > _KNOWN_MOST:
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
