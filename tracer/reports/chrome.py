"""A trace as JSON in the Trace Event Format: chrome://tracing, Perfetto's viewer, speedscope open it.

    process   one a process of the trace, in order of the tree; its number is row + 1, as pids are used again
    slice     one for each image: from its exec, or its birth, to the next one or its end
    flow      from the parent to the child's birth, from a child's end to whoever reaped it
    counter   processes that live; pages copied by those that have ended

Written as it goes, in one pass of the tree's columns. Knows what the format asks for, and nothing else.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, ClassVar

from tracer.reports import Options, writing
from tracer.reports.timeline import Timeline, name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracer.trace import Trace


class Chrome:
    """JSON object with `traceEvents`."""

    name: ClassVar = "chrome"
    suffixes: ClassVar = (".trace.json",)
    binary: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        line = Timeline(trace.tree)
        meta = trace.meta
        about = {
            "source": meta.source,
            "host": meta.host,
            "command": name(" ".join(meta.command)),
            "version": meta.version,
        }
        with writing():
            head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
            out.write(head[:-1].encode() + b', "traceEvents": [\n')
            for i, event in enumerate(events(line)):
                out.write((",\n" if i else "").encode() + json.dumps(event, separators=(",", ":")).encode())
            out.write(b"\n]}\n")


def events(line: Timeline) -> Iterator[dict[str, Any]]:
    """One dict an event; times in microseconds."""
    for order, (row, _, called) in enumerate(line.tracks()):
        for what, args in (("process_name", {"name": called}), ("process_sort_index", {"sort_index": order})):
            yield {"ph": "M", "name": what, "pid": row + 1, "tid": row + 1, "args": args}
    for row, begin, end, called, facts in line.slices():
        yield {
            "ph": "X", "name": called, "cat": "process", "pid": row + 1, "tid": row + 1, "ts": begin / 1000,
            "dur": (end - begin) / 1000, "args": facts,
        }  # fmt: skip
    for number, (what, source, at, target, then) in enumerate(line.flows()):
        both = {"name": what, "cat": what, "id": number}
        yield {"ph": "s", **both, "pid": source + 1, "tid": source + 1, "ts": at / 1000}
        yield {"ph": "f", "bp": "e", **both, "pid": target + 1, "tid": target + 1, "ts": then / 1000}
    for called, values in (("alive", line.alive()), ("pages copied", line.copies())):
        for at, value in values:
            yield {"ph": "C", "name": called, "pid": 0, "tid": 0, "ts": at / 1000, "args": {called: value}}
