"""A storm, and a second of a host, as text for people and as JSON for programs.

    finding_text(finding, terminal, wall_offset_ns, kept)     lines
    finding_json(finding, wall_offset_ns)                     a dict of JSON types
    heading(), second_text(second), second_json(second)

Figures that were not measured print as `-`. Names from outside are made harmless. Knows no window and no session.
"""

from __future__ import annotations

import pwd
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tracer.reports.console.spans import Spans, wrap
from tracer.reports.terminal import Terminal, clean, cut, quoted
from tracer.reports.words import UNKNOWN, count, duration, plural
from tracer.storms.finding import Finding, Who

_NS: Final = 10**9
_BOLD, _DIM, _RED, _OFF = "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"
_STYLES: Final = {"bold": _BOLD, "dim": _DIM, "red": _RED}
_SHAPES: Final = {
    "fan-out": "fan-out: one process starts them all",
    "chain": "chain: each makes the next one and ends",
    "fork bomb": "fork bomb: what is born makes more",
    "respawn": "respawn: what it starts dies, and is started again",
    "shell loop": "shell loop: a script that starts programs again and again",
    "fork without exec": "fork without exec: copies of one process",
}


@dataclass(frozen=True)
class Second:
    """What happened in one second, and how it was at its end; None: the source can not see it."""

    ts_ns: int  # its end
    forks: int | None
    execs: int | None
    exits: int | None
    failures: int | None
    alive: int | None
    zombies: int | None
    lost: int | None
    copies: int | None
    own_cpu: float | None  # of forktrace itself, share of one core; None for a saved trace
    busiest: str | None  # who made most, and that one's share of the births
    busiest_pid: int | None
    busiest_share: float | None


_COLUMNS: Final = (
    ("forks/s", 8),
    ("execs/s", 8),
    ("exits/s", 8),
    ("failed", 7),
    ("alive", 7),
    ("zombies", 8),
    ("lost", 6),
    ("cpu", 6),
)


def heading(terminal: Terminal) -> str:
    """Above the lines of seconds."""
    words = f"{'time':<8}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS) + "  busiest"
    return _painted([(cut(words, terminal.width), "dim")], terminal)


def second_text(second: Second, terminal: Terminal, wall_offset_ns: int | None) -> str:
    """One line."""
    values = (
        count(second.forks),
        count(second.execs),
        count(second.exits),
        count(second.failures),
        count(second.alive),
        count(second.zombies),
        count(second.lost),
        UNKNOWN if second.own_cpu is None else f"{second.own_cpu:.1%}",
    )
    line = clock(second.ts_ns, wall_offset_ns) + "".join(
        f"{value:>{width}}" for value, (_, width) in zip(values, _COLUMNS, strict=True)
    )
    if second.busiest is not None:
        name = clean(second.busiest, unicode=terminal.unicode)
        share = f"{second.busiest_share:.0%} " if second.busiest_share is not None else ""
        room = terminal.width - len(line) - 2
        line += cut(f"  {share}{name} ({second.busiest_pid})", max(room + 2, 0), dots=_dots(terminal))
    return line


def second_json(second: Second, wall_offset_ns: int | None) -> dict[str, Any]:
    """`kind` is second."""
    return {
        "kind": "second",
        "time": stamp(second.ts_ns, wall_offset_ns),
        "ts_ns": second.ts_ns,
        "forks": second.forks,
        "execs": second.execs,
        "exits": second.exits,
        "failures": second.failures,
        "alive": second.alive,
        "zombies": second.zombies,
        "copies": second.copies,
        "lost": second.lost,
        "own_cpu": None if second.own_cpu is None else round(second.own_cpu, 4),
        "busiest": None
        if second.busiest is None
        else {
            "name": second.busiest,
            "pid": second.busiest_pid,
            "share": None if second.busiest_share is None else round(second.busiest_share, 4),
        },
    }


