"""The fault probes with a ring of their own to read them from, for tests. Knows no expectation."""

from __future__ import annotations

import mmap
import os
from typing import Any

from tracer.backends import wire
from tracer.backends.bpf import host
from tracer.backends.bpf.faults import Faults
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.objects import probe_object
from tracer.backends.bpf.ring import Ring

Row = dict[str, Any]


class Probes:
    """The fault probes with a ring to read them from; the life-cycle object that owns it is not attached."""

    def __init__(self) -> None:
        self._owner = BpfObject(probe_object("lifecycle"))
        self._owner.skip("on_exit_old" if host.has_group_dead() else "on_exit")
        if not host.mark_victim_takes_task():
            self._owner.skip("on_oom")
        options = wire.pack_options(
            **{n: 0 for n, _ in wire.OPTIONS.fields}
            | {"events_bytes": 16 << 20, "rdonly_cast": host.has_rdonly_cast(), "fork_cost": 1}
            | {"page_size": mmap.PAGESIZE}
        )
        self._owner.set_data(".rodata.opt", options)
        self._owner.load()
        self._ring = Ring(self._owner.map_fd("events"), self._owner.map_size("events"))
        self.faults = Faults(probe_object("faults"), self._owner, options)
        self.faults.load()
        self.faults.attach()

    def follow(self, pid: int) -> None:
        """Count for this held child from its exec on."""
        pidfd = os.pidfd_open(pid)
        self.faults.add_root(pidfd)
        os.close(pidfd)

    def take(self) -> list[Row]:
        """Counters that have come since, as rows of columns."""
        return [row for row in self.records() if "cow_copies" in row]

    def records(self) -> list[Row]:
        """Counters and histograms that have come since."""
        raw = self._ring.take_fixed(wire.RECORD_SIZE, self._ring.position())
        rows: list[Row] = []
        for at in range(0, len(raw), wire.STRIDE):
            record = raw[at : at + wire.STRIDE]
            kind = wire.kinds_of(record)[0]
            make = wire.faults_part if kind == wire.FAULTS else wire.decay_part
            rows.append({name: column[0] for name, column in make(wire.Columns(record, kind)).items()})
        return rows

    def counted(self, pid: int) -> dict[str, int]:
        """What the process' threads have counted since the last call, by a snapshot."""
        self.faults.snapshot()
        self.faults.poll()
        mine = [row for row in self.take() if row["pid"] == pid]
        return {n: sum(row[n] for row in mine) for n in wire.COUNTERS}

    def close(self) -> None:
        """Everything."""
        self._ring.close()
        self.faults.close()
        self._owner.close()
