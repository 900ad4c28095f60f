"""Reads BTF, the type information that a kernel and a compiled BPF object carry about themselves.

Answers three questions: where is a member inside a struct, what are the values of an enum, what does a
function (or a tracepoint, by its `btf_trace_*` prototype) take. For the running kernel it reads
/sys/kernel/btf/vmlinux, for an object its .BTF section. Refuses to know what the answers are for (kernel.py),
and maps and programs.

BTF is a header, a heap of types and a heap of names (Documentation/bpf/btf.rst). A type is three words (name;
kind and count; size or type) and a tail whose length follows from them. It carries no number: type N is the
Nth in the heap, so a number costs a walk over everything before it. vmlinux has 130,000 types in 5 MB: a name
is found by a memory search (0.4 ms), the walk goes only as far as it must (12 ms for all), nothing is copied.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tracer.errors import BadDataError, NoInputError

VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

_ALIASES: Final = frozenset({TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG})
_TAIL_WORDS: Final = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}  # after the three words of every type
_ITEM_WORDS: Final = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}  # times vlen
_PLAIN: Final = frozenset({TYPEDEF << 24, *(FUNC << 24 | linkage for linkage in range(3))})
_TO_PROTOTYPE: Final = _ALIASES | {FUNC, PTR}
_MAX_DEPTH: Final = 32  # deeper nesting of types is not C but a damaged file
_FOLLOWING: Final = 16  # each has a name by accident once in ten at best
_MAX_MEMBERS: Final = 1 << 16  # in one struct, so that nested nameless ones can not multiply without end


class Member(NamedTuple):
    """A member of a struct or union: `offset` and `size` in bytes; `bits` is a bit-field's width, else 0."""

    name: str
    offset: int
    size: int
    type: str
    bits: int = 0


class Struct(NamedTuple):
    """A struct or union; members of nameless inner ones stand among its own, as C sees them."""

    name: str
    size: int
    members: tuple[Member, ...]

    def member(self, name: str) -> Member | None:
        """The member called `name`, or None."""
        return next((m for m in self.members if m.name == name), None)


class Prototype(NamedTuple):
    """What a function takes, (name, type) pairs with "" for a nameless parameter, and what it returns."""

    params: tuple[tuple[str, str], ...]
    returns: str


