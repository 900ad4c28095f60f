"""Derived columns: CPU time is split as the kernel splits it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.tree.columns import cpu_splits

_NS = st.integers(0, 1 << 62)


def cputime_adjust(stime: int, utime: int, rtime: int) -> tuple[int, int]:
    """kernel/sched/cputime.c (6.18), with no previous values: (utime, stime)."""
    prev_utime = prev_stime = 0
    if prev_stime + prev_utime >= rtime:
        return prev_utime, prev_stime
    if stime and utime == 0:
        stime = rtime
    elif stime:
        stime = min(stime * rtime // (stime + utime), rtime)
    stime = max(stime, prev_stime)
    utime = rtime - stime
    if utime < prev_utime:
        utime = prev_utime
        stime = rtime - utime
    return utime, stime


@PROFILE
@given(_NS, _NS, _NS)
def test_cpu_time_is_split_as_the_kernel_splits_it(utime: int, stime: int, runtime: int) -> None:
    (user,), (system,) = cpu_splits([utime], [stime], [runtime])

    assert (user, system) == cputime_adjust(stime, utime, runtime)
    assert user + system == runtime
    assert min(user, system) >= 0


@pytest.mark.parametrize(
    ("ticks", "exact"), [((0, 0), (9, 0)), ((4, 0), (9, 0)), ((0, 4), (0, 9)), ((4, 8), (3, 6)), ((1, 1), (5, 4))]
)
def test_cpu_time_by_hand(ticks: tuple[int, int], exact: tuple[int, int]) -> None:
    user, system = cpu_splits([ticks[0]], [ticks[1]], [9])

    assert (user[0], system[0]) == exact
