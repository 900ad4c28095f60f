"""Bytes of a terminal as names of keys, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.live.keys import Keys


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"q", ["q"]),
        (b" /\r\x7f\t", ["space", "/", "enter", "backspace", "tab"]),
        (b"\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~\x1b[1~\x1b[F", ["pgup", "pgdn", "home", "end"]),
        (b"\x1b[1;5A", ["up"]),
        (b"\x1b[15~\x1b[200~", []),  # keys that mean nothing here
        (b"\x1b]11;rgb:0000/0000/0000\x07q", ["q"]),  # a report of the terminal's
        (b"\x1b[?62;22c\x1b[24;80Rq", ["q"]),
        ("é×".encode(), ["é", "×"]),
        (b"\xff", ["\ufffd"]),
        (b"\x00\x01", []),
        (b"\x1b\x1b[A", ["esc", "up"]),
    ],
)
def test_names(data: bytes, names: list[str]) -> None:
    assert Keys().feed(data) == names


@given(st.lists(st.sampled_from([b"\x1b[A", b"\x1b[5~", b"q", "é".encode(), b"\x1bOD", b"\x1b[1;2B", b" "])), st.data())
def test_pieces_are_put_together(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    keys = Keys()
    found = [name for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) for name in keys.feed(whole[a:b])]

    assert found == Keys().feed(whole)
    assert not keys.waiting


def test_an_escape_alone_is_a_key_once_nothing_follows() -> None:
    keys = Keys()

    assert keys.feed(b"\x1b") == []
    assert keys.waiting
    assert keys.idle() == ["esc"]
    assert keys.feed(b"q") == ["q"]


@given(st.binary(max_size=200))
def test_no_bytes_raise_or_give_a_control_character(data: bytes) -> None:
    keys = Keys()

    for name in [*keys.feed(data), *keys.idle()]:
        assert len(name) > 1 or name.isprintable()


def test_a_sequence_without_an_end_is_not_kept_for_good() -> None:
    keys = Keys()
    keys.feed(b"\x1b]" + b"x" * 5000)

    assert not keys.waiting
