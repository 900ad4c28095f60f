"""The top of the screen: what is watched, the storm if there is one, and eight figures with their last minute.

Pure: plain values to rows of spans, never more than fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tracer.live.columns import short
from tracer.live.snapshot import Snapshot
from tracer.live.sparks import sparks
from tracer.reports.console.spans import Spans
from tracer.reports.terminal import Terminal, cells, clean, cut
from tracer.reports.words import UNKNOWN

_LABEL, _VALUE = 8, 7
_GAP: Final = 3
_FOUR: Final = 140  # columns of the screen from which on there are four cells in a row
_LEFT: Final = (
    ("forks/s", "forks", ""),
    ("execs/s", "execs", ""),
    ("exits/s", "exits", ""),
    ("failed/s", "failures", "bad"),
)
_RIGHT: Final = (("alive", "alive", ""), ("zombies", "zombies", "warn"), ("lost/s", "lost", "bad"))


@dataclass
class Scene:
    """What is to be said beside the figures. `what`: is watched; `clock`: the time that is shown; `state`: paused.

    `finding` and `severity` (bad, warn, note): a storm, in one line. `progress`: a row under the figures.
    `message`: in place of the keys. `keys`: (key, word, whether it can be used) beyond the usual.
    """

    what: str = ""
    clock: str = ""
    state: str = ""
    finding: str | None = None
    severity: str = "bad"
    message: str | None = None
    progress: Spans | None = None
    can_save: bool = False
    keys: Sequence[tuple[str, str, bool]] = ()
    help: Sequence[tuple[str, str]] = ()
    last: str = "cpu"  # the eighth figure: forktrace's own CPU, or copies


def rows(snapshot: Snapshot, scene: Scene, terminal: Terminal, width: int, height: int) -> list[Spans]:
    """At most `height` of them."""
    result = [_title(scene, terminal, width)]
    if scene.finding is not None:
        mark = "▲ " if terminal.unicode else "! "
        style = {"bad": "alarm", "warn": "warn"}.get(scene.severity, "note")
        result.append([(cut(f" {mark}{_clean(scene.finding, terminal)}", width, dots=_dots(terminal)), style)])
    result += _figures(snapshot, scene, terminal, width)
    if scene.progress is not None:
        result.append(scene.progress)
    return result[: max(0, height)]


def _title(scene: Scene, terminal: Terminal, width: int) -> Spans:
    right = "  ".join(word for word in (scene.state, scene.clock) if word)
    room = width - cells(right) - len(" forktrace  ") - 2
    what = scene.what if terminal.unicode else scene.what.replace(" · ", ", ")
    what = cut(_clean(what, terminal), max(room, 0), dots=_dots(terminal))
    pad = max(1, room - cells(what) + 1)
    spans: Spans = [(" ", ""), ("forktrace", "title"), ("  ", ""), (what, ""), (" " * pad, "")]
    if scene.state:
        spans += [(scene.state, "mark"), ("  " if scene.clock else "", "")]
    spans.append((scene.clock, "dim"))
    return _within(spans, width, terminal)


def _figures(snapshot: Snapshot, scene: Scene, terminal: Terminal, width: int) -> list[Spans]:
    own = ("own cpu", "cpu", "") if scene.last == "cpu" else ("copies/s", "copies", "")
    left, right = _LEFT, (*_RIGHT, own)
    table = (
        [[left[0], left[1], right[0], right[2]], [left[2], left[3], right[1], right[3]]]
        if width >= _FOUR
        else [[a, b] for a, b in zip(left, right, strict=True)]
    )
    result = []
    for line in table:
        each = (width - 2 - _GAP * (len(line) - 1)) // len(line)
        spans: Spans = [(" ", "")]
        for i, figure in enumerate(line):
            spans += [(" " * _GAP, "")] if i else []
            spans += _cell(snapshot, figure, terminal, each)
        result.append(_within(spans, width, terminal))
    return result


def _cell(snapshot: Snapshot, figure: tuple[str, str, str], terminal: Terminal, width: int) -> Spans:
    label, name, loud = figure
    values: Sequence[float | None] = snapshot.own_cpu if name == "cpu" else snapshot.series.get(name, ())
    last = values[-1] if values else None
    if name == "alive":
        last = snapshot.alive
    elif name == "zombies":
        last = snapshot.zombies
    if name == "cpu":
        text, least = (UNKNOWN if last is None else f"{last:.1%}"), 0.05
    else:
        text, least = short(None if last is None else int(last)), 4.0
    room = max(0, width - _LABEL - _VALUE - 3)
    known = any(value is not None for value in values)
    style = "dim" if not last else loud or "bold"
    drawn = sparks(values, min(room, 60), unicode=terminal.unicode, least=least) if known else ""
    # Newest at the right end; older seconds to the left as far as there is room.
    return [
        (f"{label:<{_LABEL}}", "dim"),
        (f"{text:>{_VALUE}}", style),
        ("  ", ""),
        (drawn, loud if loud and any(values) else "spark"),
        (" " * (room - len(drawn) + 1), ""),
    ]


def _within(spans: Spans, width: int, terminal: Terminal) -> Spans:
    from tracer.reports.console.spans import fitted

    return fitted(spans, width, _dots(terminal))


def _clean(text: str, terminal: Terminal) -> str:
    return clean(text, unicode=terminal.unicode)


def _dots(terminal: Terminal) -> str:
    return "…" if terminal.unicode else "..."
