"""A process tree as a piece of HTML for a notebook: nested, collapsible, nothing but text and tags.

    outline(tree) -> "<div ...>"

Siblings that are alike and have no children of their own are one line, `×N`. What comes from outside is escaped, and
characters that no page should get are shown by their number. Bounded: so many lines, so deep. Knows no browser, needs
no script and no style sheet.
"""

from __future__ import annotations

import html
import re
from typing import Any, Final

LINES_MOST: Final = 400
DEEPEST: Final = 40
_WORDS_MOST: Final = 160
ODD: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def outline(tree: Any, most: int = LINES_MOST) -> str:
    """Of a ProcessTree. What is left out is counted at the end."""
    children = below(tree)
    out = ['<div class="forktrace" style="font-family:monospace;line-height:1.5">']
    left = most
    shown = 0
    stack: list[Any] = [iter(folded(tree, children, -1))]
    while stack:
        found = next(stack[-1], None) if left else None
        if found is None:
            stack.pop()
            if stack:
                out.append("</div></details>")
            continue
        row, times = found
        left -= 1
        shown += times
        line = _line(tree, row, times)
        if row in children and len(stack) <= DEEPEST:
            out.append(f'<details open><summary>{line}</summary><div style="margin-left:1.5em">')
            stack.append(iter(folded(tree, children, row)))
        else:
            out.append(f'<div style="margin-left:1em">{line}</div>')
    hidden = len(tree) - shown
    if hidden > 0:
        out.append(f'<div style="opacity:.6">and {hidden:,} more</div>')
    out.append("</div>")
    return "".join(out)


def below(tree: Any) -> dict[int, list[int]]:
    """{row: rows of its children, in order of birth}; -1 has those without a parent in the trace."""
    children: dict[int, list[int]] = {}
    for row, parent in enumerate(tree.column("parent_id")):
        children.setdefault(parent if parent >= 0 else -1, []).append(row)
    return children


def folded(tree: Any, children: dict[int, list[int]], row: int) -> list[tuple[int, int]]:
    """(the first of those that are alike, how many), in order of birth."""
    groups: dict[Any, list[int]] = {}
    for child in children.get(row, ()):
        alike: Any = child
        if child not in children:
            argv = tree.value(child, "argv")
            alike = (tuple(argv) if argv else tree.value(child, "comm"), *_end(tree, child), tree.value(child, "how"))
        groups.setdefault(alike, []).append(child)
    return [(members[0], len(members)) for members in groups.values()]


def _end(tree: Any, row: int) -> tuple[int | None, str | None]:
    return tree.value(row, "exit_code"), tree.value(row, "signal")


def _line(tree: Any, row: int, times: int) -> str:
    words = command(tree, row)
    parts = [f"<b>{times:,} ×</b>" if times > 1 else f'<span style="opacity:.6">{tree.value(row, "pid")}</span>']
    parts.append(plain(words[:_WORDS_MOST] + ("…" if len(words) > _WORDS_MOST else "")))
    how = tree.value(row, "how")
    if how not in (None, "fork", "root"):
        parts.append(f'<span style="opacity:.6">{plain(how)}</span>')
    code, signal = _end(tree, row)
    if signal is not None or code:
        parts.append(f'<span style="color:#b00">{plain(signal or f"exit {code}")}</span>')
    # The program itself begins where it was let go, as in the report
    begin = tree.value(row, "born_ns") if how == "existing" else tree.begin_ns(row)
    end = tree.value(row, "exit_ns")
    if times == 1 and begin is not None and end is not None:
        parts.append(f'<span style="opacity:.6">{_life(max(0, end - begin))}</span>')
    copies = tree.value(row, "cow_copies")
    if times == 1 and copies:
        parts.append(f'<span style="opacity:.6">{copies:,} pages copied</span>')
    return " ".join(parts)


def _life(ns: int) -> str:
    """Three figures of it."""
    return f"{ns / 1e6:,.3g} ms" if ns < 999_500_000 else f"{ns / 1e9:,.3g} s" if ns < 10**12 else f"{ns / 1e9:,.0f} s"


def command(tree: Any, row: int) -> str:
    """Its words; in brackets the kernel's name for what has none."""
    argv, comm = tree.value(row, "argv"), tree.value(row, "comm")
    return " ".join(argv) if argv else f"({comm if comm is not None else '?'})"


def plain(text: str) -> str:
    """Text for HTML, whatever it holds."""
    return html.escape(ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text), quote=True)
