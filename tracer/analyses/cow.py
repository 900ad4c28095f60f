"""The copy-on-write ledger: for each fork, what both sides copied because of it, and what the fork itself took.

Pure: a tree in, frozen results out. A copy is a page that the kernel really copied (tracer/model/batch.py, cow_copies);
write-protect faults that re-used a page cost a fault and no memory, and are not in here. What the parent copied while
a child shared memory with it is that child's; a parent of several living children copies a page once for all of them,
so such shares overlap and do not add up to the total, which is counted apart. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from tracer.model.frozen import record
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.model.vector_ops import exact_sum, total, view
from tracer.tree.tree import ProcessTree

OTHERS: Final = ("reuses", "mkwrites", "zero_copies", "file_copies", "large_copies", "ksm_copies", "failed_wp")
"""What a write-protect fault may also be; file_copies has first writes too, which are no such faults."""

_CLONE_VM: Final = 0x100
_NO_FORKS: Final = (None, "root", "existing")
_SHARING: Final = ("vfork", "posix_spawn")


def bytes_of(pages: int | None, page: int | None) -> int | None:
    """None where either is not known."""
    return None if pages is None or page is None else pages * page


@record
class Edge:
    """One fork. Pages and ns; None is not measured. `row`: the child's; `parent`: its creator's, None outside."""

    row: int
    parent: int | None
    shares_memory: bool  # vfork, posix_spawn, CLONE_VM: nothing to copy
    fork_ns: int | None
    pgtables_bytes: int | None
    rss_bytes: int | None
    child_copies: int | None  # while it shared the parent's memory: up to its first exec
    before_exec: int | None  # the same if it went on to exec, else 0
    parent_copies: int | None  # while the child shared its memory
    to_exec_ns: int | None  # from birth to first exec
    page: int | None  # bytes of a page; huge ones are copied a page at a time since v5.8

    @property
    def copies(self) -> int | None:
        """Both sides; a side that is not known counts nothing, both unknown is unknown."""
        known = [n for n in (self.child_copies, self.parent_copies) if n is not None]
        return sum(known) if known else None

    @property
    def bytes(self) -> int | None:
        """Memory that the fork made necessary."""
        return bytes_of(self.copies, self.page)

    @property
    def child_bytes(self) -> int | None:
        """What the child copied of it."""
        return bytes_of(self.child_copies, self.page)

    @property
    def parent_bytes(self) -> int | None:
        """What the parent copied of it."""
        return bytes_of(self.parent_copies, self.page)

    @property
    def bytes_before_exec(self) -> int | None:
        """What the child copied for nothing."""
        return bytes_of(self.before_exec, self.page)

    @property
    def share(self) -> float | None:
        """Of the parent's resident memory at the fork, 0..; over 1 when pages were copied that came later."""
        if self.bytes is None or not self.rss_bytes:
            return None
        return self.bytes / self.rss_bytes

    @property
    def wasted(self) -> bool:
        """It went on to exec, so posix_spawn would have copied nothing."""
        return self.to_exec_ns is not None and not self.shares_memory


@record
class Ledger:
    """`edges`: the dearest first. Totals are of the whole trace, not only of `edges`."""

    edges: tuple[Edge, ...]
    forks: int  # that copied an address space; those that shared it have no place in here
    copies: int | None  # pages, each once
    wp_faults: int | None  # what a tool that counts write-protect faults would say
    reuses: int | None
    before_exec: int | None  # copied by children that then went on to exec: for nothing
    fork_ns: int | None  # page-table copying, all forks
    since_birth: tuple[int, ...]  # copies by log2 of the time since the child's birth, first bucket 1024 ns
    since_fork: tuple[int, ...]  # the parents', since their own last fork
    gup: int | None  # copies without an exception, for a thread that may not be the owner
    page: int | None = None  # bytes of a page
    others: tuple[tuple[str, int], ...] = ()  # (column of OTHERS, sum): write-protect faults that were no fork's copies

    @property
    def bytes(self) -> int | None:
        """All that was copied."""
        return bytes_of(self.copies, self.page)

    @property
    def bytes_before_exec(self) -> int | None:
        """What was copied for nothing."""
        return bytes_of(self.before_exec, self.page)


def ledger(tree: ProcessTree, limit: int | None = 20) -> Ledger:
    """The dearest `limit` forks (None: all), by bytes, then by page-table copy time."""
    dearest, forks, wasted = _dearest(tree, limit)
    return Ledger(
        edges=tuple(edges_of(tree, dearest)),
        forks=forks,
        copies=total(tree.column("cow_copies")),
        wp_faults=total(tree.column("wp_faults")),
        reuses=total(tree.column("reuses")),
        before_exec=wasted if Fact.COW in tree.meta.facts else None,
        fork_ns=total(tree.column("fork_ns")),
        since_birth=_histogram(tree, own=False),
        since_fork=_histogram(tree, own=True),
        gup=total(tree.column("cow_gup")),
        page=tree.meta.page_size,
        others=tuple((name, n) for name in OTHERS if (n := total(tree.column(name))) is not None),
    )


