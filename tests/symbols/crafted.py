"""ELF files and perf maps that an enemy would run a traced program from, written by code. Most are sparse.

    for name, write in FILES.items(): write(path)

Each has an honest executable segment (so that addresses in it are looked up) and one thing that is not honest.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

GIB: Final = 1 << 30
_HEAD: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_CODE_AT: Final = 0x1000
VADDR: Final = 0x400000 + _CODE_AT
"""Where its code lies; the file's offset of it is CODE."""
CODE: Final = _CODE_AT
_NOBITS, _NOTE, _STRTAB, _SYMTAB = 8, 7, 3, 2


def elf(
    *sections: tuple[int, int, int, int, int],
    shnum: int | None = None,
    phnum: int = 1,
    shoff: int = 0x2000,
    phentsize: int = 56,
    shentsize: int = 64,
    first_size: int = 0,
) -> bytes:
    """A file of these sections: (type, flags, offset, size, link); `first_size` is sh_size of section 0."""
    count = len(sections) + 1 if shnum is None else shnum
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = _HEAD.pack(ident, 2, 62, 1, VADDR, 64, shoff, 0, 64, phentsize, phnum, shentsize, count, 0)
    raw = bytearray(0x2000)
    raw[:64] = head
    raw[64 : 64 + 56] = _PROGRAM.pack(1, 5, 0, VADDR - CODE, 0, 0x2000, 0x2000, 0x1000)
    raw[CODE:] = bytes.fromhex("e800000000") * 800 + bytes(96)
    table = _SECTION.pack(0, 0, 0, 0, 0, first_size, 0, 0, 0, 0)
    for kind, flags, offset, size, link in sections:
        table += _SECTION.pack(0, kind, flags, 0, offset, size, link, 0, 1, 0)
    return bytes(raw) + table


