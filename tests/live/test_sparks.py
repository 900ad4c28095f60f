"""Series as bars."""

from __future__ import annotations

from tracer.live.sparks import sparks, squeezed


def test_the_newest_stands_right_and_what_was_not_measured_is_a_gap() -> None:
    assert sparks([0, 4, None, 8], 6) == "  ▁▅ █"
    assert sparks([0, 4, None, 8], 6, unicode=False) == "  _+ @"


def test_once_is_seen_beside_a_million() -> None:
    assert sparks([0, 1, 1_000_000], 3) == "▁▂█"


def test_little_is_not_drawn_as_much() -> None:
    assert sparks([1], 1, least=8) == "▂"


def test_exactly_as_wide_as_asked_for() -> None:
    assert [len(sparks(range(100), n)) for n in (0, 1, 7, 100, 130)] == [0, 1, 7, 100, 130]


def test_squeezing_keeps_the_peaks() -> None:
    assert squeezed([0, 9, 0, 0, None, None], 3) == [9, 0, None]
    assert squeezed([1, 2], 5) == [1, 2]
