"""Builds the cow_* programs, runs one phase of one, and looks at its pages from outside while it stands still.

`watch` answers each line of the program (cow.h has the protocol) and calls back at `begin` and `end`. `Pages` is a
whole address space as /proc/PID/pagemap has it; `changes` compares two of them. Knows nothing of probes.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import subprocess
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
BIN: Final = HERE / "bin" / f"{os.uname().machine}-{mmap.PAGESIZE}"
_PRESENT, _SWAPPED, _FILE = 1 << 63, 1 << 62, 1 << 61
_FRAME: Final = (1 << 55) - 1


@functools.cache
def build(name: str) -> Path:
    """Compile NAME.c beside it, into bin/MACHINE-PAGE, static: no lazy binding to fault in the middle."""
    source, binary = HERE / f"{name}.c", BIN / name
    headers = [source, HERE / "cow.h"]
    if not binary.exists() or binary.stat().st_mtime < max(h.stat().st_mtime for h in headers):
        binary.parent.mkdir(parents=True, exist_ok=True)
        new = binary.with_suffix(".new")
        command = ["cc", "-std=gnu11", "-O1", "-g0", "-Wall", "-Wextra", "-Werror", "-pthread", "-static"]
        command += [f"-DPAGE={mmap.PAGESIZE}L"]
        done = subprocess.run([*command, "-o", new, source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        new.replace(binary)
    return binary


def phases(name: str) -> list[str]:
    """What the program can be asked to do."""
    return subprocess.run([build(name)], capture_output=True, text=True, check=True).stdout.split()


@functools.cache
def zero_frame() -> int:
    """The frame that every anonymous page maps that was only read."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    at = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert ctypes.string_at(at, 1) == b"\0"
    return _entries(os.getpid(), at, at + mmap.PAGESIZE)[0] & _FRAME


def _entries(pid: int, start: int, end: int) -> array[int]:
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        words = array("Q")
        words.frombytes(os.pread(file.fileno(), (end - start) // mmap.PAGESIZE * 8, start // mmap.PAGESIZE * 8))
        return words


@dataclass(frozen=True)
class Pages:
    """{page number: (frame, is file or shared)} of what is mapped and present, and the pages of private files."""

    frames: Mapping[int, tuple[int, bool]]
    file_ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, pid: int) -> Pages:
        """The process must stand still. Needs root, or every frame reads as 0."""
        frames: dict[int, tuple[int, bool]] = {}
        files = []
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, modes, _, _, inode = line.split()[:5]
            start, end = (int(x, 16) for x in where.split("-"))
            if "[v" in line:  # vvar, vsyscall: the kernel's
                continue
            first = start // mmap.PAGESIZE
            if inode != "0" and "p" in modes:
                files.append((first, end // mmap.PAGESIZE))
            for i, entry in enumerate(_entries(pid, start, end), first):
                if entry & _PRESENT:
                    frames[i] = (entry & _FRAME, bool(entry & _FILE))
                assert not entry & _SWAPPED, "a page was swapped out: nothing can be compared"
        return cls(frames, tuple(files))


def changes(before: Pages, after: Pages) -> dict[str, set[int]]:
    """Page numbers by what became of them: copied, file (a private copy of a file's page), zero, fresh."""
    result: dict[str, set[int]] = {"copied": set(), "file": set(), "zero": set(), "fresh": set()}
    zero = zero_frame()
    for page, (frame, shared) in after.frames.items():
        if shared or frame == zero:
            continue
        old = before.frames.get(page)
        if old is None:
            in_file = any(a <= page < b for a, b in after.file_ranges)
            result["file" if in_file else "fresh"].add(page)
        elif old[1]:
            result["file"].add(page)
        elif old[0] == zero:
            result["zero"].add(page)
        elif old[0] != frame:
            result["copied"].add(page)
    return result


@dataclass(frozen=True)
class Line:
    """An `end` line: who counts, whose pages changed, how much, and which pages."""

    pid: int
    whose: int
    counters: Mapping[str, int]
    pages: frozenset[int]


def _line(words: list[str]) -> Line:
    counters, pages = {}, set()
    for word in words[3:]:
        name, value = word.split("=")
        if name == "pages":
            start, rest = value.split("+")
            stride, count = (int(x) for x in rest.split("x"))
            first = (0 if start == "(nil)" else int(start, 16)) // mmap.PAGESIZE
            pages |= {first + i * stride for i in range(count)}
        else:
            counters[name] = int(value)
    return Line(int(words[1]), int(words[2]), counters, frozenset(pages))


def watch(
    program: str,
    phase: str,
    folder: Path,
    *,
    started: Callable[[int], None],
    began: Callable[[int], None],
    ended: Callable[[Line], None],
) -> int:
    """Run `program phase folder`; `started(pid)` while it is held before its exec. Returns the exit status."""
    child = subprocess.Popen(
        ["sh", "-c", 'echo held && read x && exec "$@"', "sh", build(program), phase, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        assert child.stdout.read(5) == b"held\n"  # it is past its own exec
        started(child.pid)
        child.stdin.write(b"go\n")
        rest = b""
        while chunk := child.stdout.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            for raw in whole:
                words = raw.decode().split()
                assert words[0] != "die", raw
                if words[0] == "begin":
                    began(int(words[1]))
                elif words[0] == "end":
                    ended(_line(words))
                child.stdin.write(b"x")
        return child.wait(timeout=20)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
