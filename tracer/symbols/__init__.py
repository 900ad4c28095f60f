"""Addresses of a stack to names of functions.

    symbolizer = Symbolizer()
    symbolizer.frames(space, leaf, caller, addresses)     -> ("memcpy", "save", "main"), leaf first

A `Space` is what is known of a process' memory: its executable mappings (maps.py), where its files are found from
here, what its compilers said (perf_map.py). Names come from ELF symbols (elf.py); `libc.so.6+0x2a1b0` where there is
none, `[unknown]` where nothing is known.

The kernel walks frame pointers, and most distributions compile without: then a frame pointer is just a register, and
what it leads to is garbage that often looks well. So a frame is only believed if a call stands before it, and above a
function without a frame pointer none is, unless the word on top of the stack, or on arm64 the link register, is its
return address, with which the kernel's walk can be mended (memcpy and the like have pushed nothing). What is seen of a
machine's code is code.py's. Inlined functions are part of those they are in.
Refuses to know: how the stacks were taken.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tracer.symbols.elf import ElfFile
from tracer.symbols.maps import Mapped, Maps
from tracer.symbols.perf_map import PerfMap

__all__ = ["UNKNOWN", "Code", "Mapped", "Maps", "PerfSource", "Space", "Symbolizer", "owners_of"]

UNKNOWN: Final = "[unknown]"
DEBUG_FOLDERS: Final = (Path("/usr/lib/debug"),)
_FILES_MOST: Final = 512


class PerfSource(NamedTuple):
    """Where a process' compilers may have written names: `pid` is as the process itself sees it."""

    root: str  # "" or /proc/self/fd/N
    pid: int
    owners: frozenset[int]  # uids that are believed