def finding_json(finding: Finding, wall_offset_ns: int | None, kept: str | None = None) -> dict[str, Any]:
    """`kind` is storm, `state` begun or over; times as ISO 8601 and as ns of CLOCK_BOOTTIME. `kept`: its file."""
    return {
        "kind": "storm",
        "state": "begun" if finding.ended_ns is None else "over",
        "since": stamp(finding.began_ns, wall_offset_ns),
        "until": None if finding.ended_ns is None else stamp(finding.ended_ns, wall_offset_ns),
        "kept": kept,
        **finding.as_dict(),
    }


def finding_line(finding: Finding, wall_offset_ns: int | None, *, unicode: bool = True) -> str:
    """In one line, clean: who, what, how much."""
    who = "no one process" if finding.who is None else f"{finding.who.comm or '?'} ({finding.who.pid})"
    what = f": {finding.commands[0].template}" if finding.commands else ""
    shape = f"{finding.shape} by " if finding.shape else "by "
    if finding.ended_ns is None:
        head, rate = f"FORK STORM since {clock(finding.began_ns, wall_offset_ns)}", f"{finding.rate:,.0f} forks/s"
    else:
        head = f"storm over, {clock(finding.began_ns, wall_offset_ns)} to {clock(finding.ended_ns, wall_offset_ns)}"
        rate = f"{finding.forks:,} forks"
    return clean(f"{head}, {rate}, {shape}{who}{what}", unicode=unicode)


def finding_text(
    finding: Finding, terminal: Terminal, wall_offset_ns: int | None, kept: str | None = None
) -> list[str]:
    """A headline and what there is to know below it, in lines that fit."""
    over = finding.ended_ns is not None
    lasted = (finding.ended_ns or finding.found_ns) - finding.began_ns
    if finding.usual is None:
        usual = f"limit {finding.limit:,.0f}/s"
    else:
        usual = f"{'usual' if finding.warm else 'since boot'} {finding.usual:,.{0 if finding.usual >= 10 else 1}f}/s"
    if over:
        head = f"storm over, {clock(finding.began_ns, wall_offset_ns)} to {clock(finding.ended_ns, wall_offset_ns)}"
    else:
        head = f"FORK STORM since {clock(finding.began_ns, wall_offset_ns)}"
    lines: list[Spans] = [[(head, "bold" if over else "red"), (f" ({round(lasted / _NS):,} s)", "")]]
    rates = [f"{finding.rate:,.0f} forks/s", f"peak {finding.peak:,}", usual]
    lines += wrap(("rate", "dim"), [[(chunk, "")] for chunk in rates], terminal)
    for label, chunks in _facts(finding, terminal):
        if chunks:
            lines += wrap((label, "dim"), [[(chunk, "")] for chunk in chunks], terminal)
    if not over:
        for i, advice in enumerate(finding.advice):
            lines += wrap(("do" if not i else "", "dim"), [[(_clean(advice.words, terminal), "")]], terminal)
            if advice.command is not None:  # on a line of its own and whole: it is there to be copied
                lines.append([("               ", ""), (_clean(advice.command, terminal), "bold")])
    if kept is not None:
        lines += wrap(("kept", "dim"), [[(_clean(kept, terminal), "")]], terminal)
    return [_painted(line, terminal) for line in lines]


