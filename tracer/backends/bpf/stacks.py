"""Samples of the user stack at copies: an object beside the fault probes, in order to say which code copies.

    stacks = Stacks(path, faults, rate=1000)     then load; attach, after the fault probes were attached
    stacks.look()      at once when `descriptor` is readable
    stacks.read()      now and then: stacks, if there are many
    stacks.finish()    after detach: the stacks, as one batch of Kind.STACKS rows
    stacks.notes       what was missed

Its refusal costs nothing but the stacks. Addresses are turned into names (tracer.symbols) only when rows are made.
Knows no tree.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from tracer.backends import STACKS_USUAL, wire
from tracer.backends.bpf import host
from tracer.backends.bpf.faults import Faults
from tracer.backends.bpf.images import Images, Seen
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.ring import Ring
from tracer.host import boot_clock
from tracer.host.btf import Btf
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.symbols import Mapped, Space, Symbolizer

KEY: Final = wire.Record(
    "ft_stack_key",
    (
        ("born_ns", "Q"),
        ("leaf", "Q"),
        ("caller", "Q"),
        ("stack", "Q"),
        ("pid", "I"),
        ("image", "I"),
        ("before_exec", "I"),
        ("unused", "I"),
    ),
)
COUNT: Final = wire.Record("ft_stack_count", (("samples", "q"), ("copies", "q")))
SEEN: Final = wire.Record(
    "ft_stack_seen",
    (
        ("born_ns", "Q"),
        ("parent_born_ns", "Q"),
        ("pid", "I"),
        ("image", "I"),
        ("parent_pid", "I"),
        ("parent_image", "I"),
        ("samples", "I"),
        ("uid", "I"),
        ("own_pid", "I"),
        ("unused", "I"),
    ),
)
MAP: Final = wire.Record(
    "ft_stack_map",
    (
        ("born_ns", "Q"),
        ("start", "Q"),
        ("end", "Q"),
        ("offset", "Q"),
        ("inode", "Q"),
        ("device", "I"),
        ("image", "I"),
        ("unused", "Q"),
    ),
)
OPTIONS: Final = wire.Record("ft_stack_options", (("rate", "I"), ("hz", "I"), ("walk", "I")))
STATS: Final = wire.Record("ft_stack_stats", (("entries", "Q"), ("lost_copies", "Q"), ("cut", "Q"), ("unseen", "Q")))
TRACE: Final = wire.Record("ft_stack_trace", (("n", "Q"), ("addresses", "127Q")))

_KEY, _COUNT, _SEEN, _MAP, _TRACE, _STATS = (
    struct.Struct("=" + "".join(fmt for _, fmt in r.fields)) for r in (KEY, COUNT, SEEN, MAP, TRACE, STATS)
)
_COARSE: Final = 6  # CLOCK_MONOTONIC_COARSE, whose resolution is a jiffy
_HALF_FULL: Final = 16384  # of the entries of map `counts`
_LOOK_AGAIN: Final = 256  # images, at the end

Item = tuple[bytes, bytes]


class Stacks:
    """One capture's. `rate`: samples a second and CPU, at most or nearly; 0: every copy."""

    def __init__(self, object_path: str | os.PathLike[str], faults: Faults, *, rate: int = STACKS_USUAL) -> None:
        self._path = object_path
        self._faults = faults
        self._object = faults.beside(object_path)
        self._rate = rate
        self._ring: Ring | None = None
        self._stats: mmap.mmap | None = None
        self._image_at: tuple[int, int] | None = None
        self._images = Images(self._image_now)
        self._symbols = Symbolizer()
        self._drained = 0  # stats.entries when map `counts` was last emptied

    @property
    def object(self) -> BpfObject:
        """For what the kernel refused of it."""
        return self._object

    def load(self, optional: Collection[str] = ()) -> None:
        """Raises ProbesRefusedError or NoPermissionError with the kernel's reason for a program not of `optional`."""
        obj = self._object
        hz = round(1 / time.clock_getres(_COARSE))
        obj.set_data(".rodata.stackopt", struct.pack("=3I", self._rate, hz, host.has_mapping_walk()))
        obj.load(optional)
        self._ring = Ring(obj.map_fd("seen"), obj.map_size("seen"))
        self._stats = obj.view(".data.stackstats", _STATS.size)

    def attach(self) -> None:
        """After the fault probes: programs on one tracepoint run in the order of attaching."""
        self._object.attach()

    @property
    def descriptor(self) -> int:
        """Readable when a process should be looked at before it is gone."""
        return self._object.map_fd("seen")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must say; whole after `finish`."""
        _, lost, cut, _ = self._counted()
        said = []
        if self._symbols.missing:
            said.append("functions are shown as FILE+OFFSET: the process that reads their names could not be started")
        if lost:
            said.append(f"the stacks of some {lost} copies were lost: there were too many different ones")
        if cut:
            said.append(f"{cut} stacks were cut behind the first caller: there were too many different ones")
        return tuple(said)

    def look(self) -> None:
        """At the processes that the kernel named: the sooner, the more of them are still there."""
        for record in self._ring.take_all() if self._ring is not None else ():
            if len(record) == _SEEN.size:
                self._images.seen(Seen(*_SEEN.unpack(record)[:-1]))
            else:
                born, start, end, offset, inode, device, image, _ = _MAP.unpack_from(record)
                names = record[_MAP.size :].split(b"\0")[:-1]
                path = "".join("/" + name.decode("utf-8", "surrogateescape") for name in reversed(names))
                # The kernel's own dev_t has 20 bits for the minor; makedev() is what os.stat says.
                where = os.makedev(device >> 20, device & 0xFFFFF)
                self._images.mapped((born, image), Mapped(start, end, offset, where, inode, path, False))

    def read(self) -> Batch | None:
        """Stacks, when map `counts` is half full."""
        self.look()
        entries = self._counted()[0]
        if entries - self._drained < _HALF_FULL:
            return None
        self._drained = entries
        items = self._object.drain("counts", _KEY.size, _COUNT.size)
        batch = self._batch(items)
        for stack in {_KEY.unpack(key)[3] for key, _ in items}:  # room for others
            self._object.delete("traces", struct.pack("=Q", stack))
        self._symbols.forget()
        return batch

    def detach(self) -> None:
        """Take the hooks out."""
        self._object.detach()

    def finish(self) -> Batch | None:
        """All stacks that were not told yet; None if there are none."""
        self.read()
        return self._batch(self._object.drain("counts", _KEY.size, _COUNT.size), last=True)

    def _batch(self, items: Iterable[Item], *, last: bool = False) -> Batch | None:
        found: dict[tuple[int, int, int, int], dict[tuple[str, ...], list[int]]] = {}
        addresses: dict[int, tuple[int, ...]] = {0: ()}
        taken: list[tuple[tuple[int, int, int, int], Space, int, int, int, int, int]] = []
        for key, count in items:
            born, leaf, caller, stack, pid, image, early, _ = _KEY.unpack(key)
            samples, copies = _COUNT.unpack(count)
            if samples <= 0:  # all taken back
                continue
            process = (pid, born, image, early)
            first = process not in found
            found.setdefault(process, {})
            space = self._images.space(pid, born, image, again=last and first and len(found) <= _LOOK_AGAIN)
            if stack not in addresses:
                addresses[stack] = self._addresses(stack)
            taken.append((process, space, leaf, caller, stack, samples, copies))
        self._symbols.prepare((space, leaf, caller, addresses[stack]) for _, space, leaf, caller, stack, _, _ in taken)
        for process, space, leaf, caller, stack, samples, copies in taken:
            frames = self._symbols.frames(space, leaf, caller, addresses[stack])
            sums = found[process].setdefault(frames, [0, 0])
            sums[0] += samples
            sums[1] += copies
        now = boot_clock.now_ns()
        rows = []
        for (pid, born, _, early), stacks in found.items():
            exact = all(samples == copies for samples, copies in stacks.values())
            for frames, (samples, copies) in sorted(stacks.items(), key=lambda item: -item[1][1]):
                row = {
                    "ts_ns": now,
                    "pid": pid or None,
                    "tid": pid or None,
                    "born_ns": born,
                    "frames": list(frames),
                    "count": copies,
                    "samples": samples,
                    "before_exec": bool(early),
                    "evidence": "measured" if exact else "inferred",
                }
                rows.append((Kind.STACKS, row))
        return Batch.from_rows(rows) if rows else None

    def _addresses(self, stack: int) -> tuple[int, ...]:
        """Return addresses, innermost first, without the leaf."""
        raw = self._object.lookup("traces", struct.pack("=Q", stack), _TRACE.size)
        if raw is None:
            return ()
        n, *addresses = _TRACE.unpack(raw)
        return tuple(addresses[1:n])

    def _image_now(self, pidfd: int) -> int | None:
        """Execs that a process has behind it, as the probes count them."""
        if self._image_at is None:
            found = Btf.from_elf(Path(self._path)).struct("counters")
            assert found is not None
            self._image_at = next((m.offset, m.size) for m in found.members if m.name == "image")
        raw = self._faults.counters(pidfd)
        at, size = self._image_at
        return None if raw is None else int.from_bytes(raw[at : at + size], "little")

    def _counted(self) -> tuple[int, ...]:
        """struct ft_stack_stats as it stands."""
        return (0, 0, 0, 0) if self._stats is None else _STATS.unpack_from(self._stats)

    def close(self) -> None:
        """May be called twice."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._stats is not None:
            self._stats.close()
            self._stats = None
        self._symbols.close()
        self._images.close()
        self._object.close()
