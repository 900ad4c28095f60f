"""A trace as JSON in the Trace Event Format: chrome://tracing, Perfetto's viewer, speedscope open it.

    process   one a process of the trace, in order of the tree; its number is row + 1, as pids are used again
    slice     one for each image: from its exec, or its birth, to the next one or its end; then as a zombie
    flow      from the parent to the child's birth, from a child's end to the parent that reaped it
    counter   processes that live; pages copied, those of a process as it ends

Written as it goes. Knows what the format asks for, and nothing else.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from tracer.reports import Options, writing
from tracer.reports.source import sentences
from tracer.reports.timeline import Timeline, joined, name

if TYPE_CHECKING:
    from tracer.api.trace import Trace

_AT_ONCE: Final = 1000
_NOTE_MOST: Final = 1000


class Chrome:
    """JSON object with `traceEvents`, an event a line."""

    name: ClassVar = "chrome"
    suffixes: ClassVar = (".trace.json",)
    binary: ClassVar = False
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        meta = trace.meta
        about = {
            "source": name(meta.source),
            "host": name(meta.host),
            "kernel": name(meta.kernel),
            "command": joined(meta.command),
            "version": name(meta.version),
        }
        if notes := sentences(meta):
            about["notes"] = " ".join(name(note, _NOTE_MOST) for note in notes)
        line = Timeline(trace.tree)
        with writing():
            head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
            out.write(head[:-1].encode() + b', "traceEvents": [\n')
            for i, text in enumerate(_lines(events(line))):
                out.write((",\n" + text if i else text).encode())
            out.write(b"\n]}\n")


def _lines(made: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Many at once, which takes half the time. A quote inside of a text is escaped, so what is replaced is in none."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    while some := list(itertools.islice(made, _AT_ONCE)):
        yield encode(some)[1:-1].replace('},{"ph":', '},\n{"ph":')


def events(line: Timeline) -> Iterator[dict[str, Any]]:
    """One dict an event; times in microseconds."""
    number = 0
    for order, (row, _, called) in enumerate(line.tracks()):
        who = {"pid": row + 1, "tid": row + 1}
        yield {"ph": "M", "name": "process_name", **who, "args": {"name": called}}
        yield {"ph": "M", "name": "process_sort_index", **who, "args": {"sort_index": order}}
        for begin, end, image, sort, facts in line.slices(row):
            span = {"ts": begin / 1000, "dur": (end - begin) / 1000}
            yield {"ph": "X", "name": image, "cat": sort, **who, **span, "args": facts}
        for what, source, at, target, then in line.flows(row):
            number += 1
            both = {"name": what, "cat": what, "id": number}
            # A flow belongs to the slice that is there at its time, and at its end a slice is there no more
            at = max(line.begin[source], min(at, line.stop(source) - 1))
            last = max(line.begin[target], line.stop(target) - 1)
            then = max(at, line.begin[target], min(then, last))
            if then > last:  # ended before the other began: only clocks that disagree, or lies, make that
                continue
            yield {"ph": "s", **both, "pid": source + 1, "tid": source + 1, "ts": at / 1000}
            yield {"ph": "f", "bp": "e", **both, "pid": target + 1, "tid": target + 1, "ts": then / 1000}
    for called, values in (("alive", line.alive()), ("pages copied", line.copies())):
        for at, value in values:
            yield {"ph": "C", "name": called, "pid": 0, "tid": 0, "ts": at / 1000, "args": {called: value}}
