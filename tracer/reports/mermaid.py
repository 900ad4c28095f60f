"""A tree as a Mermaid flow chart, which README files and issue trackers draw. Folded, so that it still draws.

Names go in as entities for all but letters, digits and a few harmless signs: Mermaid has words of its own for nearly
everything else. Knows no layout.
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.reports import Options, writing
from tracer.reports.drawing import boxes
from tracer.reports.source import wrapped
from tracer.tree.notebook_tree import ODD

if TYPE_CHECKING:
    from tracer.api.trace import Trace

MOST: Final = 100
"""Mermaid refuses charts of more than 500 lines between boxes or 50,000 characters; nobody reads one of that size."""

_WIDTH: Final = 116
_HARMLESS: Final = re.compile(r"[^A-Za-z0-9 ._/,=+·…×→µ-]")
_LINES: Final = {"vfork": "-.->", "posix_spawn": "-.->", "clone": "-.->", None: "-.-"}


class Mermaid:
    """A flow chart from left to right."""

    name: ClassVar = "mermaid"
    suffixes: ClassVar = (".mmd", ".mermaid")
    binary: ClassVar = False
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        drawn = boxes(trace.tree, MOST)
        bad = ",".join(f"p{i}" for i, box in enumerate(drawn) if box.bad)
        with writing():
            out.write(b"flowchart LR\n")
            for line in wrapped(trace.meta, _WIDTH):
                out.write(f"  %% {commented(line)}\n".encode())
            for i, box in enumerate(drawn):
                label = "<br/>".join(escaped(line) for line in box.text)
                out.write(f'  p{i}["{label}"]\n'.encode())
                if box.parent is not None:
                    out.write(f"  p{box.parent} {_LINES.get(box.how, '-->')} p{i}\n".encode())
            if bad:
                out.write(f"  classDef bad stroke:#b3261e\n  class {bad} bad\n".encode())


def escaped(text: str) -> str:
    """Text inside a quoted label."""
    text = ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _HARMLESS.sub(lambda found: f"#{ord(found[0])};", text)


def commented(text: str) -> str:
    """Text inside a comment. `%%{` begins a directive, and older versions look for one anywhere: no braces."""
    text = ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.replace("{", "(").replace("}", ")")
