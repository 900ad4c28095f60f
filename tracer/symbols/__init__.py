"""Addresses of a stack to names of functions.

    symbolizer = Symbolizer()
    symbolizer.frames(space, leaf, caller, addresses)     -> ("memcpy", "save", "main"), leaf first

A `Space` is what is known of a process' memory: its executable mappings (maps.py), where its files are found from
here, what its compilers said. Names come from ELF symbols; `libc.so.6+0x2a1b0` where there is none, `[unknown]` where
nothing is known.

Files belong to traced users. They are opened here (opening.py) and read by a process without privileges (worker.py,
by elf.py and perf_map.py), which is asked through client.py: whatever is in them, this process neither hangs nor grows.

The kernel walks frame pointers, and most distributions compile without: then a frame pointer is just a register, and
what it leads to is garbage that often looks well. So a frame is only believed if a call stands before it, and above a
function without a frame pointer none is, unless the word on top of the stack, or on arm64 the link register, is its
return address: memcpy and the like have pushed nothing. What is seen of a machine's code is code.py's. Inlined
functions are part of those they are in.
Refuses to know: how the stacks were taken.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tracer.symbols.client import Client
from tracer.symbols.maps import Mapped, Maps
from tracer.symbols.opening import Opened, open_regular

__all__ = ["UNKNOWN", "Code", "Mapped", "Maps", "PerfSource", "Space", "Symbolizer", "owners_of"]

UNKNOWN: Final = "[unknown]"
DEBUG_FOLDERS: Final = (Path("/usr/lib/debug"),)
_FILES_MOST: Final = 384  # with a debug file each, if they have one
_PERF_OPEN_MOST: Final = 64
_KNOWN_MOST: Final = 200_000  # addresses
_LETTERS_MOST: Final = 32 << 20  # in the names of one batch of stacks; beyond, FILE+OFFSET
_BUILD_ID: Final = re.compile("[0-9a-f]{4,128}")


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
    files that have no name any more, owned by whoever made this. `owners`: of files that are believed to be those
    that were mapped because they are older than the process, and not by their inodes.
    """

    __slots__ = ("born_s", "held", "maps", "owners", "root")

    def __init__(
        self,
        maps: tuple[Maps, ...] = (),
        root: str = "",
        born_s: float | None = None,
        held: Mapping[tuple[int, int], int] | None = None,
        owners: frozenset[int] | None = None,
    ) -> None:
        self.maps = maps
        self.root = root
        self.born_s = born_s
        self.held: Mapping[tuple[int, int], int] = held if held is not None else {}
        self.owners = owners if owners is not None else owners_of(())

    @property
    def size(self) -> int:
        """How many mappings it holds."""
        return sum(len(maps.mappings) for maps in self.maps)

    def find(self, address: int) -> Mapped | None:
        """The mapping that `address` lies in."""
        return next((m for m in (maps.find(address) for maps in self.maps) if m is not None), None)


class Space(NamedTuple):
    """One image of one process. `perf`: where its compilers may have written names, its own first."""

    code: Code
    perf: tuple[PerfSource, ...] = ()


class _Binary(NamedTuple):
    files: tuple[Opened, ...]  # itself, and its debug file


class _Frame(NamedTuple):
    name: str
    frame: bool | None  # at this instruction its function has set its frame pointer; None: nobody knows
    called: bool  # a call, as far as can be seen, stands before this address
    overwrites: bool = False  # it never sets one, and once it has called somebody the link register is its own


