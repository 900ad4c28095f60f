"""Functions of ELF files that are compiled here: with and without symbols, debug files and frame pointers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tracer.symbols.elf import ElfFile

SOURCE = """
#include <string.h>
__attribute__((noinline)) static int hidden(int x) { volatile int y[40]; y[x] = x; return y[x]; }
__attribute__((noinline)) int shown(int x) { volatile int y[40]; y[x & 31] = hidden(x); return y[x & 31] + 1; }
int shown_too(int x) __attribute__((alias("shown")));
int main(int n, char **v) { return shown(n) + (int)strlen(v[0]); }
"""


_MADE: dict[tuple[str, ...], bytes] = {}


def compiled(folder: Path, *flags: str) -> Path:
    """folder/x; each set of flags is compiled once."""
    need("cc")
    source, binary = folder / "x.c", folder / "x"
    if flags not in _MADE:
        source.write_text(SOURCE)
        subprocess.run(["cc", "-O1", "-Wl,--build-id", *flags, "-o", binary, source], check=True)
        _MADE[flags] = binary.read_bytes()
    binary.write_bytes(_MADE[flags])
    binary.chmod(0o755)
    return binary


def address(binary: Path, name: str) -> int:
    """By nm, which is another reader of the same table."""
    need("nm")
    lines = subprocess.run(["nm", binary], capture_output=True, text=True, check=True).stdout.splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.split()[-1] == name)


def opened(path: Path, *debug_folders: Path) -> ElfFile:
    found = ElfFile.open(str(path), debug_folders)
    assert found is not None
    return found


@pytest.mark.parametrize("pie", ["-pie", "-no-pie"])
def test_names_of_static_and_global_functions(tmp_path: Path, pie: str) -> None:
    binary = compiled(tmp_path, pie)
    elf = opened(binary)
    at = address(binary, "hidden")
    function = elf.function(at + 3)

    assert function is not None
    assert (function.name, function.start) == ("hidden", at)
    assert elf.function(function.end - 1) == function
    assert elf.function(function.end) != function
    assert elf.function(1) is None


def test_the_plainer_of_two_names(tmp_path: Path) -> None:
    binary = compiled(tmp_path)
    function = opened(binary).function(address(binary, "shown"))

    assert function is not None
    assert function.name == "shown"


def test_an_offset_of_the_file_is_an_address(tmp_path: Path) -> None:
    binary = compiled(tmp_path, "-no-pie")
    elf = opened(binary)
    at = address(binary, "main")
    raw = binary.read_bytes()
    offset = raw.find(elf.code(at, 16))

    assert elf.vaddr(offset) == at
    assert elf.vaddr(1 << 40) is None
    assert elf.code(1 << 60, 4) == b""


def test_frame_pointers_are_seen(tmp_path: Path) -> None:
    binary = compiled(tmp_path, "-fno-omit-frame-pointer")
    elf = opened(binary)
    function = elf.function(address(binary, "hidden"))

    assert function is not None
    assert function.frame is not None
    assert function.start < function.frame <= function.start + 16
    binary = compiled(tmp_path, "-fomit-frame-pointer")
    function = opened(binary).function(address(binary, "hidden"))
    assert function is not None
    assert function.frame == -1


def test_a_debug_file_is_found_by_build_id(tmp_path: Path) -> None:
    need("objcopy", "strip")
    binary = compiled(tmp_path)
    at = address(binary, "hidden")
    build_id = opened(binary).build_id
    assert build_id is not None
    debug = tmp_path / "debug" / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", binary, debug], check=True)
    subprocess.run(["strip", binary], check=True)

    assert opened(binary).function(at) is None
    found = opened(binary, tmp_path / "nowhere", tmp_path / "debug").function(at)
    assert found is not None
    assert found.name == "hidden"
    assert found.frame == -1  # the code is the stripped file's


def test_a_debug_file_of_another_build_is_not_taken(tmp_path: Path) -> None:
    need("strip")
    binary = compiled(tmp_path)
    at = address(binary, "hidden")
    build_id = opened(binary).build_id
    assert build_id is not None
    debug = tmp_path / "debug" / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(compiled(other, "-O2"), debug)
    subprocess.run(["strip", binary], check=True)

    assert opened(binary, tmp_path / "debug").function(at) is None


@pytest.mark.parametrize("cut", [0, 3, 20, 64, 700, -900, -1])
def test_damaged_files_are_none_or_nameless(tmp_path: Path, cut: int) -> None:
    binary = compiled(tmp_path)
    raw = binary.read_bytes()
    at = address(binary, "main")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(raw[:cut])
    elf = ElfFile.open(str(damaged))

    assert elf is None or elf.function(at) is None or elf.function(at).name == "main"  # type: ignore[union-attr]


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert ElfFile.open(str(tmp_path / "pipe")) is None
    assert ElfFile.open(str(tmp_path)) is None
    assert ElfFile.open("/none") is None
    assert ElfFile.open(__file__) is None


def test_libc_keeps_no_frames_where_the_distribution_says_so() -> None:
    """Debian compiles without; what matters is that a whole library is judged by many functions, in little time."""
    maps = Path("/proc/self/maps").read_text()
    path = next(line.split()[-1] for line in maps.splitlines() if "libc.so.6" in line or "libc-" in line)
    elf = opened(Path(path))

    assert elf.keeps_frames() in (True, False)
    assert any(name == "malloc" for name in elf.names())
