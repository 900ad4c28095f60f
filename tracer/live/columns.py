"""Groups and branches as rows of figures: which columns there are, how a figure is written, what fits the width.

    columns = chosen(COLUMNS, width, blind) ; cells_of(columns, figures) -> spans

Unknown is `-`. Widths do not depend on what the figures are just now: nothing on the screen may jump.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracer.live.fork_rate_tree import Branch
from tracer.reports.console.spans import Spans
from tracer.reports.terminal import cut
from tracer.reports.words import UNKNOWN, count, duration
from tracer.window.attribution import Group

_LABEL_LEAST: Final = 24
_TREE_LEAST: Final = 36


@dataclass
class Figures:
    """One row's; None: not measured. `share`: 0 to 1; counts are of `seconds`."""

    pid: int | None = None
    many: int | None = None  # in place of a pid: so many
    forks: int | None = None
    below: int | None = None
    share: float | None = None
    execs: int | None = None
    exits: int | None = None
    failed: int | None = None
    alive: int | None = None
    zombies: int | None = None
    statuses: Mapping[int, int] = field(default_factory=dict)
    spans: Mapping[int, int] = field(default_factory=dict)
    fork_ns: int | None = None
    copies: int | None = None
    cpu_ns: int | None = None

    @classmethod
    def of_group(cls, group: Group) -> Figures:
        """Of who is behind it."""
        return cls(
            group.pid or None,
            None,
            group.forks,
            None,
            group.share,
            group.execs,
            group.exits,
            group.failures,
            group.alive,
            group.zombies,
            group.statuses,
            group.spans,
            group.fork_ns,
            group.copies,
            group.cpu_ns,
        )

    @classmethod
    def of_branch(cls, branch: Branch, blind: Collection[str]) -> Figures:
        """Of a line of the tree."""
        own, tally = branch.own, branch.own.tally
        return cls(
            branch.pid,
            None if branch.pid is not None else max(tally.forks, own.alive),
            tally.forks,
            branch.below,
            None,
            tally.execs,
            tally.exits,
            None if "failures" in blind else branch.failures_below,
            own.alive,
            None if "zombies" in blind else own.zombies,
            tally.statuses,
            tally.spans,
            tally.fork_ns if tally.timed else None,
            None if "copies" in blind else tally.copies,
            None if "cpu" in blind else tally.cpu_ns,
        )


@dataclass(frozen=True)
class Column:
    """`goes`: how early it is left out for want of room, 0 never."""

    name: str
    heading: str
    width: int
    goes: int
    right: bool = True


TOP: Final = (
    Column("pid", "PID", 7, 0),
    Column("forks", "FORKS/S", 7, 0),
    Column("share", "SHARE", 5, 10),
    Column("execs", "EXECS/S", 7, 7),
    Column("exits", "EXITS/S", 7, 6),
    Column("failed", "FAILED", 6, 8),
    Column("alive", "ALIVE", 6, 11),
    Column("zombies", "ZOMBIES", 7, 9),
    Column("life", "LIFE", 7, 5),
    Column("cpu", "CPU", 5, 3),
    Column("tables", "TABLES", 7, 1),
    Column("copies", "COPIES", 7, 2),
    Column("ends", "ENDS", 15, 4, right=False),
)
TREE: Final = (
    Column("pid", "PID", 7, 0),
    Column("forks", "BORN/S", 7, 0),
    Column("below", "BELOW/S", 7, 10),
    Column("alive", "ALIVE", 6, 9),
    Column("zombies", "ZOMBIES", 7, 8),
    Column("failed", "FAILED", 6, 7),
    Column("life", "LIFE", 7, 5),
    Column("cpu", "CPU", 5, 3),
    Column("tables", "TABLES", 7, 1),
    Column("copies", "COPIES", 7, 2),
    Column("ends", "ENDS", 15, 4, right=False),
)


def chosen(columns: Sequence[Column], width: int, without: Collection[str] = ()) -> list[Column]:
    """Those that leave the label enough room; `without`: what this source never has."""
    left = [column for column in columns if column.name not in without]
    least = _TREE_LEAST if columns is TREE else _LABEL_LEAST
    while taken(left) + least > width and any(column.goes for column in left):
        left.remove(min((column for column in left if column.goes), key=lambda column: column.goes))
    return left


