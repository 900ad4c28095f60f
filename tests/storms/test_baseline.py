"""What is usual: a level that a burst does not move, and a limit that a quiet host does not cross."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tracer.storms.baseline import WARM_UP, Baseline


def fed(rates: list[int], usual: float | None = None) -> Baseline:
    baseline = Baseline(usual)
    for rate in rates:
        baseline.feed(rate)
    return baseline


def test_before_there_is_enough_to_go_by_the_average_since_boot_stands_in() -> None:
    assert (Baseline().level, Baseline().limit) == (None, 150.0)
    assert (Baseline(10.0).level, Baseline(10.0).limit) == (10.0, 150.0)
    assert Baseline(50.0).limit == 200.0
    assert Baseline(5000.0).limit == 250.0  # an average that was a storm itself
    assert not fed([1] * (WARM_UP - 1)).warm


def test_a_quiet_host_is_not_alarmed_by_little() -> None:
    assert fed([0] * 60).limit == 50.0
    assert fed([2, 9, 0, 4] * 20).limit == 50.0


def test_a_busy_host_has_a_limit_of_its_own() -> None:
    baseline = fed([180, 200, 220, 210, 190] * 20)

    assert baseline.level == 200.0
    assert baseline.limit == 800.0


@given(st.lists(st.integers(0, 100), min_size=40, max_size=80), st.lists(st.integers(5000, 50_000), max_size=15))
def test_a_burst_does_not_move_it(rates: list[int], burst: list[int]) -> None:
    assert fed([*rates, *burst]).limit <= 8 * 1.4826 * 100 + 400
    assert fed([*rates, *burst]).level is not None


@given(st.lists(st.integers(0, 1000), min_size=301, max_size=700))
def test_only_the_last_minutes_count(rates: list[int]) -> None:
    assert fed(rates).limit == fed(rates[-300:]).limit
