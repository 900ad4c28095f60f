"""What forks took: page-table copy time against the size of what was copied, and who paid most.

    cost(tree) -> Cost     .by_tables, .by_rss: a line fitted through the forks, None where they do not show one

The fit is the weighted Theil-Sen line: the slope is the median of the slopes between all pairs of forks, each pair
counting for as much as its sizes differ. A few forks that were scheduled out in the middle do not move it. It is not
given for fewer than ten forks, where sizes hardly differ, or where a quarter of the slopes are not upwards: then
there is nothing to be seen, whatever a least-squares line would say. Forks of one size are one point, their median.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracer.analyses.middle import median
from tracer.events import NULL
from tracer.record import record
from tracer.tree import ProcessTree

MIB: Final = 1 << 20
_LEAST: Final = 10  # forks, for a fit
_SPREAD: Final = 1.5  # the largest over the smallest size
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
    took = tree.column("fork_ns")
    rows = [row for row, ns in enumerate(took) if ns > 0]
    if not rows:
        return Cost(0, None, None, None, None, ())
    ns = [took[row] for row in rows]
    tables, rss, above = tree.column("pgtables_bytes"), tree.column("rss_bytes"), tree.column("parent_id")
    makers: dict[int, list[int]] = {}
    for row, each in zip(rows, ns, strict=True):
        sums = makers.get(above[row])
        if sums is None:
            makers[above[row]] = [1, each, rss[row]]
            continue
        sums[0] += 1
        sums[1] += each
        sums[2] = max(sums[2], rss[row])
    dearest = sorted(makers.items(), key=lambda item: -item[1][1])[:limit]
    return Cost(
        forks=len(rows),
        fork_ns=sum(ns),
        longest_ns=max(ns),
        by_tables=fit([tables[row] for row in rows], ns),
        by_rss=fit([rss[row] for row in rows], ns),
        makers=tuple(
            Maker(None if row == NULL else row, n, total, None if most == NULL else most)
            for row, (n, total, most) in dearest
        ),
    )


def fit(sizes: Sequence[int], times: Sequence[int]) -> Fit | None:
    """A line through (bytes, ns); NULL sizes are left out. None where there is none to be seen."""
    by_size: dict[int, list[int]] = {}
    for size, ns in zip(sizes, times, strict=True):
        if size > 0:
            by_size.setdefault(size, []).append(ns)
    n = sum(map(len, by_size.values()))
    if n < _LEAST or max(by_size) < _SPREAD * min(by_size):
        return None
    points = [(size, float(median(found)), len(found)) for size, found in sorted(by_size.items())]
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
    off = _quantile(sorted((abs(ns - base - slope * size), 1) for size, found in by_size.items() for ns in found), 0.5)
    return Fit(n, slope * MIB, low * MIB, high * MIB, base, off, min(by_size), max(by_size))


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
