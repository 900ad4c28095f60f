"""Findings: what a trace says should be changed, each with what was measured and what there is to be gained.

    advise(tree) -> tuple[Finding, ...]    what breaks things first, then by cost; empty when all is well

Nothing is said without a measured figure behind it, and nothing that a trace can not know. So there is no advice to
exclude a buffer from a fork (MADV_DONTFORK): which memory a child reads is not in any event. That a collector of
garbage breaks the sharing is said only where stacks name one; without, that workers copy is all that is said.

A finding holds figures; its sentences are reports/findings.py's. Pure.
"""

from __future__ import annotations

from tracer.analyses.churn import churn
from tracer.analyses.findings.copies import Forks, before_exec, snapshots, workers
from tracer.analyses.findings.finding import Finding
from tracer.analyses.findings.lifetimes import refused, respawned, short_lived, unwaited, with_threads
from tracer.analyses.group_key import Alike
from tracer.analyses.summary import cpu_of
from tracer.analyses.tree_index import Shape
from tracer.analyses.zombies import zombies
from tracer.tree.tree import ProcessTree

__all__ = ["Finding", "advise"]


def advise(tree: ProcessTree, shape: Shape | None = None, alike: Alike | None = None) -> tuple[Finding, ...]:
    """All findings. `shape` and `alike`, if they are at hand, save a second each for a million processes."""
    if not len(tree):
        return ()
    shape = shape or Shape(tree)
    alike = alike or Alike(tree)
    forks = Forks(tree)
    again = list(respawned(tree, shape, alike))
    told = {row for finding in again for row in finding.rows}
    found = [
        *refused(tree),
        *again,
        *unwaited(tree, zombies(tree)),
        *before_exec(forks),
        *snapshots(forks),
        *workers(forks),
        *(each for each in short_lived(tree, churn(tree, shape, alike), cpu_of(tree)) if told.isdisjoint(each.rows)),
        *with_threads(tree),
    ]
    found.sort(key=lambda finding: (not finding.breaks, -finding.weight_ns))
    return tuple(found)
