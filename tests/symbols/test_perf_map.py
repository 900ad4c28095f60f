"""perf-PID.map files: what they say, and whose are believed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tracer.symbols.perf_map import PerfMap

OWN = frozenset({os.geteuid()})


def test_names_by_address() -> None:
    found = PerfMap(b"1000 10 LazyCompile:~a b.js:1\n1020 8 py::f:/x y.py\n")

    assert found.name(0x1000) == "LazyCompile:~a b.js:1"
    assert found.name(0x100F) == "LazyCompile:~a b.js:1"
    assert found.name(0x1010) is None
    assert found.name(0x1027) == "py::f:/x y.py"
    assert found.name(0xFFF) is None


def test_code_that_takes_the_place_of_other_code() -> None:
    found = PerfMap(b"1000 40 old\n1010 10 newer\n1000 10 newest\n")

    assert [found.name(at) for at in (0x1000, 0x1010, 0x1020)] == ["newest", "newer", None]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"x y z\n1000\n10 20\n", b"\x00\xff\n"])
def test_rubbish_names_nothing(text: bytes) -> None:
    assert PerfMap(text).name(0x1000) is None


def test_a_name_of_odd_bytes() -> None:
    assert PerfMap(b"10 10 a\xff").name(0x10) == "a\udcff"


def test_only_regular_files_of_the_right_owner_are_read(tmp_path: Path) -> None:
    path = tmp_path / "perf-1.map"
    path.write_bytes(b"10 10 a\n")
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")

    found = PerfMap.open(str(path), OWN)
    assert found is not None
    assert found.name(0x10) == "a"
    assert PerfMap.open(str(path), frozenset({os.geteuid() + 1})) is None
    assert PerfMap.open(str(tmp_path / "link"), OWN) is None
    assert PerfMap.open(str(tmp_path / "pipe"), OWN) is None
    assert PerfMap.open(str(tmp_path), OWN) is None
    assert PerfMap.open(str(tmp_path / "none"), OWN) is None
    assert PerfMap.open("a\0b", OWN) is None


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
    found = PerfMap.open(str(path), OWN)
    path.unlink()

    assert found is not None
    assert "countPages" in (found.name(int(line.split()[0], 16)) or "")