def _sparse(raw: bytes, size: int, *parts: tuple[int, bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(raw)
            for at, data in parts:
                file.seek(at)
                file.write(data)
            file.truncate(max(size, len(raw)))

    return write


def symbols(path: Path, count: int, names: int, *, same: bool = False, rising: bool = True) -> None:
    """A table of `count` functions in front of one long string without an end."""
    table = 0x10000
    size = count * _SYMBOL.size
    with path.open("wb") as file:
        file.write(elf((_SYMTAB, 0, table, size, 2), (_STRTAB, 0, table + size, names, 0)))
        file.seek(table)
        per = 65536
        for first in range(0, count, per):
            numbers = range(first, min(first + per, count))
            file.write(b"".join(_symbol(i if rising else count - i, names, same) for i in numbers))
        block = b"n" * (1 << 20)
        for _ in range(max(1, names >> 20)):
            file.write(block[:names])


def _symbol(i: int, names: int, same: bool) -> bytes:
    return _SYMBOL.pack(i % max(names, 1), 0x12, 0, 1, VADDR if same else VADDR - 64 + i, 1 << 20)


def lines(path: Path, size: int, line: Callable[[int], bytes]) -> None:
    """Lines, of which the last 16 MiB are read; of a larger `size` the beginning is a hole."""
    with path.open("wb") as file:
        file.seek(max(0, size - (17 << 20)))
        i = 0
        while file.tell() < size:
            file.write(b"".join(line(i + j) for j in range(200)))
            i += 200


FILES: Final[dict[str, Callable[[Path], None]]] = {
    "2^34 sections": _sparse(elf(shnum=0, first_size=1 << 34), 1 << 41),
    "65,279 sections": _sparse(elf(shnum=65279), 64 << 20),
    "sections of 65,535 bytes each": _sparse(elf(shentsize=65535, shnum=8192), 1 << 40),
    "65,535 program headers": _sparse(elf(phnum=65535), 64 << 20),
    "program headers of 65,535 bytes": _sparse(elf(phnum=65534, phentsize=65535), 1 << 40),
    "a build id of 6 GiB, all zeros": _sparse(elf((_NOTE, 0, 0x10000, 6 * GIB, 0)), 8 * GIB),
    "a build id without bits": _sparse(elf((_NOBITS, 0, 0x10000, 6 * GIB, 0), (_NOTE, 0, 0, 6 * GIB, 0)), 0x4000),
    "a build id that is compressed": _sparse(
        elf((_NOTE, 0x800, 0x3000, 64, 0)), 0x4000, (0x3000, struct.pack("<IIQQ", 1, 0, 6 * GIB, 1))
    ),
    "a build id with a name of 4 GiB": _sparse(
        elf((_NOTE, 0, 0x3000, 4096, 0)), 0x5000, (0x3000, struct.pack("<III", 0xFFFFFFFC, 0xFFFFFFFF, 3))
    ),
    "8,000 build ids": _sparse(elf(*[(_NOTE, 0, 0x100000, 1 << 20, 0)] * 8000), 64 << 20),
    "a table of symbols of 500 GiB": _sparse(elf((_SYMTAB, 0, 0x10000, 500 * GIB, 2), (_STRTAB, 0, 0, 99, 0)), 1 << 40),
    "a table of symbols of zeros": _sparse(elf((_SYMTAB, 0, 0x10000, 24 << 20, 2), (_STRTAB, 0, 0, 99, 0)), 1 << 30),
    "a table at the end of all addresses": _sparse(
        elf((_SYMTAB, 0, (1 << 64) - 24, 1 << 40, 2), (_STRTAB, 0, (1 << 64) - 1, (1 << 64) - 1, 0)), 1 << 30
    ),
    "names in a section that is not there": _sparse(elf((_SYMTAB, 0, 0x10000, 2400, 60000)), 1 << 20),
    "500 MB of symbols": _sparse(elf((_SYMTAB, 0, 0x10000, 500 << 20, 2), (_STRTAB, 0, 0, 99, 0)), 1 << 30),
    "half a million symbols": lambda path: symbols(path, 500_000, 1 << 20),
    "a million symbols, falling": lambda path: symbols(path, 1_000_000, 1 << 20, rising=False),
    "130,000 symbols of 4,096 letters": lambda path: symbols(path, 130_000, 16 << 20),
    "130,000 symbols at one address": lambda path: symbols(path, 130_000, 16 << 20, same=True),
}
"""Name and writer of each crafted ELF file."""

MAPS: Final[dict[str, Callable[[Path], None]]] = {
    "64 MiB of short lines": lambda path: lines(path, 64 << 20, lambda i: b"%x 1 a\n" % i),
    "64 MiB of the same address": lambda path: lines(path, 64 << 20, lambda i: b"1000 10 %x\n" % i),
    "64 MiB of empty lines": lambda path: lines(path, 64 << 20, lambda i: b"\n" * 4096),
    "64 MiB of digits": lambda path: lines(path, 64 << 20, lambda i: b"f" * 64),
    "one line of 1 TiB": _sparse(b"1000 1000 ", 1 << 40, ((1 << 40) - 8, b"1 1 end\n")),
    "lines of 64 KiB": lambda path: lines(path, 20 << 20, lambda i: b"%x 40 " % (i * 64) + b"n" * 65000 + b"\n"),
    "all bytes": _sparse(random.Random(7).randbytes(8 << 20), 64 << 20),
}
"""Name and writer of each crafted perf map."""


def mutated(raw: bytes, seed: int, count: int) -> Iterator[bytes]:
    """`count` versions of an honest ELF file: bytes and words of its headers and tables changed, or cut off."""
    rng = random.Random(seed)
    shoff = int.from_bytes(raw[40:48], "little")
    sections = int.from_bytes(raw[60:62], "little")
    for _ in range(count):
        changed = bytearray(raw)
        for _ in range(rng.choice((1, 1, 2, 5, 40))):
            where = rng.choice(("head", "program", "section", "anywhere"))
            at = {
                "head": rng.randrange(16, 64),
                "program": 64 + rng.randrange(56 * 8),
                "section": shoff + rng.randrange(max(1, 64 * sections)),
                "anywhere": rng.randrange(len(raw)),
            }[where] % len(raw)
            value = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
            if rng.random() < 0.5:
                changed[at] = value
            else:
                size = rng.choice((2, 4, 8))
                changed[at : at + size] = bytes([value]) * size
        yield bytes(changed[: rng.randrange(len(raw))]) if rng.random() < 0.1 else bytes(changed)


def with_sections(raw: bytes, count: int) -> Callable[[Path], None]:
    """A program that runs, and says that it has so many sections: `raw`, whose own are forgotten."""
    changed, at = bytearray(raw), (len(raw) + 63) & ~63
    changed[40:48] = at.to_bytes(8, "little")
    changed[60:62] = bytes(2)
    first = _SECTION.pack(0, 0, 0, 0, 0, count, 0, 0, 0, 0)
    return _sparse(bytes(changed), at + min(64 * count, 1 << 41), (at, first))
