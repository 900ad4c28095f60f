"""Findings about memory: forks that copied for nothing, snapshots, workers that break the sharing.

Each takes a `Forks`, the forks of a tree that are worth a look, by who made them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tracer.analyses.cow import Edge, bytes_of, edges_of
from tracer.analyses.findings.finding import PAGE_WEIGHT_NS, Finding
from tracer.analyses.median import median
from tracer.analyses.stacks import sites
from tracer.model.schema import NULL
from tracer.model.vector_ops import view, where
from tracer.tree.tree import ProcessTree

DEAR_FORK_NS: Final = 300_000
"""A fork whose page-table copy took that long has a large parent."""

_SLOWEST_NS: Final = 50
"""A byte of page tables takes 9 ns to copy where nothing is in the way; who took longer than this was scheduled out."""

_WORTH_NS: Final = 5_000_000
_WORTH_BYTES: Final = 16 << 20
_WASTE_BYTES: Final = 1 << 20
_WASTE_PAGES: Final = 32  # of one fork: a dozen are copied between any fork and any exec
_SHARE: Final = 0.2  # of the parent's memory
_SAID: Final = 8
# The work of collectors, by the names that the functions bear in CPython, Ruby and PHP. A leaf may be a helper.
_COLLECTOR: Final = re.compile(
    r"^_?(py)?_?gc_(collect|mark|sweep|start|marks|refs|list|possible)|^(gc|cyclic)_?collect|^collect(_main|_generations)?"
    r"$|^(deduce_unreachable|update_refs|subtract_refs|visit_decref|visit_reachable|move_unreachable|"
    r"untrack_tuples|rb_gc|gc_mark|zend_gc)",
    re.IGNORECASE,
)


class Forks:
    """The forks worth a look: dear ones, and those that copied. `by_maker`: row of the creator's, -1 outside."""

    def __init__(self, tree: ProcessTree) -> None:
        self.tree = tree
        self.by_maker: dict[int, list[Edge]] = {}
        for edge in edges_of(tree, _candidates(tree)):
            if not edge.shares_memory:
                self.by_maker.setdefault(-1 if edge.parent is None else edge.parent, []).append(edge)


def _candidates(tree: ProcessTree) -> Iterable[int]:
    took, copies = tree.column("fork_ns"), tree.column("cow_copies")
    before, after = tree.column("parent_cow_birth"), tree.column("parent_cow_end")
    ns, n, first, last = (view(column) for column in (took, copies, before, after))
    # what the parent copied may be known only to the parent's end
    of_parent = (first != NULL) & ((last == NULL) | (last - first >= _WASTE_PAGES))
    return where((ns >= DEAR_FORK_NS) | (n >= _WASTE_PAGES) | of_parent)


def before_exec(forks: Forks) -> Iterator[Finding]:
    """fork and exec by a large parent: all of the page-table copy is for nothing, and what was copied meanwhile."""
    for maker, edges in forks.by_maker.items():
        wasted = [edge for edge in edges if edge.wasted]
        dear = [edge for edge in wasted if _is_dear(edge)]
        fork_ns = sum(edge.fork_ns or 0 for edge in dear)
        many = [edge for edge in wasted if (edge.copies or 0) >= _WASTE_PAGES]
        copied = sum(edge.bytes or 0 for edge in many)
        rss = [edge.rss_bytes for edge in wasted if edge.rss_bytes]
        if fork_ns >= _WORTH_NS:
            about, kind = dear, "fork_exec"
        elif copied >= _WASTE_BYTES:
            about, kind = many, "copied_before_exec"
        else:
            continue
        yield Finding(
            kind,
            None if maker < 0 else maker,
            _rows(about),
            {
                "forks": len(about),
                "fork_ns": fork_ns if dear else None,
                "copied_bytes": copied,
                "rss_bytes": int(median(rss)) if rss else None,
            },
            fork_ns + sum(edge.copies or 0 for edge in many) * PAGE_WEIGHT_NS,
        )


