"""Processes and what is counted of them, in plain slots: for a window that sees ten thousand a second.

    Life     one process; a dead one stays only as a fork in the road between living ones
    Cell     the children of one parent that are alike (command, comm, cgroup, uid), second by second in Tallies
    Tally    what happened in one cell in one second

Holds; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

_K = TypeVar("_K", int, str)
Key = tuple[int, int]
Alike = tuple[int, "str | None", "str | None", int]  # command, comm, cgroup, uid

LIVING: Final = 0
ENDED: Final = 1
GONE: Final = 2


class Tally:
    """What happened in one cell in one second. Times in ns; `spans` counts life times by bit length of the ns."""

    __slots__ = (
        "causes",
        "copies",
        "cpu_ns",
        "deepest",
        "execs",
        "exits",
        "failures",
        "fork_ns",
        "forks",
        "moved",
        "spans",
        "statuses",
        "timed",
    )

    def __init__(self) -> None:
        self.forks = self.execs = self.exits = self.failures = 0
        self.moved = 0  # of the forks: made by a parent that is gone, whose parent has inherited them
        self.deepest = 0  # generation of the youngest
        self.fork_ns = self.timed = self.copies = self.cpu_ns = 0  # `timed` forks took `fork_ns`
        self.spans: dict[int, int] = {}
        self.statuses: dict[int, int] = {}  # exit code, or minus the signal
        self.causes: dict[str, int] = {}

    def add(self, other: Tally) -> None:
        """All of `other` too."""
        self.forks += other.forks
        self.execs += other.execs
        self.exits += other.exits
        self.failures += other.failures
        self.moved += other.moved
        self.deepest = max(self.deepest, other.deepest)
        self.fork_ns += other.fork_ns
        self.timed += other.timed
        self.copies += other.copies
        self.cpu_ns += other.cpu_ns
        _add(self.spans, other.spans)
        _add(self.statuses, other.statuses)
        if other.causes:
            _add(self.causes, other.causes)

    def take_off(self, other: Tally) -> None:
        """All of `other` less; it is a part of this."""
        self.forks -= other.forks
        self.execs -= other.execs
        self.exits -= other.exits
        self.failures -= other.failures
        self.moved -= other.moved
        self.fork_ns -= other.fork_ns
        self.timed -= other.timed
        self.copies -= other.copies
        self.cpu_ns -= other.cpu_ns
        _take_off(self.spans, other.spans)
        _take_off(self.statuses, other.statuses)
        _take_off(self.causes, other.causes)


def _take_off(mine: dict[_K, int], theirs: dict[_K, int]) -> None:
    for key, n in theirs.items():
        left = mine.get(key, 0) - n
        if left > 0:
            mine[key] = left
        else:
            mine.pop(key, None)


def _add(mine: dict[_K, int], theirs: dict[_K, int]) -> None:
    for key, n in theirs.items():
        mine[key] = mine.get(key, 0) + n


class Cell:
    """Children of `parent` that are alike; `seconds` holds a Tally for each second in which something happened."""

    __slots__ = ("alike", "alive", "parent", "seconds", "zombies")

    def __init__(self, parent: Life, alike: Alike) -> None:
        self.parent = parent
        self.alike = alike
        self.alive = self.zombies = 0
        self.seconds: dict[int, Tally] = {}


class Life:
    """One process. `depth`: generations below the top; `second`: of its birth; `execs`: its own, since it is watched.

    `cells` are its children's, `cell` is its own, and `alike` is what it is: command, comm, cgroup, uid.
    `origin`: the first of the copies in whose place it stands. `argv`: of its last exec, or of who it is a copy of.
    `resting`: how many of its children are Resting, and so among `kids` no more than in memory.
    """

    __slots__ = (
        "alike",
        "argv",
        "cell",
        "cells",
        "depth",
        "execs",
        "gap",
        "key",
        "kids",
        "origin",
        "parent",
        "resting",
        "second",
        "state",
        "zombie",
    )

    def __init__(self, key: Key, parent: Life | None, alike: Alike, second: int) -> None:
        self.key = key
        self.parent: Life = self if parent is None else parent
        self.alike = alike
        self.second = second  # -1: before the window
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.state = LIVING
        self.zombie = self.gap = False
        self.execs = self.resting = 0
        self.argv: Sequence[str] | None = None if parent is None else parent.argv
        self.origin: Key | None = None
        self.kids: set[Life] | None = None
        self.cells: dict[Alike, Cell] | None = None
        self.cell: Cell | None = None

    @property
    def pid(self) -> int:
        """Its tgid."""
        return self.key[0]

    @property
    def born_ns(self) -> int:
        """Its birth, CLOCK_BOOTTIME."""
        return self.key[1]

    @property
    def command(self) -> int:
        """A number of the namer's, its parent's until it execs; -1: unknown."""
        return self.alike[0]

    @property
    def comm(self) -> str | None:
        """The kernel's name for it."""
        return self.alike[1]

    @property
    def cgroup(self) -> str | None:
        """Path of its control group."""
        return self.alike[2]

    @property
    def uid(self) -> int:
        """Real user id, or NULL."""
        return self.alike[3]


class Resting(NamedTuple):
    """What is kept of children that have ended, with nobody below them, and were not let go of yet: all this alike."""

    parent: Life
    alike: Alike
    second: int
    zombie: bool
    execs: int