def _facts(finding: Finding, terminal: Terminal) -> list[tuple[str, list[str]]]:
    ascii_only = not terminal.unicode
    who = finding.who
    commands = [f"{command.share:.0%} {_clean(command.template, terminal)}" for command in finding.commands[:4]]
    times = "×" if terminal.unicode else "x"
    ends = [f"{n:,} {times} {word}" for word, n in finding.statuses[:5]]
    cost = [
        f"CPU {duration(finding.cpu_ns, ascii_only=ascii_only)}",
        f"page tables {duration(finding.fork_ns, ascii_only=ascii_only)}",
        f"copied pages {count(finding.copies)}",
    ]
    alive = [f"{plural(finding.alive, 'process', 'processes')} below it now", f"{count(finding.zombies)} zombies"]
    failed = [f"{n:,} {times} {_clean(cause, terminal)}" for cause, n in finding.causes]
    lives = []
    if finding.life_ns is not None:
        half, nine = _about(finding.life_ns, ascii_only), _about(finding.life_long_ns, ascii_only)
        lives = (
            [f"about {half}"]
            if half == nine
            else [f"half of them shorter than about {half}", f"nine of ten than {nine}"]
        )
    shape = [_SHAPES.get(finding.shape, finding.shape)] if finding.shape else []
    return [
        ("who", _who(who, terminal) if who is not None else ["no one process accounts for it"]),
        ("where", _where(who, terminal) if who is not None else []),
        ("shape", shape),
        ("what", commands),
        ("ends", ends),
        ("lives", lives),
        ("alive", alive),
        ("cost", cost),
        ("failed", failed or [UNKNOWN if finding.failures is None else "no fork has failed"]),
        ("why", list(finding.signs) or ["above the rate that was asked for"]),
        ("beside", [f"{plural(finding.beside, 'other storm')} at the same time"] if finding.beside else []),
        ("lost", [plural(finding.lost, "record")] if finding.lost else []),
    ]


def _about(ns: int | None, ascii_only: bool) -> str:
    """Two digits: more were not measured."""
    number, _, unit = duration(ns, ascii_only=ascii_only).partition(" ")
    return f"{float(number):.2g} {unit}" if "." in number else f"{number} {unit}".rstrip()


def _who(who: Who, terminal: Terminal) -> list[str]:
    argv = " ".join(quoted(word, unicode=terminal.unicode) for word in who.argv or ())
    name = f"{_clean(who.comm or '?', terminal)} ({who.pid})" + ("" if who.alive else ", which has ended")
    above = " < ".join(f"{_clean(comm or '?', terminal)} ({pid})" for pid, comm in who.above[:3])
    chunks = [name, *([cut(argv, terminal.width * 2, dots=_dots(terminal))] if argv else [])]
    chunks.append(f"{who.share:.0%} of the host's forks")
    return [*chunks, f"started by {above}"] if above else chunks


def _where(who: Who, terminal: Terminal) -> list[str]:
    chunks = []
    if who.unit:
        chunks.append(f"unit {_clean(who.unit, terminal)}")
    if who.container:
        chunks.append(f"{who.runtime or 'container'} {_clean(who.container, terminal)[:24]}")
    if who.pod:
        chunks.append(f"pod {_clean(who.pod, terminal)}")
    if who.cgroup:
        chunks.append(f"cgroup {_clean(who.cgroup, terminal)}")
    if who.uid is not None:
        chunks.append(f"user {user(who.uid)}")
    return chunks


def user(uid: int) -> str:
    """`1000 (jan)`, or the number where this host has no name for it."""
    try:
        return f"{uid} ({pwd.getpwuid(uid).pw_name})"
    except (KeyError, OverflowError):
        return str(uid)


def clock(ts_ns: int | None, wall_offset_ns: int | None) -> str:
    """Local time of day; `-` where the source has no clock."""
    if ts_ns is None or wall_offset_ns is None:
        return f"{UNKNOWN:<8}"
    return time.strftime("%H:%M:%S", time.localtime((ts_ns + wall_offset_ns) / _NS))


def stamp(ts_ns: int, wall_offset_ns: int | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if wall_offset_ns is None:
        return None
    at = datetime.fromtimestamp((ts_ns + wall_offset_ns) / _NS, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clean(text: str, terminal: Terminal) -> str:
    return clean(text, unicode=terminal.unicode)


def _dots(terminal: Terminal) -> str:
    return "…" if terminal.unicode else "..."


def _painted(line: Sequence[tuple[str, str]], terminal: Terminal) -> str:
    if not terminal.color:
        return "".join(text for text, _ in line).rstrip()
    return "".join(f"{_STYLES[style]}{text}{_OFF}" if style in _STYLES else text for text, style in line)
