"""The processes of a page as JSON: columns, not objects, each different text once. 20,000 processes are 1.5 MB.

    data(line) -> str     may stand in a <script>: has neither < nor >

Times are microseconds from the first of the trace. Parents stand before their children. A column of which nothing is
known is left out. Beyond ROWS_MOST the first are there, and curves of all of them. page/base.js is the other side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tracer.model.schema import NULL
from tracer.reports.terminal import clean, quoted
from tracer.reports.timeline import Timeline
from tracer.reports.words import UNKNOWN

ROWS_MOST: Final = 50_000
CURVE_PARTS: Final = 2000
COMMAND_MOST: Final = 400  # characters


def data(line: Timeline) -> str:
    """As the module says."""
    made = columns(line)
    # No "<" at all: neither `</script` nor `<!--` can end or change what the data stand in
    return json.dumps(made, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e")


def columns(line: Timeline) -> dict[str, Any]:
    """The same as JSON types."""
    tree, shape = line.tree, line.shape
    rows = shape.order[:ROWS_MOST]
    place = {row: i for i, row in enumerate(rows)}
    words = _Words()

    def of(name: str, turn: Callable[[Any], Any] = lambda value: value) -> list[Any]:
        column = tree.column(name)
        return [None if (v := column[row]) is None or v == NULL else turn(v) for row in rows]

    hows = [how or UNKNOWN for how in of("how")]
    kinds = sorted(set(hows))
    ends = [_us(line.end[row]) for row in rows]
    cpu = ((tree.value(row, "cpu_user_ns"), tree.value(row, "cpu_system_ns")) for row in rows)
    unreaped = (_waits(line, row) for row in rows)
    made: dict[str, Any] = {
        "span": max(0.001, line.last_ns / 1000),
        "total": len(tree),
        "page": tree.meta.page_size,
        "hows": kinds,
        "pid": of("pid"),
        "parent": [place.get(shape.parent[row], -1) for row in rows],
        "how": list(map({how: i for i, how in enumerate(kinds)}.__getitem__, hows)),
        "label": words.commands(zip(of("argv"), of("comm"), strict=True)),
        "born": [_us(line.begin[row]) or 0 for row in rows],
    }
    spare: dict[str, list[Any]] = {
        "end": ends,
        # Ended, nobody knows when; and whose life is longer than what is seen of it
        "over": [1 if shape.ended[row] and line.end[row] == NULL else None for row in rows],
        # Nobody knows when it was born: it has no place in time, and no life
        "unborn": [1 if line.begin[row] == NULL else None for row in rows],
        "life": [_us(shape.life[row]) if how == "existing" else None for row, how in zip(rows, hows, strict=True)],
        "code": of("exit_code"),
        "signal": of("signal", words.number),
        "copies": of("cow_copies"),
        "zombie": [_us(wait) if wait else None for wait in unreaped],
        "fork": of("fork_ns", _us),
        "tables": of("pgtables_bytes"),
        "rss": of("max_rss_bytes"),
        "cpu": [None if None in (user, system) else _us(user + system) for user, system in cpu],
        "where": of("cgroup", words.text),
    }
    made |= {name: column for name, column in spare.items() if any(v is not None for v in column)}
    if len(tree) > len(rows):
        made["curve"] = curve(line)
    made["words"] = words.all()
    return made


def curve(line: Timeline) -> dict[str, list[int]]:
    """Of all processes, by equal parts of the time: births, the most that lived at once, pages copied at ends."""
    width = max(1, -(-max(1, line.last_ns) // CURVE_PARTS))
    parts = -(-max(1, line.last_ns) // width)

    def part(at: int) -> int:
        return min(parts - 1, at // width)

    forks, alive, copied = [0] * parts, [0] * parts, [0] * parts
    for begin, how in zip(line.begin, line.tree.column("how"), strict=True):
        if begin != NULL and how not in (None, "root", "existing"):
            forks[part(begin)] += 1
    at = live = 0
    for moment, value in line.alive():
        for i in range(at, part(moment) + 1):
            alive[i] = max(alive[i], live)
        at, live = part(moment), value
        alive[at] = max(alive[at], live)
    for i in range(at, parts):
        alive[i] = max(alive[i], live)
    before = 0
    for moment, total in line.copies():
        copied[part(moment)] += total - before
        before = total
    return {"forks": forks, "alive": alive, "copied": copied}


def command(argv: Sequence[str] | None, comm: str | None) -> str:
    """As a shell would take it, cut; in brackets the kernel's name for what has none. Clean."""
    if argv is None:
        return f"({clean(comm) if comm is not None else '?'})"
    said: list[str] = []
    room = COMMAND_MOST
    for word in argv:
        said.append(quoted(word[: room + 1]))
        room -= len(said[-1]) + 1
        if room <= 0:
            break
    text = " ".join(said)
    return text if len(text) <= COMMAND_MOST else text[:COMMAND_MOST] + "…"


class _Words:
    """Texts by number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def text(self, text: str) -> int:
        return self.number(clean(text[:COMMAND_MOST]))

    def commands(self, each: Iterable[tuple[Sequence[str] | None, str | None]]) -> list[int]:
        known: dict[Any, int] = {}
        numbers = []
        for argv, comm in each:
            key = comm if argv is None else tuple(argv)
            if key not in known:
                known[key] = self.number(command(argv, comm))
            numbers.append(known[key])
        return numbers

    def all(self) -> list[str]:
        return list(self._numbers)


def _us(ns: int) -> float | None:
    return None if ns == NULL else ns / 1000


def _waits(line: Timeline, row: int) -> int | None:
    """How long it was a zombie, until the end of the trace if it is one still."""
    if line.tree.value(row, "how") == "root":  # it is forktrace that waits for that one
        return None
    wait: int | None = line.tree.value(row, "zombie_ns")
    since = line.tree.zombie_since(row) if wait is None else None
    if since is not None and not line.tree.released(row):
        return max(0, line.last_ns - line.at(since))
    return wait
