"""The ledger on the terminal: the forks that cost most, what was copied because of them, and when.

Comes only where there is something to say: a fork that copied a good deal of memory, or took long to copy page
tables. Knows how a table is laid out; what the figures mean is analyses/cow.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.cost import cost
from tracer.analyses.cow import Edge, Ledger, ledger
from tracer.reports.console.commands import CommandWords
from tracer.reports.console.spans import Spans, fitted, folderless, trimmed, wrap
from tracer.reports.terminal import Terminal, cells
from tracer.reports.words import UNKNOWN, count, duration, duration_range, plural, size, size_range
from tracer.tree.tree import ProcessTree

_WORTH_BYTES: Final = 256 << 10
_WORTH_NS: Final = 1_000_000
_SHOWN: Final = 8
_SHOWN_VERBOSE: Final = 100
_BARS: Final = " ▁▂▃▄▅▆▇█"
_HEADINGS: Final = ("COPIED", "CHILD", "PARENT", "OF RSS", "FORK", "TABLES", "TO EXEC")
_OF: Final = "OF, DEAREST FIRST"
_LEAST_COMMAND: Final = 16


class LedgerLines:
    """`lines` of one tree; none where forks cost nothing worth a line (`verbose`: wherever there were forks)."""

    def __init__(self, tree: ProcessTree, terminal: Terminal, *, verbose: int = 0) -> None:
        self._tree = tree
        self._terminal = terminal
        self._verbose = verbose
        self._words = CommandWords(tree, terminal)

    def lines(self) -> Iterator[Spans]:
        """A table, dearest fork first, and what all of them came to."""
        book = ledger(self._tree, _SHOWN_VERBOSE if self._verbose else _SHOWN)
        known = [e for e in book.edges if e.copies is not None or e.fork_ns is not None]
        worth = [e for e in known if self._verbose or _is_worth(e)]
        if not worth:
            return
        yield from self._table(worth)
        left = book.forks - len(worth)
        if left:
            yield [(f"  and {plural(left, 'more fork')}, none dearer", "dim")]
        yield []
        yield from wrap(("copies", "label"), list(self._totals(book)), self._terminal)
        for label, chunks in (("faults", list(self._faults(book))), ("fork", list(self._fits()))):
            if chunks:
                yield from wrap((label, "label"), chunks, self._terminal)
        yield from self._decay(book)

    def _table(self, edges: Sequence[Edge]) -> Iterator[Spans]:
        rows = [self._figures(edge) for edge in edges]
        keep = [i for i in range(len(_HEADINGS)) if any(row[i] != UNKNOWN for row in rows)]
        # On a narrow screen the least telling go first: what is fork's own, then whose copies they were.
        for spare in (6, 5, 3):
            if sum(self._width(rows, i) for i in keep) + _LEAST_COMMAND > self._terminal.width and spare in keep:
                keep.remove(spare)
        widths = {i: self._width(rows, i) for i in keep}
        room = self._terminal.width - sum(widths.values()) - 2
        heads = [*(f"{_HEADINGS[i]:>{widths[i]}}" for i in keep), "  ", _OF if room >= len(_OF) else _OF[:2]]
        yield trimmed([(head, "heading") for head in heads])
        dots = "…" if self._terminal.unicode else "..."
        for edge, row in zip(edges, rows, strict=True):
            line: Spans = [(f"{row[i]:>{widths[i]}}", self._style(i, edge)) for i in keep]
            yield trimmed([*line, ("  ", ""), *fitted(folderless(self._who(edge, room), room, dots), room, dots)])

    @staticmethod
    def _width(rows: Sequence[Sequence[str]], i: int) -> int:
        return max(len(_HEADINGS[i]), *(len(row[i]) for row in rows)) + 2

    @staticmethod
    def _style(column: int, edge: Edge) -> str:
        if column == 0:
            return "mark"
        return "warn" if column == 6 and edge.wasted and (edge.bytes_before_exec or 0) >= _WORTH_BYTES else ""

    def _figures(self, edge: Edge) -> tuple[str, ...]:
        plain = not self._terminal.unicode
        share = UNKNOWN if edge.share is None else f"{edge.share * 100:.0f} %"
        return (
            size(edge.bytes),
            size(edge.child_bytes),
            size(edge.parent_bytes),
            share,
            duration(edge.fork_ns, ascii_only=plain),
            size(edge.pgtables_bytes),
            duration(edge.to_exec_ns, ascii_only=plain),
        )

    def _who(self, edge: Edge, room: int) -> Spans:
        """`PID command, by PID command`; the latter where there is room for more than its beginning."""
        child = self._one(edge.row)
        if edge.parent is None or sum(cells(text) for text, _ in child) + _LEAST_COMMAND > room:
            return child
        return [*child, (", by ", "dim"), *self._one(edge.parent)]

    def _one(self, row: int) -> Spans:
        pid = self._tree.value(row, "pid")
        return [(f"{UNKNOWN if pid is None else pid} ", "dim"), *self._words.one(row)]

    def _totals(self, book: Ledger) -> Iterator[Spans]:
        if book.copies is not None:
            yield [(size(book.bytes), "figure"), (f" in {plural(book.copies, 'page')}", "")]
        if book.before_exec:
            yield [(size(book.bytes_before_exec), "warn"), (" of it just before an exec: for nothing", "")]
        if book.fork_ns is not None:
            yield [(f"{duration(book.fork_ns, ascii_only=not self._terminal.unicode)} copying page tables", "")]
        if book.gup:
            yield [(f"{plural(book.gup, 'page')} by the kernel's own hand", "")]

    def _faults(self, book: Ledger) -> Iterator[Spans]:
        """What a count of write-protect faults would have mixed up with copies."""
        if book.wp_faults is None:
            return
        yield [(f"{count(book.wp_faults)} write-protect faults", "")]
        for name, n in book.others:
            if n:
                yield [(f"{count(n)} {_OTHERS[name]}", "")]

    def _fits(self) -> Iterator[Spans]:
        """How fork time grows, where the forks of this trace show it."""
        plain = not self._terminal.unicode
        found = cost(self._tree)
        for fit, of in ((found.by_rss, "memory"), (found.by_tables, "page tables")):
            if fit is None:
                continue
            low, high = (round(ns) for ns in (fit.low_ns, fit.high_ns))
            sizes = size_range(fit.least_bytes, fit.most_bytes, ascii_only=plain)
            slope, spread = duration(round(fit.slope_ns), ascii_only=plain), duration_range(low, high, ascii_only=plain)
            # Two sizes have one line through them, and no spread
            about = f" ({'' if spread == slope else f'{spread}; '}{plural(fit.forks, 'fork')} of {sizes})"
            yield [(slope, "figure"), (f" per MiB of {of}", ""), (about, "dim")]

    def _decay(self, book: Ledger) -> Iterator[Spans]:
        """How long after the fork the copies were made: one bar a doubling, 1 us first."""
        label = "when"
        for who, buckets in (
            ("after its birth", book.since_birth),
            ("after the parent's last fork", book.since_fork),
        ):
            found = [i for i, n in enumerate(buckets) if n > 0]
            if not found:
                continue
            first, last = found[0], found[-1]
            shown = buckets[first : last + 1]
            plain = not self._terminal.unicode
            begin = duration(1024 << max(0, first - 1), ascii_only=plain)
            end = duration(1024 << last, ascii_only=plain)
            most = max(shown)
            if plain:
                bars = " ".join(str(max(0, n)) for n in shown)
            else:
                bars = "".join(_BARS[0 if n <= 0 else max(1, round(n / most * 8))] for n in shown)
            yield from wrap(
                (label, "label"),
                [[(f"{begin} ", "dim"), (bars, "mark"), (f" {end}", "dim"), (f" {who}", "")]],
                self._terminal,
            )
            label = ""


_OTHERS: Final = {
    "reuses": "re-used the page, no copy",
    "mkwrites": "made a page of a shared file writable",
    "zero_copies": "replaced a page of zeros",
    "file_copies": "first writes to pages of private files",
    "large_copies": "huge pages copied or replaced",
    "ksm_copies": "copies of merged pages (KSM)",
    "failed_wp": "ended in a signal or an error",
}


def _is_worth(edge: Edge) -> bool:
    return (edge.bytes or 0) >= _WORTH_BYTES or (edge.fork_ns or 0) >= _WORTH_NS
