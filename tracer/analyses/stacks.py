"""Which code copies shared pages: stacks at copies, summed over processes that are alike.

    sites(tree, limit=8) -> Sites

A site is a function that wrote and the two above it, in one sort of process: `memset` alone says little. What a
fork wrote before it became a program of its own is its parent's code, so it goes by the parent's name. Pure: a tree in,
a frozen result out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tracer.analyses.templates import Commands, templates
from tracer.model.frozen import record
from tracer.symbols import UNKNOWN
from tracer.tree.tree import ProcessTree

_TOLD_APART: Final = 3


@record
class Site:
    """`frames`: the function that wrote first; of several stacks as far as they agree. `copies`: pages."""

    rows: tuple[int, ...]  # the processes, by row
    fork_of: str | None  # comm, where they were copies of their parent; None: programs of their own
    frames: tuple[str, ...]
    copies: int


@record
class Sites:
    """The dearest first. Copies are pages; estimates where `sampled`."""

    sites: tuple[Site, ...]
    others: int  # sites that were left out
    copies: int  # of all
    samples: int
    sampled: bool
    alone: int  # copies of functions whose callers are not known
    unknown: int  # copies by nobody knows what: the process was gone too soon, or a compiler kept it to itself


def comm_of(tree: ProcessTree, row: int, before_exec: bool) -> str | None:
    """The name a process had when its stack was taken: a later exec has changed it."""
    born, above = tree.value(row, "birth_ts"), row
    # From whoever was the program then: a parent may have become another one since, too.
    while before_exec and (at := tree.value(above, "exec_ns")) is not None and (born is None or at >= born):
        parent = tree.parent(above)
        if parent is None:
            break
        above = parent
    comm: str | None = tree.value(above, "comm")
    return comm


def sites(tree: ProcessTree, limit: int = 8) -> Sites:
    """The `limit` dearest."""
    kinds: dict[tuple[int, bool], tuple[str | None, int]] = {}
    keys = list(dict.fromkeys((row, early) for row, early, _ in tree.stacks))
    comms = [comm_of(tree, row, early) for row, early in keys]
    argvs = [None if early or not (argv := tree.value(row, "argv")) else tuple(argv) for row, early in keys]
    commands = Commands(argvs, comms)
    alike = templates(commands)
    for key, n, comm, argv in zip(keys, commands.of, comms, argvs, strict=True):
        kinds[key] = (comm if argv is None else None, alike[n])
    groups: dict[tuple[tuple[str | None, int], tuple[str, ...]], Counter[tuple[int, tuple[str, ...]]]] = {}
    samples = 0
    for (row, early, frames), (copies, found) in tree.stacks.items():
        groups.setdefault((kinds[row, early], frames[:_TOLD_APART]), Counter())[row, frames] += copies
        samples += found
    made = sorted(_made(groups), key=lambda site: (-site.copies, site.frames))
    return Sites(
        sites=tuple(made[:limit]),
        others=max(0, len(made) - limit),
        copies=sum(site.copies for site in made),
        samples=samples,
        sampled=tree.stacks_sampled,
        alone=sum(site.copies for site in made if len(site.frames) == 1 and site.frames[0] != UNKNOWN),
        unknown=sum(site.copies for site in made if site.frames[0] == UNKNOWN),
    )


def _made(
    groups: dict[tuple[tuple[str | None, int], tuple[str, ...]], Counter[tuple[int, tuple[str, ...]]]],
) -> Iterator[Site]:
    for ((fork_of, _), _), stacks in groups.items():
        agreed: tuple[str, ...] | None = None
        for _, frames in stacks:
            n = 0
            for mine, theirs in zip(agreed or frames, frames, strict=False):
                if mine != theirs:
                    break
                n += 1
            agreed = frames[:n]
        rows = tuple(sorted({row for row, _ in stacks}))
        yield Site(rows, fork_of, agreed or (), stacks.total())
