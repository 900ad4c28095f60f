"""When was a child waited for, and by whom? Inferred from what the probes send, as no cheap hook sees the reap itself.

    ZOMBIE   the child has ended and its parent has been told. If the parent was blocked in a wait that takes this
             child (WAITED), the reap follows within microseconds: zombie time 0.
    WAIT     a parent with zombies entered a wait: it takes the named child, or, for "any", the one born first, as
             do_wait() walks the children in order of birth.
    FREE     the kernel has let go of the task, some 20 ms later: whose child it was then is who reaped it.
    REAP     the exact moment (opt-in): wins over all of the above.

Knows nothing of records or columns; times are CLOCK_BOOTTIME ns, a process is (pid, born_ns).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

Process = tuple[int, int]

EXIT_SIGNAL_NONE: Final = 0


class Zombie:
    """A child that has ended and has not been let go of."""

    __slots__ = ("at", "evidence", "maybe", "parent", "pgid", "process", "reap_ns", "zombie_ns")

    def __init__(self, process: Process, at: int, parent: int | None, pgid: int) -> None:
        self.process = process
        self.at = at
        self.parent = parent
        self.pgid = pgid
        self.maybe = False
        self.reap_ns: int | None = None
        self.zombie_ns: int | None = None
        self.evidence = "inferred"


class Reap(NamedTuple):
    """None: not known."""

    reap_ns: int | None
    zombie_ns: int | None
    evidence: str


class Reaps:
    """Feed it in stream order; `free` answers for one child. Holds only children that are zombies now."""

    def __init__(self) -> None:
        self._zombies: dict[Process, Zombie] = {}
        self._waiting: dict[int, list[Zombie]] = {}  # by parent pid, in order of becoming zombies

    def __len__(self) -> int:
        return len(self._zombies)

    def zombie(self, child: Process, at: int, parent: int, pgid: int, *, waited: bool, maybe: bool, auto: bool) -> bool:
        """A child's end was told to `parent`. Returns whether it now waits to be waited for."""
        z = self._zombies.get(child)
        if z is not None:
            return False
        z = self._zombies[child] = Zombie(child, at, parent, pgid)
        if auto:  # there is nothing to wait for: no reap, and no time as a zombie
            z.zombie_ns = 0
            return False
        if waited:
            z.reap_ns, z.zombie_ns = at, 0
            return False
        z.maybe = maybe
        self._waiting.setdefault(parent, []).append(z)
        return True

    def wait(self, parent: int, at: int, target: int) -> None:
        """`parent` entered a wait: `target` is a pid, 0 for any, -pgid for a group."""
        waiting = self._waiting.get(parent)
        if not waiting:
            return
        fits = [
            z
            for z in waiting
            if z.at <= at and (target == 0 or z.process[0] == target or (target < 0 and z.pgid == -target))
        ]
        if not fits:
            return
        z = min(fits, key=lambda z: z.process[1])
        z.reap_ns, z.zombie_ns = at, at - z.at
        waiting.remove(z)
        if not waiting:
            del self._waiting[parent]

    def exact(self, child: Process, at: int) -> None:
        """The child was reaped at this moment, measured."""
        z = self._zombies.get(child)
        if z is None:
            z = self._zombies[child] = Zombie(child, at, None, 0)
        else:
            z.zombie_ns = max(0, at - z.at)
        z.reap_ns, z.evidence = at, "measured"

    def free(self, child: Process, parent: int, exit_signal: int) -> Reap:
        """The child is gone; `parent` is whose child it was. Forgets it."""
        z = self._zombies.pop(child, None)
        if z is None:
            # Nobody was told: SIGCHLD is ignored, and the kernel released it at once. A child that sends no signal
            # at all is a zombie nobody hears of, so nothing is known of its time.
            return Reap(None, 0 if exit_signal > EXIT_SIGNAL_NONE else None, "inferred")
        waiting = self._waiting.get(parent)
        if waiting and z in waiting:
            waiting.remove(z)
            if not waiting:
                del self._waiting[parent]
        if z.reap_ns is None and z.maybe:
            z.reap_ns, z.zombie_ns = z.at, 0
        return Reap(z.reap_ns, z.zombie_ns, z.evidence)

    def rest(self) -> Iterator[tuple[Process, int | None, Reap]]:
        """(child, who reaped it, when) of children known to be reaped whose release has not come. Forgets them."""
        for child, z in list(self._zombies.items()):
            if z.reap_ns is not None:
                del self._zombies[child]
                yield child, z.parent, Reap(z.reap_ns, z.zombie_ns, z.evidence)