def _is_dear(edge: Edge) -> bool:
    """Its time is that of copying, and not of waiting for a processor: that is not saved by any other call."""
    ns, tables = edge.fork_ns or 0, edge.pgtables_bytes
    return ns >= DEAR_FORK_NS and (tables is None or ns <= tables * _SLOWEST_NS)


def snapshots(forks: Forks) -> Iterator[Finding]:
    """A child that did not exec while its parent rewrote a good part of what they shared: memory for both is needed."""
    for maker, edges in forks.by_maker.items():
        found = [
            edge
            for edge in edges
            if edge.to_exec_ns is None
            and (edge.parent_copies or 0) >= (edge.child_copies or 0)
            and (edge.parent_bytes or 0) >= _WORTH_BYTES
            and (edge.share or 0) >= _SHARE
        ]
        if not found:
            continue
        worst = max(found, key=lambda edge: edge.bytes or 0)
        life = _life(forks.tree, worst.row)
        yield Finding(
            "snapshot",
            None if maker < 0 else maker,
            _rows(sorted(found, key=lambda edge: -(edge.bytes or 0))),
            {
                "forks": len(found),
                "copied_bytes": worst.bytes,
                "parent_bytes": worst.parent_bytes,
                "share": worst.share,
                "rss_bytes": worst.rss_bytes,
                "life_ns": life,
            },
            max(edge.copies or 0 for edge in found) * PAGE_WEIGHT_NS,
        )


def workers(forks: Forks) -> Iterator[Finding]:
    """Children without an exec that copy much of what they were to share with their parent."""
    for maker, edges in forks.by_maker.items():
        found = [edge for edge in edges if edge.to_exec_ns is None and _breaks(edge)]
        copied = sum(edge.child_bytes or 0 for edge in found)
        if len(found) < 2 or copied < _WORTH_BYTES:
            continue
        shares = [(edge.child_bytes or 0) / (edge.rss_bytes or 1) for edge in found]
        by, part = _code(forks.tree, [edge.row for edge in found])
        collector = by is not None and bool(_COLLECTOR.match(by)) and (part or 0) >= 0.5
        yield Finding(
            "collector" if collector else "workers_copy",
            None if maker < 0 else maker,
            _rows(found),
            {
                "workers": len(found),
                "copied_bytes": copied,
                "share": median(shares),
                "function": by,
                "part": part,
                "heap_bytes": _sum(forks.tree, found, "cow_heap"),
                "rss_bytes": found[0].rss_bytes,
            },
            sum(edge.child_copies or 0 for edge in found) * PAGE_WEIGHT_NS,
        )


def _breaks(edge: Edge) -> bool:
    bytes_ = edge.child_bytes or 0
    return bytes_ >= _WASTE_BYTES and edge.rss_bytes is not None and bytes_ >= _SHARE * edge.rss_bytes


def _code(tree: ProcessTree, rows: Sequence[int]) -> tuple[str | None, float | None]:
    """The function that made most copies in these processes, and its part of those that stacks were taken at."""
    if not tree.stacks:
        return None, None
    wanted = set(rows)
    by: dict[str, int] = {}
    for site in sites(tree, 1000).sites:
        if site.frames and wanted & set(site.rows):
            name = next((name for name in site.frames if _COLLECTOR.match(name)), site.frames[0])
            by[name] = by.get(name, 0) + site.copies
    if not by:
        return None, None
    most = max(by, key=lambda name: by[name])
    return most, by[most] / sum(by.values())


def _rows(edges: Sequence[Edge]) -> tuple[int, ...]:
    return tuple(edge.row for edge in edges[:_SAID])


def _sum(tree: ProcessTree, edges: Sequence[Edge], name: str) -> int | None:
    column = tree.column(name)
    known = [column[edge.row] for edge in edges if column[edge.row] != NULL]
    return bytes_of(sum(known), tree.meta.page_size) if known else None


def _life(tree: ProcessTree, row: int) -> int | None:
    begin, end = tree.begin_ns(row), tree.value(row, "exit_ns")
    return None if begin is None or end is None else max(0, int(end) - begin)
