"""A storm as a frozen result: who makes it, of what, in which shape, since when, at what cost, and what to do.

    finding.as_dict()     JSON types; null is "not measured"

Times are ns, `_ns` stamps are CLOCK_BOOTTIME. Holds; judges nothing and phrases nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Who:
    """The ancestor that accounts for it. `pids`: whom to stop now, where it is a chain; else itself."""

    pid: int
    born_ns: int
    comm: str | None
    argv: tuple[str, ...] | None
    uid: int | None
    cgroup: str | None  # its children's, and so its own where they are in no other
    unit: str | None
    container: str | None  # id, or name where the runtime has no ids
    runtime: str | None
    pod: str | None
    alive: bool
    pids: tuple[int, ...]
    above: tuple[tuple[int, str | None], ...]  # (pid, comm) of those over it, nearest first
    share: float  # of the host's births then, 0 to 1


@dataclass(frozen=True)
class Command:
    """One template of what is born: words with `…` for what differs, and its share of the storm's births."""

    template: str
    share: float
    forks: int


@dataclass(frozen=True)
class Advice:
    """One thing to do. `command` is for a root shell; None where there is none to give."""

    words: str
    command: str | None = None


@dataclass(frozen=True)
class Finding:
    """A storm; `ended_ns` is None while it lasts. Counts are of births below `who` since `began_ns`."""

    began_ns: int
    found_ns: int  # when this was said
    ended_ns: int | None
    reason: str  # baseline: beyond what is usual; rate: beyond the limit that was asked for
    signs: tuple[str, ...]  # why it is no healthy load, in words
    usual: float | None  # births a second before; since boot, where `warm` is false
    warm: bool  # watched for long enough before to know what is usual
    limit: float  # births a second, from which on it counts
    rate: float  # births a second, those that failed included, of the last seconds; at the end, over all of it
    peak: int  # the most in one second
    who: Who | None  # None: no one ancestor accounts for it
    shape: str | None
    commands: tuple[Command, ...]  # most frequent first
    forks: int
    execs: int
    exits: int
    failures: int | None
    causes: tuple[tuple[str, int], ...]  # of failed forks
    alive: int  # below it, at the last look
    zombies: int | None
    statuses: tuple[tuple[str, int], ...]  # in words, most first
    life_ns: int | None  # median life time, from a histogram: good to a factor of 1.4
    life_long_ns: int | None  # nine of ten are shorter
    fork_ns: int | None  # page-table copies
    copies: int | None  # pages copied on write
    cpu_ns: int | None  # of those that have ended
    lost: int  # records that did not reach us meanwhile
    advice: tuple[Advice, ...]
    beside: int = 0  # other storms that went on when this was said

    def as_dict(self) -> dict[str, Any]:
        """JSON types, keys as the attributes; pairs as {name: n}."""
        result = asdict(self)
        result["statuses"] = dict(self.statuses)
        result["causes"] = dict(self.causes)
        if self.who is not None:
            result["who"]["above"] = [{"pid": pid, "comm": comm} for pid, comm in self.who.above]
        return result
