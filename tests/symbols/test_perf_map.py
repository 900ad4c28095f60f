"""perf-PID.map files: what they say, and whose are believed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tracer.symbols import perf_map
from tracer.symbols.elf import File
from tracer.symbols.perf_map import BYTES_MOST, PerfMap


class Map:
    """A perf map of this text."""

    def __init__(self, text: bytes) -> None:
        self.fd = os.memfd_create("perf")
        os.write(self.fd, text)
        self.file = File(self.fd, len(text))
        self.map = PerfMap(self.file)

    def __del__(self) -> None:
        os.close(self.fd)

    def name(self, address: int) -> str | None:
        return self.map.name(self.file, address)


def test_names_by_address() -> None:
    found = Map(b"1000 10 LazyCompile:~a b.js:1\n1020 8 py::f:/x y.py\n")

    assert found.name(0x1000) == "LazyCompile:~a b.js:1"
    assert found.name(0x100F) == "LazyCompile:~a b.js:1"
    assert found.name(0x1010) is None
    assert found.name(0x1027) == "py::f:/x y.py"
    assert found.name(0xFFF) is None


def test_code_that_takes_the_place_of_other_code() -> None:
    found = Map(b"1000 40 old\n1010 10 newer\n1000 10 newest\n")

    assert [found.name(at) for at in (0x1000, 0x1010, 0x1020)] == ["newest", "newer", None]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"x y z\n1000\n10 20\n", b"\x00\xff\n"])
def test_rubbish_names_nothing(text: bytes) -> None:
    assert Map(text).name(0x1000) is None


def test_a_name_of_odd_bytes() -> None:
    assert Map(b"10 10 a\xff").name(0x10) == "a\udcff"


def test_lines_across_the_pieces_that_are_read(tmp_path: Path) -> None:
    lines = [b"%x %x f%d" % (i * 32, 32, i) + b"x" * (i % 90) + b"\n" for i in range(1, 20_000)]
    found = Map(b"".join(lines))

    for i in range(1, 20_000, 37):
        assert found.name(i * 32 + 31) == f"f{i}" + "x" * (i % 90)


def test_numbers_of_all_lengths() -> None:
    found = Map(b"FFFFFFFFFFFFFF00 ff top\n11111111111111111 10 long\n1 g bad\n0 1 zero\n5 1\n6 1 \n7 01 seven\r\n")

    assert [found.name(at) for at in (0xFFFFFFFFFFFFFF01, 0x1111111111111111, 0, 1, 5, 6, 7)] == [
        "top",
        None,
        "zero",
        None,
        None,
        None,
        "seven",
    ]


def test_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    """Its last word on an address counts, so what is left out must be the oldest."""
    line = b"10 10 name" + b"y" * 1000 + b"\n"
    path = tmp_path / "map"
    path.write_bytes(b"1 1 first\n9000 1 old\n" + line * (BYTES_MOST // len(line) + 10) + b"9000 1 last\n")
    with path.open("rb") as stream:
        file = File(stream.fileno(), path.stat().st_size)
        found = PerfMap(file)

        assert found.name(file, 1) is None
        assert found.name(file, 0x9000) == "last"
        assert (found.name(file, 0x10) or "").startswith("namey")


def test_the_oldest_lines_are_left_out_where_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_map, "SECONDS", 0.0)
    found = Map(b"1 1 old\n9000 1 old\n" + b"10 10 name\n" * 100_000 + b"9000 1 last\n")

    assert (found.name(1), found.name(0x10), found.name(0x9000)) == (None, "name", "last")


@pytest.mark.programs
def test_what_node_writes(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no program node")
    script = "function countPages(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s }"
    script += "for (let i = 0; i < 200; i++) countPages(10000); console.log(process.pid)"
    told = subprocess.run(
        [node, "--perf-basic-prof", "-e", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    path = Path(f"/tmp/perf-{int(told.stdout)}.map")
    line = next(line for line in path.read_text(errors="replace").splitlines() if "countPages" in line)
    found = Map(path.read_bytes())
    path.unlink()

    assert "countPages" in (found.name(int(line.split()[0], 16)) or "")
