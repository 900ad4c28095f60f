"""The findings on the terminal: what should be changed, what breaks things first, then what costs most.

Comes only where there is something to say. The words are reports/findings.py's; knows how they are laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.findings.finding import Finding
from tracer.reports.console.spans import Spans, wrap
from tracer.reports.findings import sentences
from tracer.reports.terminal import Terminal
from tracer.tree.tree import ProcessTree

SHOWN: Final = 6
SHOWN_BRIEFLY: Final = 3


class FindingLines:
    """`lines` of some findings; `most` of them, the rest counted."""

    def __init__(self, tree: ProcessTree, found: Sequence[Finding], terminal: Terminal, *, most: int | None) -> None:
        self._tree = tree
        self._found = found
        self._terminal = terminal
        self._most = most

    def lines(self) -> Iterator[Spans]:
        """Each as what it is and, behind an arrow, what to change."""
        unicode = self._terminal.unicode
        arrow = "→ " if unicode else "-> "
        for finding in self._found[: self._most]:
            words = sentences(finding, self._tree, unicode=unicode)
            yield from wrap(("finding", "warn" if finding.breaks else "label"), [[(words.what, "")]], self._terminal)
            yield from wrap(("", ""), [[(arrow, "dim"), (words.change, "dim")]], self._terminal)
        left = 0 if self._most is None else len(self._found) - self._most
        if left > 0:
            yield from wrap(("", ""), [[(f"and {left} more: -v shows all", "dim")]], self._terminal)
