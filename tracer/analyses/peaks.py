"""How many at once: processes that live, births within a second. Pure; knows spans, and not what they are of."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from tracer.analyses.tree_index import Shape
from tracer.model.schema import NULL
from tracer.model.vector_ops import numpy_for, occurrences, ordered, packed, view
from tracer.tree.tree import ProcessTree

_SECOND: Final = 10**9
_NOT_BORN_HERE: Final = frozenset({"root", "existing"})


def peak_alive(tree: ProcessTree, shape: Shape) -> int | None:
    """The most that lived at one time; None where a begin or an end is not known."""
    ends = tree.column("exit_ns")
    if occurrences(shape.begin, NULL):
        return None
    if occurrences(ends, NULL) and any(end == NULL and shape.ended[row] for row, end in enumerate(ends)):
        return None
    return peak(ordered(shape.begin), ordered(ends))


def peak(begins: Sequence[int], ends: Sequence[int]) -> int:
    """The most that are there at one time; both sorted. What ends as another begins makes room for it."""
    np = numpy_for(len(begins))
    if np is not None:
        gone = np.searchsorted(view(np, ends), view(np, begins), side="right")
        return max(0, int((np.arange(1, len(begins) + 1) - gone).max()))
    most = done = 0
    last = len(ends)
    for come, at in enumerate(begins, 1):
        while done < last and ends[done] <= at:
            done += 1
        most = max(most, come - done)
    return most


def peak_forks(tree: ProcessTree, shape: Shape) -> int | None:
    """Most births within one second; None where there were some, and it is not known when."""
    np = numpy_for(len(tree))
    if np is not None:
        how, words = tree.words("how")
        here = ~np.isin(how, [n for n, word in enumerate(words) if word in _NOT_BORN_HERE])
        births, made = packed(view(np, shape.begin)[here]), bool(here.any())
    else:
        found = [at for at, how in zip(shape.begin, tree.column("how"), strict=True) if how not in _NOT_BORN_HERE]
        births, made = array("q", found), bool(found)
    births = ordered(births)
    return _most_within(births, _SECOND) if births or not made else None


def _most_within(stamps: Sequence[int], window: int) -> int:
    """The most of sorted `stamps` that lie within `window` of each other."""
    np = numpy_for(len(stamps))
    if np is not None:
        sorted_ = view(np, stamps)
        before = np.searchsorted(sorted_, sorted_ - window, side="right")
        return int((np.arange(1, len(sorted_) + 1) - before).max())
    most = first = 0
    for i, at in enumerate(stamps):
        while at - stamps[first] >= window:
            first += 1
        most = max(most, i + 1 - first)
    return most
