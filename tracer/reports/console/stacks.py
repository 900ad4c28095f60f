"""Which code copies shared pages, on the terminal: a short table below the ledger, and what it is worth.

Comes only where stacks were taken. Knows how a table is laid out; who belongs together is analyses/stacks.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tracer.analyses.cow import bytes_of
from tracer.analyses.stacks import Site, Sites, sites
from tracer.reports.console.commands import CommandWords
from tracer.reports.console.spans import Span, Spans, fitted, folderless, trimmed, wrap
from tracer.reports.terminal import Terminal, cells, clean
from tracer.reports.words import count, plural, size
from tracer.tree.tree import ProcessTree

_SHOWN: Final = 8
_SHOWN_VERBOSE: Final = 100
_LONGEST: Final = 60  # of a name: C++ has some of thousands


class StackLines:
    """`lines` of one tree; none where no stacks were taken."""

    def __init__(self, tree: ProcessTree, terminal: Terminal, *, verbose: int = 0) -> None:
        self._tree = tree
        self._terminal = terminal
        self._verbose = verbose
        self._words = CommandWords(tree, terminal)
        self._dots = "…" if terminal.unicode else "..."

    def lines(self) -> Iterator[Spans]:
        """A table, dearest code first, and how it was found."""
        if not self._tree.stacks:
            return
        found = sites(self._tree, _SHOWN_VERBOSE if self._verbose else _SHOWN)
        page = self._tree.meta.page_size
        figures = [(size(bytes_of(site.copies, page)), _percent(site.copies, found.copies)) for site in found.sites]
        widths = [max(len(head), *(len(row[i]) for row in figures)) + 2 for i, head in enumerate(("COPIED", "SHARE"))]
        yield [(f"{'COPIED':>{widths[0]}}{'SHARE':>{widths[1]}}  BY", "heading")]
        room = self._terminal.width - sum(widths) - 2
        for site, (copied, share) in zip(found.sites, figures, strict=True):
            line: Spans = [(f"{copied:>{widths[0]}}", "mark"), (f"{share:>{widths[1]}}", ""), ("  ", "")]
            yield trimmed([*line, *self._who(site, room)])
        if found.others:
            yield [(f"  and {plural(found.others, 'more place')}", "dim")]
        yield []
        yield from wrap(("stacks", "label"), list(self._worth(found)), self._terminal)

    def _who(self, site: Site, room: int) -> Spans:
        """`function ← caller ← caller, in COMMAND`; of the callers as many as fit, the command up to a third."""
        command: Spans = [(", in ", "dim"), *self._command(site)]
        most = max(room // 3, room - sum(cells(text) for text, _ in self._frames(site)))
        command = fitted(folderless(command, most, self._dots), most, self._dots)
        left = room - sum(cells(text) for text, _ in command)
        return [*fitted(self._frames(site), left, self._dots), *command]

    def _frames(self, site: Site) -> Spans:
        arrow = " ← " if self._terminal.unicode else " <- "
        spans: Spans = []
        for i, name in enumerate(site.frames):
            shown = clean(name, unicode=self._terminal.unicode)
            shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - len(self._dots)] + self._dots
            spans += [(arrow, "dim"), (shown, "")] if i else [(shown, "program")]
        return spans

    def _command(self, site: Site) -> Iterator[Span]:
        if site.fork_of is not None:
            yield f"({clean(site.fork_of, unicode=self._terminal.unicode)})", "fork"
        elif len(site.rows) == 1:
            yield from self._words.one(site.rows[0])
        else:
            yield from self._words.alike(site.rows)
        if len(site.rows) > 1:
            yield f" {'×' if self._terminal.unicode else 'x'}{len(site.rows)}", "fold"

    def _worth(self, found: Sites) -> Iterator[Spans]:
        if found.sampled:
            yield [(f"sampled, {plural(found.samples, 'sample')}: figures are estimates", "warn")]
        else:
            yield [(f"at every one of {plural(found.copies, 'copy', 'copies')}", "")]
        if found.alone:
            yield [(f"{_percent(found.alone, found.copies)} without callers, where code keeps no frame pointers", "")]
        if found.unknown:
            yield [(f"{_percent(found.unknown, found.copies)} by unknown code", "warn")]


def _percent(part: int, whole: int) -> str:
    return f"{count(round(part * 100 / whole))} %" if part * 200 >= whole else "<1 %"
