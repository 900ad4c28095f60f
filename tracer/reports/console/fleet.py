"""A fleet's answers on the terminal: plain tables, one below the other, and a line of blocks for what went over time.

    lines(answers, terminal) -> spans, line by line

Every column is drawn by what its name ends in (fleet/questions.py). What no trace could see is `-`. Where the width
does not suffice, figures go from the right, the ones that say least first. Knows no data set and no SQL.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracer.fleet.rebuild import PAGE
from tracer.reports.console.spans import Span, Spans, fitted, trimmed
from tracer.reports.terminal import Terminal, cells, clean
from tracer.reports.words import UNKNOWN, count, duration, size

if TYPE_CHECKING:
    from tracer.fleet.questions import Answer


class _Column(NamedTuple):
    """`goes`: how early it is left out where there is no room, 0 never. `text`: stands left, and may be cut."""

    heading: str
    name: str
    goes: int = 0
    text: bool = False


_FIGURES: Final = (
    _Column("FORKS", "forks"),
    _Column("FAILED", "failed", 3),
    _Column("CPU", "cpu_ns", 4),
    _Column("TABLES", "fork_ns", 5),
    _Column("COPIED", "copied_pages", 2),
    _Column("ZOMBIES", "zombies", 6),
)
TABLES: Final[dict[str, tuple[_Column, ...]]] = {
    "hosts": (
        _Column("HOST", "host", text=True),
        _Column("TRACES", "traces", 7),
        _Column("WATCHED", "watched_s", 4),
        _Column("FORKS/S", "forks_per_s"),
        _Column("PEAK/S", "peak_per_s", 1),
        *_FIGURES,
        _Column("FAILED FORKS", "failed_forks", 5),
        _Column("LOST", "lost", 2),
    ),
    "groups": (*_FIGURES, _Column("HOSTS", "hosts", 1), _Column("", "group", text=True)),
    "templates": (
        *_FIGURES,
        _Column("LIFE", "life_ns", 3),
        _Column("HOSTS", "hosts", 1),
        _Column("COMMAND", "template", text=True),
    ),
    "failures": (
        _Column("TIMES", "times"),
        _Column("HOSTS", "hosts", 1),
        _Column("WHAT", "what", 2, text=True),
        _Column("HOW", "how", text=True),
        _Column("CAUSE", "cause", 1, text=True),
        _Column("PROGRAM", "program", text=True),
    ),
    "copies": (
        _Column("COPIED", "copied_pages"),
        _Column("MOST BY ONE", "most_pages", 1),
        _Column("PROCESSES", "processes", 2),
        _Column("HOST", "host", text=True),
        _Column("UNIT", "unit", 1, text=True),
        _Column("PROGRAM", "program", text=True),
    ),
    "storms": (
        _Column("BEGAN (UTC)", "began", text=True),
        _Column("LASTED", "lasted_s", 2),
        _Column("PEAK/S", "peak_per_s"),
        _Column("USUAL/S", "usual_per_s", 3),
        _Column("FORKS", "forks", 1),
        _Column("SHARE", "share", 4),
        _Column("HOST", "host", text=True),
        _Column("UNIT", "unit", 5, text=True),
        _Column("COMMAND", "template", text=True),
    ),
}
_TITLES: Final = {
    "hosts": "hosts",
    "groups": "by {by}",
    "over_time": "births over time",
    "templates": "commands",
    "failures": "failures",
    "copies": "copied pages",
    "storms": "storms",
}
_NOTHING: Final = {"failures": "none", "copies": "no trace counted any", "storms": "none"}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS: Final = "_.-=+*#@"
_NAME: Final = _Column("", "group", text=True)
_LABEL_MOST: Final = 32
_TEXT_LEAST: Final = 14


def lines(answers: Sequence[Answer], terminal: Terminal, *, by: str) -> Iterator[Spans]:
    """All of it, a blank line between two."""
    for i, answer in enumerate(answers):
        if i:
            yield []
        yield [(_TITLES[answer.name].format(by=by), "label")]
        if not answer.rows:
            yield [(f"  {_NOTHING.get(answer.name, 'none')}", "dim")]
        elif answer.name == "over_time":
            yield from _over_time(answer, terminal)
        else:
            yield from _table(answer, TABLES[answer.name], terminal)


def cell(name: str, value: Any, *, unicode: bool = True) -> str:
    """One value, by what its name ends in."""
    if value is None:
        return UNKNOWN
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str):
        return clean(value, unicode=unicode)
    if name.endswith("_ns"):
        return duration(int(value), ascii_only=not unicode)
    if name.endswith("_pages"):
        return size(int(value) * PAGE)
    if name.endswith("_per_s"):
        return count(round(value)) if value >= 10 else f"{value:.1f}"
    if name.endswith("_s"):
        return duration(round(value * 1e9), ascii_only=not unicode)
    if name == "share":
        return f"{value:.0%}"
    return count(int(value))


def _table(answer: Answer, wanted: Sequence[_Column], terminal: Terminal) -> Iterator[Spans]:
    place = {name: i for i, name in enumerate(answer.columns)}
    rows = [[cell(c.name, row[place[c.name]], unicode=terminal.unicode) for c in wanted] for row in answer.rows]
    # A column in which no row has anything to say is not drawn
    keep = [i for i, c in enumerate(wanted) if any(row[i] not in (UNKNOWN, "0") for row in rows) or not c.goes]
    widths = {i: max(cells(wanted[i].heading), *(cells(row[i]) for row in rows)) for i in keep}

    def over() -> int:
        """Columns too many, if every text is cut to the least."""
        least = [min(w, _TEXT_LEAST) if wanted[i].text and wanted[i].name != "began" else w for i, w in widths.items()]
        return sum(least) + 2 * len(widths) - terminal.width

    while over() > 0 and (droppable := [i for i in widths if wanted[i].goes]):
        del widths[max(droppable, key=lambda i: (wanted[i].goes, i))]
    while (much := sum(widths.values()) + 2 * len(widths) - terminal.width) > 0:
        widest = max((i for i in widths if wanted[i].text), key=lambda i: widths[i])
        if widths[widest] <= 4:
            break
        widths[widest] -= min(much, widths[widest] - 4, max(1, widths[widest] - _TEXT_LEAST))
    heads = [_cell(wanted[i], wanted[i].heading, w, "heading", terminal) for i, w in widths.items()]
    yield trimmed([span for head in heads for span in head])
    for row in rows:
        yield trimmed([span for i, w in widths.items() for span in _cell(wanted[i], row[i], w, "", terminal)])


def _cell(column: _Column, text: str, width: int, style: str, terminal: Terminal) -> list[Span]:
    dots = "…" if terminal.unicode else "..."
    shown = fitted([(text, style)], width, dots)
    blank = (" " * (width - sum(cells(part) for part, _ in shown)), "")
    return [("  ", ""), *([*shown, blank] if column.text else [blank, *shown])]


def _over_time(answer: Answer, terminal: Terminal) -> Iterator[Spans]:
    """A line a group: births from the first bucket to the last, the fullest bucket of all as high as can be."""
    groups: dict[str, dict[datetime.datetime, int]] = {}
    for group, at, forks, _ in answer.rows:
        groups.setdefault(group, {})[at] = forks
    times = sorted({at for buckets in groups.values() for at in buckets})
    first, last = times[0], times[-1]
    step = min((b - a for a, b in itertools.pairwise(times)), default=datetime.timedelta(seconds=1))
    n = round((last - first) / step) + 1
    label = min(_LABEL_MOST, max(cells(cell("group", g, unicode=terminal.unicode)) for g in groups))
    room = max(10, terminal.width - label - 4)
    each = -(-n // room)  # buckets that share a block: the fullest of them is drawn
    blocks = _BLOCKS if terminal.unicode else _ASCII_BLOCKS
    top = max(max(buckets.values()) for buckets in groups.values()) or 1
    for group, buckets in sorted(groups.items(), key=lambda g: -sum(g[1].values())):
        heights = [0] * (-(-n // each))
        for at, forks in buckets.items():
            i = round((at - first) / step) // each
            heights[i] = max(heights[i], forks)
        drawn = "".join(" " if not h else blocks[min(len(blocks) - 1, h * len(blocks) // (top + 1))] for h in heights)
        name = _cell(_NAME, cell("group", group, unicode=terminal.unicode), label, "", terminal)
        yield trimmed([*name, ("  ", ""), (drawn, "figure")])
    end = last + step
    each_ns = round(step.total_seconds() * 1e9)
    span = f"{first:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC, highest {count(top)} in "
    span += duration(each_ns, ascii_only=not terminal.unicode)
    yield fitted([(" " * (label + 4) + span, "dim")], terminal.width, "…" if terminal.unicode else "...")
