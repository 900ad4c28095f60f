"""Functions of ELF files that are compiled here: with and without symbols, debug files and frame pointers."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import need
from tests.symbols import crafted
from tracer.symbols.elf import ElfFile, File, Function

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


class Opened:
    """An ELF file and its descriptor, and those of a debug file where one is given."""

    def __init__(self, path: Path, debug: Path | None = None) -> None:
        raw = path.read_bytes()
        fd = os.memfd_create("elf")  # closed with the test's process: some tests change the file meanwhile
        os.write(fd, raw)
        self.file = File(fd, len(raw))
        self.elf = ElfFile(self.file)
        self.build_id = self.elf.build_id
        self.symbols = None
        if debug is not None:
            self.debug = Opened(debug)
            self.symbols = self.debug.elf.table(self.debug.file), self.debug.file

    def __del__(self) -> None:
        with suppress(AttributeError):
            os.close(self.file.fd)

    def function(self, vaddr: int) -> Function | None:
        return self.elf.function(self.file, vaddr, self.symbols)

    def code(self, vaddr: int, n: int) -> bytes:
        return self.elf.code(self.file, vaddr, n)

    def names(self) -> list[str]:
        table = self.elf.table(self.file)
        return [table.name(self.file, int(start)) for start in table.starts]


def opened(path: Path, debug: Path | None = None) -> Opened:
    return Opened(path, debug)


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

    assert elf.elf.vaddr(offset) == at
    assert elf.elf.vaddr(1 << 40) is None
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


def test_symbols_of_a_debug_file_with_code_of_the_stripped_one(tmp_path: Path) -> None:
    need("objcopy", "strip")
    binary, debug = compiled(tmp_path), tmp_path / "x.debug"
    at = address(binary, "hidden")
    assert opened(binary).elf.whole
    subprocess.run(["objcopy", "--only-keep-debug", binary, debug], check=True)
    subprocess.run(["strip", binary], check=True)

    assert opened(binary).function(at) is None
    assert not opened(binary).elf.whole
    assert opened(debug).build_id == opened(binary).build_id
    found = opened(binary, debug).function(at)
    assert found is not None
    assert found.name == "hidden"
    assert found.frame == -1  # the code is the stripped file's


@pytest.mark.parametrize("cut", [0, 3, 20, 64, 700, -900, -1])
def test_damaged_files_are_refused_or_nameless(tmp_path: Path, cut: int) -> None:
    binary = compiled(tmp_path)
    at = address(binary, "main")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(binary.read_bytes()[:cut])
    try:
        found = opened(damaged).function(at)
    except ValueError:
        return

    assert found is None or found.name == "main"


def test_functions_are_those_that_pyelftools_reads() -> None:
    """Another reader of the same tables, on some files of this system with and without .symtab."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    paths = [Path(os.path.realpath(path)) for path in ("/bin/sh", "/usr/bin/env", sys.executable, *libraries()[:6])]
    for path in dict.fromkeys(paths):
        with path.open("rb") as stream:
            judge = elffile.ELFFile(stream)
            section = judge.get_section_by_name(".symtab") or judge.get_section_by_name(".dynsym")
            truth = sorted(
                {
                    symbol["st_value"]
                    for symbol in (section.iter_symbols() if section else ())
                    if symbol["st_info"]["type"] in ("STT_FUNC", "STT_LOOS")
                    and symbol["st_shndx"] != "SHN_UNDEF"
                    and symbol["st_value"]
                }
            )
            note = judge.get_section_by_name(".note.gnu.build-id")
            build_id = next(iter(note.iter_notes()))["n_desc"] if note is not None else None
        mine = opened(path)

        assert sorted(set(mine.elf.table(mine.file).starts.tolist())) == truth
        assert mine.build_id == build_id


@pytest.mark.parametrize("name", ["2^34 sections", "65,279 sections", "sections of 65,535 bytes each"])
def test_sections_are_counted_before_they_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the help of the worker's limits."""
    crafted.FILES[name](tmp_path / "x")
    read: list[int] = []
    with (tmp_path / "x").open("rb") as stream:
        real = os.pread

        def pread(fd: int, size: int, at: int) -> bytes:
            read.append(size)
            return real(fd, min(size, 1 << 20), at)

        monkeypatch.setattr(os, "pread", pread)
        with suppress(ValueError):
            ElfFile(File(stream.fileno(), (tmp_path / "x").stat().st_size))

    assert sum(read) < 1 << 20


def libraries() -> list[str]:
    """Mapped into this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({line.split()[-1] for line in lines if ".so" in line and " r-xp " in line})


def test_libc_keeps_no_frames_where_the_distribution_says_so() -> None:
    """Debian compiles without; what matters is that a whole library is judged by many functions, in little time."""
    elf = opened(next(Path(path) for path in libraries() if "libc.so.6" in path or "libc-" in path))

    assert elf.elf.keeps_frames(elf.file, elf.elf.table(elf.file)) in (True, False)
    assert "malloc" in elf.names()