class Code:
    """What lies where. Forks of one program share theirs, and so what is known of its addresses.

    `maps`: newest first, each consulted where the ones before it know nothing. `root`: what to put before a path to
    find the process' files from here. `born_s`: Unix time of its birth, for files whose inode the kernel and os.stat
    do not agree on (overlay, btrfs): what was not touched since is the same. `held`: {(device, inode): descriptor} of
    files that have no name any more, owned by whoever made this.
    """

    __slots__ = ("born_s", "held", "maps", "root")

    def __init__(
        self,
        maps: tuple[Maps, ...] = (),
        root: str = "",
        born_s: float | None = None,
        held: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        self.maps = maps
        self.root = root
        self.born_s = born_s
        self.held: Mapping[tuple[int, int], int] = held if held is not None else {}

    def find(self, address: int) -> Mapped | None:
        """The mapping that `address` lies in."""
        return next((m for m in (maps.find(address) for maps in self.maps) if m is not None), None)


class Space(NamedTuple):
    """One image of one process. `perf`: where its compilers may have written names, its own first."""

    code: Code
    perf: tuple[PerfSource, ...] = ()


class _Frame(NamedTuple):
    name: str
    frame: bool | None  # at this instruction its function has set its frame pointer; None: nobody knows
    called: bool  # a call, as far as can be seen, stands before this address
    overwrites: bool = False  # it never sets one, and where it has called somebody the link register is its own


class Symbolizer:
    """Opens each file once. `missing`: pyelftools is not there, so there were no symbols."""

    def __init__(self, debug_folders: Iterable[Path] = DEBUG_FOLDERS) -> None:
        self.missing = False
        self._debug_folders = tuple(debug_folders)
        self._files: dict[tuple[int, int, int], ElfFile | None] = {}
        self._by_mapping: dict[tuple[str, Mapped, float | None], ElfFile | None] = {}
        self._perf: dict[PerfSource, PerfMap | None] = {}
        self._known: dict[tuple[Code, int, bool], _Frame | None] = {}  # None: no file is mapped there

    def frames(self, space: Space, leaf: int, caller: int, addresses: Sequence[int]) -> tuple[str, ...]:
        """Names, leaf first. `caller`: what the stack or the link register says, if a return address, else 0.

        `addresses`: the return addresses that the kernel found by frame pointers, innermost first, without the leaf.
        One name alone: who called it is not known.
        """
        at_leaf = self._frame(space, leaf, leaf=True)
        if at_leaf is None:
            return (UNKNOWN,)
        names = [at_leaf.name]
        if at_leaf.overwrites and caller:
            above = self._frame(space, caller, leaf=False)
            if above is not None and above.name == at_leaf.name:
                caller = 0  # where its last call has returned to
        if at_leaf.frame is not True and caller and caller not in addresses[:1]:
            addresses = (caller, *addresses)
        elif at_leaf.frame is False:
            return tuple(names)
        for address in addresses:
            found = self._frame(space, address, leaf=False)
            if found is None or not found.called:
                break
            names.append(found.name)
            if found.frame is False:
                break
        return tuple(names)

    def _frame(self, space: Space, address: int, *, leaf: bool) -> _Frame | None:
        key = (space.code, address, leaf)
        if key not in self._known:
            self._known[key] = self._in_file(space.code, address, leaf)
        found = self._known[key]
        if found is not None and found.name:
            return found
        inside = address if leaf else address - 1
        name = self._jitted(space, inside)  # in a file too: compilers write into memfds and caches
        if name is not None:
            return _Frame(name, True, True)
        mapping = space.code.find(inside)
        if mapping is not None and mapping.path:
            return _Frame(f"{_module(mapping)}+{inside - mapping.start + mapping.offset:#x}", None, True)
        return None if mapping is None and not leaf else _Frame(UNKNOWN, None, True)

    def _in_file(self, code: Code, address: int, leaf: bool) -> _Frame | None:
        """None where there is no file to look into."""
        inside = address if leaf else address - 1  # a call that does not return may be its function's last word
        mapping = code.find(inside)
        if mapping is None or not mapping.path or mapping.path.startswith("[anon"):
            return None
        if mapping.path.startswith("["):
            return _Frame(mapping.path, None, True)
        offset = inside - mapping.start + mapping.offset
        elf = self._file(code, mapping)
        vaddr = elf.vaddr(offset) if elf is not None else None
        if elf is None or vaddr is None:
            return None
        size = elf.machine.call_bytes
        called = leaf or elf.machine.is_call(elf.code(vaddr + 1 - size, size))
        function = elf.function(vaddr)
        if function is None or not function.name:
            return _Frame(f"{_module(mapping)}+{offset:#x}", None if elf.keeps_frames() else False, called)
        frame = None if function.frame is None else 0 <= function.frame <= vaddr
        return _Frame(function.name, frame, called, elf.machine.link and function.frame == -1)

    def _jitted(self, space: Space, address: int) -> str | None:
        for source in space.perf:
            if source not in self._perf:
                path = f"{source.root}/tmp/perf-{source.pid}.map"  # noqa: S108 - that is where they write it
                self._perf[source] = PerfMap.open(path, source.owners)
            found = self._perf[source]
            name = found.name(address) if found is not None else None
            if name is not None:
                return name
        return None

    def _file(self, code: Code, mapping: Mapped) -> ElfFile | None:
        key = (code.root, mapping, code.born_s)
        if key not in self._by_mapping:
            self._by_mapping[key] = self._open(code, mapping)
        return self._by_mapping[key]

    def _open(self, code: Code, mapping: Mapped) -> ElfFile | None:
        if self.missing:
            return None
        held = code.held.get((mapping.device, mapping.inode))
        if held is not None:
            return self._elf(f"/proc/self/fd/{held}", code)
        if mapping.deleted:
            return None
        # The kernel gives paths from the root of the mount namespace, or from ours, if it leads there.
        for path in dict.fromkeys((code.root + mapping.path, mapping.path)):
            try:
                said = os.stat(path)  # noqa: PTH116 - a str of any bytes
            except (OSError, ValueError):
                continue
            # What was replaced since has symbols of its own.
            if said.st_ino == mapping.inode or (code.born_s is not None and said.st_ctime < code.born_s):
                return self._elf(path, code)
        return None

    def _elf(self, path: str, code: Code) -> ElfFile | None:
        try:
            said = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        key = (said.st_dev, said.st_ino, said.st_mtime_ns)
        if key not in self._files:
            if len(self._files) >= _FILES_MOST:
                return None
            folders = [Path(code.root + str(folder)) for folder in self._debug_folders] if code.root else []
            try:
                self._files[key] = ElfFile.open(path, (*folders, *self._debug_folders))
            except ImportError:
                self.missing = True
                return None
        return self._files[key]

    def forget(self) -> None:
        """What is kept by process, of which there may be any number; files stay open."""
        self._known.clear()
        self._by_mapping.clear()
        self._perf.clear()

    def close(self) -> None:
        """Give all files back."""
        for elf in self._files.values():
            if elf is not None:
                elf.close()
        self._files.clear()
        self.forget()


def _module(mapping: Mapped) -> str:
    return mapping.path.rpartition("/")[2]


def owners_of(uids: Collection[int]) -> frozenset[int]:
    """Whose perf-map file is believed: the process' own, root's, ours."""
    return frozenset({0, os.geteuid(), *uids})
