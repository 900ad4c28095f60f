"""The probe objects of one capture, opened, with options and shared maps set; and struct ft_options itself."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tracer.backends import Options, wire
from tracer.backends.bpf import host
from tracer.backends.bpf.libbpf import BpfObject
from tracer.errors import ProbesRefusedError
from tracer.host import features
from tracer.host.features.feature_probe import OTHER_BACKEND
from tracer.model import machines

SHARED: Final = ("marks", "unmarked", "events", ".data.stats")
MATCH_MAPS: Final = ("match_groups", "match_comms", "match_uids", "match_exes")
HOT: Final = {
    "lifecycle": (
        frozenset({"on_newtask", "on_exec", "on_exit", "on_signal", "on_wait", "on_free"}),
        frozenset({"on_newtask", "on_exec", "on_exit", "on_signal", "on_free"}),
    ),
    "faults": (
        frozenset(
            {
                "on_newtask",
                "on_page_alloc",
                "on_rss_stat",
                "on_page_free",
                "on_dirty_folio",
                "on_rename",
                "on_exec",
                "on_exit",
                "on_signal",
            }
        ),
        frozenset({"on_newtask", "on_page_alloc", "on_dirty_folio", "on_rename", "on_exec", "on_exit"}),
    ),
    "failures": (frozenset({"on_sys_exit"}),),
}
"""Programs that a second copy stands behind, and those of them that a third does (none that uses handled(), once.h)."""
LIFECYCLE_MAPS: Final = ("texts", "parents", "sighands", "match_names", *MATCH_MAPS)
_COPY: Final = struct.Struct("=I")  # ft_options.copy, the last field
_TEXT_RING: Final = 8 << 20
_TEXT_RING_LONG: Final = 32 << 20  # for -s beyond the default
_ARGV_MOST: Final = 1025 * 4096  # pieces that the probes' loop sends


def probe_object(name: str) -> Path:
    """build/MACHINE/NAME.bpf.o: inside the package when installed, beside it in a checkout."""
    machine = machines.here()
    if machine is None or machine.probes is None:
        raise ProbesRefusedError(no_probes(), OTHER_BACKEND)
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_probes" / "build", package.parent / "probes" / "build"):
        path = folder / machine.probes / f"{name}.bpf.o"
        if path.exists():
            return path
    raise ProbesRefusedError(f"the compiled probe {name}.bpf.o is missing", "build it: make -C probes")


def no_probes() -> str:
    """Why there are none for this machine."""
    return f"the probes are compiled for {machines.with_probes()}, and this is {os.uname().machine}"


def beside(name: str, owner: BpfObject, data: bytes, maps: Iterable[str] = ()) -> BpfObject:
    """An object over the marks, ring and counters of `owner`, and over those `maps`; `data`: struct ft_options."""
    other = BpfObject(probe_object(name))
    try:
        other.set_data(".rodata.opt", data)
        for shared in (*SHARED, *maps):
            other.share(shared, owner.map_fd(shared))
    except BaseException:
        other.close()
        raise
    return other


def set_lifecycle(obj: BpfObject, shared: BpfObject, data: bytes, options: Options) -> None:
    """The life-cycle object: which of its programs this kernel and these options want."""
    obj.set_data(".rodata.opt", data)
    for name in SHARED:
        obj.share(name, shared.map_fd(name))
    obj.resize("texts", _TEXT_RING if options.argv_max <= 32768 else _TEXT_RING_LONG)
    obj.skip("on_exit_old" if host.has_group_dead() else "on_exit")
    if options.cow not in ("fork", "full"):
        obj.skip("on_rss_stat")
    if not host.mark_victim_takes_task():
        obj.skip("on_oom")
    if not options.reap_exact:
        obj.skip("on_sighand_free")
    if not options.match.groups:
        obj.skip("on_moved")


def load_copy(name: str, number: int, other: BpfObject, first: BpfObject, data: bytes) -> None:
    """Turn object `other` of that name, over the maps of `first`, into copy `number` of its hot programs, and load it.

    What the programs before it miss, these do (probes/once.h). Raises with the kernel's reason.
    """
    wanted = HOT[name][number - 1] & {program for program, _ in first.programs()}
    every = [program for program, _ in other.programs()]
    other.set_data(".rodata.opt", data[: -_COPY.size] + _COPY.pack(number))
    other.skip(*(program for program in every if program not in wanted))
    other.load(wanted)


def ring_size(options: Options) -> int:
    """Bytes of ring `events`: the next power of two, a page at least."""
    return max(1 << (options.buffer_bytes - 1).bit_length(), mmap.PAGESIZE)


def copies() -> int:
    """ft_options.copies: 1, or 2 for several, where the kernel may skip a program (probes/once.h)."""
    return 2 if host.has_preemptible_tracepoints() else 1


def options_data(options: Options) -> bytes:
    """struct ft_options for a capture on this host. Raises ProbesRefusedError for what cannot be asked for here."""
    level, inum = host.pid_namespace(_level_of)
    return wire.pack_options(
        ns_level=level,
        ns_inum=inum,
        everyone=int(options.everyone),
        kernel_reads=int(features.reads_allowed()),
        fork_cost=int(options.cow in ("fork", "full")),
        argv_max=min(options.argv_max, _ARGV_MOST),
        env_max=32768 if options.env else 0,
        cgroup_v1=int(host.uses_cgroup_v1()),
        events_bytes=ring_size(options),
        sighand_size=host.sighand_cache_size() if options.reap_exact else 0,
        rdonly_cast=int(host.has_rdonly_cast()),
        page_size=mmap.PAGESIZE,
        copies=copies(),
        copy=0,
        **_match_options(options),
    )


def _match_options(options: Options) -> dict[str, int]:
    match = options.match
    if not match:
        return {"match": 0, "match_v1": 0}
    from tracer.backends.bpf import match as _match

    if (match.groups or match.exes) and not features.reads_allowed():
        raise ProbesRefusedError(
            f"{match.words} can not be followed: the kernel is locked down against being read", "use -p or --uid"
        )
    v1 = _match.controller(match) if match.groups else None
    return {"match": _match.bits(match), "match_v1": 0 if v1 is None else host.subsystem(v1) + 1}


def _level_of(inum: int) -> int | None:
    """How deep the pid namespace of that number lies, as the kernel has it; None if no task in it was found."""
    level = BpfObject(probe_object("level"))
    try:
        level.set_data(".rodata.wanted", struct.pack("=I", inum))
        level.load()
        level.run_iterator("find_level")
        with level.view(".data.level", 4) as data:
            found: int = struct.unpack_from("=I", data)[0]
        return found - 1 if found else None
    finally:
        level.close()