def taken(columns: Sequence[Column]) -> int:
    """Columns of the screen before the label."""
    return 1 + sum(column.width + 2 for column in columns)


def heading(columns: Sequence[Column], label: str, *, bare: bool = False) -> Spans:
    """Names of the columns; `bare`: the label's alone."""
    parts = [
        f"{'' if bare else c.heading:>{c.width}}" if c.right else f"{'' if bare else c.heading:<{c.width}}"
        for c in columns
    ]
    return [(" " + "  ".join([*parts, ""]), "heading"), (label, "heading")]


def row(columns: Sequence[Column], figures: Figures, seconds: float, *, unicode: bool = True) -> Spans:
    """The figures of a row, the blank before the label included."""
    spans: Spans = [(" ", "")]
    for column in columns:
        text, style = _text(column.name, figures, seconds, unicode)
        text = cut(text, column.width, dots="…" if unicode else ".")
        pad = " " * (column.width - len(text))
        spans += [(pad, ""), (text, style)] if column.right else [(text, style), (pad, "")]
        spans.append(("  ", ""))
    return spans


def _text(name: str, f: Figures, seconds: float, unicode: bool) -> tuple[str, str]:
    if name == "pid":
        if f.pid is not None:
            return str(f.pid), ""
        return (f"{'×' if unicode else 'x'}{f.many:,}" if f.many is not None else ""), "dim"
    if name in ("forks", "execs", "exits", "below"):
        value = getattr(f, name)
        return rate(value, seconds), "dim" if not value else "bold" if name == "forks" else ""
    if name == "share":
        if not f.share:
            return (UNKNOWN if f.share is None else "0%"), "dim"
        return (f"{f.share:.0%}" if f.share >= 0.005 else "<1%"), ""
    if name in ("failed", "zombies", "alive", "copies"):
        value = getattr(f, name)
        loud = {"failed": "bad", "zombies": "warn"}.get(name, "")
        return short(value), loud if value else "dim"
    if name == "life":
        return duration(median(f.spans), ascii_only=not unicode), "dim" if not f.spans else ""
    if name == "cpu":
        return (UNKNOWN if f.cpu_ns is None else f"{f.cpu_ns / 1e9 / seconds:.0%}"), "" if f.cpu_ns else "dim"
    if name == "tables":
        return duration(f.fork_ns, ascii_only=not unicode), "" if f.fork_ns else "dim"
    return ends(f.statuses, unicode=unicode), "warn" if any(f.statuses.values()) else ""


def rate(n: int | None, seconds: float) -> str:
    """A second, as short as it is right: `0`, `0.3`, `12.3`, `1,203`."""
    if n is None:
        return UNKNOWN
    value = n / seconds
    return "0" if not n else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def short(n: int | None) -> str:
    """A count in six characters: `12,345`, `1.23M`."""
    if n is None or n < 100_000:
        return count(n)
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if n < 999.5 * size:
            value = n / size
            return f"{value:.0f}{unit}" if value >= 99.5 else f"{value:.1f}{unit}"
    return "many"


def median(spans: Mapping[int, int]) -> int | None:
    """ns, from a histogram by bit length: good to a factor of 1.4."""
    total = sum(spans.values())
    if not total:
        return None
    seen = 0
    for bits in sorted(spans):
        seen += spans[bits]
        if 2 * seen >= total:
            return round(2 ** (bits - 0.5))
    return None


def status_name(status: int) -> str:
    """`exit 1`, `SIGKILL`."""
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def ends(statuses: Mapping[int, int], *, unicode: bool = True) -> str:
    """The most frequent end that is not success, and how often."""
    bad = {status: n for status, n in statuses.items() if status != 0}
    if not bad:
        return UNKNOWN if not statuses else "exit 0"
    status = max(bad, key=lambda each: (bad[each], each))
    return f"{status_name(status)} {'×' if unicode else 'x'}{short(bad[status])}"
