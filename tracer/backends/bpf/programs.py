"""What each optional program of the probes feeds, and what a capture lacks where the kernel refuses it.

A program that is not named here is a main one: without births and ends there is no tree, without faults and page
allocations no count of copies, so the kernel's refusal of it is the refusal of its object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from tracer.model.meta import Fact


class Feeds(NamedTuple):
    """What is not measured without a program: in words, as facts of the capture, and as columns that are null."""

    words: str
    facts: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


class Without(NamedTuple):
    """What a capture lacks, of all refused programs together; `notes`: one sentence for each."""

    facts: frozenset[str]
    columns: frozenset[str]
    notes: tuple[str, ...]


_REAPED: Final = frozenset({"reap_ns", "zombie_ns"})
_DIRTIED: Final = Feeds("shared file pages made writable", columns=frozenset({"mkwrites", "reuses"}))

OPTIONAL: Final[Mapping[str, Mapping[str, Feeds]]] = {
    "lifecycle": {
        "on_rss_stat": Feeds("the time that forks take to copy page tables", frozenset({Fact.FORK_COST})),
        "on_exec": Feeds("execs, their arguments and working directories", frozenset({Fact.ARGV, Fact.CWD})),
        "on_rename": Feeds("names that processes give themselves", columns=frozenset({"vfork_done_ns"})),
        "on_moved": Feeds("processes that are moved into the group"),
        "on_mkdir": Feeds("the names of control groups made during the trace"),
        "on_signal": Feeds(
            "senders of signals, zombies and reaps",
            frozenset({Fact.KILLER, Fact.ZOMBIES, Fact.REAPS, Fact.ADOPTION}),
            _REAPED | {"killed_by"},
        ),
        "on_oom": Feeds("kills by the out-of-memory killer", columns=frozenset({"oom_killed"})),
        "on_wait": Feeds("when children are waited for", frozenset({Fact.REAPS, Fact.ZOMBIES}), _REAPED),
        "on_sighand_free": Feeds("the exact time of reaps"),
        "on_free": Feeds("reaps, and the last slice of CPU time", frozenset({Fact.REAPS, Fact.ZOMBIES}), _REAPED),
    },
    "attach": {
        "find_tasks": Feeds("processes that live already"),
        "find_alive": Feeds("what processes that outlive the trace have used"),
    },
    "faults": {
        "on_signal": Feeds("write-protect faults that failed", columns=frozenset({"failed_wp"})),
        "on_page_free": Feeds("pages given back where two threads write at once (they count as copies)"),
        "on_dirty_folio": _DIRTIED,
        "on_dirty_page": _DIRTIED,
    },
    "failures": {
        "find_symbols": Feeds("tasks and promised memory of the host as a fork fails (they are read a moment later)"),
    },
    "faults_walk": {
        "snap_faults": Feeds("copies of processes that outlive the trace"),
        "find_faulters": Feeds("copies of processes that live already"),
    },
}


def without(name: str, refused: Mapping[str, str]) -> Without:
    """What a capture lacks of object `name`, where the kernel refused these programs of it, and why."""
    feeds = {program: OPTIONAL[name][program] for program in refused}
    return Without(
        frozenset().union(*(each.facts for each in feeds.values())),
        frozenset().union(*(each.columns for each in feeds.values())),
        tuple(f"not measured: {feeds[p].words}, as the kernel refused {p}: {why}" for p, why in refused.items()),
    )


def costs(name: str, program: str) -> str:
    """What is not measured without a program of object `name`, in words."""
    feeds = OPTIONAL.get(name, {}).get(program)
    return feeds.words if feeds is not None else MAIN.get(name, name)


MAIN: Final[Mapping[str, str]] = {
    "lifecycle": "anything by the bpf backend",
    "faults": "copies",
    "faults_walk": "copies of processes that live already or outlive the trace",
    "attach": "processes that live already or outlive the trace",
    "stacks": "stacks at copies",
    "failures": "failed forks and execs",
    "level": "anything inside this pid namespace",
}
"""What is not measured where a main program of an object is refused."""
