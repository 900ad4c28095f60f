"""Functions of one ELF file, and whether they keep a frame pointer. Runs in the worker process (worker.py).

The file belongs to whoever runs a traced program, so nothing in it is believed: every offset is checked against the
size of the file, and every count and length has a bound of its own, however large the file says it is. Headers are
read with struct. A table of symbols is read in pieces and kept as sorted columns, 21 bytes a function; names are read
from the file when they are asked for. pyelftools is not used: it indexes as many sections as the file claims to have
(2^34 of them fit into a sparse file), and `.data()` allocates what a header says.

A name is only given inside the size that its symbol has: the nearest symbol below is a guess.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tracer.symbols import code as machine_code

_FUNCTIONS: Final = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_SHT_NOTE, _SHT_SYMTAB, _SHT_NOBITS, _SHT_DYNSYM = 7, 2, 8, 11
_SHF_COMPRESSED: Final = 0x800
_PT_LOAD: Final = 1
_PHDR_BYTES: Final = 1 << 16  # fs/binfmt_elf.c, load_elf_phdrs(): a program with more does not start
_SECTIONS_MOST: Final = 8192
_NOTES_MOST: Final = 32  # sections that are looked into for a build id
_NOTE_BYTES: Final = 4096  # of one of them
_BUILD_ID_MOST: Final = 64
TABLE_BYTES_MOST: Final = 24 << 20
"""A million symbols. The largest table of Debian's /usr is that of node: 100,000."""
_PIECE: Final = 1 << 16  # symbols read at once
_UNTIMED: Final = 1 << 17  # symbols that any file may have; beyond, SECONDS counts
SECONDS: Final = 0.02
"""CPU time that reading one file may take."""
_SORT_NS: Final = 80  # a function; numpy's argsort of a million takes 80 to 100 ms
_NAME_MOST: Final = 4096
_SAME_MOST: Final = 1024  # names of one address; libjvm has over 256 functions that were folded into one
_NESTED: Final = 8
_PROLOGUE_WITHIN: Final = 128
_ASKED: Final = 128  # functions, before a file's compiler flags are believed to be known
_RANKS: Final = (2, 0, 1)  # of STB_LOCAL, STB_GLOBAL, STB_WEAK: global before weak before local
_LAST: Final = (1 << 64) - 1


class File(NamedTuple):
    """A descriptor that can be read, and the size that the file had when it was opened."""

    fd: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes, all of which must be inside. Raises ValueError; the caller bounds `size`."""
        if offset < 0 or offset + size > self.size:
            raise ValueError("what is not in the file")
        data = os.pread(self.fd, size, offset)
        if len(data) != size:
            raise ValueError("the file became shorter")
        return data


class Function(NamedTuple):
    """Where it lies in the file's own addresses. `frame`: from where on it has a frame pointer; -1: it never has."""

    name: str
    start: int
    end: int
    frame: int


class _Section(NamedTuple):
    kind: int
    flags: int
    offset: int
    size: int
    link: int


