from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from tracer.recording import text


def decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@given(st.binary())
def test_any_bytes_come_back(raw: bytes) -> None:
    stored = text.escape(decoded(raw))

    assert text.restore(stored.encode().decode()) == decoded(raw)


@given(st.text(st.characters(min_codepoint=0x10FE70, max_codepoint=0x10FF10)))
def test_what_looks_escaped_comes_back(odd: str) -> None:
    assert text.restore(text.escape(odd)) == odd


def test_an_odd_byte_is_one_character_that_names_it() -> None:
    assert text.escape("caf\udce9") == "caf\U0010fee9"


def test_a_surrogate_of_no_byte_is_replaced() -> None:
    assert text.escape("a\ud800b\udc41") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


@given(st.lists(st.binary(max_size=6).map(decoded)))
def test_pack_joins_what_escape_makes(values: list[str]) -> None:
    data, lengths = text.pack(values)

    assert data == b"".join(text.escape(v).encode() for v in values)
    assert list(lengths) == [len(text.escape(v).encode()) for v in values]


@given(st.binary(max_size=8).map(decoded))
def test_marked_finds_all_that_restore_changes(value: str) -> None:
    stored = text.escape(value)

    assert text.marked(stored.encode()) == (text.restore(stored) != stored)
