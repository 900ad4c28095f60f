"""How many at once: processes that live, births within a second. Pure; knows spans, and not what they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tracer.analyses.tree_index import Shape
from tracer.model.schema import NULL
from tracer.model.vector_ops import occurrences, ordered, packed, view
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
    if not len(begins):
        return 0
    gone = np.searchsorted(view(ends), view(begins), side="right")
    return max(0, int((np.arange(1, len(begins) + 1) - gone).max()))


def peak_forks(tree: ProcessTree, shape: Shape) -> int | None:
    """Most births within one second; None where there were some, and it is not known when."""
    how, words = tree.words("how")
    here = ~np.isin(how, [n for n, word in enumerate(words) if word in _NOT_BORN_HERE])
    births = ordered(packed(view(shape.begin)[here]))
    return _most_within(births, _SECOND) if births or not here.any() else None


def _most_within(stamps: Sequence[int], window: int) -> int:
    """The most of sorted `stamps` that lie within `window` of each other."""
    if not len(stamps):
        return 0
    sorted_ = view(stamps)
    before = np.searchsorted(sorted_, sorted_ - window, side="right")
    return int((np.arange(1, len(sorted_) + 1) - before).max())
