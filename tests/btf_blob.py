"""Writes BTF by hand, so that tests can have any kernel's types, and damaged ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tracer.host import btf


class Blob:
    """Types in the order of the calls; each call returns the type's number."""

    def __init__(self) -> None:
        self.names = bytearray(b"\0")
        self.types = bytearray()
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        raw = text.encode() + b"\0"
        at = self.names.find(b"\0" + raw)
        if at >= 0:
            return at + 1
        self.names += raw
        return len(self.names) - len(raw)

    def add(self, kind: int, name: str, size_or_type: int, *words: int, vlen: int = 0, flag: bool = False) -> int:
        info = kind << 24 | vlen | flag << 31
        self.types += struct.pack("=III", self.name(name), info, size_or_type)
        self.types += struct.pack(f"={len(words)}I", *(w & 0xFFFFFFFF for w in words))
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(btf.INT, name, size, size * 8)

    def struct(
        self,
        name: str,
        size: int,
        members: Sequence[tuple[str, int, int]],
        *,
        kind: int = btf.STRUCT,
        flag: bool = False,
    ) -> int:
        """Members are (name, type, offset in bits)."""
        words = [word for member, type_id, bits in members for word in (self.name(member), type_id, bits)]
        return self.add(kind, name, size, *words, vlen=len(members), flag=flag)

    def enum(self, name: str, values: Sequence[tuple[str, int]], *, signed: bool = False) -> int:
        words = [word for item, value in values for word in (self.name(item), value)]
        return self.add(btf.ENUM, name, 4, *words, vlen=len(values), flag=signed)

    def prototype(self, params: Sequence[tuple[str, int]], returns: int = 0) -> int:
        words = [word for param, type_id in params for word in (self.name(param), type_id)]
        return self.add(btf.FUNC_PROTO, "", returns, *words, vlen=len(params))

    def tracepoint(self, name: str, *types: int) -> int:
        """A `btf_trace_*` typedef: of a pointer to a function of (void *, *types)."""
        pointer = self.add(btf.PTR, "", self.prototype([("", self.add(btf.PTR, "", 0)), *(("", t) for t in types)]))
        return self.add(btf.TYPEDEF, f"btf_trace_{name}", pointer)

    def bytes(self) -> bytes:
        head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.names))
        return head + bytes(self.types) + bytes(self.names)

    def btf(self) -> btf.Btf:
        return btf.Btf(self.bytes(), "a test")


def elf(sections: dict[str, bytes]) -> bytes:
    """A 64-bit ELF object of this byte order that holds these sections and nothing else."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    body, headers = bytearray(), [struct.pack("=IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    for name, data in (*sections.items(), (".shstrtab", names)):
        at = names.index(b"\0" + name.encode() + b"\0") + 1
        headers.append(struct.pack("=IIQQQQIIQQ", at, 1, 0, 0, 64 + len(body), len(data), 0, 0, 1, 0))
        body += data
    count = len(headers)
    head = struct.pack("=4s5B7x", b"\x7fELF", 2, 1, 1, 0, 0)
    head += struct.pack("=HHIQQQIHHHHHH", 1, 247, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, count, count - 1)
    return head + bytes(body) + b"".join(headers)
