"""Causes of failed forks, from the limits that a FORK_FAILED record carries: what wire.h numbers, in causes.py's terms;
and for sources whose records carry none, from /proc.

Keeps, for each control group, how many forks its pids controller had refused when it was last heard of: one more, and
it was that. Alike failures of a batch are judged once. Knows no ring.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from typing import Final

from tracer.backends import wire
from tracer.host.cgroups import Cgroups
from tracer.host.fork_errors import Bound, Cause, Host, Limit, Limits, cause
from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind

_PAGE: Final = mmap.PAGESIZE
_MOST_GROUPS: Final = 10_000


def explain(batches: Iterable[Batch], host: Host) -> None:
    """Fill in the causes that are not known, by how the callers are bound now: a moment later, so inferred."""
    for batch in batches:
        part = batch.parts.get(Kind.FORK_FAILED)
        if part is None:
            continue
        from tracer.host import caller_limits as limits

        pids, errors = part["pid"], part["errno"]
        bits = part.get("clone_flags") or [0] * len(pids)
        causes = list(part.get("cause") or [None] * len(pids))
        evidence: list[str | None] = [None] * len(pids)
        seen: dict[int, Limits | None] = {}
        for i, (pid, error, flags) in enumerate(zip(pids, errors, bits, strict=True)):
            if causes[i] is not None or error == NULL:
                continue
            if pid not in seen:
                seen[pid] = limits.look(pid)
            now = seen[pid]
            if now is not None:
                found = cause(error, 0 if flags == NULL else flags, now, host)
                if found is not None:
                    causes[i], evidence[i] = str(found), found.evidence
        part["cause"], part["evidence"] = causes, evidence


class Causes:
    """`cgroup` names the groups of the pids controller by number; the memory controller's are found when asked for."""

    def __init__(self, cgroup: Callable[[int], str | None], host: Host | None = None) -> None:
        self._cgroup = cgroup
        self._host = host or Host()
        self._memory: Cgroups | None = None
        self._refused: dict[int, int] = {}

    def of(self, rows: Iterable[tuple[int, ...]], errors: Iterable[int], flags: Iterable[int]) -> list[Cause | None]:
        """`rows`: wire.limits_rows of the records, in order."""
        known: dict[tuple[object, ...], Cause | None] = {}
        found: list[Cause | None] = []
        for row, error, bits in zip(rows, errors, flags, strict=True):
            group, _, _, _, _, refusals, *_ = row
            before = self._refused.get(group)
            if group:
                self._refused[group] = refusals
            refused = before is not None and refusals > before
            key = (error, bits, refused, *row[:5], *row[6:])
            if key not in known:
                known[key] = self._judge(row, error, bits, refused=refused)
            found.append(known[key])
        while len(self._refused) > _MOST_GROUPS:
            del self._refused[next(iter(self._refused))]
        return found

    def _judge(self, row: tuple[int, ...], error: int, clone_flags: int, *, refused: bool) -> Cause | None:
        limits = self.limits(row, refused=refused)
        return None if limits is None else cause(error, clone_flags, limits, self._host)

    def limits(self, row: tuple[int, ...], *, refused: bool) -> Limits | None:
        """None: the kernel does not let itself be read."""
        (
            _,
            pids_group,
            mem_group,
            pids_now,
            pids_max,
            _,
            nproc_now,
            nproc_max,
            uid,
            ns_now,
            ns_max,
            mem_now,
            mem_max,
            data_pages,
            bits,
            tasks,
            committed,
        ) = row
        if not bits & wire.L_READ:
            return None
        nproc = None
        if wire.NO_LIMIT not in (nproc_max, nproc_now):
            nproc = Bound(nproc_now, nproc_max, f"uid {uid}")
        return Limits(
            pids=Bound(pids_now, pids_max, self._cgroup(pids_group)) if pids_group else None,
            refused=refused,
            nproc=nproc,
            exempt=bits & wire.L_EXEMPT != 0,
            pid_numbers=Bound(ns_now, ns_max, "its pid namespace" if bits & wire.L_NS_INNER else None),
            dead_init=bits & wire.L_NS_DEAD != 0,
            memory=Bound(mem_now * _PAGE, mem_max * _PAGE, self._memory_group(mem_group)) if mem_group else None,
            memory_limit=self._memory_limit(),
            data_bytes=data_pages * _PAGE or None,
            seccomp=bits & wire.L_SECCOMP != 0,
            tasks=tasks or None,
            tasks_counted=bits & wire.L_TASKS != 0,
            committed_bytes=committed * _PAGE or None,
        )

    def _memory_group(self, number: int) -> str | None:
        return self._memory_groups().path(number)

    def _memory_groups(self) -> Cgroups:
        if self._memory is None:
            self._memory = Cgroups(controller="memory")
        return self._memory

    def _memory_limit(self) -> Limit:
        found = self._memory_groups().hierarchy
        return Limit.MEMORY_LIMIT if found is not None and found.version == 1 else Limit.MEMORY_MAX
