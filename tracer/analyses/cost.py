"""What forks took: page-table copy time against the size of what was copied, and who paid most.

    cost(tree) -> Cost     .by_tables, .by_rss: a line fitted through the forks, None where they do not show one

The fit is the weighted Theil-Sen line: the slope is the median of the slopes between all pairs of forks, each pair
counting for as much as its sizes differ. A few forks that were scheduled out in the middle do not move it. It is not
given for fewer than ten forks, where sizes hardly differ, where all but one or two are of one size, or where a quarter
of the slopes are not upwards: then there is nothing to be seen, whatever a least-squares line would say. Forks of one
size are one point, their median.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tracer.analyses.median import median
from tracer.model.frozen import record
from tracer.model.schema import NULL
from tracer.model.vector_ops import above_zero, coded, least_and_most, taken, total, view
from tracer.tree.tree import ProcessTree

MIB: Final = 1 << 20
_LEAST: Final = 10  # forks, for a fit
_SPREAD: Final = 1.5  # the largest over the smallest size
_OTHERS: Final = 3  # forks that are not of the commonest size
_POINTS: Final = 200  # so that the pairs are few


@record
class Fit:
    """fork_ns = base_ns + slope_ns * size in MiB. `low_ns` to `high_ns`: the middle half of the slopes."""

    forks: int
    slope_ns: float  # per MiB
    low_ns: float
    high_ns: float
    base_ns: float
    off_ns: float  # half of the forks are nearer to the line than that
    least_bytes: int
    most_bytes: int


@record
class Maker:
    """Who forked, and what page-table copies took. `row`: its own; None outside of the trace."""

    row: int | None
    forks: int
    fork_ns: int
    rss_bytes: int | None  # at the largest


@record
class Cost:
    """`forks`: those whose page-table copy was timed. `makers`: the dearest first."""

    forks: int
    fork_ns: int | None
    longest_ns: int | None
    by_tables: Fit | None
    by_rss: Fit | None
    makers: tuple[Maker, ...]


def cost(tree: ProcessTree, limit: int = 8) -> Cost:
    """Of all forks that copied page tables."""
    rows, ns = _timed(tree)
    longest = least_and_most(ns, range(len(ns)))
    if longest is None:
        return Cost(0, None, None, None, None, ())
    return Cost(
        forks=len(rows),
        fork_ns=total(ns),
        longest_ns=longest[1],
        by_tables=fit(taken(tree.column("pgtables_bytes"), rows), ns),
        by_rss=fit(taken(tree.column("rss_bytes"), rows), ns),
        makers=tuple(_makers(tree, rows, ns, limit)),
    )


def _timed(tree: ProcessTree) -> tuple[Sequence[int], Sequence[int]]:
    """Rows of the forks whose page-table copy was timed, and what it took."""
    took = tree.column("fork_ns")
    rows = above_zero(took)
    return rows, taken(took, rows)


def _makers(tree: ProcessTree, rows: Sequence[int], ns: Sequence[int], limit: int) -> Iterator[Maker]:
    """The dearest; of equal ones who forked first."""
    above, rss = taken(tree.column("parent_id"), rows), taken(tree.column("rss_bytes"), rows)
    codes, n = coded(view(above))
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=n)
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(view(ns)[order], starts)
    most = np.maximum.reduceat(view(rss)[order], starts)
    dearest = np.lexsort((order[starts], -sums))[:limit]
    who = view(above)[order[starts]]
    found = zip(*(each[dearest].tolist() for each in (who, counts, sums, most)), strict=True)
    for maker, n, spent, size in found:
        yield Maker(None if maker == NULL else maker, n, spent, None if size == NULL else size)


def fit(sizes: Sequence[int], times: Sequence[int]) -> Fit | None:
    """A line through (bytes, ns); NULL sizes are left out. None where there is none to be seen."""
    points = _points(sizes, times)
    n = sum(m for *_, m in points)
    if n < _LEAST or points[-1][0] < _SPREAD * points[0][0] or n - max(m for *_, m in points) < _OTHERS:
        return None
    least, most = points[0][0], points[-1][0]
    points = _thinned(points)
    slopes = sorted(
        ((y1 - y0) / (x1 - x0), (x1 - x0) * min(n0, n1))
        for i, (x0, y0, n0) in enumerate(points)
        for x1, y1, n1 in points[i + 1 :]
    )
    low, slope, high = (_quantile(slopes, part) for part in (0.25, 0.5, 0.75))
    if low <= 0:
        return None
    base = _quantile(sorted((y - slope * x, m) for x, y, m in points), 0.5)
    known = view(sizes) > 0
    apart = np.abs(view(times)[known] - base - slope * view(sizes)[known])
    off = float(np.partition(apart, (n - 1) // 2)[(n - 1) // 2])
    return Fit(n, slope * MIB, low * MIB, high * MIB, base, off, least, most)


def _points(sizes: Sequence[int], times: Sequence[int]) -> list[tuple[int, float, int]]:
    """(size, median time, how many) of each size that is known, the least first."""
    size, ns = view(sizes), view(times)
    size, ns = size[size > 0], ns[size > 0]
    if not len(size) or size.min() == size.max():
        return [(int(size[0]), 0.0, len(size))] if len(size) else []  # through one point there is no line
    order = np.lexsort((ns, size))
    size, ns = size[order], ns[order]
    starts = np.flatnonzero(np.concatenate([[True], size[1:] != size[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(size)]]))
    medians = (ns[starts + (counts - 1) // 2] + ns[starts + counts // 2]) / 2
    return list(zip(size[starts].tolist(), medians.tolist(), counts.tolist(), strict=True))


def _thinned(points: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    """At most _POINTS of them, neighbours as one: their sizes' and times' medians."""
    step = -(-len(points) // _POINTS)
    if step < 2:
        return points
    groups = (points[i : i + step] for i in range(0, len(points), step))
    return [
        (int(median(x for x, _, _ in group)), median(y for _, y, _ in group), sum(m for _, _, m in group))
        for group in groups
    ]


def _quantile(weighed: Sequence[tuple[float, int]], part: float) -> float:
    """Of (value, weight) pairs, sorted."""
    left = part * sum(weight for _, weight in weighed)
    for value, weight in weighed:
        left -= weight
        if left <= 0:
            return value
    return weighed[-1][0]
