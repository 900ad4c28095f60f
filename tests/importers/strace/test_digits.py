"""Numbers read eight bytes at a time are those that int() reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracer.importers.strace import tokens
from tracer.importers.strace.digits import Digits

_WORDS = st.lists(st.tuples(st.text("0123456789", max_size=10), st.sampled_from(list(b" ,a/:\xff\0<"))), max_size=30)


def laid_out(words: list[tuple[str, int]]) -> tuple[bytes, list[int], Digits]:
    data, places = b"x" * 16, []
    for word, after in words:
        places.append(len(data))
        data += word.encode() + bytes((after,))
    return data, places, Digits(np, np.frombuffer(data + b"\n" * 80, np.uint8))


def _array(places: list[int]) -> Any:
    return np.array(places, np.int64)


@given(_WORDS)
def test_a_number_at_a_place(words: list[tuple[str, int]]) -> None:
    _, places, digits = laid_out(words)

    value, count = digits.at(_array(places))

    for (word, _), got, size in zip(words, value.tolist(), count.tolist(), strict=True):
        assert (got, size) == (int(word), len(word)) if 0 < len(word) < 8 else size == 0


@given(_WORDS)
def test_a_number_before_a_place(words: list[tuple[str, int]]) -> None:
    _, places, digits = laid_out(words)
    ends = [place + len(word) for place, (word, _) in zip(places, words, strict=True)]

    value, count = digits.before(_array(ends))

    for (word, _), got, size in zip(words, value.tolist(), count.tolist(), strict=True):
        if len(word) < 8:
            assert size == len(word)
            assert not word or got == int(word)
        else:
            assert size == 8


@given(_WORDS, st.integers(1, 12))
def test_a_number_of_a_given_length(words: list[tuple[str, int]], size: int) -> None:
    data, places, digits = laid_out(words)

    value, good = digits.fixed(_array(places), size)

    for place, got, is_good in zip(places, value.tolist(), good.tolist(), strict=True):
        word = data[place : place + size].ljust(size, b"\n")
        assert is_good == word.isdigit()
        assert not is_good or got == int(word)


def test_words_of_interest_have_places_of_their_own() -> None:
    words = [int.from_bytes(word, "little") for word in tokens._OURS]

    assert len({(word * tokens._SPREAD & 0xFFFFFFFF) >> 26 for word in words}) == len(words)
