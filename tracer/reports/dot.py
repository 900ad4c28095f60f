"""A tree in Graphviz' DOT, for `dot -Tsvg`. Folded, and cut off where a drawing would no longer be read.

Names are quoted strings: quotes and backslashes are escaped, so no name is an escape sequence of DOT's, and nothing in
it ends the string. Knows no layout.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.outline import ODD
from tracer.reports import Options, writing
from tracer.reports.drawing import boxes, failed, lines

if TYPE_CHECKING:
    from tracer.trace import Trace

MOST: Final = 1000
_STYLES: Final = {"vfork": "dashed", "posix_spawn": "dashed", "clone": "dotted"}


class Dot:
    """A digraph: solid lines are forks, dashed ones vfork and posix_spawn, dotted ones clone."""

    name: ClassVar = "dot"
    suffixes: ClassVar = (".dot", ".gv")
    binary: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        tree = trace.tree
        with writing():
            out.write(b'digraph forktrace {\n  rankdir=LR;\n  node [shape=box, fontname="monospace", style=rounded];\n')
            for box in boxes(tree, MOST):
                label = "\\n".join(quoted(line) for line in lines(tree, box))
                colour = ", color=red" if failed(tree, box.row) else ""
                out.write(f'  p{box.number} [label="{label}"{colour}];\n'.encode())
                if box.parent is not None:
                    style = _STYLES.get(tree.value(box.row, "how") or "", "solid")
                    out.write(f"  p{box.parent} -> p{box.number} [style={style}];\n".encode())
            out.write(b"}\n")


def quoted(text: str) -> str:
    """The inside of a quoted string of DOT."""
    text = ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.replace("\\", "\\\\").replace('"', '\\"')
