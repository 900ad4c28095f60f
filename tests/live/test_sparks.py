"""Series as bars."""

from __future__ import annotations

from tracer.live.sparks import sparks, spread


def test_the_newest_stands_right_and_what_was_not_measured_is_a_gap() -> None:
    assert sparks([0, 4, None, 8], 6) == "  ▁▅ █"
    assert sparks([0, 4, None, 8], 6, unicode=False) == "  _+ @"


def test_once_is_seen_beside_a_million() -> None:
    assert sparks([0, 1, 1_000_000], 3) == "▁▂█"


def test_little_is_not_drawn_as_much() -> None:
    assert sparks([1], 1, least=8) == "▂"


def test_exactly_as_wide_as_asked_for() -> None:
    assert [len(sparks(range(100), n)) for n in (0, 1, 7, 100, 130)] == [0, 1, 7, 100, 130]


def test_counts_spread_over_fewer_or_more_columns() -> None:
    assert spread([2, 4, 0, 0, 1, 1], 3) == [3, 0, 1]
    assert spread([1, 2], 4) == [1, 1, 2, 2]
    assert spread([1, 1, 4], 2) == [1, 2.5]
    assert spread([], 4) == []
