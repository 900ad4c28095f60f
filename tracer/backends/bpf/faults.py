"""The fault probes: objects of their own, beside the life-cycle probes and into their ring.

    faults = Faults(path, lifecycle_object, its_options)     then load, attach, add_root(pidfd)
    faults.snapshot()     counters of all that live go into the ring; on a tick, and last after `detach`
    faults.close()

Its refusal costs the fork tree nothing: the caller keeps the fork columns and says why the others are null.
`faults_readiness` asks the kernel which columns can be had, and how sure they are. Knows no ring, no column, no
tree.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

from tracer.backends import wire
from tracer.backends.bpf import host, programs
from tracer.backends.bpf.libbpf import BpfObject
from tracer.errors import ForktraceError
from tracer.host import features

OPTIONS: Final = wire.Record("ft_fault_options", (("decay_min", "I"), ("ksm", "I")))
STATS: Final = wire.Record(
    "ft_fault_stats",
    (
        ("unmade", "Q"),
        ("added", "Q"),
        ("lost_races", "Q"),
        ("second_pages", "Q"),
        ("swapped_in", "Q"),
        ("threads", "Q"),
        ("decay", f"{2 * wire.DECAY_BUCKETS}q"),
    ),
)
_STATS: Final = struct.Struct("=" + "".join(fmt for _, fmt in STATS.fields))
COUNTERS_SIZE: Final = 752  # struct counters, faults.h
_HELD: Final = 1
_EXECED: Final = 2
_FOUND: Final = 1024
_PAGE_FREE: Final = "on_page_free"
_OPTIONAL: Final = programs.OPTIONAL["faults"]


class Readiness(NamedTuple):
    """Can copies be counted here? `evidence`: measured, inferred, None; `nulls`: columns not to be had."""

    ok: bool
    evidence: str | None
    why: str
    nulls: frozenset[str] = frozenset()


class FaultStats(NamedTuple):
    """struct ft_fault_stats; `decay`: small processes together, since their birth, since their last fork."""

    unmade: int
    added: int
    lost_races: int
    second_pages: int
    swapped_in: int
    threads: int
    decay: tuple[tuple[int, ...], tuple[int, ...]]


class Faults:
    """One capture's fault probes, beside `owner`, the loaded life-cycle object, whose `.rodata.opt` is `options`.

    `decay_min`: with how many copies a process gets a histogram of its own; smaller ones are summed up.
    """

    def __init__(
        self, object_path: str | os.PathLike[str], owner: BpfObject, options: bytes, *, decay_min: int = 64
    ) -> None:
        self._path = Path(object_path)
        self._owner = owner
        self._options = options
        self._fault_options = struct.pack("=2I", decay_min, host.merges_pages())
        self._object = BpfObject(object_path)
        self.copies: list[BpfObject] = []  # of its hot programs, loaded; attached and closed with it
        self._walks: BpfObject | None = None
        self._stats: mmap.mmap | None = None
        self._unmade = 0
        self._threads = False

    def load(self, optional: Collection[str] = _OPTIONAL) -> None:
        """Raises ProbesRefusedError or NoPermissionError with the kernel's reason for a program not of `optional`."""
        obj = self._object
        self._share(obj)
        obj.skip("on_dirty_page" if host.has_dirty_folio() else "on_dirty_folio")
        obj.skip("on_exec" if host.has_in_execve() else "on_rename")
        obj.load(optional)
        self._stats = obj.view(".data.faultstats", _STATS.size)

    @property
    def object(self) -> BpfObject:
        """The loaded object, for what the kernel refused of it."""
        return self._object

    def _share(self, obj: BpfObject) -> None:
        obj.set_data(".rodata.opt", self._options)
        obj.set_data(".rodata.faultopt", self._fault_options)
        for shared in ("marks", "unmarked", "events", ".data.stats"):
            obj.share(shared, self._owner.map_fd(shared))

    def attach(self, *, threads: bool = False) -> None:
        """All hooks. The owner's on_rss_stat is not needed besides: on this tracepoint one program does both.

        mm_page_free fires for every page that anyone on the host gives back, and only matters where two threads may
        write to one page at once. So it waits until there are `threads`: `poll` attaches it when the first is born.
        """
        self._threads = threads
        self._attach(lambda name, section: threads or name != _PAGE_FREE)

    def _attach(self, wanted: Callable[[str, str], bool]) -> None:
        for obj in (self._object, *self.copies):
            obj.attach(wanted)

    def poll(self) -> None:
        """To be called when the ring has been read; a first thread wakes the ring's reader."""
        if not self._threads and self.stats().threads:
            self._threads = True
            self._attach(lambda name, section: name == _PAGE_FREE)

    def add_root(self, pidfd: int, *, held: bool = True) -> None:
        """A process by its pidfd. `held`: its counters begin at its next exec, and nothing before is told."""
        value = struct.pack("=I", _HELD if held else _EXECED | _FOUND).ljust(COUNTERS_SIZE, b"\0")
        self._object.update("thrs", struct.pack("=i", pidfd), value)

    def add_tree(self) -> None:
        """Threads and descendants of the roots that live: passes over all tasks, until one adds none."""
        while True:
            before = self.stats().added
            self._walk("find_faulters")
            if self.stats().added == before:
                break
        self.poll()

    def snapshot(self) -> None:
        """What all that live have counted since they last told, into the ring. Works after `detach` too."""
        unmade = self.stats().unmade
        if unmade != self._unmade:
            # A child's storage could not be made (an iterator held the lock): it joins now, counts from here.
            self._unmade = unmade
            self.add_tree()
        self._walk("snap_faults")

    def beside(self, object_path: str | os.PathLike[str]) -> BpfObject:
        """Another object over the same options, counters and ring, not loaded yet; the caller closes it."""
        other = BpfObject(object_path)
        try:
            self._share(other)
            for shared in ("thrs", ".data.faultstats"):
                other.share(shared, self._object.map_fd(shared))
        except BaseException:
            other.close()
            raise
        return other

    def counters(self, pidfd: int) -> bytes | None:
        """struct counters of a process' first thread as it stands, or None."""
        return self._object.lookup("thrs", struct.pack("=i", pidfd), COUNTERS_SIZE)

    def _walk(self, program: str) -> None:
        """Over all tasks, by an object that is loaded when first needed."""
        if self._walks is None:
            walks = self.beside(self._path.with_name("faults_walk.bpf.o"))
            try:
                walks.load(programs.OPTIONAL["faults_walk"])
            except BaseException:
                walks.close()
                raise
            self._walks = walks
        self._walks.run_iterator(program)

    def stats(self) -> FaultStats:
        """As it stands; costs no system call."""
        if self._stats is None:
            raise RuntimeError("load() comes first")
        unmade, added, lost_races, second_pages, swapped_in, threads, *decay = _STATS.unpack_from(self._stats)
        both = (tuple(decay[: wire.DECAY_BUCKETS]), tuple(decay[wire.DECAY_BUCKETS :]))
        return FaultStats(unmade, added, lost_races, second_pages, swapped_in, threads, both)

    def detach(self) -> None:
        """Take the hooks out; `snapshot` and `stats` still work."""
        self._threads = True  # nothing is attached any more
        for obj in (*self.copies, self._object):
            obj.detach()

    def close(self) -> None:
        """Hooks and maps. May be called twice."""
        if self._stats is not None:
            self._stats.close()
            self._stats = None
        if self._walks is not None:
            self._walks.close()
            self._walks = None
        for obj in (*self.copies, self._object):
            obj.close()
        self.copies.clear()


def faults_readiness() -> Readiness:
    """What this kernel lets be counted, asked of its BTF and of the kernel itself (tracer.host.features)."""
    try:
        needs = [features.feature(name) for name in ("fault_entry", "fault_tracepoints", "task_storage")]
        rss, find = features.feature("rss_stat"), features.feature("bpf_find_vma")
    except ForktraceError as e:
        return Readiness(False, None, e.message)
    for check in needs:
        if check.ok is False:
            return Readiness(False, None, check.detail)
    if rss.ok is not False and find.ok is not False:
        return Readiness(True, "measured", "copies are told apart page by page")
    by_mapping = frozenset({"cow_heap", "cow_stack", "cow_anon", "cow_file"})
    if rss.ok is not False:
        return Readiness(True, "measured", f"copies by mapping are unknown: {find.detail}", by_mapping)
    if find.ok is not False:
        why = f"in private file mappings a copy because of a fork passes for a first write: {rss.detail}"
        return Readiness(True, "inferred", why, frozenset({"cow_file", "file_copies"}))
    why = f"a copy because of a fork passes for a first write to a file page: {rss.detail}; {find.detail}"
    return Readiness(True, "inferred", why, by_mapping | {"cow_copies", "file_copies"})