class Symbolizer:
    """Opens each file once. `missing`: there is no worker process to read them, so there are no names."""

    def __init__(self, debug_folders: Iterable[Path] = DEBUG_FOLDERS) -> None:
        self._debug_folders = tuple(debug_folders)
        self._client = Client()
        self._files: dict[tuple[int, int, str], _Binary] = {}
        self._by_mapping: dict[tuple[str, Mapped, float | None], _Binary | None] = {}
        self._perf: OrderedDict[PerfSource, Opened | None] = OrderedDict()
        self._made: dict[tuple[PerfSource, int], str | None] = {}
        self._known: dict[tuple[Code, int, bool], _Frame | None] = {}  # None: no file is mapped there
        self._letters = 0  # in the names of `_known` and `_made`

    @property
    def missing(self) -> bool:
        """No function can be named here."""
        return self._client.missing

    def frames(self, space: Space, leaf: int, caller: int, addresses: Sequence[int]) -> tuple[str, ...]:
        """Names, leaf first. `caller`: what the stack or the link register says, if a return address, else 0.

        `addresses`: the return addresses that the kernel found by frame pointers, innermost first, without the leaf.
        One name alone: who called it is not known.
        """
        self.prepare([(space, leaf, caller, addresses)])
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

    def prepare(self, stacks: Iterable[tuple[Space, int, int, Sequence[int]]]) -> None:
        """What `frames` will be called with: to ask each file once for all of it takes a fifth of the time."""
        self._learn(
            (space.code, address, place == 0)
            for space, leaf, caller, addresses in stacks
            for place, address in enumerate((leaf, caller, *addresses))
            if address or not place
        )

    def _frame(self, space: Space, address: int, *, leaf: bool) -> _Frame | None:
        key = (space.code, address, leaf)
        if key not in self._known:
            self._learn([(space.code, address, leaf)])
        found = self._known.get(key)
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

    def _learn(self, addresses: Iterable[tuple[Code, int, bool]]) -> None:
        """Fill `_known` for (code, address, whether it is a leaf): each file is asked once."""
        if len(self._known) > _KNOWN_MOST:
            self._known.clear()
        wanted: dict[int, tuple[_Binary, list[tuple[Code, int, bool]], list[str], list[tuple[int, bool]]]] = {}
        for key in addresses:
            if key in self._known or len(self._known) > 2 * _KNOWN_MOST:
                continue
            self._known[key] = None
            code, address, leaf = key
            inside = address if leaf else address - 1  # a call that does not return may be its function's last word
            mapping = code.find(inside)
            if mapping is None or not mapping.path or mapping.path.startswith("[anon"):
                continue
            if mapping.path.startswith("["):
                self._known[key] = _Frame(mapping.path, None, True)
                continue
            binary = self._file(code, mapping)
            if binary is not None:
                _, keys, places, asked = wanted.setdefault(id(binary), (binary, [], [], []))
                offset = inside - mapping.start + mapping.offset
                keys.append(key)
                places.append(f"{_module(mapping)}+{offset:#x}")
                asked.append((offset, leaf))
        for binary, keys, places, asked in wanted.values():
            answer = self._client.ask("elf", binary.files, asked)
            for key, place, said in zip(keys, places, answer["at"] if answer else (), strict=False):
                frame = _frame_of(said)
                if frame is not None and (not frame.name or not self._room(frame.name)):
                    frame = frame._replace(name=place)
                self._known[key] = frame

    def _room(self, name: str) -> bool:
        """Whether one more name is kept; names have no other bound than how many addresses a stack map holds."""
        self._letters += len(name)
        return self._letters <= _LETTERS_MOST

    def _jitted(self, space: Space, address: int) -> str | None:
        for source in space.perf:
            if (source, address) not in self._made:
                if len(self._made) > _KNOWN_MOST:
                    self._made.clear()
                file = self._perf_map(source)
                answer = self._client.ask("perf", [file], [address]) if file is not None else None
                name = answer["at"][0] if answer else None
                kept = isinstance(name, str) and self._room(name)
                self._made[source, address] = name if kept else None
            name = self._made[source, address]
            if name is not None:
                return name
        return None

    def _perf_map(self, source: PerfSource) -> Opened | None:
        """Whose it is decides whether it is believed: /tmp is everybody's."""
        if source not in self._perf:
            found = open_regular(f"{source.root}/tmp/perf-{source.pid}.map")  # noqa: S108 - where they write it
            if found is not None and found.owner not in source.owners:
                found.close()
                found = None
            self._perf[source] = found
            if len(self._perf) > _PERF_OPEN_MOST:
                _close(self._perf.popitem(last=False)[1])
        return self._perf[source]

    def _file(self, code: Code, mapping: Mapped) -> _Binary | None:
        key = (code.root, mapping, code.born_s)
        if key not in self._by_mapping:
            if len(self._by_mapping) > _KNOWN_MOST:
                self._by_mapping.clear()
            opened = self._open(code, mapping)
            self._by_mapping[key] = self._binary(opened, code) if opened is not None else None
        return self._by_mapping[key]

    def _open(self, code: Code, mapping: Mapped) -> Opened | None:
        if self.missing:
            return None
        held = code.held.get((mapping.device, mapping.inode))
        if held is not None:
            try:
                return Opened.of(os.dup(held))
            except OSError:
                return None
        if mapping.deleted:
            return None
        # The kernel gives paths from the root of the mount namespace, or from ours, if it leads there.
        for path in dict.fromkeys((code.root + mapping.path, mapping.path)):
            found = open_regular(path)
            if found is None:
                continue
            # What was replaced since has symbols of its own.
            older = code.born_s is not None and found.changed_s < code.born_s and found.owner in code.owners
            if found.inode == mapping.inode or older:
                return found
            found.close()
        return None

    def _binary(self, opened: Opened, code: Code) -> _Binary | None:
        """Takes the file over, and finds its debug file if its own symbols are not all of them."""
        key = (opened.device, opened.inode, opened.key)
        known = self._files.get(key)
        if known is not None or len(self._files) >= _FILES_MOST:
            opened.close()
            return known
        folders = [Path(code.root + str(folder)) for folder in self._debug_folders] if code.root else []
        answer = self._client.ask("elf", [opened], [])
        build_id = answer.get("build_id") if answer is not None and not answer.get("whole") else None
        debug = None
        if isinstance(build_id, str) and _BUILD_ID.fullmatch(build_id):
            name = f"{build_id[:2]}/{build_id[2:]}.debug"
            paths = (str(folder / ".build-id" / name) for folder in (*folders, *self._debug_folders))
            debug = next((found for path in paths if (found := open_regular(path)) is not None), None)
        self._files[key] = _Binary((opened,) if debug is None else (opened, debug))
        return self._files[key]

    def forget(self) -> None:
        """What is kept by process, of which there may be any number; files stay open."""
        self._known.clear()
        self._by_mapping.clear()
        self._made.clear()
        self._letters = 0
        self._client.forget()
        for file in self._perf.values():
            _close(file)
        self._perf.clear()

    def close(self) -> None:
        """Give all files back, and end the worker."""
        for binary in self._files.values():
            for file in binary.files:
                file.close()
        self._files.clear()
        self.forget()
        self._client.close()


def _frame_of(said: object) -> _Frame | None:
    """An answer of the worker, if it is one."""
    if not isinstance(said, list) or len(said) != 4:
        return None
    name, frame, called, overwrites = said
    if not isinstance(name, str | None) or not isinstance(frame, bool | None):
        return None
    if not isinstance(called, bool) or not isinstance(overwrites, bool):
        return None
    return _Frame(name or "", frame, called, overwrites)


def _close(file: Opened | None) -> None:
    if file is not None:
        file.close()


def _module(mapping: Mapped) -> str:
    return mapping.path.rpartition("/")[2]


def owners_of(uids: Collection[int]) -> frozenset[int]:
    """Whose files are believed by their names: the process' own user's, root's, ours."""
    return frozenset({0, os.geteuid(), *uids})
