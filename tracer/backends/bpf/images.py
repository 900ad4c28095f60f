"""What is known of the memory of each image (one exec's) of each process whose stacks are sampled.

    images = Images(image_now)       image_now(pidfd): how many execs it has behind it, None if it is not counted
    images.mapped(...)               what the kernel says is where, on kernels that can
    images.seen(...)                 as soon as the kernel speaks of one: its mappings are read while they are there
    images.space(pid, born, image)   for tracer.symbols

A fork that has not exec'd has its parent's mappings, so one reading serves all the children of a server, those that
were gone before it too. Knows /proc; knows no stack.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tracer.host import procfs
from tracer.symbols import Code, Mapped, Maps, PerfSource, Space, owners_of
from tracer.symbols.opening import open_regular

_MOST: Final = 65536  # images kept
_MAPPINGS_MOST: Final = 1 << 20  # of all images; one process may have 65,000 of them (vm.max_map_count)
_MAPS_BYTES: Final = 8 << 20  # of one /proc/PID/maps
_HELD_MOST: Final = 256  # descriptors, of roots and of files each
_READ_MOST: Final = 4  # readings of one image's mappings
_AGAIN: Final = 64  # samples: from then on its own mappings count, even if they were its parent's

Key = tuple[int, int]
"""(birth of the process, number of execs)."""


class Seen(NamedTuple):
    """One record of the ring `seen`, stacks.h."""

    born_ns: int
    parent_born_ns: int
    pid: int
    image: int
    parent_pid: int
    parent_image: int
    samples: int
    uid: int
    own_pid: int  # in its own pid namespace


class Images:
    """`close` gives the descriptors back; spaces that were handed out can not open files after that."""

    def __init__(self, image_now: Callable[[int], int | None], proc: Path = procfs.PROC) -> None:
        self._image_now = image_now
        self._proc = proc
        self._spaces: dict[Key, Space] = {}
        self._codes: Counter[Code] = Counter()  # forks share theirs
        self._mappings = 0  # in all of them
        self._told: dict[Key, list[Mapped]] = {}
        self._roots: dict[int, int] = {}  # mount namespace -> descriptor of its root
        self._files: dict[tuple[int, int], int] = {}
        self._wall_s = procfs.wall_offset_ns() / 1e9
        with suppress(OSError):
            self._roots[os.stat(proc / "self/ns/mnt").st_ino] = -1  # noqa: PTH116

    def mapped(self, key: Key, mapping: Mapped) -> None:
        """The kernel's own word on an executable mapping, before it speaks of the image."""
        self._told.setdefault(key, []).append(mapping)
        while len(self._told) > _HELD_MOST:
            del self._told[next(iter(self._told))]

    def seen(self, record: Seen) -> None:
        """An image will have samples, or has had them: find out what is where, if it is still there."""
        key = record.born_ns, record.image
        known, told = self._spaces.get(key), self._told.pop(key, ())
        if known is not None:
            if record.samples >= _AGAIN:
                self._read_again(record.pid, key)
            return
        above = self._above(record) if record.parent_born_ns else None
        if above is not None:
            perf = above.perf
            if any(not m.path for maps in above.code.maps for m in maps.mappings):  # a compiler is at work in there
                perf = (*self._perf(record.pid, key, above.code.root), *perf)
            self._keep(key, Space(above.code, perf))
            return
        space = self._read(record.pid, key)
        if space is None and told:  # gone already: there is no looking into another root, nor at deleted files
            owners = owners_of({record.uid})
            code = Code((Maps(told),), born_s=key[0] / 1e9 + self._wall_s, held=self._files, owners=owners)
            space = Space(code, (PerfSource("", record.own_pid, owners),))
        if space is not None:
            self._keep(key, space)

    def _above(self, record: Seen) -> Space | None:
        """The parent's, as it lives longer in most cases, and as its other children will want it too."""
        key = record.parent_born_ns, record.parent_image
        if key not in self._spaces and record.parent_pid:
            space = self._read(record.parent_pid, key)
            if space is not None:
                self._keep(key, space)
        return self._spaces.get(key)

    def space(self, pid: int, born_ns: int, image: int, *, again: bool = False) -> Space:
        """What is known; nothing for a process that came and went too fast. `again`: libraries may have come since."""
        key = born_ns, image
        if key not in self._spaces:
            space = self._read(pid, key)
            if space is None:
                return Space(Code())
            self._keep(key, space)
        elif again:
            self._read_again(pid, key)
        return self._spaces[key]

    def _keep(self, key: Key, space: Space) -> None:
        self._drop(key)
        self._spaces[key] = space
        if not self._codes[space.code]:
            self._mappings += space.code.size
        self._codes[space.code] += 1
        while len(self._spaces) > _MOST or (self._mappings > _MAPPINGS_MOST and len(self._spaces) > 1):
            self._drop(next(iter(self._spaces)))

    def _drop(self, key: Key) -> None:
        space = self._spaces.pop(key, None)
        if space is not None:
            self._codes[space.code] -= 1
            if not self._codes[space.code]:
                del self._codes[space.code]
                self._mappings -= space.code.size

    def _read_again(self, pid: int, key: Key) -> None:
        old, new = self._spaces[key], self._read(pid, key)
        if new is not None and new.code.maps[0].mappings != old.code.maps[0].mappings:
            maps = (*new.code.maps, *old.code.maps)[:_READ_MOST]
            code = Code(maps, new.code.root, new.code.born_s, self._files, new.code.owners)
            self._keep(key, Space(code, tuple(dict.fromkeys((*new.perf, *old.perf)))))

    def _read(self, pid: int, key: Key) -> Space | None:
        """None if it is gone, has become another program, or its pid is another's by now."""
        folder = self._proc / str(pid)
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):
            return None
        try:
            maps = Maps.parse(maps_text(folder))
            stat = procfs.parse_stat((folder / "stat").read_bytes())
            root = self._root(folder)
            root_owner = os.stat(folder / "root").st_uid  # noqa: PTH116
            perf = self._perf(pid, key, root)
            self._hold(folder, maps, everything=root != "")
            if stat is None or stat.start_ticks != procfs.ticks(key[0]) or self._image_now(pidfd) != key[1]:
                return None
        except OSError:
            return None
        finally:
            os.close(pidfd)
        if not maps.mappings:  # it has given its memory back
            return None
        # Files of a container are its root's, which in a user namespace is any uid.
        owners = frozenset(uid for source in perf for uid in source.owners) | {root_owner}
        return Space(Code((maps,), root, key[0] / 1e9 + self._wall_s, self._files, owners), perf)

    def _root(self, folder: Path) -> str:
        """What stands before the path of a file in another mount namespace."""
        namespace = os.stat(folder / "ns/mnt").st_ino  # noqa: PTH116
        if namespace not in self._roots:
            if len(self._roots) > _HELD_MOST:
                return ""
            self._roots[namespace] = os.open(folder / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = self._roots[namespace]
        return "" if fd < 0 else f"/proc/self/fd/{fd}"

    def _perf(self, pid: int, key: Key, root: str) -> tuple[PerfSource, ...]:
        folder = self._proc / str(pid)
        try:
            uid = os.stat(folder).st_uid  # noqa: PTH116
            lines = (folder / "status").read_bytes().splitlines()
        except OSError:
            return ()
        own = next((line.split()[-1] for line in lines if line.startswith(b"NSpid:")), str(pid).encode())
        return (PerfSource(root, int(own), owners_of({uid})),)

    def _hold(self, folder: Path, maps: Maps, *, everything: bool) -> None:
        """An upgrade took a file's name away, and with the process it will go; with a container all will."""
        for m in maps.mappings:
            key = m.device, m.inode
            if m.inode and (m.deleted or everything) and key not in self._files and len(self._files) < _HELD_MOST:
                found = open_regular(str(folder / "map_files" / f"{m.start:x}-{m.end:x}"), follow=True)
                if found is not None:
                    self._files[key] = found.fd

    def close(self) -> None:
        """May be called twice."""
        for fd in (*self._roots.values(), *self._files.values()):
            if fd >= 0:
                os.close(fd)
        self._roots.clear()
        self._files.clear()


def maps_text(folder: Path) -> bytes:
    """/proc/PID/maps, the beginning of one that is longer than any honest one. Raises OSError."""
    with (folder / "maps").open("rb") as file:
        return file.read(_MAPS_BYTES)
