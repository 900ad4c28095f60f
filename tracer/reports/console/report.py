"""The report a person reads: the fork tree, what the births shared, and the figures.

    Console.from_args(args, stderr=True).report(trace)

Rich draws it: colours as the terminal has them, widths as it measures them. The lines are laid out here, since
rich's own tree needs a second for a few thousand nodes. Knows no source.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from tracer.analyses.findings.advice import advise
from tracer.analyses.folding import Fold, fold, unfolded
from tracer.analyses.group_key import Alike
from tracer.analyses.sibling_keys import Folder
from tracer.analyses.summary import summarize
from tracer.analyses.tree_index import Shape
from tracer.errors import CannotWriteError
from tracer.model.visible import visible
from tracer.reports.console.births import Births
from tracer.reports.console.findings import SHOWN, SHOWN_BRIEFLY, FindingLines
from tracer.reports.console.layout import Layout
from tracer.reports.console.ledger import LedgerLines
from tracer.reports.console.rows import Rows
from tracer.reports.console.spans import Spans, wrap
from tracer.reports.console.stacks import StackLines
from tracer.reports.console.summary import SummaryLines
from tracer.reports.source import seen_by
from tracer.reports.terminal import Terminal, clean, cut, facts, quoted
from tracer.reports.words import count, plural

if TYPE_CHECKING:
    from rich.console import RenderResult

    from tracer.api.trace import Trace
    from tracer.tree.tree import ProcessTree

STYLES: Final = {
    "heading": "dim",
    "dim": "dim",
    "guide": "dim",
    "label": "dim",
    "program": "bold",
    "fork": "italic",
    "image": "",
    "folder": "",
    "figure": "bold",
    "fold": "cyan",
    "mark": "cyan",
    "warn": "yellow",
    "bad": "red",
    "loud": "bold red",
}
"""The sixteen colours of the terminal's own theme, and few of them."""

_CHUNK: Final = 2000  # lines: what is drawn at a time
_TITLE_MOST: Final = 60


