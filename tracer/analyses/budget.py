"""A budget: limits on what a trace may have, and whether it kept to them.

    check(tree, {"max_processes": 200, "no_zombies": 0}) -> (Verdict, ...)     one a limit, in the order of LIMITS

A figure that was not measured has `value` None: that is no pass. What a trace that lacks records shows is the least
there was: over the limit is over, below it is not known. Pure: refuses to know where limits come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tracer.analyses.cow import PAGE
from tracer.analyses.summary import Summary, summarize
from tracer.analyses.zombies import zombies
from tracer.events import NULL, Fact
from tracer.tree import ProcessTree


@dataclass(frozen=True)
class Limit:
    """`unit`: count bytes ns. `what` is measured, in words. `fact`: without it the figure is not known."""

    name: str
    unit: str
    what: str
    fact: Fact | None
    figure: Callable[[ProcessTree, Summary], int | None]


def _sum(name: str, factor: int = 1) -> Callable[[ProcessTree, Summary], int | None]:
    def total(tree: ProcessTree, _: Summary) -> int | None:
        known = [value for value in tree.column(name) if value != NULL]
        return sum(known) * factor if known or len(tree) == 0 else None

    return total


def _zombies(tree: ProcessTree, _: Summary) -> int | None:
    """Left behind: nobody had waited for them when their parent ended, or the trace did."""
    found = zombies(tree, limit=len(tree) + 1)
    return None if found is None else sum(parent.unreaped for parent in found.parents)


def _forks(tree: ProcessTree, summary: Summary) -> int | None:
    """None were made, none took time; vforks alone have no page tables to copy."""
    copied = any(how in ("fork", "clone") for how in tree.column("how"))
    return _sum("fork_ns")(tree, summary) if copied else 0


LIMITS: Final = (
    Limit("max_processes", "count", "processes", None, lambda _, s: s.processes),
    Limit("max_depth", "count", "generations", None, lambda _, s: s.depth),
    Limit("max_failures", "count", "processes that failed", Fact.STATUS, lambda _, s: s.failed),
    Limit("max_failed_forks", "count", "failed forks", Fact.FORK_FAILED, lambda _, s: s.failed_forks),
    Limit("max_failed_execs", "count", "failed execs", Fact.EXEC_FAILED, lambda _, s: s.failed_execs),
    Limit("max_cow", "bytes", "copied on write", Fact.COW, _sum("cow_copies", PAGE)),
    Limit("max_forks_ms", "ns", "copying page tables", Fact.FORK_COST, _forks),
    Limit("no_zombies", "count", "children that nobody waited for", Fact.ZOMBIES, _zombies),
)
BY_NAME: Final = {limit.name: limit for limit in LIMITS}


@dataclass(frozen=True)
class Verdict:
    """`value` and `most` in the limit's unit. `ok` None: not known, `why` says it."""

    limit: Limit
    value: int | None
    most: int
    ok: bool | None
    why: str | None = None


def check(tree: ProcessTree, limits: Mapping[str, int], *, torn: bool = False) -> tuple[Verdict, ...]:
    """`limits`: the most by name, in bytes and ns; of no_zombies 0. `torn`: the trace has no end."""
    summary = summarize(tree)
    return tuple(_judge(limit, limits[limit.name], tree, summary, torn) for limit in LIMITS if limit.name in limits)


def _judge(limit: Limit, most: int, tree: ProcessTree, summary: Summary, torn: bool) -> Verdict:
    unseen = limit.fact is not None and limit.fact not in tree.meta.facts
    value = None if unseen else limit.figure(tree, summary)
    if value is None:
        return Verdict(limit, None, most, None, "was not measured")
    if value > most:
        return Verdict(limit, value, most, False)
    if torn or tree.losses or summary.gaps:
        return Verdict(limit, value, most, None, "is the least there was: records are missing")
    return Verdict(limit, value, most, True)
