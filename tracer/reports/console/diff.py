"""Two sides of runs compared, on the terminal: a table of what differs, `A → B`, and the rule by which it does.

    lines(diff, ("a.ftrace",), ("b.ftrace",), terminal) -> spans, line by line

`+` came with B, `-` went with A, `~` is on both sides. A cell is empty where nothing differs. Of what came or went the
figures of its own side are shown. Where the width does not suffice, columns go, the ones that say least first. Knows no
tree and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tracer.analyses.diff import FEW, LEAST, PART
from tracer.reports.console.fleet import _Column, _table
from tracer.reports.console.spans import Span, Spans, fitted, wrap
from tracer.reports.source import seen_by
from tracer.reports.terminal import Terminal, cells, clean
from tracer.reports.words import count, duration_range, plural, size_range

if TYPE_CHECKING:
    from tracer.analyses.diff import Change, Diff, Values

SHOWN: Final = 30
_BELOW_MOST: Final = 28
_ENDS_MOST: Final = 4
_COLUMNS: Final = (
    _Column("", "mark", text=True),
    _Column("PROCESSES", "processes"),
    _Column("FAILED", "failed", 1),
    _Column("COPIED", "cow_copies", 2),
    _Column("TABLES", "fork_ns", 4),
    _Column("LIFE", "life_ns", 5),
    _Column("CPU", "cpu_ns", 3),
    _Column("COMMAND", "command", text=True),
    _Column("BELOW", "below", 7, text=True),
    _Column("ENDS, WAYS", "ends", 6, text=True),
)
_ALWAYS: Final = ("mark", "command")
_MARKS: Final = {"gained": "+", "lost": "-", "changed": "~"}
_NAMES: Final = {
    "failed": "exit statuses",
    "cow_copies": "copied pages",
    "fork_ns": "fork time",
    "life_ns": "lives",
    "cpu_ns": "CPU time",
    "failed_forks": "failed forks",
    "failed_execs": "failed execs",
    "processes": "processes",
}


def lines(
    diff: Diff, a: Sequence[str], b: Sequence[str], terminal: Terminal, *, most: int | None = SHOWN
) -> Iterator[Spans]:
    """All of it; one line where nothing differs, and one on who saw it if that was not bpf.

    `a`, `b`: what the runs are called. `most`: rows, None for all."""
    if not diff.differs:
        yield from _same(diff, terminal)
        return
    for side, names, sources in (("A", a, diff.sources[0]), ("B", b, diff.sources[1])):
        seen = seen_by(sources)
        also = [[(clean(seen, unicode=terminal.unicode), "")]] if seen else []
        yield from wrap((side, "label"), [_sources(names, terminal), *also], terminal, width=1)
    yield []
    shown = diff.changes[:most]
    rows = [_total(diff, terminal)] if any(v.differs for v in diff.total.values()) else []
    rows += [_row(change, diff.page, terminal) for change in shown]
    wanted = [c for i, c in enumerate(_COLUMNS) if c.name in _ALWAYS or any(row[i] for row in rows)]
    from tracer.fleet.questions import Answer

    keep = [_COLUMNS.index(c) for c in wanted]
    answer = Answer("diff", tuple(c.name for c in wanted), tuple(tuple(row[i] for i in keep) for row in rows))
    heads = [text.strip() for text, _ in next(_table(answer, wanted, terminal))]
    drawn = [i for i, c in enumerate(wanted) if c.name not in _ALWAYS and any(c.heading[:4] == h[:4] for h in heads)]
    told = tuple(row for row in answer.rows if any(row[i] for i in drawn))  # others need columns that do not fit
    told = told or answer.rows
    yield from _table(Answer("diff", answer.columns, told), wanted, terminal)
    yield []
    chunks = []
    if len(told) < len(rows):
        chunks.append(f"{plural(len(rows) - len(told), 'command')} for which a wider screen is needed")
    if len(diff.changes) > len(shown):
        chunks += [f"{plural(len(diff.changes) - len(shown), 'more command')} that differ", "-v shows all"]
    if chunks:
        yield from wrap(("not shown", "label"), [[(chunk, "")] for chunk in chunks], terminal)
    yield from wrap(("differs", "label"), [[(chunk, "dim")] for chunk in _rule(diff, terminal)], terminal)
    yield from _unknown(diff, terminal)


def _same(diff: Diff, terminal: Terminal) -> Iterator[Spans]:
    made = _range("count", diff.total["processes"].a + diff.total["processes"].b, None, terminal)
    text = f"no difference in {made} processes of {plural(diff.groups, 'command')}"
    if diff.unknown:
        text += f"; not compared: {', '.join(_NAMES[name] for name in diff.unknown)}"
    seen = seen_by(tuple(dict.fromkeys((*diff.sources[0], *diff.sources[1]))))
    for told in (text, clean(seen, unicode=terminal.unicode) if seen else ""):
        if told:
            yield fitted([(told, "")], terminal.width, "…" if terminal.unicode else "...")


def _sources(names: Sequence[str], terminal: Terminal) -> list[Span]:
    shown = [clean(name, unicode=terminal.unicode) for name in names]
    if len(shown) == 1:
        return [(shown[0], "figure")]
    return [(f"{len(shown)} runs, ", ""), (shown[0], "figure"), (" to ", ""), (shown[-1], "figure")]


def _rule(diff: Diff, terminal: Terminal) -> Iterator[str]:
    apart = f"{_range('pages', [LEAST['pages']], diff.page, terminal)} or {LEAST['ns'] // 10**6} ms apart"
    if diff.runs == (1, 1):
        yield "one run each: counts that are not equal"
        yield f"copies and times over {PART:.0%} and {apart}"
        yield "several runs a side tell what is noise: diff A... -- B..."
        return
    part = f"{PART:.0%} and " if min(diff.runs) < FEW else ""
    yield f"{diff.runs[0]} against {plural(diff.runs[1], 'run')}: ranges that do not overlap"
    yield f"copies and times with medians over {part}{apart}"
    yield f"{100 * diff.chance:.2g}% of what only fluctuates would look so"


def _unknown(diff: Diff, terminal: Terminal) -> Iterator[Spans]:
    if diff.unknown:
        names = ", ".join(_NAMES[name] for name in diff.unknown)
        yield from wrap(("unknown", "label"), [[(f"not compared, as not known on both sides: {names}", "")]], terminal)


def _row(change: Change, page: int | None, terminal: Terminal) -> list[str]:
    mark = _MARKS[change.kind]
    ends = dict(change.ends) if change.kind != "changed" else {**change.ends, **change.ways}
    return [
        mark,
        *(_cell(change.values[c.name], change.kind, page, terminal) for c in _COLUMNS[1:7]),
        clean(change.template if terminal.unicode else change.template.replace("…", "..."), unicode=terminal.unicode),
        _below(change.place, terminal),
        _ends(ends, change.kind, page, terminal),
    ]


def _total(diff: Diff, terminal: Terminal) -> list[str]:
    names = {"failed_forks": "failed forks", "failed_execs": "failed execs"}
    calls = {name: diff.total[key] for key, name in names.items() if diff.total[key].differs}
    figures = (_cell(diff.total[c.name], "changed", diff.page, terminal) for c in _COLUMNS[1:7])
    return ["", *figures, "all of it", "", _ends(calls, "changed", diff.page, terminal)]


def _cell(values: Values, kind: str, page: int | None, terminal: Terminal) -> str:
    if kind == "changed":
        if not values.differs:
            return ""
        arrow = " → " if terminal.unicode else " -> "
        return _range(values.unit, values.a, page, terminal) + arrow + _range(values.unit, values.b, page, terminal)
    side = values.b if kind == "gained" else values.a
    return _range(values.unit, side, page, terminal) if any(side) else ""


def _range(unit: str, runs: Sequence[int | None], page: int | None, terminal: Terminal) -> str:
    known = [v for v in runs if v is not None]
    if not known:
        return "-"
    low, high = min(known), max(known)
    if unit == "pages" and page is not None:
        return size_range(low * page, high * page, ascii_only=not terminal.unicode)
    if unit == "ns":
        return duration_range(low, high, ascii_only=not terminal.unicode)
    dots = "…" if terminal.unicode else ".."
    pages = " pages" if unit == "pages" else ""
    return (count(low) if low == high else f"{count(low)}{dots}{count(high)}") + pages


def _below(place: Sequence[str], terminal: Terminal) -> str:
    """The nearest names; `…` for what is further up."""
    between, dots = (" › ", "…") if terminal.unicode else (" > ", "...")
    shown = ""
    for i, name in enumerate(reversed(place)):
        longer = clean(name, unicode=terminal.unicode) + (between + shown if shown else "")
        if i and cells(longer) > _BELOW_MOST:
            return dots + between + shown
        shown = longer
    return shown


def _ends(found: Mapping[str, Values], kind: str, page: int | None, terminal: Terminal) -> str:
    parts = [
        f"{clean(word, unicode=terminal.unicode)}: {_cell(values, kind, page, terminal)}"
        for word, values in found.items()
    ]
    if len(parts) > _ENDS_MOST:
        parts[_ENDS_MOST:] = [f"{len(parts) - _ENDS_MOST} more"]
    return ", ".join(parts)