class ElfFile:
    """`function(file, vaddr)`, `vaddr(offset)`, `code(file, vaddr, n)`. Raises ValueError for what is not an ELF file.

    Holds no descriptor: whoever asks brings one. `build_id`: hexadecimal, or None. `whole`: static functions too have
    symbols (.symtab). `kept`: bytes of memory.
    """

    def __init__(self, file: File) -> None:
        ident = file.read(0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise ValueError("not an ELF file")
        self._wide, self._order = ident[4] == 2, "<" if ident[5] == 1 else ">"
        head = struct.Struct(self._order + ("HHIQQQIHHHHHH" if self._wide else "HHIIIIIHHHHHH"))
        _, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _ = head.unpack(
            file.read(16, head.size)
        )
        self.machine = machine_code.of(machine)
        self._segments = list(self._load_segments(file, phoff, phentsize, phnum))
        self._sections = self._read_sections(file, shoff, shentsize, shnum)
        symtab = self._first(_SHT_SYMTAB)
        self.whole = symtab is not None
        self._symbols = symtab or self._first(_SHT_DYNSYM)
        self.build_id = self._read_build_id(file)
        self._table: Table | None = None
        self._usual: bool | None = None

    @property
    def kept(self) -> int:
        """Of memory, roughly."""
        return 2000 + 200 * (len(self._segments) + len(self._sections)) + (self._table.kept if self._table else 0)

    def _load_segments(self, file: File, at: int, each: int, count: int) -> Iterator[tuple[int, int, int]]:
        layout = struct.Struct(self._order + ("IIQQQQQQ" if self._wide else "IIIIIIII"))
        if each < layout.size or each * count > _PHDR_BYTES:
            return
        raw = file.read(at, each * count)
        for i in range(count):
            words = layout.unpack_from(raw, i * each)
            offset, vaddr, size = (words[2], words[3], words[5]) if self._wide else (words[1], words[2], words[4])
            if words[0] == _PT_LOAD:
                yield offset, vaddr, size

    def _read_sections(self, file: File, at: int, each: int, count: int) -> list[_Section]:
        layout = struct.Struct(self._order + ("IIQQQQIIQQ" if self._wide else "IIIIIIIIII"))
        if not at or each != layout.size:
            return []
        if count == 0:  # too many for the header: elf(5), e_shnum
            count = layout.unpack_from(file.read(at, layout.size))[5]
        if count > _SECTIONS_MOST:
            raise ValueError("too many sections")
        raw = file.read(at, each * count)
        found = []
        for i in range(count):
            _, kind, flags, _, offset, size, link, _, _, _ = layout.unpack_from(raw, i * each)
            found.append(_Section(kind, flags, offset, size, link))
        return found

    def _first(self, kind: int) -> _Section | None:
        return next((s for s in self._sections if s.kind == kind), None)

    def _read_build_id(self, file: File) -> str | None:
        notes = [s for s in self._sections if s.kind == _SHT_NOTE and not s.flags & _SHF_COMPRESSED]
        for section in notes[:_NOTES_MOST]:
            if section.offset + section.size > file.size:
                continue
            raw, at = file.read(section.offset, min(section.size, _NOTE_BYTES)), 0
            while at + 12 <= len(raw):
                name, size, kind = struct.unpack_from(self._order + "III", raw, at)
                at += 12
                rest = at + (name + 3 & ~3)
                if kind == 3 and raw[at : at + name] == b"GNU\0" and 2 < size <= _BUILD_ID_MOST:  # NT_GNU_BUILD_ID
                    return raw[rest : rest + size].hex()
                at = rest + (size + 3 & ~3)
        return None

    def table(self, file: File) -> Table:
        """Its functions; none where there are none, or more than may be read. Read once."""
        if self._table is None:
            try:
                self._table = self._read_table(file)
            except ValueError:
                self._table = Table()
        return self._table

    def _read_table(self, file: File) -> Table:
        section = self._symbols
        if section is None or section.flags & _SHF_COMPRESSED or not 0 < section.link < len(self._sections):
            return Table()
        names = self._sections[section.link]
        if names.kind == _SHT_NOBITS or names.offset + names.size > file.size:
            return Table()
        return Table(names, *_functions(file, section, self._order, self._wide))

    def vaddr(self, offset: int) -> int | None:
        """The address, before relocation, of a byte of the file."""
        for start, vaddr, size in self._segments:
            if start <= offset < start + size:
                return offset - start + vaddr
        return None

    def code(self, file: File, vaddr: int, n: int) -> bytes:
        """Up to `n` bytes at an address."""
        for start, first, size in self._segments:
            if first <= vaddr < first + size:
                try:
                    at = vaddr - first + start
                    return file.read(at, max(0, min(n, first + size - vaddr, file.size - at)))
                except (OSError, ValueError):
                    return b""
        return b""

    def called(self, file: File, vaddr: int) -> bool:
        """Whether the instruction that ends behind `vaddr` can be a call."""
        size = self.machine.call_bytes
        return self.machine.is_call(self.code(file, vaddr + 1 - size, size))

    def function(self, file: File, vaddr: int, symbols: tuple[Table, File] | None = None) -> Function | None:
        """The one that `vaddr` lies in. `symbols`: of its debug file, where it has one."""
        table, named = symbols or (self.table(file), file)
        found = table.find(vaddr)
        if found is None:
            return None
        start, end = found
        return Function(table.name(named, start), start, end, self._frame(file, start, end))

    def _frame(self, file: File, start: int, end: int) -> int:
        at = self.machine.frame_set(self.code(file, start, min(_PROLOGUE_WITHIN, max(end - start, 16))))
        return -1 if at is None else start + at

    def keeps_frames(self, file: File, table: Table) -> bool:
        """Whether most of its functions keep a frame pointer, of some that are long enough to need one."""
        if self._usual is None:
            frames = [self._frame(file, start, end) for start, end in table.some(_ASKED)]
            self._usual = 2 * sum(frame != -1 for frame in frames) > len(frames)
        return self._usual


class Table:
    """Functions by address, as sorted columns: starts, ends, ranks of their bindings, places of their names."""

    def __init__(
        self, names: _Section | None = None, starts: Any = (), ends: Any = (), ranks: Any = (), at: Any = ()
    ) -> None:
        self._names = names
        self.starts, self._ends, self._ranks, self._at = starts, ends, ranks, at
        self._named: tuple[int, str] = (-1, "")  # a function that was asked for last: it is often asked for again

    @property
    def kept(self) -> int:
        """Of memory."""
        return 21 * len(self.starts)

    def find(self, vaddr: int) -> tuple[int, int] | None:
        """(start, end) of the function at `vaddr`; of nested ones the inner."""
        if not len(self.starts) or not 0 <= vaddr <= _LAST:
            return None
        starts, ends, i = self.starts, self._ends, self._place(vaddr, "right")
        for j in range(i - 1, max(0, i - _NESTED) - 1, -1):
            if vaddr < ends[j]:
                return int(starts[j]), int(ends[j])
        if i and ends[i - 1] == starts[i - 1] and i < len(starts):
            return int(starts[i - 1]), int(starts[i])  # assembly without a size goes up to the next
        return None

    def _place(self, vaddr: int, side: Any) -> int:
        return int(self.starts.searchsorted(self.starts.dtype.type(vaddr), side))

    def name(self, file: File, start: int) -> str:
        """Of the names that begin there: global before weak before local, then the plainest."""
        if self._named[0] == start:
            return self._named[1]
        first = self._place(start, "left")
        last = min(self._place(start, "right"), first + _SAME_MOST)
        same = []
        for i in range(first, last):
            word = self._word(file, int(self._at[i]))
            same.append((int(self._ranks[i]), len(word) - len(word.lstrip("_")), len(word), word))
        self._named = start, min(same)[3].split("@")[0]
        return self._named[1]

    def _word(self, file: File, at: int) -> str:
        assert self._names is not None
        size = min(_NAME_MOST, self._names.size - at)
        if size <= 0:
            return ""
        return file.read(self._names.offset + at, size).partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def some(self, n: int) -> Iterator[tuple[int, int]]:
        """(start, end) of some `n` functions of at least 64 bytes, from everywhere in the file."""
        if not len(self.starts):
            return
        long = (self._ends - self.starts >= 64).nonzero()[0]
        for i in long[:: max(1, len(long) // n)]:
            yield int(self.starts[i]), int(self._ends[i])


def _functions(file: File, section: _Section, order: str, wide: bool) -> tuple[Any, Any, Any, Any]:
    """starts, ends, ranks and names of every function that is defined here, by start, then by end.

    Raises ValueError where the table is not in the file, is too large, or takes too long.
    """
    import numpy as np

    each = [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")]
    if not wide:
        each = [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2")]
    layout = np.dtype([(name, order + kind) for name, kind in each])
    if section.size > TABLE_BYTES_MOST or section.offset + section.size > file.size:
        raise ValueError("a table of symbols that is too large, or is not in the file")
    count = section.size // layout.itemsize
    until = time.thread_time() + SECONDS
    ranks = np.full(16, 3, "u1")
    ranks[: len(_RANKS)] = _RANKS
    pieces: list[tuple[Any, Any, Any, Any]] = []
    kept = 0
    for at in range(0, count, _PIECE):
        raw = file.read(section.offset + at * layout.itemsize, min(_PIECE, count - at) * layout.itemsize)
        part = np.frombuffer(raw, layout)
        kind = part["info"] & 15
        wanted = ((kind == _FUNCTIONS[0]) | (kind == _FUNCTIONS[1])) & (part["section"] != 0) & (part["value"] != 0)
        part = part[wanted]
        starts, sizes = part["value"].astype("u8"), part["size"].astype("u8")
        ends = np.where(sizes > _LAST - starts, np.uint64(_LAST), starts + sizes)
        pieces.append((starts, ends, ranks[part["info"] >> 4], part["name"].astype("u4")))
        kept += len(part)
        if count > _UNTIMED and time.thread_time() + kept * _SORT_NS / 1e9 > until:
            raise ValueError("a table of symbols that takes too long")
    starts, ends, found, names = (np.concatenate([piece[i] for piece in pieces]) for i in range(4))
    by = np.lexsort((ends, starts))
    return starts[by], ends[by], found[by], names[by]
