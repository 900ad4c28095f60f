"""A followed process, and the figures of tasks whose end was not read yet. Plain data: _netlink_family.py minds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracer.backends.netlink.layout import Stats
from tracer.backends.netlink.rows import Row

FLAG, RUNTIME, COMM, UID, TID, UTIME, STIME, MINFLT, MAJFLT, RSS, TGID, WPCOPY = range(len(Stats._fields))
"""Where they stand in a message of taskstats."""


class Process:
    """A followed process that has not ended. `tids` None: it has one task, the first."""

    __slots__ = (
        "again",
        "born",
        "comm",
        "counted",
        "first_end",
        "last_exec",
        "looked",
        "names",
        "owed",
        "owes_leader",
        "pid",
        "root",
        "snapshot",
        "status",
        "tids",
        "uid",
    )

    def __init__(self, pid: int, born: int, comm: str | None, uid: int, *, counted: bool) -> None:
        self.pid = pid
        self.born = born
        self.comm = comm
        self.uid = uid
        self.counted = counted  # it has a record of delays: born while kernel.task_delayacct was on
        self.tids: set[int] | None = None
        self.again: dict[int, int] | None = None  # tids that live twice: the first still owes its end
        self.names: dict[int, str] | None = None  # of threads that have given themselves one
        self.owed = 0  # ends still to come of threads that an exec has made away with
        self.owes_leader = False  # ... among them perhaps the first one's
        self.root: tuple[int, ...] | None = None  # counters at its start, until its first exec
        self.snapshot = False  # found in /proc: the event of its fork may still be on its way
        self.first_end: tuple[int, int] | None = None  # when the first task ended before others, and its status
        self.status: int | None = None  # the process', once the kernel has marked the task that ended it
        self.last_exec: Row | None = None
        self.looked = 0  # when /proc was read for it


class StatsBox:
    """taskstats that wait for the event of their task's end, by tid, first come first served."""

    def __init__(self) -> None:
        self._waiting: dict[int, Any] = {}  # a message, or a list of them
        self._fresh: list[int] = []
        self._stale: list[int] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, messages: Iterable[tuple[Any, ...]]) -> None:
        """Messages as layout.StatsLayout cuts them."""
        waiting, fresh = self._waiting, self._fresh
        for message in messages:
            tid = message[TID]
            if tid in waiting:
                have = waiting[tid]
                waiting[tid] = [*have, message] if isinstance(have, list) else [have, message]
            else:
                waiting[tid] = message
                fresh.append(tid)

    def pop(self, tid: int) -> tuple[Any, ...] | None:
        """The oldest one of that tid."""
        found = self._waiting.pop(tid, None)
        if isinstance(found, list):
            first, *rest = found
            self._waiting[tid] = rest if len(rest) > 1 else rest[0]
            return first  # type: ignore[no-any-return]
        return found  # type: ignore[no-any-return]

    def settle(self, processes: Mapping[int, Process]) -> None:
        """Drop those of strangers. A stranger may be a child whose fork was not read yet: they wait for one round."""
        waiting = self._waiting
        for tid in self._stale:
            found = waiting.get(tid)
            if isinstance(found, tuple) and not _is_of(found[TGID], tid, processes):
                del waiting[tid]
        self._stale, self._fresh = self._fresh, []

    def clear(self) -> None:
        """After a loss nobody knows which end they belong to."""
        self._waiting.clear()
        self._fresh.clear()
        self._stale.clear()


def _is_of(tgid: int, tid: int, processes: Mapping[int, Process]) -> bool:
    """Whether a task is of a followed process; `tgid` is 0 where the kernel does not tell it."""
    if tgid or tid in processes:
        return (tgid or tid) in processes
    return any(p.tids is not None and tid in p.tids for p in processes.values())