def _dearest(tree: ProcessTree, limit: int | None) -> tuple[list[int], int, int]:
    """(rows of the dearest forks, forks that copied an address space, pages that were copied for nothing).

    The same as edges_of says, without an object a fork: a million would take seconds.
    """
    how, words = tree.words("how")
    apart = [n for n, word in enumerate(words) if word in _NO_FORKS or word in _SHARING]
    flags = view(tree.column("clone_flags"))
    rows = np.flatnonzero(~np.isin(how, apart) & ((flags == NULL) | (flags & _CLONE_VM == 0)))

    def column(name: str) -> Any:
        return view(tree.stored(name))[rows]

    above, birth, end = view(tree.above())[rows], column("parent_cow_birth"), column("parent_cow_end")
    of_parent = (end == NULL) & (birth != NULL) & (above >= 0)
    end = np.where(of_parent, view(tree.stored("cow_total"))[above], end)
    early, execed = column("cow_before_exec"), column("exec_ns") != NULL
    wasted = exact_sum(early[execed & (early > 0) & (column("birth_ts") != NULL)])
    pages = np.maximum(np.where(execed, early, column("cow_copies")), 0)
    pages += np.where((birth != NULL) & (end > birth), end - birth, 0)
    most = len(rows) if limit is None else limit
    best = _first_by((pages, np.maximum(column("fork_ns"), 0)), most)
    return rows[best].tolist(), len(rows), wasted


def _first_by(keys: tuple[Any, ...], most: int) -> Any:
    """Where the `most` largest are, by the first key, then by the next; of equal ones the first. Sorts no more."""
    at = np.arange(len(keys[0]))
    if 0 < most < len(at):
        least = np.partition(keys[0], len(at) - most)[len(at) - most]
        sure, maybe = at[keys[0] > least], at[keys[0] == least]
        if len(keys) > 1:
            maybe = maybe[_first_by(tuple(key[maybe] for key in keys[1:]), most - len(sure))]
        at = np.sort(np.concatenate([sure, maybe[: most - len(sure)]]))
    return at[np.lexsort(tuple(-key[at] for key in reversed(keys)))][:most]


def edges(tree: ProcessTree) -> Iterator[Edge]:
    """Every fork of the trace, in order of birth."""
    return edges_of(tree, range(len(tree)))


def edges_of(tree: ProcessTree, rows: Iterable[int]) -> Iterator[Edge]:
    """Those that are forks of these rows, in their order."""
    names = (
        "how",
        "clone_flags",
        "fork_ns",
        "pgtables_bytes",
        "rss_bytes",
        "cow_copies",
        "cow_before_exec",
        "parent_cow_birth",
        "parent_cow_end",
        "exec_ns",
        "birth_ts",
        "cow_total",
    )
    hows, flags, times, tables, rss, copied, early, births, ends, exec_ns, born, totals = map(tree.column, names)
    page = tree.meta.page_size
    for row in rows:
        how = hows[row]
        if how in _NO_FORKS:
            continue
        parent = tree.parent(row)
        birth, end, copies = births[row], ends[row], copied[row]
        if end == NULL and birth != NULL and parent is not None:
            end = totals[parent]  # the parent ended first: what it had copied by then is the end
        execed = exec_ns[row] != NULL
        own = 0 if early[row] == NULL and copies != NULL else early[row]  # no row from before the exec: nothing copied
        yield Edge(
            row=row,
            parent=parent,
            shares_memory=_shared(how, flags[row]),
            fork_ns=_known(times[row]),
            pgtables_bytes=_known(tables[row]),
            rss_bytes=_known(rss[row]),
            # What it copied later belongs to forks of its own: after an exec nothing is shared with the parent.
            child_copies=_known(own if execed else copies),
            before_exec=_known(own) if execed else 0,
            parent_copies=None if NULL in (birth, end) else max(0, end - birth),
            to_exec_ns=exec_ns[row] - born[row] if execed and born[row] != NULL else None,
            page=page,
        )


def _shared(how: str, flags: int) -> bool:
    return how in _SHARING or (flags != NULL and bool(flags & _CLONE_VM))


def _known(value: int) -> int | None:
    return None if value == NULL else value


def _histogram(tree: ProcessTree, *, own: bool) -> tuple[int, ...]:
    total: list[int] = []
    for (_, since_own), counts in tree.decay.items():
        if since_own == own:
            total += [0] * (len(counts) - len(total))
            for i, n in enumerate(counts):
                total[i] += n
    return tuple(total)
