"""Functions of one ELF file, and whether they keep a frame pointer. Headers are read with pyelftools, imported when
the first file is opened; the tables of symbols, which may have 200,000 entries, with struct.

Where the file is stripped, its debug file is taken by build id (/usr/lib/debug/.build-id/ab/cdef.debug), else the
dynamic symbols alone. A name is only given inside the size that its symbol has: the nearest symbol below is a guess.
Refuses to know: processes and addresses in memory.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracer.symbols import code

_FUNCTIONS: Final = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_MOST_BYTES: Final = 512 << 20  # of one table
_NESTED: Final = 8
_PROLOGUE_WITHIN: Final = 128
_ASKED: Final = 128  # functions, before a file's compiler flags are believed to be known


class Function(NamedTuple):
    """Where it lies in the file's own addresses. `frame`: from where on it has a frame pointer; -1: it never has."""

    name: str
    start: int
    end: int
    frame: int | None  # None: not known


class ElfFile:
    """An open file. `function(vaddr)`, `vaddr(offset)`, `code(vaddr, n)`."""

    def __init__(self, fd: int, debug_folders: Iterable[Path] = ()) -> None:
        """Takes the descriptor over if it succeeds. Raises ImportError without pyelftools, anything for a bad file."""
        self._fd = fd
        self._size = os.fstat(fd).st_size
        with os.fdopen(os.dup(fd), "rb") as stream:
            elf = _open(stream)
            self.machine = code.of(elf.header["e_machine"])
            self._segments = [
                (p["p_offset"], p["p_vaddr"], p["p_filesz"]) for p in elf.iter_segments() if p["p_type"] == "PT_LOAD"
            ]
            self.build_id = _build_id(elf)
            self._table = _Table(elf, stream, self._size)
        if not self._table.whole and self.build_id is not None:
            self._take_debug_file(debug_folders)
        self._frames: dict[int, int] = {}
        self._usual: bool | None = None

    @classmethod
    def open(cls, path: str, debug_folders: Iterable[Path] = ()) -> ElfFile | None:
        """None: not there, not a regular file, or no ELF file. Raises ImportError without pyelftools."""
        fd = open_regular(path)
        return None if fd is None else cls.of(fd, debug_folders)

    @classmethod
    def of(cls, fd: int, debug_folders: Iterable[Path] = ()) -> ElfFile | None:
        """As `open`; takes the descriptor over."""
        try:
            return cls(fd, debug_folders)
        except ImportError:
            os.close(fd)
            raise
        except Exception:  # pyelftools raises some dozen kinds for a file that is damaged, or is none
            os.close(fd)
            return None

    def _take_debug_file(self, folders: Iterable[Path]) -> None:
        name = self.build_id or ""
        for folder in folders:
            fd = open_regular(str(folder / ".build-id" / name[:2] / f"{name[2:]}.debug"))
            if fd is None:
                continue
            with os.fdopen(fd, "rb") as stream, suppress(Exception):  # as above
                elf = _open(stream)
                if _build_id(elf) == name:
                    self._table = _Table(elf, stream, os.fstat(fd).st_size)
                    return

    def vaddr(self, offset: int) -> int | None:
        """The address, before relocation, of a byte of the file."""
        for start, vaddr, size in self._segments:
            if start <= offset < start + size:
                return int(offset - start + vaddr)
        return None

    def code(self, vaddr: int, n: int) -> bytes:
        """Up to `n` bytes at an address."""
        for start, first, size in self._segments:
            if first <= vaddr < first + size:
                try:
                    return os.pread(self._fd, min(n, first + size - vaddr), vaddr - first + start)
                except OSError:
                    return b""
        return b""

    def function(self, vaddr: int) -> Function | None:
        """The one that `vaddr` lies in."""
        found = self._table.find(vaddr)
        if found is None:
            return None
        start, end = found
        return Function(self._table.name(start), start, end, self._frame(start, end))

    def names(self) -> list[str]:
        """Of all its functions, one each."""
        return [self._table.name(start) for start in self._table.starts()]

    def _frame(self, start: int, end: int) -> int | None:
        found = self._frames.get(start)
        if found is None:
            at = self.machine.frame_set(self.code(start, min(_PROLOGUE_WITHIN, max(end - start, 16))))
            found = self._frames[start] = -1 if at is None else start + at
        return found

    def keeps_frames(self) -> bool:
        """Whether most of its functions keep a frame pointer, of some that are long enough to need one."""
        if self._usual is None:
            frames = [self._frame(start, end) for start, end in self._table.some(_ASKED)]
            self._usual = 2 * sum(frame != -1 for frame in frames) > len(frames)
        return self._usual

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


