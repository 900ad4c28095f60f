"""The index finds what a dict would, whether keys are young or old, and wherever they are hashed to."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.tree.index import Index

WORD = (1 << 63) - 1
keys = st.tuples(st.integers(-3, 40) | st.integers(-WORD, WORD), st.integers(-3, 40) | st.integers(-WORD, WORD))


class Rows:
    """Keys and their rows, as a tree has them."""

    def __init__(self) -> None:
        self.pids, self.borns = array("q"), array("q")
        self.index = Index(self.pids, self.borns)
        self.truth: dict[tuple[int, int], int] = {}

    def add(self, new: Sequence[tuple[int, int]], *, together: bool) -> None:
        new = [key for key in dict.fromkeys(new) if key not in self.truth]
        first = len(self.pids)
        for row, (pid, born) in enumerate(new, first):
            self.truth[pid, born] = row
            self.pids.append(pid)
            self.borns.append(born)
            if not together:
                self.index[pid, born] = row
        if together:
            self.index.add(first, len(new))

    def found(self, wanted: Sequence[tuple[int, int]]) -> list[int]:
        pids, borns = (np.array([key[i] for key in wanted], np.int64) for i in (0, 1))
        found: list[int] = self.index.find(pids, borns).tolist()
        return found


@PROFILE
@given(st.lists(st.tuples(st.lists(keys, max_size=30), st.booleans(), st.booleans()), max_size=8), st.booleans())
def test_finds_what_a_dict_would(steps: list[tuple[list[tuple[int, int]], bool, bool]], crowded: bool) -> None:
    rows = Rows()
    if crowded:  # all of them want one of two places
        rows.index._factors = [0, 1 << 63, 1]
    for new, together, many in steps:
        wanted = [*new, *rows.truth, (7, 7)]
        rows.add(new, together=together)
        if many:
            assert rows.found(wanted) == [rows.truth.get(key, -1) for key in wanted]
        assert [rows.index.get(key) for key in wanted] == [rows.truth.get(key, -1) for key in wanted]
        assert len(rows.index) == len(rows.truth)


def test_nothing_is_found_in_an_empty_one() -> None:
    assert Rows().found([(1, 2), (3, 4)]) == [-1, -1]


def test_a_hundred_thousand_that_lie_as_a_kernel_makes_them() -> None:
    rows = Rows()
    made = [(1 + n % 32768, 10**15 + n * 997) for n in range(100_000)]
    for at in range(0, len(made), 9000):
        rows.add(made[at : at + 9000], together=True)

    assert rows.found(made) == list(range(100_000))
    assert rows.found([(pid, born + 1) for pid, born in made]) == [-1] * 100_000
    rows.pids.append(1)  # nothing holds on to the columns, which must be free to grow
