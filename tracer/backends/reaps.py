"""When was a child waited for, and by whom? Inferred from what the probes send, as no cheap hook sees the reap itself.

    ZOMBIE   the child has ended and its parent has been told. If the parent was blocked in a wait that takes this
             child (WAITED), the reap follows within microseconds: zombie time 0.
    WAIT     a parent with zombies entered a wait: it takes the named child, or, for "any", the one born first, as
             do_wait() walks the children in order of birth.
    FREE     the kernel has let go of the task, some 20 ms later: whose child it was then is who reaped it.
    REAP     the exact moment (opt-in): wins over all of the above.

Knows nothing of records; times are CLOCK_BOOTTIME ns, a process is (pid, born_ns).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

Process = tuple[int, int]

EXIT_SIGNAL_NONE: Final = 0


class Zombie:
    """A child that has ended and has not been let go of."""

    __slots__ = ("at", "before", "evidence", "maybe", "parent", "pgid", "process", "reap_ns", "zombie_ns")

    def __init__(self, process: Process, at: int, parent: int | None, pgid: int) -> None:
        self.process = process
        self.at = at
        self.parent = parent
        self.pgid = pgid
        self.maybe = False
        self.before = False  # `at` is when it was found: since when it is one is not known
        self.reap_ns: int | None = None
        self.zombie_ns: int | None = None
        self.evidence = "inferred"


class Reap(NamedTuple):
    """None: not known."""

    reap_ns: int | None
    zombie_ns: int | None
    evidence: str


Taken = tuple[int, int, int | None]
"""(reap_ns, parent, zombie_ns) of one that was waited for; zombie_ns None: its parent was waiting already, so 0."""


class Late(NamedTuple):
    """Many that are Taken, as numpy columns of the same length, in order of birth and pid. `at_once`: no zombie_ns."""

    pids: Any
    borns: Any
    reap_ns: Any
    parents: Any
    zombie_ns: Any
    at_once: Any

    def only(self, those: Any) -> Late | None:
        """Some of them, by a mask; None where it is none."""
        return Late(*(column[those] for column in self)) if those.any() else None


class _Waiting:
    """The children of one parent that nobody was waiting for: by pid, and by birth."""

    __slots__ = ("by_birth", "by_pid")

    def __init__(self) -> None:
        self.by_pid: dict[int, Zombie] = {}
        self.by_birth: list[Process] = []  # a heap of (born_ns, pid); those that were taken by pid are still in it

    def add(self, z: Zombie) -> None:
        pid, born = z.process
        self.by_pid[pid] = z
        heapq.heappush(self.by_birth, (born, pid))

    def first(self) -> Zombie | None:
        """Born first, of those that wait: do_wait() walks them in this order."""
        while self.by_birth:
            born, pid = self.by_birth[0]
            z = self.by_pid.get(pid)
            if z is not None and z.process[1] == born:
                return z
            heapq.heappop(self.by_birth)
        return None


class Reaps:
    """Feed it in stream order; `free` answers for one child. Holds only children that are zombies now."""

    def __init__(self) -> None:
        self.held: dict[Process, Zombie | Taken] = {}
        """Ended, not released, but for `late`. Who takes many at once may put and take what is Taken itself."""
        self.late: Late | None = None
        self._waiting: dict[int, _Waiting] = {}  # by parent pid

    @property
    def pending(self) -> dict[Process, Zombie | Taken]:
        """All that have ended and were not released."""
        late, self.late = self.late, None
        if late is not None:
            pids, borns, reaped, parents, lasted, at_once = (column.tolist() for column in late)
            briefly = (None if so else ns for so, ns in zip(at_once, lasted, strict=True))
            taken = zip(reaped, parents, briefly, strict=True)
            self.held.update(zip(zip(pids, borns, strict=True), taken, strict=True))
        return self.held

    @property
    def waiting(self) -> int:
        """How many parents have children that nobody has come for."""
        return len(self._waiting)

    def __len__(self) -> int:
        return len(self.pending)

    def zombie(self, child: Process, at: int, parent: int, pgid: int, *, waited: bool, maybe: bool, auto: bool) -> bool:
        """A child's end was told to `parent`. Returns whether it now waits to be waited for."""
        if child in self.held:
            return False
        if waited:
            self.held[child] = (at, parent, None)
            return False
        z = self.held[child] = Zombie(child, at, parent, pgid)
        if auto:  # there is nothing to wait for: no reap, and no time as a zombie
            z.zombie_ns = 0
            return False
        z.maybe = maybe
        waiting = self._waiting.get(parent)
        if waiting is None:
            waiting = self._waiting[parent] = _Waiting()
        waiting.add(z)
        return True

    def found(self, child: Process, at: int, parent: int, pgid: int) -> bool:
        """It is a zombie now, by a look at all tasks. Whether that is news: of the child, or of its parent."""
        known = self.held.get(child)
        if isinstance(known, tuple) and known[2] is not None:  # as one that is not held so briefly
            taken, known = known, Zombie(child, known[0] - known[2], known[1], pgid)
            known.reap_ns, known.zombie_ns = taken[0], taken[2]
            self.held[child] = known
        if isinstance(known, Zombie) and known.parent == parent:
            known.reap_ns = None
            return False
        if isinstance(known, Zombie):
            self._done(known)
        since = at if known is None else known.at if isinstance(known, Zombie) else known[0]
        self.held.pop(child, None)
        self.zombie(child, since, parent, pgid, waited=False, maybe=False, auto=False)
        z = self.held[child]
        assert isinstance(z, Zombie)
        z.before = known is None or (isinstance(known, Zombie) and known.before)
        return True

    def adopted(self, old: int, child_pid: int, parent: int, at: int, *, waited: bool) -> Process | None:
        """A parent ends without having waited: the child is `parent`'s now, who takes it at once if it waits."""
        waiting = self._waiting.get(old)
        z = waiting.by_pid.get(child_pid) if waiting is not None else None
        if z is None:
            return None
        self._done(z)
        z.parent, z.maybe = parent, False
        if waited:
            self._taken(z, at)
        else:
            self._waiting.setdefault(parent, _Waiting()).add(z)
        return z.process

    @staticmethod
    def _taken(z: Zombie, at: int) -> None:
        z.reap_ns, z.zombie_ns = at, None if z.before else max(0, at - z.at)

    def wait(self, parent: int, at: int, target: int) -> None:
        """`parent` entered a wait: `target` is a pid, 0 for any, -pgid for a group."""
        waiting = self._waiting.get(parent)
        if waiting is None:
            return
        if target > 0:
            z = waiting.by_pid.get(target)
        elif target == 0:
            z = waiting.first()
        else:
            group = [z for z in waiting.by_pid.values() if z.pgid == -target]
            z = min(group, key=lambda z: z.process[1]) if group else None
        if z is None or z.at > at:
            return
        self.take(z, at)

    def _done(self, z: Zombie) -> None:
        """It waits no longer."""
        if z.parent is None:
            return
        waiting = self._waiting.get(z.parent)
        if waiting is not None and waiting.by_pid.get(z.process[0]) is z:
            del waiting.by_pid[z.process[0]]
            if not waiting.by_pid:
                del self._waiting[z.parent]

    def waiting_of(self, parent: int) -> list[Zombie]:
        """Children of `parent` that it has not come for."""
        waiting = self._waiting.get(parent)
        return [*waiting.by_pid.values()] if waiting is not None else []

    def take(self, z: Zombie, at: int) -> None:
        """Its parent has come for it."""
        self._taken(z, at)
        self._done(z)

    def exact(self, child: Process, at: int) -> None:
        """The child was reaped at this moment, measured."""
        known = self.held.get(child)
        if isinstance(known, Zombie):
            z = known
            self._taken(z, at)
        else:
            told, parent, lasted = known or (None, None, None)
            told = told if told is None or lasted is None else told - lasted
            z = self.held[child] = Zombie(child, at, parent, 0)
            z.zombie_ns = None if told is None else max(0, at - told)
        z.reap_ns, z.evidence = at, "measured"

    def free(self, child: Process, exit_signal: int) -> Reap:
        """The child is gone. Forgets it."""
        return self.released(self.held.pop(child, None), exit_signal)

    def released(self, z: Zombie | Taken | None, exit_signal: int) -> Reap:
        """What is known of a child that is gone; `z`: what was pending of it."""
        if z is None:
            # Nobody was told: SIGCHLD is ignored, and the kernel released it at once. A child that sends no signal
            # at all is a zombie nobody hears of, so nothing is known of its time.
            return Reap(None, 0 if exit_signal > EXIT_SIGNAL_NONE else None, "inferred")
        if isinstance(z, tuple):
            return Reap(z[0], z[2] or 0, "inferred")
        self._done(z)
        if z.reap_ns is None and z.maybe:
            z.reap_ns, z.zombie_ns = z.at, 0
        return Reap(z.reap_ns, z.zombie_ns, z.evidence)

    def rest(self) -> Iterator[tuple[Process, int | None, Reap]]:
        """(child, who reaped it, when) of children known to be reaped whose release has not come. Forgets them."""
        for child, z in list(self.pending.items()):
            if isinstance(z, tuple):
                found, parent = Reap(z[0], z[2] or 0, "inferred"), z[1]
            elif z.reap_ns is not None:
                found, parent = Reap(z.reap_ns, z.zombie_ns, z.evidence), z.parent or 0
            elif z.zombie_ns is not None:  # nobody was to wait for it
                found, parent = Reap(None, z.zombie_ns, z.evidence), 0
            else:
                continue
            del self.held[child]
            yield child, parent or None, found