class Console:
    """The report for one terminal. `report` prints it; `lines` makes it, for who wants to look at it."""

    def __init__(
        self,
        terminal: Terminal,
        stream: IO[str] | None,
        *,
        times: bool = False,
        threads: bool = False,
        full: bool = False,
        quiet: int = 0,
        verbose: int = 0,
        how_to_see_all: str = "",
        apart: bool = False,
    ) -> None:
        self.terminal = terminal
        self._stream = stream
        self._times = times
        self._threads = threads
        self._full = full
        self._quiet = quiet
        self._verbose = verbose
        self._how_to_see_all = how_to_see_all
        self._alike: Alike | None = None  # left by the folding, for the findings
        self._apart = apart  # the report shares its stream with someone else's output

    @classmethod
    def from_args(cls, args: Namespace, *, stderr: bool = False) -> Console:
        """As the command line has it: color, ascii, width, quiet, verbose; times, threads, full if there."""
        stream = sys.stderr if stderr else sys.stdout
        file = getattr(args, "output", None) or getattr(args, "file", None)
        again = f"forktrace report {quoted(file)} --full" if file and file != "-" else "--full"
        return cls(
            facts(stream, color=args.color, ascii_only=args.ascii, width=args.width),
            stream,
            times=getattr(args, "times", False),
            threads=getattr(args, "threads", False),
            full=getattr(args, "full", False),
            quiet=args.quiet,
            verbose=args.verbose,
            how_to_see_all=again,
            apart=stderr,
        )

    def report(self, trace: Trace, *, title: Sequence[Spans] = ()) -> None:
        """Print it. Raises CannotWriteError; a reader that has left is none of our business on stderr."""
        stream = self._stream
        if stream is None:  # closed by who started us
            if self._apart:
                return
            raise CannotWriteError("the report can not be written: standard output is closed")
        lines = self.lines(trace, title=title)
        with contextlib.suppress(BrokenPipeError) if self._apart else contextlib.nullcontext():
            try:
                while chunk := list(itertools.islice(lines, _CHUNK)):
                    stream.write(self.draw(chunk))
                stream.flush()
            except BrokenPipeError:
                raise
            except OSError as e:
                _mute(stream)
                reason = (e.strerror or str(e)).lower()
                raise CannotWriteError(f"the report can not be written: {reason}") from None

    def print(self, lines: Iterable[Spans]) -> None:
        """Print some lines. Raises OSError."""
        if self._stream is not None:
            self._stream.write(self.draw(lines))

    def draw(self, lines: Iterable[Spans]) -> str:
        """Lines of spans as text, with the escape sequences of this terminal's colours, if it has any."""
        if not self.terminal.color:
            return "".join("".join(visible(text) for text, _ in spans) + "\n" for spans in lines)
        from rich.console import Console as RichConsole
        from rich.segment import Segment
        from rich.style import Style

        styles = {name: Style.parse(words) if words else None for name, words in STYLES.items()}

        class Lines:
            def __rich_console__(self, *_: Any) -> RenderResult:
                for spans in lines:
                    for text, style in spans:
                        yield Segment(visible(text), styles.get(style))
                    yield Segment.line()

        page = io.StringIO()
        console = RichConsole(
            file=page,
            width=self.terminal.width,
            force_terminal=True,
            color_system="standard",
            no_color=False,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        console.print(Lines(), soft_wrap=True, end="")
        return page.getvalue()

    def lines(self, trace: Trace, *, title: Sequence[Spans] = ()) -> Iterator[Spans]:
        """The whole report, line by line."""
        tree = trace.tree
        shape = Shape(tree)
        births = Births(tree, unicode=self.terminal.unicode)
        if self._apart:
            yield []
        if title:
            yield from title
            yield []
        if len(tree):
            yield from self._tree_lines(tree, shape, births)
        else:
            yield [(" no process could be read" if trace.torn else " no process was seen", "dim")]
        summary = SummaryLines(tree, summarize(tree, shape), self.terminal, verbose=self._verbose)
        legend = list(summary.legend(births.legend(everything=self._verbose > 0)))
        yield from [[], *legend] if legend else []
        if not self._quiet:
            book = list(LedgerLines(tree, self.terminal, verbose=self._verbose).lines())
            yield from [[], *book] if book else []
            code = list(StackLines(tree, self.terminal, verbose=self._verbose).lines())
            yield from [[], *code] if code else []
            said = list(self._findings(tree, shape))
            yield from [[], *said] if said else []
        figures = list(summary.figures()) if len(tree) and not self._quiet else []
        caveats = list(summary.caveats(damage=trace.damage))
        if figures or caveats:
            yield from ([], *figures, *caveats)

    def _findings(self, tree: ProcessTree, shape: Shape) -> Iterator[Spans]:
        most = None if self._verbose else SHOWN_BRIEFLY if self._apart else SHOWN
        return FindingLines(tree, advise(tree, shape, self._alike), self.terminal, most=most).lines()

    def _tree_lines(self, tree: ProcessTree, shape: Shape, births: Births) -> Iterator[Spans]:
        if self._full:
            rows = Rows(tree, shape, births, self.terminal, threads=self._threads)
            # Twice over the tree instead of once with a list of a million rows.
            figures = (rows.row(line, figures_only=True) for line in unfolded(tree, shape))
            layout = Layout(figures, self.terminal, times=self._times)
            yield layout.heading()
            for line in unfolded(tree, shape):
                yield from layout.lines(rows.row(line))
            return
        folder = Folder(tree, shape)
        self._alike = folder.alike
        folded = fold(tree, folder=folder)
        rows = Rows(tree, shape, births, self.terminal, commands=folder.commands, threads=self._threads)
        shown = [rows.row(line) for line in folded.lines]
        layout = Layout(shown, self.terminal, times=self._times)
        yield layout.heading()
        for row in shown:
            yield from layout.lines(row)
        yield from self._left_out(folded)

    def _left_out(self, folded: Fold) -> Iterator[Spans]:
        chunks: list[Spans] = []
        if folded.hidden:
            chunks.append([(plural(folded.hidden, "process", "processes"), "warn")])
        if folded.idle:
            chunks.append([(f"{count(folded.idle)} that were there before and did nothing", "")])
        if chunks:
            yield []
            chunks.append([(self._how_to_see_all, "program"), (" shows all", "")])
            yield from wrap(("not shown", "label"), chunks, self.terminal)


def _mute(stream: IO[str]) -> None:
    """What is left in its buffer goes nowhere, or the interpreter fails once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def title(tree: ProcessTree, name: str, terminal: Terminal) -> list[Spans]:
    """What a saved trace is of, where and when: before a report that does not follow the run itself."""
    meta = tree.meta
    chunks = [[(clean(name, unicode=terminal.unicode), "figure")]]
    if meta.command:
        command = " ".join(quoted(word[:_TITLE_MOST], unicode=terminal.unicode) for word in meta.command[:_TITLE_MOST])
        chunks.append([(cut(command, _TITLE_MOST, dots="…" if terminal.unicode else "..."), "")])
    if meta.host:
        chunks.append([(clean(meta.host, unicode=terminal.unicode), "")])
    seen = seen_by((meta.source,))
    if seen:
        chunks.append([(clean(seen, unicode=terminal.unicode), "")])
    if meta.wall_offset_ns is not None and tree.first_ns is not None:
        with contextlib.suppress(OverflowError, OSError, ValueError):  # a file may claim any year
            from datetime import UTC, datetime

            at = datetime.fromtimestamp((meta.wall_offset_ns + tree.first_ns) / 1e9, UTC).astimezone()
            chunks.append([(at.strftime("%Y-%m-%d %H:%M:%S"), "")])
    return wrap(("trace", "label"), chunks, terminal)
