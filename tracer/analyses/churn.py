"""Short-lived processes: which commands come again and again, searches along the PATH, shells that were not needed.

    churn(tree) -> Churn

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tracer.analyses.findings.needless_shells import Wrapped, wrappers
from tracer.analyses.group_key import Alike
from tracer.analyses.tree_index import Shape
from tracer.model.frozen import record
from tracer.model.schema import NULL
from tracer.model.vector_ops import different, ordered, packed, taken, total, view, where
from tracer.tree.tree import ProcessTree

SHORT_NS: Final = 10_000_000
"""A process that lives no longer is a short one."""

_SAID: Final = 8  # rows that stand for all


@record
class Repeated:
    """Short processes of one template and one parent or many. `words`: of the command, None for what differs."""

    words: tuple[str | None, ...] | None  # None: never exec'd
    comm: str | None
    rows: tuple[int, ...]  # some
    count: int
    parents: int
    life_ns: int  # median
    lives_ns: int  # sum
    cpu_ns: int | None


@record
class Probing:
    """Execs of one name that failed with ENOENT, folder by folder. `wasted_ns`: at least, see `probes`."""

    name: str
    failed: int
    processes: int
    found: int  # of these processes, those that did exec in the end
    wasted_ns: int
    rows: tuple[int, ...]


@record
class Churn:
    """Each most first. `short` of `ended`: how many lived for SHORT_NS or less."""

    short: int
    ended: int
    repeated: tuple[Repeated, ...]
    probing: tuple[Probing, ...]
    wrapped: tuple[Wrapped, ...]


def churn(tree: ProcessTree, shape: Shape | None = None, alike: Alike | None = None, *, least: int = 20) -> Churn:
    """Commands that came `least` times and more."""
    shape = shape or Shape(tree)
    alike = alike or Alike(tree)
    short = _short(shape)
    groups = _groups(taken(alike.templates, taken(alike.commands.of, short)), short, least)
    runtime = tree.column("runtime_ns")
    return Churn(
        short=len(short),
        ended=shape.ended.count(1),
        repeated=tuple(
            _repeated(alike.words(number), rows, shape, runtime)
            for number, rows in sorted(groups.items(), key=lambda item: -len(item[1]))
        ),
        probing=tuple(sorted(probes(tree), key=lambda p: -p.failed)),
        wrapped=tuple(sorted(wrappers(tree, shape), key=lambda w: -w.count)),
    )


def _short(shape: Shape) -> Sequence[int]:
    """Rows of those that lived for SHORT_NS or less."""
    life = view(shape.life)
    return where((np.frombuffer(shape.ended, np.uint8) == 1) & (life >= 0) & (life <= SHORT_NS))


def _groups(templates: Sequence[int], rows: Sequence[int], least: int) -> dict[int, Sequence[int]]:
    """The rows of each template that comes `least` times, in the order in which they come first."""
    template = view(templates)
    counts = np.bincount(template)
    at = np.flatnonzero((counts >= least)[template])
    at = at[np.argsort(template[at], kind="stable")]
    parts = np.split(at, np.flatnonzero(np.diff(template[at])) + 1) if len(at) else []
    parts.sort(key=lambda part: part[0])
    return {int(template[part[0]]): packed(view(rows)[part]) for part in parts}


def _repeated(
    words: tuple[tuple[str | None, ...] | None, str | None], rows: Sequence[int], shape: Shape, runtime: Sequence[int]
) -> Repeated:
    lives = ordered(taken(shape.life, rows))
    return Repeated(
        *words,
        tuple(rows[:_SAID]),
        len(rows),
        different(taken(shape.parent, rows)),
        lives[len(lives) // 2],
        total(lives) or 0,
        total(taken(runtime, rows)),
    )


def probes(tree: ProcessTree) -> Iterator[Probing]:
    """Searches along the PATH. `wasted_ns` is from a process' first failure to its last: the last call is left out."""
    tries: dict[tuple[int, str], list[int]] = {}
    for event in tree.failed_execs:
        if event.error != "ENOENT" or not event.exe or "/" not in event.exe or event.born_ns is None:
            continue
        row = tree.row(event.pid, event.born_ns)
        if row is None:
            continue
        at = event.ts_ns if event.ts_ns is not None else NULL
        seen = tries.setdefault((row, event.exe.rpartition("/")[2]), [0, at, at])
        seen[0] += 1
        seen[2] = at
    names: dict[str, list[tuple[int, int, int]]] = {}
    for (row, name), (n, first, last) in tries.items():
        if n > 1:  # one alone is a missing file, not a search
            names.setdefault(name, []).append((row, n, 0 if NULL in (first, last) else max(0, last - first)))
    execs = tree.column("execs")
    for name, found in names.items():
        yield Probing(
            name=name,
            failed=sum(n for _, n, _ in found),
            processes=len(found),
            found=sum(_became(tree, row, name) for row, _, _ in found if execs[row]),
            wasted_ns=sum(ns for *_, ns in found),
            rows=tuple(row for row, _, _ in found[:_SAID]),
        )


def _became(tree: ProcessTree, row: int, name: str) -> bool:
    return any((image.exe or "").rpartition("/")[2] == name for image in tree.execs(row))
