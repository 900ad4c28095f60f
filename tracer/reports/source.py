"""Where a trace comes from, and what that source can not know, in sentences: every report and export says it.

    source(meta) -> "seen by strace-log"
    sentences(meta) -> ("From an strace log: pages copied, ... are not in it.", ...)

A format has its own place for it: a label, a comment, metadata. A format that has none (`says_source` is False: a row
a line, a stack a line) leaves it to who writes it, and a verb says `line(meta)` on stderr. Knows no format. The text
is not escaped for any: notes are whatever a file has in its metadata.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection

from tracer.model.meta import Meta
from tracer.reports.words import UNKNOWN

_NOTE_MOST = 1000  # characters: ours are short, those of a forged file need not be
_NOTES_MOST = 50
_USUAL = "bpf"


def source(meta: Meta) -> str:
    """Which source it was; `seen by -` where the file does not say."""
    return f"seen by {meta.source[:_NOTE_MOST] or UNKNOWN}"


def seen_by(sources: Collection[str]) -> str | None:
    """`seen by strace, strace-log`; None where it goes without saying: bpf sees all there is to see."""
    return None if set(sources) <= {_USUAL} else f"seen by {', '.join(each or UNKNOWN for each in sources)}"


def sentences(meta: Meta) -> tuple[str, ...]:
    """What a report must repeat, each with its full stop."""
    shown = [" ".join(note[:_NOTE_MOST].split()) for note in meta.notes[:_NOTES_MOST]]
    return tuple(note[:1].upper() + note[1:] + ("" if note[-1] in ".!?" else ".") for note in shown if note)


def line(meta: Meta) -> str | None:
    """Both, for a verb to say beside an output that has no place for it; None where there is nothing to warn of."""
    told = sentences(meta)
    return f"{source(meta)}. {' '.join(told)}" if told else None


def wrapped(meta: Meta, width: int) -> list[str]:
    """Both as lines of at most about `width` characters."""
    told = (" ".join(source(meta).split()), *sentences(meta))
    return [part for text in told for part in textwrap.wrap(text, width, break_on_hyphens=False)]
