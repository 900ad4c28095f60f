"""The lines under the tree: what the births shared, the figures, what is missing.

Silent about what is normal: a line that would only say nothing, none or zero is not there, unless asked for (-v).
A loss is never silent. Knows no layout beyond `label  words`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tracer.analyses.summary import Failure, Summary
from tracer.model.batch import Event
from tracer.model.meta import Meta
from tracer.reports.console.births import Birth
from tracer.reports.console.rows import ZOMBIE_NS
from tracer.reports.console.spans import Span, Spans, wrap
from tracer.reports.terminal import Terminal, clean, cut
from tracer.reports.words import UNKNOWN, count, duration, plural
from tracer.tree.tree import ProcessTree

_FAILURES_MOST: Final = 4
_NAME_MOST: Final = 40
_LABELS_MOST: Final = 30
_SECOND: Final = 10**9
_INCOMPLETE: Final = "what is here is true, but it is not all there was"

Chunk = Sequence[Span]


class SummaryLines:
    """`legend`, `figures` and `caveats`, as lines of spans."""

    def __init__(self, tree: ProcessTree, summary: Summary, terminal: Terminal, *, verbose: int = 0) -> None:
        self._tree = tree
        self._s = summary
        self._terminal = terminal
        self._verbose = verbose

    def legend(self, births: Sequence[Birth]) -> Iterator[Spans]:
        """What ways of birth made two processes share; those that shared the same together."""
        labels: dict[str, list[str]] = {}
        for birth in births:
            labels.setdefault(birth.words, []).append(birth.label)
        names = {words: ", ".join(label) for words, label in labels.items()}
        width = max((len(name) for name in names.values() if len(name) <= _LABELS_MOST), default=0)
        for words, name in names.items():
            yield from wrap((name, "label"), [[(words, "")]], self._terminal, width=width)

    def figures(self) -> Iterator[Spans]:
        """What there was."""
        for label, chunks in (
            ("processes", self._processes()),
            ("peak", self._peak()),
            ("failed", self._failed()),
            ("zombies", self._zombies()),
            ("cpu", self._cpu()),
        ):
            found = list(chunks)
            if found:
                yield from wrap((label, "label"), found, self._terminal)

    def caveats(self, *, damage: str | None = None) -> Iterator[Spans]:
        """What is missing, and what this source can not know."""
        meta = self._tree.meta
        if self._s.losses:
            chunks = [[(words, "loud")] for words in self._lost()]
            yield from wrap(("LOST", "loud"), [*chunks, [(_INCOMPLETE, "loud")]], self._terminal)
        if damage is not None:
            words = clean(damage, unicode=self._terminal.unicode)
            yield from wrap(("torn", "warn"), [[(words, "warn")]], self._terminal)
        if self._s.gaps:
            words = f"the birth of {plural(self._s.gaps, 'process', 'processes')} was not seen"
            yield from wrap(("gaps", "warn"), [[(words, "warn")]], self._terminal)
        for note in meta.notes:
            yield from wrap(("note", "label"), [[(clean(note, unicode=self._terminal.unicode), "")]], self._terminal)
        if self._verbose:
            yield from wrap(("source", "label"), list(self._source(meta)), self._terminal)

    def _lost(self) -> Iterator[str]:
        """For each place, and what was lost there: how many."""
        found: dict[tuple[str | None, str | None], list[int | None]] = {}
        for loss in self._s.losses:
            found.setdefault((loss.place, loss.what), []).append(loss.count)
        for (place, what), counts in found.items():
            known = sum(n or 0 for n in counts)
            things = plural(known, "record") if what is None else f"{count(known)} {what}"
            if None in counts:
                things = f"at least {things}" if known else f"an unknown number of {what or 'records'}"
            yield clean(f"{things} ({place or 'somewhere'})", unicode=self._terminal.unicode)

    # -- one line each ----------------------------------------------------------------------------------------

    def _time(self, ns: int | None) -> str:
        return duration(ns, ascii_only=not self._terminal.unicode)

    def _processes(self) -> Iterator[Chunk]:
        s = self._s
        yield [(count(s.processes), "figure"), (f" in {self._time(s.span_ns)}" if s.span_ns is not None else "", "")]
        for how, n in s.ways:
            yield [(f"{count(n)} by {how}", "")]
        if s.execs or self._verbose:
            yield [(plural(s.execs, "exec"), "")]
        if s.threads or self._verbose:
            yield [(plural(s.threads, "thread"), "")]
        if s.existing:
            yield [(f"{count(s.existing)} there before", "")]
        if s.alive:
            yield [(f"{count(s.alive)} still running", "warn")]
        if s.unsure:
            yield [(f"{count(s.unsure)} whose end was not seen, as records were lost", "warn")]

    def _peak(self) -> Iterator[Chunk]:
        s = self._s
        if s.forks < 2 and not self._verbose:
            return
        yield [(count(s.peak_alive), "figure" if s.peak_alive is not None else ""), (" at once", "")]
        yield [(f"{plural(s.depth, 'generation')} deep", "")]
        if s.peak_forks is not None and (self._verbose or (s.span_ns or 0) >= _SECOND):
            yield [(f"{plural(s.peak_forks, 'fork')} in one second", "")]
        if s.adopted or self._verbose:
            yield [(f"{plural(s.adopted, 'orphan')} adopted", "")]

    def _failed(self) -> Iterator[Chunk]:
        s = self._s
        if s.failed == 0 and not s.failed_execs and not s.failed_forks and not self._verbose:
            return
        of = f" of {count(s.processes + s.existing)}" if s.failed else ""
        yield [(count(s.failed), "bad" if s.failed else ""), (of, "")]
        for failure in s.failures[:_FAILURES_MOST]:
            yield self._failure(failure)
        if len(s.failures) > _FAILURES_MOST:
            yield [(f"{count(sum(f.count for f in s.failures[_FAILURES_MOST:]))} more", "")]
        if s.core_dumps:
            yield [(plural(s.core_dumps, "core dump"), "bad")]
        if s.oom_kills:
            yield [(f"{count(s.oom_kills)} for want of memory", "bad")]
        calls = (("exec", s.failed_execs, self._tree.failed_execs), ("fork", s.failed_forks, self._tree.failed_forks))
        if s.failed_execs is None and s.failed_forks is None:
            yield [(f"failed execs and forks {UNKNOWN}", "dim")]
            return
        for name, n, events in calls:
            if n or self._verbose or n is None:
                yield self._calls(name, n, [self._why(event) for event in events])

    def _failure(self, failure: Failure) -> Chunk:
        times = f" {'×' if self._terminal.unicode else 'x'}{count(failure.count)}" if failure.count > 1 else ""
        outcome = failure.signal
        if outcome is None:
            dots = "…" if self._terminal.unicode else "..."
            least, most = failure.codes[0], failure.codes[-1]
            outcome = f"exit {least}" if least == most else f"exit {least}{dots}{most}"
        name = cut(clean(failure.program, unicode=self._terminal.unicode), _NAME_MOST)
        return [(name, "program"), (f" {outcome}", "bad"), (times, "")]

    def _why(self, event: Event) -> str | None:
        """EAGAIN: pids.max 50/50 of /x"""
        if not event.error or not event.cause:
            return str(event.error) if event.error else None
        cause = clean(event.cause, unicode=self._terminal.unicode)
        return f"{event.error}{': ' if event.evidence == 'measured' else ', probably '}{cause}"

    def _calls(self, name: str, n: int | None, errors: Sequence[str | None]) -> Chunk:
        if n is None:
            return [(f"failed {name}s {UNKNOWN}", "dim")]
        known = Counter(error for error in errors if error)
        why = ", ".join(f"{error} {times}" if n > times else error for error, times in known.most_common(3))
        return [(f"{plural(n, f'failed {name}')}{f' ({why})' if why else ''}", "bad" if n else "")]

    def _zombies(self) -> Iterator[Chunk]:
        s = self._s
        worth = (s.zombie_max_ns or 0) >= ZOMBIE_NS
        if not (worth or s.unreaped or self._verbose):
            return
        pid = None if s.zombie_max_row is None else self._tree.value(s.zombie_max_row, "pid")
        longest = f"longest {self._time(s.zombie_max_ns)}"
        yield [(longest, "warn" if worth else ""), (f" (pid {pid})" if pid is not None else "", "dim")]
        if s.unreaped or self._verbose:
            yield [(f"{count(s.unreaped)} not reaped by the end", "warn" if s.unreaped else "")]

    def _cpu(self) -> Iterator[Chunk]:
        s = self._s
        yield [(self._time(s.cpu_ns), "figure" if s.cpu_ns is not None else "")]
        if s.own_cpu_ns is not None or self._verbose:
            yield [(f"forktrace itself {self._time(s.own_cpu_ns)}", "")]

    def _source(self, meta: Meta) -> Iterator[Chunk]:
        unicode = self._terminal.unicode
        yield [(clean(meta.source or UNKNOWN, unicode=unicode), "")]
        if meta.kernel:
            yield [(f"Linux {clean(meta.kernel, unicode=unicode)}", "")]
        if self._tree.end is not None and self._tree.end.count is not None:
            yield [(plural(self._tree.end.count, "record"), "")]
