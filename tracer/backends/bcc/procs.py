"""The table of processes that BCC's programs keep: who is followed from now on, who was there before, who is left.

Knows struct proc of probes/forktrace.bcc.c and what /proc says of the living; no record, no ring.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from tracer.backends.bcc.module import Programs
from tracer.backends.netlink import proc
from tracer.errors import NoInputError
from tracer.host import boot_clock, procfs
from tracer.model.schema import Kind

_HEAD: Final = struct.Struct("=QQIII")  # born_ns parent_born_ns parent live flags
_REST: Final = struct.Struct("=7IQQI16s")  # exit_code group_code died_of kill_sig kill_pid kill9_pid last_tid, ...
SIZE: Final = 96
"""Of struct proc, its padding included."""
ROOT, EXECED, OOM, KILLED, PENDING = 1, 2, 4, 8, 16
_KEY: Final = struct.Struct("=I")


class Procs:
    """`rows`: EXISTING rows that nobody has taken yet; `joined`: tasks that the programs have not counted as born."""

    def __init__(self, programs: Programs) -> None:
        self.rows: list[dict[str, Any]] = []
        self.joined = 0
        self._programs = programs
        self._procs = programs.map_fd("procs")
        self._threads = programs.map_fd("threads")
        self._known: set[int] = set()  # what was there before

    def add_root(self, pid: int) -> None:
        """The held child."""
        found = procfs.read(pid)
        if found is not None:  # else it was killed while it was held
            self._add(found, "root", ROOT)

    def join(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError when there is none, or it is just ending."""
        if pid in self._known:
            return  # named twice, or found below another
        if pid not in procfs.pids():
            raise proc.no_process(pid)
        found = procfs.read(pid)
        if found is None or (found.state in "ZXx" and found.threads <= 1):
            raise NoInputError(f"process {pid} has just ended", "name one that lives")
        self._add(found, "root", EXECED)
        self.find(everyone=False)

    def find(self, *, everyone: bool) -> None:
        """All, or all below those we know: looks at /proc until one look finds nobody new."""
        while True:
            seen = proc.everyone()
            if everyone:
                pids: Iterable[int] = [pid for pid, found in seen.items() if not found.kernel_thread]
            else:
                pids = proc.below(self._known, seen)
            new = [pid for pid in pids if pid not in self._known and not seen[pid].zombie]
            for pid in new:
                found = procfs.read(pid)
                if found is not None:
                    self._add(found, "existing", EXECED)
            if not new or everyone:
                return

    def _add(self, found: procfs.Process, how: str, flags: int) -> None:
        """With its threads. One that the programs have seen being born is theirs."""
        programs, pid = self._programs, found.pid
        tids = {tid for tid in proc.tids(pid) if tid == pid or proc.is_worker(pid, tid) is False} | {pid}
        parent = proc.living(found.ppid)
        parent_born = parent.born_ns if parent is not None else 0
        value = _HEAD.pack(found.born_ns, parent_born, found.ppid, len(tids), flags).ljust(SIZE, b"\0")
        self._known.add(pid)
        if not programs.update(self._procs, _KEY.pack(pid), value, new=True):
            return
        self.joined += len(tids)
        for tid in tids - {pid}:
            programs.update(self._threads, _KEY.pack(tid), _KEY.pack(pid))
        now = proc.living(pid)
        if (now is None or now.ended) and programs.delete(self._procs, _KEY.pack(pid)):
            self.joined -= len(tids)  # it has ended before the programs knew it
            return
        at = boot_clock.now_ns()
        for tid in sorted(tids, key=lambda tid: (tid != pid, tid)):
            self.rows.append(
                {
                    "ts_ns": at,
                    "pid": pid,
                    "tid": tid,
                    "born_ns": found.born_ns,
                    "ppid": found.ppid,
                    "parent_born_ns": parent_born or None,
                    "how": how if tid == pid else "existing",
                    "uid": found.uid,
                    "comm": found.comm,
                    "evidence": "snapshot",
                }
            )

    def left(self, *, faults: bool) -> list[tuple[Kind, dict[str, Any]]]:
        """When the programs are out: the end of those who had ended without a word on a core dump, and what the living
        have taken so far."""
        at = boot_clock.now_ns()
        rows: list[tuple[Kind, dict[str, Any]]] = []
        for key in list(self._programs.keys(self._procs, _KEY.size)):
            raw = self._programs.lookup(self._procs, key, SIZE)
            if raw is None:
                continue
            (pid,) = _KEY.unpack(key)
            born, _, parent, _, flags = _HEAD.unpack_from(raw)
            _, _, died_of, _, _, _, last_tid, ended, taken, uid, comm = _REST.unpack_from(raw, _HEAD.size)
            who = {"ts_ns": ended or at, "pid": pid, "tid": last_tid or pid, "born_ns": born}
            if faults:
                since_birth = not flags & (ROOT | EXECED)
                counted = {"wp_faults": taken, "before_exec": int(since_birth), "evidence": "snapshot"}
                rows.append((Kind.FAULTS, {**who, "tid": pid, **counted}))
            if flags & PENDING:
                name = comm.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                end = {"last": 1, "signal": died_of, "ppid": parent or None, "uid": uid, "comm": name}
                rows.append((Kind.EXIT, {**who, **end}))
        return rows
