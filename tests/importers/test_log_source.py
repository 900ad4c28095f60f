"""Files as lines: packed or not, cut, too long, from a pipe; never more at once than was asked for."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import need
from tracer.errors import NoInputError
from tracer.importers import log_source
from tracer.importers.log_source import LogSource

_TEXT = b"".join(b"line %d of some text\n" % n for n in range(5000))
_PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def zstd(data: bytes, path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(data)


def made(path: Path, how: str, data: bytes = _TEXT) -> LogSource:
    if how == "zstd":
        zstd(data, path)
    else:
        path.write_bytes(_PACK[how](data))
    return LogSource(str(path))


def text(source: LogSource) -> bytes:
    return b"".join(source.blocks())


@pytest.mark.parametrize("how", [*_PACK, "zstd"])
def test_content_is_unpacked(how: str, tmp_path: Path) -> None:
    source = made(tmp_path / "log", how)

    assert source.head == _TEXT[: log_source.HEAD]
    assert text(source) == _TEXT
    assert (source.damaged, source.closed, source.packed) == (None, True, how != "plain")


@pytest.mark.parametrize("how", [*_PACK, "zstd"])
def test_short_content(how: str, tmp_path: Path) -> None:
    for data in (b"", b"x", b"abc\n"):
        if how == "plain" or data:
            assert text(made(tmp_path / "log", how, data)) == data


@pytest.mark.parametrize("how", ["gzip", "xz", "bzip2", "zstd"])
def test_damage_in_the_middle_gives_what_stands_before_it(how: str, tmp_path: Path) -> None:
    data = os.urandom((3 << 20) if how != "xz" else 1 << 18)  # does not shrink: half of the file is half of it
    made(tmp_path / "log", how, data).close()
    packed = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(packed[: len(packed) // 2])

    source = LogSource(str(tmp_path / "log"))
    got = text(source)

    assert data.startswith(got)
    assert len(got) > (len(data) // 4 if how != "xz" else 0)
    assert source.damaged is not None
    assert "is damaged or cut off" in source.damaged


@pytest.mark.parametrize("how", ["gzip", "xz", "bzip2"])
def test_a_bomb_is_unpacked_bit_by_bit(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_source, "BLOCK", 1 << 16)
    monkeypatch.setattr(log_source, "HEAD", 1 << 16)
    source = made(tmp_path / "log", how, bytes(8 << 20))

    assert max(map(len, source.blocks())) == 1 << 16


def test_position_and_size_are_those_of_the_file(tmp_path: Path) -> None:
    source = made(tmp_path / "log", "gzip")
    size = (tmp_path / "log").stat().st_size

    assert source.size == size
    assert 0 < source.position <= size
    text(source)
    assert source.position == size


def test_a_pipe_has_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()

    def feed() -> None:
        with open(write, "wb") as file:
            file.write(gzip.compress(_TEXT))

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(read, "rb", buffering=0) as file:
        monkeypatch.setattr(sys, "stdin", type("In", (), {"buffer": file}))
        source = LogSource("-")
        assert source.size is None
        assert text(source) == _TEXT
        assert not file.closed
    feeder.join()


def test_a_closed_one_is_opened_again(tmp_path: Path) -> None:
    source = made(tmp_path / "log", "gzip")
    source.close()

    assert text(source) == _TEXT


def test_the_zstd_program_where_nothing_else_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("zstd")
    (tmp_path / "log").write_bytes(_TEXT)
    subprocess.run([shutil.which("zstd") or "", "-q", str(tmp_path / "log")], check=True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "compression", None)

    source = LogSource(str(tmp_path / "log.zst"))

    assert text(source) == _TEXT
    source.close()


def test_what_can_not_be_opened_is_said(tmp_path: Path) -> None:
    for path, words in (("nowhere", "there is no file"), (str(tmp_path), "is a directory"), ("a\0b", "no file name")):
        with pytest.raises(NoInputError, match=words):
            LogSource(path)


def test_a_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(NoInputError, match="standard input is closed"):
        LogSource("-")


# -- lines --------------------------------------------------------------------------------------------------------


def lines(source: LogSource) -> list[tuple[bytes, bool]]:
    out: list[tuple[bytes, bool]] = []
    for block, ended in source.lines():
        out += [(line, True) for line in block[:-1]]
        out.append((block[-1], ended))
    return out


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"\n")), st.integers(1, 40))
def test_lines_are_those_of_split(tmp_path_factory: Any, data: bytes, block: int) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"not packed" + data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_source, "BLOCK", block)
        patch.setattr(log_source, "HEAD", block)
        found = lines(LogSource(str(path)))

    expected = [(line, True) for line in (b"not packed" + data).split(b"\n")]
    last = expected.pop()[0]
    assert found == expected + ([(last, False)] if last else [])


def test_a_line_that_is_too_long_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_source, "MAX_LINE", 100)
    monkeypatch.setattr(log_source, "BLOCK", 16)
    monkeypatch.setattr(log_source, "HEAD", 16)
    source = made(tmp_path / "log", "plain", b"a\n" + b"x" * 5000 + b"\nb\nc")

    assert lines(source) == [(b"a", True), (b"x" * 100, False), (b"b", True), (b"c", False)]