class Btf:
    """The types of one kernel or object. Pointers are 8 bytes: BPF objects always, kernels of 64 bits."""

    def __init__(self, data: bytes | mmap.mmap, where: str) -> None:
        """Take raw BTF; `where` names it in errors. BadDataError if it is not BTF of this byte order."""
        self._where = where
        try:
            magic, _, _, header, type_off, type_len, str_off, str_len = struct.unpack_from("=HBBIIIII", data)
        except struct.error:
            raise self._bad("is too short to be BTF") from None
        if magic != 0xEB9F:
            raise self._bad("is of the other byte order" if magic == 0x9FEB else "is not BTF")
        self._data = data
        self._types_at, self._types_end = header + type_off, header + type_off + type_len
        self._strings_at, self._strings_end = header + str_off, header + str_off + str_len
        if type_len % 4 or max(self._types_end, self._strings_end) > len(data):
            raise self._bad("is cut short")
        self._words = memoryview(data)[self._types_at : self._types_end].cast("I")
        self._found = array("I", [0])  # word index of type id; type 0 is void and stands nowhere
        self._next = 0  # word index at which the walk goes on
        self._steps = _Steps()

    @classmethod
    def vmlinux(cls, path: Path = VMLINUX) -> Btf:
        """The running kernel's. Raises NoInputError when it has none or does not show it."""
        try:
            with path.open("rb") as file:
                try:
                    # Since Linux "btf: Allow mmap of vmlinux btf" (v6.16). Only a private mapping: a shared
                    # one is refused even for reading.
                    data: bytes | mmap.mmap
                    data = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
                except (OSError, ValueError):
                    data = file.read()
        except OSError as e:
            mend = "it needs a kernel built with CONFIG_DEBUG_INFO_BTF"
            raise NoInputError(f"this kernel shows no BTF: {path}: {e.strerror}", mend) from None
        return cls(data, str(path))

    @classmethod
    def from_elf(cls, path: Path) -> Btf:
        """The .BTF section of a compiled object. Raises NoInputError, or BadDataError if it has none."""
        try:
            data = path.read_bytes()
        except OSError as e:
            raise NoInputError(f"can not read {path}: {e.strerror}") from None
        return cls(_elf_section(data, b".BTF", str(path)), str(path))

    # names

    def has(self, name: str, *kinds: int) -> bool:
        """Whether a type of one of `kinds` (STRUCT, FUNC, TYPEDEF ...) is called `name`."""
        return next(self._named(name, *kinds, plainly=True), None) is not None

    def type_id(self, name: str, kind: int) -> int | None:
        """The number by which the kernel knows the type, or None."""
        at = next(self._named(name, kind), None)
        return None if at is None else bisect_left(self._found, at, 1)

    def member_names(self, name: str) -> tuple[str, ...]:
        """Names of the members of struct or union `name`, as in `struct` but sooner; () if there is none."""
        at = next(self._named(name, STRUCT, UNION, plainly=True), None)
        return () if at is None else tuple(self._string(self._words[i]) for i, _, _ in self._items(at))

    # shapes

    def struct(self, name: str) -> Struct | None:
        """The layout of struct or union `name`, or None if there is none of that name."""
        at = next(self._named(name, STRUCT, UNION), None)
        if at is None:
            return None
        words, members = self._words, []
        for i, start, bits in self._items(at):
            type_id = words[i + 1]
            members.append(Member(self._string(words[i]), start // 8, self._sizeof(type_id), self._text(type_id), bits))
        return Struct(name, words[at + 2], tuple(members))

    def enum(self, name: str) -> dict[str, int] | None:
        """{enumerator: value} of enum `name`, or None. A 64-bit enum too."""
        at = next(self._named(name, ENUM, ENUM64), None)
        if at is None:
            return None
        words, signed, wide = self._words, self._words[at + 1] >> 31, self._kind(at) == ENUM64
        width = 3 if wide else 2
        values = {}
        for i in range(at + 3, at + 3 + width * self._vlen(at), width):
            value = words[i + 1] | words[i + 2] << 32 if wide else words[i + 1]
            values[self._string(words[i])] = _signed(value, 64 if wide else 32, signed)
        return values

    def prototype(self, name: str) -> Prototype | None:
        """Of a function, or of a typedef of a pointer to one (as `btf_trace_*` are); None if there is none.

        A tracepoint's first parameter is `void *`; the tracepoint's own arguments follow.
        """
        at = next(self._named(name, FUNC, TYPEDEF), None)
        for _ in range(_MAX_DEPTH):
            if at is None or self._kind(at) not in _TO_PROTOTYPE:
                break
            at = self._at(self._words[at + 2])
        if at is None or self._kind(at) != FUNC_PROTO:
            return None
        items = range(at + 3, at + 3 + 2 * self._vlen(at), 2)
        params = tuple((self._string(self._words[i]), self._text(self._words[i + 1])) for i in items)
        return Prototype(params, self._text(self._words[at + 2]))

    # inside

    def _bad(self, what: str) -> BadDataError:
        return BadDataError(f"type information of {self._where} {what}")

    def _string(self, offset: int) -> str:
        start = self._strings_at + offset
        end = self._data.find(b"\0", start, self._strings_end)
        if end < 0:
            raise self._bad("has a name outside its names")
        return self._data[start:end].decode("utf-8", "surrogateescape")

    def _kind(self, at: int) -> int:
        return self._words[at + 1] >> 24 & 31

    def _vlen(self, at: int) -> int:
        return self._words[at + 1] & 0xFFFF

    def _named(self, name: str, *kinds: int, plainly: bool = False) -> Iterator[int]:
        """Word index of each type of that name and of one of the kinds.

        The name's offset is looked for as bytes among the types. Members and parameters hold it too, other
        words by accident: the kind sorts most of those out, and the rest are not where a type begins. To know where
        types begin all before must be walked, 15 ms: `plainly`, functions and typedefs go by their second word,
        which is their kind and next to nothing, where a member or parameter has the number of its type; others by
        the types that follow, which make sense one after the other only where the first one does.
        """
        wanted = b"\0" + name.encode("utf-8", "surrogateescape") + b"\0"
        data, end = self._data, self._types_end
        found = data.find(wanted, self._strings_at, self._strings_end)
        if found < 0:
            return
        pattern = struct.pack("=I", found + 1 - self._strings_at)
        pos = data.find(pattern, self._types_at, end)
        begins = self._seems_to_begin if plainly else self._begins
        while pos >= 0:
            at, rest = divmod(pos - self._types_at, 4)
            if not rest and at + 3 <= len(self._words) and self._kind(at) in kinds and begins(at):
                yield at
            pos = data.find(pattern, pos + 1, end)

    def _begins(self, at: int) -> bool:
        """Whether a type begins at word `at`. Walks that far, once."""
        if at >= self._next:
            self._walk(until=at + 1)
        i = bisect_left(self._found, at, 1)
        return i < len(self._found) and self._found[i] == at

    def _seems_to_begin(self, at: int) -> bool:
        """By _FOLLOWING types that stand one after the other from word `at`, each with a kind and a name or none."""
        words, size = self._words, len(self._words)
        if words[at + 1] in _PLAIN:
            return True
        for _ in range(_FOLLOWING):
            if at == size:
                return True
            if at + 3 > size or not self._names(words[at]):
                return False
            try:
                at += self._steps[words[at + 1]]
            except KeyError:
                return False
        return at <= size

    def _names(self, offset: int) -> bool:
        """Whether a name begins at that offset among the names; the first one is the empty name."""
        at = self._strings_at + offset
        return not offset or (at < self._strings_end and self._data[at - 1] == 0)

    def _at(self, type_id: int) -> int | None:
        """Word index of a type id; None for void."""
        if type_id >= len(self._found):
            self._walk(count=type_id + 1)
            if type_id >= len(self._found):
                raise self._bad(f"refers to type {type_id}, which it does not have")
        return self._found[type_id] if type_id else None

    def _walk(self, *, until: int | None = None, count: int | None = None) -> None:
        words, steps, append = self._words, self._steps, self._found.append
        i = self._next
        stop = len(words) if until is None else min(until, len(words))
        left = len(words) if count is None else count - len(self._found)
        try:
            while i < stop and left > 0:
                append(i)
                i += steps[words[i + 1]]
                left -= 1
        except (IndexError, KeyError):
            raise self._bad("can not be walked: it is damaged, or newer than this program") from None
        if i > len(words):
            raise self._bad("ends in the middle of a type")
        self._next = i

    def _items(self, at: int) -> Iterator[tuple[int, int, int]]:
        """(word index, offset in bits, bit-field width or 0) of each named member, nameless structs open."""
        for seen, item in enumerate(self._nested(at, 0, 0)):
            if seen >= _MAX_MEMBERS:
                raise self._bad("has a struct of too many members")
            if self._words[item[0]]:
                yield item

    def _nested(self, at: int, base: int, depth: int) -> Iterator[tuple[int, int, int]]:
        words = self._words
        bitfields = words[at + 1] >> 31  # kind_flag: the offset's top byte is a width
        for i in range(at + 3, at + 3 + 3 * self._vlen(at), 3):
            offset = words[i + 2]
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if bitfields else (0, offset)
            yield i, base + offset, bits
            inner = None if words[i] else self._at(words[i + 1])
            if inner is not None and self._kind(inner) in (STRUCT, UNION) and depth < _MAX_DEPTH:
                yield from self._nested(inner, base + offset, depth + 1)

    def _sizeof(self, type_id: int) -> int:
        count = 1
        for _ in range(_MAX_DEPTH):
            at = self._at(type_id)
            kind = 0 if at is None else self._kind(at)
            if at is None or kind in (FUNC, FUNC_PROTO, FWD):
                return 0
            if kind == PTR:
                return 8 * count
            if kind == ARRAY:
                type_id = self._words[at + 3]
                count *= self._words[at + 5]
            elif kind in _ALIASES:
                type_id = self._words[at + 2]
            else:
                return self._words[at + 2] * count
        raise self._bad("has a type inside itself")

    def _text(self, type_id: int, depth: int = 0) -> str:
        """The type in C's words, without const and volatile; a pointer to a function is `(*)()`."""
        at = self._at(type_id)
        if at is None or depth > _MAX_DEPTH:
            return "void"
        kind, name = self._kind(at), self._string(self._words[at])
        if kind == PTR:
            target = self._text(self._words[at + 2], depth + 1)
            return target + ("*" if target.endswith("*") else " *")
        if kind == ARRAY:
            return f"{self._text(self._words[at + 3], depth + 1)}[{self._words[at + 5]}]"
        if kind in _ALIASES and kind != TYPEDEF:
            return self._text(self._words[at + 2], depth + 1)
        if kind == FUNC_PROTO:
            return "(*)()"
        if kind == FWD:
            return ("union " if self._words[at + 1] >> 31 else "struct ") + name
        prefix = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum "}.get(kind, "")
        return prefix + (name or "{...}")


class _Steps(dict[int, int]):
    """Length in words of a type, by its second word; about 300 different ones are in a kernel."""

    def __missing__(self, info: int) -> int:
        kind = info >> 24 & 31
        if not INT <= kind <= ENUM64:
            raise KeyError(info)
        self[info] = length = 3 + _TAIL_WORDS.get(kind, 0) + _ITEM_WORDS.get(kind, 0) * (info & 0xFFFF)
        return length


def _signed(value: int, width: int, signed: int) -> int:
    return value - (1 << width) if signed and value >> (width - 1) else value


def _elf_section(data: bytes, name: bytes, where: str) -> bytes:
    """Bytes of the section called `name` of a 64-bit ELF file of this byte order."""
    try:
        if data[:5] != b"\x7fELF\x02":
            raise BadDataError(f"{where} is not a 64-bit ELF object")
        (table,) = struct.unpack_from("=Q", data, 0x28)
        entry, count, names_index = struct.unpack_from("=HHH", data, 0x3A)
        headers = [struct.unpack_from("=IIQQQQ", data, table + i * entry) for i in range(count)]
        names_at = headers[names_index][4]
        for name_off, _, _, _, at, size in headers:
            start = names_at + name_off
            if data[start : start + len(name) + 1] == name + b"\0":
                return data[at : at + size]
    except (struct.error, IndexError):
        raise BadDataError(f"{where} is a damaged ELF object") from None
    raise BadDataError(f"{where} has no {name.decode()} section", "compile it with -g")
