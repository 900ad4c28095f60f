"""A tree in Graphviz' DOT, for `dot -Tsvg`. Folded, so that a drawing can be read.

Names are quoted strings: quotes and backslashes are escaped, so no name is an escape sequence of DOT's, and nothing in
it ends the string. Knows no layout.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.reports import Options, writing
from tracer.reports.drawing import boxes
from tracer.reports.source import wrapped
from tracer.tree.notebook_tree import ODD

if TYPE_CHECKING:
    from tracer.api.trace import Trace

MOST: Final = 400
_WIDTH: Final = 116
_STYLES: Final = {"vfork": "dashed", "posix_spawn": "dashed", "clone": "dotted", None: "dotted"}
_HEAD: Final = b"""digraph forktrace {
  rankdir=LR;
  node [shape=box, style=rounded, fontname="monospace", fontsize=10];
  edge [arrowsize=0.6];
  graph [fontname="monospace", fontsize=9];
"""


class Dot:
    """A digraph: solid lines are forks, dashed ones vfork and posix_spawn, dotted ones clone."""

    name: ClassVar = "dot"
    suffixes: ClassVar = (".dot", ".gv")
    binary: ClassVar = False
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        drawn = boxes(trace.tree, MOST)
        with writing():
            out.write(_HEAD)
            about = [quoted(line) for line in wrapped(trace.meta, _WIDTH)]
            # A tooltip is where a drawing on a page is asked what it is; \l ends a line and sets it to the left.
            label, tooltip = "\\l".join((*about, "")), "\\n".join(about)
            out.write(f'  label="{label}"; tooltip="{tooltip}"; labelloc=b; labeljust=l;\n'.encode())
            for i, box in enumerate(drawn):
                label = "\\n".join(quoted(line) for line in box.text)
                looks = ", color=red" if box.bad else ", shape=plaintext" if box.how is None else ""
                out.write(f'  p{i} [label="{label}"{looks}];\n'.encode())
                if box.parent is not None:
                    style = _STYLES.get(box.how)
                    out.write(f"  p{box.parent} -> p{i}{f' [style={style}]' if style else ''};\n".encode())
            out.write(b"}\n")


def quoted(text: str) -> str:
    """The inside of a quoted string of DOT. An entity would be read as one, so there is none."""
    text = ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
