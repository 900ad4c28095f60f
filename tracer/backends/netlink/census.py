"""Whom the netlink backend finds in /proc: those that live when it attaches, and what has changed after a loss.

The connector listens all the while, so whoever is born during a look is told by it, found here, or both: the family
knows a birth that it has met before. Orphans of before are no longer below their ancestors and are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tracer.backends.netlink import proc
from tracer.backends.netlink.family import Family
from tracer.backends.netlink.process import Process
from tracer.backends.netlink.rows import EXISTING
from tracer.errors import NoInputError
from tracer.host import procfs
from tracer.model.schema import NULL

_MOST_CHECKS: Final = 200


class Census:
    """For one family. `now` is the events' clock."""

    def __init__(self, family: Family, now: Callable[[], int], *, everyone: bool) -> None:
        self._family = family
        self._now = now
        self._everyone = everyone
        self._next_check = 0

    def join(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError when there is none, or it is just ending."""
        family = self._family
        if pid in family.processes:
            return  # named twice, or found below another
        if pid not in procfs.pids():
            raise proc.no_process(pid)
        found = procfs.read(pid)
        if found is None or (found.state in "ZXx" and found.threads <= 1):
            raise NoInputError(f"process {pid} has just ended", "name one that lives")
        self._add(found, "root")
        self.find()

    def find(self) -> None:
        """Everyone, or all below those we know: looks at /proc until one finds nobody new. 15 us a process."""
        known = self._family.processes
        while True:
            seen = proc.everyone()
            if self._everyone:
                pids = [pid for pid, found in seen.items() if not found.kernel_thread]
            else:
                pids = proc.below(known.keys(), seen)
            new = [pid for pid in pids if pid not in known and not seen[pid].zombie]
            for pid in new:
                found = procfs.read(pid)
                if found is not None:
                    self._add(found, "existing")
            if not new or self._everyone:
                return

    def _add(self, found: procfs.Process, how: str) -> None:
        """With its threads."""
        process = Process(found.pid, found.born_ns, found.comm, or_null(found.uid), counted=False)
        process.snapshot = True
        tids = proc.tids(found.pid)
        if len(tids) > 1:
            process.tids = tids
        self._family.add(process)
        self.tell(found, how, process.tids)

    def tell(self, found: procfs.Process, how: str, tids: Iterable[int] | None = None) -> None:
        """Rows of a process that is there, and of its threads."""
        at = self._now() + self._family.offset
        parent = self._family.processes.get(found.ppid)
        above = proc.living(found.ppid) if parent is None else None
        parent_born = parent.born if parent is not None else above.born_ns if above else NULL
        about = (found.born_ns, found.ppid, parent_born)
        for tid in (found.pid, *sorted(set(tids or ()) - {found.pid})):
            kind = how if tid == found.pid else "io_worker" if proc.is_worker(found.pid, tid) else "existing"
            values = (at, found.pid, tid, *about, kind, or_null(found.uid), found.comm, "snapshot")
            self._family.rows.append([at, EXISTING, values])

    def resync(self, drain: Callable[[], object]) -> None:
        """After a loss: add whom we do not know, end whom we know and who is not there. `drain` takes what waits."""
        family = self._family
        seen = proc.everyone()
        gone = []
        for process in family.processes.values():
            found = seen.get(process.pid)
            if found is None or found.ended or not proc.same_life(found.start_ticks, process.born):
                gone.append(process)
            elif found.threads > 1 or process.tids is not None:
                process.tids = proc.tids(process.pid) or process.tids
                process.again, process.owed, process.owes_leader = None, 0, False
                process.snapshot = True
        self.find()
        drain()  # their ends may have been waiting
        family.forget_late()
        family.gone(p for p in gone if family.processes.get(p.pid) is p)

    def check(self, drain: Callable[[], int]) -> None:
        """While nothing happens: nobody may pass for alive whose end was missed, or we should wait for ever."""
        family = self._family
        everyone = list(family.processes.values())
        first = self._next_check if self._next_check < len(everyone) else 0
        some = everyone[first : first + _MOST_CHECKS]
        self._next_check = first + len(some)
        gone = [p for p in some if (found := proc.living(p.pid)) is None or found.ended]
        if gone and not drain():
            family.gone(p for p in gone if family.processes.get(p.pid) is p)


def or_null(value: int | None) -> int:
    """An integer for a column."""
    return NULL if value is None else value
