from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tracer.errors import NoInputError
from tracer.recording.source import View, no_trace, open_source, regular_start


def test_an_open_file_is_taken_as_it_is() -> None:
    file = io.BytesIO(b"x")

    assert open_source(file) == (file, "the trace")


def test_a_name_is_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    file, name = open_source(tmp_path / "x")
    with file:
        assert (file.read(), name) == (b"abc", str(tmp_path / "x"))


@pytest.mark.parametrize(("path", "words"), [("/no/such", "there is no file"), ("/tmp", "is a folder")])
def test_what_can_not_be_opened(path: str, words: str) -> None:
    with pytest.raises(NoInputError, match=words):
        open_source(path)


def test_only_a_regular_file_has_a_beginning(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    read, write = os.pipe()
    with open(tmp_path / "x", "rb") as file, os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        file.read(2)

        assert regular_start(file) == 2
        assert regular_start(pipe) is None
    assert regular_start(io.BytesIO()) is None


def test_views_do_not_move_each_other(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    with open(tmp_path / "x", "rb") as file:
        one, two = View(file.fileno(), 2, "x"), View(file.fileno(), 5, "x")

        assert [one.read(2), two.read(2), one.read(2), two.tell(), file.tell()] == [b"23", b"56", b"45", 7, 0]


def test_every_refusal_has_a_mend() -> None:
    for head in (b"", b"\xff\xff", b"PAR1....", b"whatever"):
        assert no_trace("x", head).mend
