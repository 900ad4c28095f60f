"""What forks took: the fit says what is there, and nothing where nothing is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import exit_, fork, root, tree, vfork
from tests.strategies import PROFILE
from tracer.analyses.cost import MIB, Fit, Maker, cost, fit
from tracer.model.schema import NULL


def test_a_line_is_found_among_forks_that_were_held_up() -> None:
    chance = random.Random(7)
    sizes = [MIB * (10 + 7 * i) for i in range(60)]
    times = [40_000 + 19_000 * size // MIB + chance.randrange(-30_000, 30_000) for size in sizes]
    for i in (3, 17, 40, 41):
        times[i] += 80_000_000  # scheduled out in the middle

    found = fit(sizes, times)

    assert found is not None
    assert found.slope_ns == pytest.approx(19_000, rel=0.02)
    assert found.low_ns <= found.slope_ns <= found.high_ns
    assert found.base_ns == pytest.approx(40_000, abs=30_000)
    assert found.off_ns < 30_000
    assert (found.forks, found.least_bytes, found.most_bytes) == (60, sizes[0], sizes[-1])


@pytest.mark.parametrize(
    ("sizes", "times"),
    [
        ([MIB * i for i in range(1, 10)], [100 * i for i in range(1, 10)]),  # nine are too few
        ([MIB + 4096 * (i % 2) for i in range(40)], [100 * i + 1 for i in range(40)]),  # of one size
        ([MIB] * 80 + [20 * MIB, 21 * MIB], [5000] * 80 + [10**6, 10**6]),  # all but two of one size
        ([MIB * i for i in range(1, 40)], [5000] * 39),  # flat
        ([MIB * i for i in range(1, 40)], [90_000 - 100 * i for i in range(1, 40)]),  # downwards
        ([NULL] * 40, [5000] * 40),  # not measured
        ([], []),
    ],
)
def test_nothing_is_said_where_there_is_nothing(sizes: list[int], times: list[int]) -> None:
    assert fit(sizes, times) is None


@PROFILE
@given(
    st.lists(st.integers(1, 1 << 30), min_size=10, max_size=300, unique=True),
    st.integers(1, 1000),
    st.integers(0, 10**6),
)
def test_a_law_is_found_as_it_is(sizes: list[int], slope: int, base: int) -> None:
    found = fit(sizes, [base + slope * size for size in sizes])

    if max(sizes) < 1.5 * min(sizes):
        assert found is None
    else:
        assert found is not None
        assert found.slope_ns == pytest.approx(slope * MIB, rel=0.01)


def test_who_paid_and_how_much() -> None:
    t = tree(
        root(1, "a"),
        fork(1, 2, fork_ns=3_000_000, rss_bytes=64 * MIB),
        fork(1, 3, fork_ns=1_000_000, rss_bytes=32 * MIB),
        fork(2, 4, fork_ns=9_000_000, rss_bytes=None),
        vfork(1, 5, fork_ns=None),
        exit_(4),
    )

    found = cost(t)

    assert (found.forks, found.fork_ns, found.longest_ns) == (3, 13_000_000, 9_000_000)
    assert found.makers == (Maker(1, 1, 9_000_000, None), Maker(0, 2, 4_000_000, 64 * MIB))
    assert cost(t, limit=1).makers == found.makers[:1]


def test_not_measured_is_not_zero() -> None:
    found = cost(tree(root(1, "a"), fork(1, 2), exit_(2)))

    assert (found.forks, found.fork_ns, found.longest_ns, found.by_rss) == (0, None, None, None)


def test_a_fit_is_of_the_tree_s_forks() -> None:
    steps = [root(1, "a")]
    for i in range(1, 13):
        steps += [fork(1, 10 + i, fork_ns=i * 1000, rss_bytes=i * MIB, pgtables_bytes=i << 12), exit_(10 + i)]

    found = cost(tree(*steps))

    assert isinstance(found.by_rss, Fit)
    assert found.by_rss.slope_ns == pytest.approx(1000)
    assert found.by_tables is not None
    assert found.by_tables.slope_ns == pytest.approx(256_000)
