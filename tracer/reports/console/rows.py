"""What one line of the tree says: its figures, its command, its marks. Text, not yet laid out.

Knows the tree and the words; knows neither columns nor colours: a span is (text, name of a style).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.folding import Line, Sort
from tracer.analyses.summary import unreleased, zombie_times
from tracer.analyses.templates import Commands
from tracer.analyses.tree_index import Shape
from tracer.model.frozen import record
from tracer.model.schema import NULL
from tracer.model.vector_ops import above_zero, distinct, least_and_most, occurrences, taken
from tracer.reports.console.births import Births
from tracer.reports.console.commands import CommandWords
from tracer.reports.console.spans import Span
from tracer.reports.terminal import Terminal
from tracer.reports.words import count, duration, duration_range, plural, size_range
from tracer.tree.tree import ProcessTree

ZOMBIE_NS: Final = 50_000_000
"""A parent that comes later than this has left a zombie; sooner is how parents are."""

_THREADS_MOST: Final = 8


@record
class Row:
    """One line of the report, as text. An empty figure is nothing worth saying; an unknown one is `-`."""

    line: Line
    pid: Span
    how: str = ""
    born: str = ""
    life: str = ""
    cow: str = ""
    exit: Span = ("", "")
    command: tuple[Span, ...] = ()
    marks: tuple[Span, ...] = ()
    threads: tuple[Row, ...] = ()  # when they are shown


class Rows:
    """Makes rows of lines. `commands`: given where lines may stand for many processes.

    The page size of the traced machine is known for some machines only; copies are counted in pages on the others.
    """

    def __init__(
        self,
        tree: ProcessTree,
        shape: Shape,
        births: Births,
        terminal: Terminal,
        *,
        commands: Commands | None = None,
        threads: bool = False,
    ) -> None:
        self._tree = tree
        self._shape = shape
        # Where ends may be lost only those run that were found there in the end: of others it is not known.
        self._found = tree.marks("alive") if any(loss.may_be_ends for loss in tree.losses) else None
        self._births = births
        self._unicode = terminal.unicode
        self._commands = CommandWords(tree, terminal, commands)
        self._few_threads = _THREADS_MOST if commands is not None else None
        self._threads = threads
        self._start = tree.first_ns
        self._page = tree.meta.page_size
        # Stored columns cost nothing to ask for, and a line may stand for a million rows.
        self._cow, self._codes = tree.column("cow_copies"), tree.column("exit_code")
        self._killers, self._cores = tree.column("killed_by"), tree.column("core_dumped")
        self._adopters, self._waits = tree.column("adopted_by"), zombie_times(tree)
        self._made = tree.column("threads")
        self._left, self._gaps = frozenset(unreleased(tree)), 1 in tree.gaps()

    def row(self, line: Line, *, figures_only: bool = False) -> Row:
        """The text of one line. `figures_only`: enough to find the widths of the columns."""
        rows = line.rows
        if line.sort is Sort.MORE:
            words = f"{count(len(rows))} more" + (
                f", {plural(line.processes, 'process', 'processes')} in all" if line.processes > len(rows) else ""
            )
            return Row(line, ("", ""), command=((words, "dim"),))
        one = line.sort is Sort.ONE
        only = self._tree.value(rows[0], "pid") if one else None
        pid = ("-" if only is None else str(only)) if one else f"{self._times()}{count(len(rows))}"
        return Row(
            line,
            (pid, "" if one else "fold"),
            how=self._births.label(rows[0]),
            born=self._since_start(self._shape.begin[rows[0]]),
            life=self._life(rows),
            cow=self._copied(rows),
            exit=self._exit(rows),
            command=() if figures_only else self._command(line),
            marks=() if figures_only else tuple(mark for mark in self._marks(line) if mark[0]),
            threads=tuple(self._thread_rows(line)) if one and self._threads else (),
        )

    def _command(self, line: Line) -> tuple[Span, ...]:
        words = self._commands.one(line.rows[0]) if line.sort is Sort.ONE else self._commands.alike(line.rows)
        return tuple(words)

    def _times(self) -> str:
        return "×" if self._unicode else "x"

    def _dots(self) -> str:
        return "…" if self._unicode else "..."

    def _range(self, least: int, most: int) -> str:
        return duration_range(least, most, ascii_only=not self._unicode)

    # -- figures ----------------------------------------------------------------------------------------------

    def _since_start(self, at: int) -> str:
        if at == NULL or self._start is None:
            return "-"
        seconds = (at - self._start) / 1e9
        return f"{seconds:+.6f}" if abs(seconds) < 1000 else f"{seconds:+.3f}"

    def _life(self, rows: Sequence[int]) -> str:
        known = least_and_most(self._shape.life, rows)
        if known is None:
            return "-"
        return self._range(*known) + ("" if self._shape.ended[rows[0]] else "+")

    def _copied(self, rows: Sequence[int]) -> str:
        pages = least_and_most(self._cow, rows)
        if pages is None:
            return "-"
        least, most = pages
        if most == 0:
            return ""
        if not self._page:
            return plural(most, "page") if least == most else f"{count(least)}{self._dots()}{plural(most, 'page')}"
        return size_range(least * self._page, most * self._page, ascii_only=not self._unicode)

    def _exit(self, rows: Sequence[int]) -> Span:
        if not self._shape.ended[rows[0]]:
            # Of what was there before, nobody expects an end.
            if self._tree.value(rows[0], "how") == "existing":
                return "", ""
            return ("running", "warn") if self._found is None or all(self._found[row] for row in rows) else ("-", "dim")
        signal = self._tree.value(rows[0], "signal")
        if signal is not None:
            return f"{signal}{self._killer(rows)}", "bad"
        codes = least_and_most(self._codes, rows)
        if codes is None:
            return "-", "dim"
        least, most = codes
        if most == 0:
            return "", ""
        return (f"exit {least}" if least == most else f"exit {least}{self._dots()}{most}"), "bad"

    def _killer(self, rows: Sequence[int]) -> str:
        if all(self._tree.value(row, "oom_killed") for row in rows):
            return " oom"
        dumped = occurrences(taken(self._cores, rows), 1)
        core = " core" if dumped == len(rows) else f" {plural(dumped, 'core')}" if dumped else ""
        killers = distinct(self._killers, rows)
        killer = killers[0] if len(killers) == 1 else NULL
        # A process that aborts has sent the signal to itself: that goes without saying.
        return core if killer in (NULL, self._tree.value(rows[0], "pid")) else f" by {killer}{core}"

    # -- marks ------------------------------------------------------------------------------------------------

    def _marks(self, line: Line) -> Iterator[Span]:
        tree, rows = self._tree, line.rows
        one = len(rows) == 1
        if line.sort is Sort.CHAIN:
            yield f"{count(line.levels)} generations", "fold"
        yield self._zombie(rows), "warn"
        made = taken(self._made, rows)
        threads = least_and_most(made, above_zero(made))
        if threads is not None:
            low, high = threads
            span = count(low) if low == high else f"{count(low)}{self._dots()}{count(high)}"
            yield f"{span} {'thread' if high == 1 else 'threads'}", "mark"
        adopters = taken(self._adopters, rows)
        adopted = len(rows) - occurrences(adopters, NULL)
        if adopted:
            pids = distinct(adopters, range(len(adopters)))[-2:]
            by = f" by {pids[-1]}" if pids[0] in (NULL, pids[-1]) else ""
            yield (f"adopted{by}" if one else f"{count(adopted)} adopted{by}"), "mark"
        if one and self._made_by(rows[0]):
            yield self._made_by(rows[0]), "mark"
        if one and self._is_cut(tree.value(rows[0], "argv")):
            yield "argv cut", "mark"
        if self._gaps and any(tree.is_gap(row) for row in rows):
            yield "birth not seen", "warn"

    def _is_cut(self, argv: Sequence[str] | None) -> bool:
        """Whether the source kept less than all: events.py says how that is marked."""
        return argv is not None and len(argv) > 1 and argv[-1] == "..."

    def _made_by(self, row: int) -> str:
        creator, parent = self._tree.value(row, "creator_pid"), self._tree.value(row, "ppid")
        return "" if creator in (None, parent) or parent is None else f"made by {creator}"

    def _zombie(self, rows: Sequence[int]) -> str:
        known, last = least_and_most(self._waits, rows), self._tree.last_ns
        longest = 0 if known is None else known[1]
        unreaped = 0
        if last is not None and self._left:
            for row in self._left.intersection(rows):
                wait = last - (self._tree.zombie_since(row) or 0)
                unreaped += wait >= ZOMBIE_NS
                longest = max(longest, wait)
        if longest < ZOMBIE_NS:
            return ""
        return (
            f"zombie {'up to ' if len(rows) > 1 else ''}{duration(longest, ascii_only=not self._unicode)}"
            f"{'+' if unreaped else ''}"  # as for a life that goes on
        )

    def _thread_rows(self, line: Line) -> Iterator[Row]:
        """A row for each thread; one for all where they are many, unless everything is asked for."""
        threads = self._tree.threads(line.rows[0])
        lives = [NULL if born is None or end is None else max(0, end - born) for _, born, end in threads]
        few = self._few_threads is None or len(threads) <= self._few_threads
        for i, (tid, born, _) in enumerate(threads[: None if few else 1]):
            shown = array("q", lives[i : i + 1] if few else lives)
            known = least_and_most(shown, range(len(shown)))
            more = line.parent_of_some or (few and i + 1 < len(threads))
            yield Row(
                Line(Sort.ONE, (), (*line.guides, more), line.depth + 1),
                (str(tid), "dim") if few else (f"{self._times()}{count(len(threads))}", "fold"),
                how="thread",
                born=self._since_start(NULL if born is None else born),
                life="-" if known is None else self._range(*known),
                command=(("thread" if few else "threads", "dim"),),
            )
