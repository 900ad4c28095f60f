from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.analyses.median import median


@given(st.lists(st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_it_is_the_standard_librarys(values: list[float]) -> None:
    assert median(values) == statistics.median(values)
    assert median(iter(values)) == statistics.median(values)


def test_there_is_none_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        median([])