class _Table:
    """Functions by address. `whole`: from .symtab, static functions too."""

    def __init__(self, elf: Any, stream: Any, size: int) -> None:
        section = elf.get_section_by_name(".symtab")
        self.whole = section is not None and section["sh_type"] == "SHT_SYMTAB"
        if not self.whole:
            section = elf.get_section_by_name(".dynsym")
        self._names = b""
        entries: list[tuple[int, int, int, int]] = []
        if section is not None and section["sh_type"] != "SHT_NOBITS":
            names = elf.get_section(section["sh_link"])
            self._names = _bytes(stream, names, size)
            entries = list(_entries(elf, _bytes(stream, section, size)))
        entries.sort()
        self._starts = [entry[0] for entry in entries]
        self._entries = entries

    def find(self, vaddr: int) -> tuple[int, int] | None:
        """(start, end) of the function at `vaddr`; of nested ones the inner."""
        i = bisect_right(self._starts, vaddr)
        for start, end, _, _ in reversed(self._entries[max(0, i - _NESTED) : i]):
            if vaddr < end:
                return start, end
        if i and self._entries[i - 1][1] == self._starts[i - 1] and i < len(self._starts):
            return self._starts[i - 1], self._starts[i]  # assembly without a size goes up to the next
        return None

    def name(self, start: int) -> str:
        """Of the names that begin there: global before weak before local, then the plainest."""
        i, same = bisect_left(self._starts, start), []
        while i < len(self._starts) and self._starts[i] == start:
            _, _, rank, at = self._entries[i]
            word = self._names[at : self._names.find(b"\0", at)].decode("utf-8", "surrogateescape")
            same.append((rank, len(word) - len(word.lstrip("_")), len(word), word))
            i += 1
        return min(same)[3].split("@")[0]

    def starts(self) -> Iterator[int]:
        """Of every function, ascending."""
        return iter(dict.fromkeys(self._starts))

    def some(self, n: int) -> Iterator[tuple[int, int]]:
        """(start, end) of some `n` functions of at least 64 bytes, from everywhere in the file."""
        long = [(start, end) for start, end, _, _ in self._entries if end - start >= 64]
        yield from long[:: max(1, len(long) // n)]


def _entries(elf: Any, raw: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, rank of its binding, place of its name) of every function that is defined here."""
    order = "<" if elf.little_endian else ">"
    ranks = {1: 0, 2: 1, 0: 2}  # STB_GLOBAL, STB_WEAK, STB_LOCAL
    if elf.elfclass == 64:
        layout = struct.Struct(order + "IBBHQQ")
        raw = raw[: len(raw) // layout.size * layout.size]
        for name, info, _, section, value, size in layout.iter_unpack(raw):
            if info & 15 in _FUNCTIONS and section and value:
                yield value, value + size, ranks.get(info >> 4, 3), name
    else:
        layout = struct.Struct(order + "IIIBBH")
        raw = raw[: len(raw) // layout.size * layout.size]
        for name, value, size, info, _, section in layout.iter_unpack(raw):
            if info & 15 in _FUNCTIONS and section and value:
                yield value, value + size, ranks.get(info >> 4, 3), name


def _bytes(stream: Any, section: Any, file_size: int) -> bytes:
    offset, size = section["sh_offset"], section["sh_size"]
    if offset + size > file_size or size > _MOST_BYTES:
        raise ValueError("a section that is not in the file")
    stream.seek(offset)
    return bytes(stream.read(size))


def _open(stream: Any) -> Any:
    from elftools.elf.elffile import ELFFile

    return ELFFile(stream)


def _build_id(elf: Any) -> str | None:
    section = elf.get_section_by_name(".note.gnu.build-id")
    raw = section.data() if section is not None else b""
    return raw[16:].hex() if raw[12:16] == b"GNU\0" and len(raw) > 18 else None


def open_regular(path: str) -> int | None:
    """A descriptor to read a regular file by; None for anything else: a path may have become a pipe meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
