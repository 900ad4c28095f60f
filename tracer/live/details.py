"""All that is known of one group or branch, in the place of the list. Pure: plain values to rows of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracer.live.columns import median, rate, short, status_name
from tracer.live.fork_rate_tree import Branch
from tracer.live.sparks import bar
from tracer.model.schema import NULL
from tracer.reports.console.spans import Spans, wrap
from tracer.reports.console.storm import user
from tracer.reports.terminal import Terminal, clean
from tracer.reports.words import UNKNOWN, count, duration, plural
from tracer.window.attribution import Group
from tracer.window.lineage import Life

_ABOVE: Final = 12
_ENDS: Final = 8
_LABEL: Final = 9


def as_group(branch: Branch, without: Sequence[str] | frozenset[str]) -> Group:
    """A line of the tree as what stands in the other view."""
    own, t = branch.own, branch.own.tally
    return Group(
        branch.label,
        branch.life,
        t.forks,
        t.execs,
        t.exits,
        None if "failures" in without else branch.failures_below,
        own.alive,
        None if "zombies" in without else own.zombies,
        0.0,
        t.statuses,
        t.spans,
        t.causes,
        t.fork_ns if t.timed else None,
        None if "copies" in without else t.copies,
        None if "cpu" in without else t.cpu_ns,
    )


def rows(
    group: Group,
    seconds: float,
    terminal: Terminal,
    width: int,
    *,
    share: bool = True,
    below: int | None = None,
    commands: Sequence[tuple[str, int]] = (),
) -> list[Spans]:
    """`commands`: what was born below it and how often. `below`: births under it, of a branch."""
    narrow = Terminal(terminal.tty, width, terminal.color, terminal.unicode)
    times = "×" if terminal.unicode else "x"
    ascii_only = not terminal.unicode
    life = group.life
    lines: list[tuple[str, list[tuple[str, str]]]] = [("what", [(_clean(group.label, terminal), "bold")])]
    if life is not None and life.pid:
        lines.append(("who", _who(life, terminal)))
    births = [(f"{rate(group.forks, seconds)}/s", "bold"), (f"{count(group.forks)} in {seconds:.0f} s", "")]
    if share:
        births.append((f"{group.share:.0%} of all", ""))
    if below is not None:
        births.append((f"{count(below)} below", ""))
    lines.append(("forks", births))
    lines.append(("then", [(plural(group.execs, "exec"), ""), (plural(group.exits, "end"), "")]))
    alive = [(f"{count(group.alive)} alive", ""), (plural(group.zombies, "zombie"), "warn" if group.zombies else "")]
    lines.append(("now", alive))
    lines.append(("failed", _failed(group, terminal)))
    ends = sorted(group.statuses.items(), key=lambda each: -each[1])[:_ENDS]
    lines.append(
        ("ends", [(f"{status_name(s)} {times}{short(n)}", "warn" if s else "") for s, n in ends] or [(UNKNOWN, "dim")])
    )
    lines.append(("lives", _lives(group, terminal)))
    # Nobody ends without having used some: what is not told yet, or never, is no zero
    cpu = f"{duration(group.cpu_ns, ascii_only=ascii_only)} of those that ended" if group.cpu_ns else UNKNOWN
    cost = [(f"CPU {cpu}", ""), (f"page tables {duration(group.fork_ns, ascii_only=ascii_only)}", "")]
    lines.append(("cost", [*cost, (f"{count(group.copies)} pages copied", "")]))
    result: list[Spans] = []
    for label, chunks in lines:
        result += wrap((label, "dim"), [[chunk] for chunk in chunks], narrow, width=_LABEL)
    for i, (text, n) in enumerate(commands):
        words = [[(f"{rate(n, seconds):>8}/s  ", ""), (_clean(text, terminal), "")]]
        result += wrap(("born" if not i else "", "dim"), words, narrow, width=_LABEL)[:1]
    return result


def _who(life: Life, terminal: Terminal) -> list[tuple[str, str]]:
    chunks = [(f"{_clean(life.comm or '?', terminal)} ({life.pid})", "")]
    above: list[str] = []
    up = life.parent
    while up.parent is not up and len(above) < _ABOVE:
        above.append(f"{_clean(up.comm or '?', terminal)} ({up.pid})")
        up = up.parent
    if above:
        chunks.append(("below " + " < ".join(above), ""))
    if life.uid != NULL:
        chunks.append((f"user {_clean(user(life.uid), terminal)}", ""))
    if life.cgroup is not None:
        chunks.append((f"cgroup {_clean(life.cgroup, terminal)}", ""))
    return chunks


def _failed(group: Group, terminal: Terminal) -> list[tuple[str, str]]:
    if group.failures is None:
        return [(f"{UNKNOWN} (-e fail looks for failed forks)", "dim")]
    causes = sorted(group.causes.items(), key=lambda each: -each[1])
    times = "×" if terminal.unicode else "x"
    return [(f"{_clean(cause, terminal)} {times}{short(n)}", "bad") for cause, n in causes] or [
        (count(group.failures), "bad" if group.failures else "")
    ]


def _lives(group: Group, terminal: Terminal) -> list[tuple[str, str]]:
    """A histogram, each bar twice as long a life as the one before."""
    spans = group.spans
    if not spans:
        return [(UNKNOWN, "dim")]
    ascii_only = not terminal.unicode
    low, high = min(spans), max(spans)
    top = max(spans.values())
    bars = "".join(bar(spans.get(bits, 0), top, unicode=terminal.unicode) for bits in range(low, high + 1))
    first, last = duration(2 ** max(low - 1, 0), ascii_only=ascii_only), duration(2**high, ascii_only=ascii_only)
    middle = duration(median(spans), ascii_only=ascii_only)
    return [(f"{first} {bars} {last}", "spark"), (f"half of them shorter than about {middle}", "")]


def _clean(text: str, terminal: Terminal) -> str:
    return clean(text, unicode=terminal.unicode)
