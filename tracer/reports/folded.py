"""Stacks at copies in the folded form that flame graphs are drawn from: `comm;main;serve;memset 127`, a line a stack.

The number is pages copied. Read by flamegraph.pl, inferno, speedscope and others. What separates there (`;`, line
ends) is replaced in names. Knows nothing of how stacks are found.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.analyses.stacks import comm_of
from tracer.errors import CannotWriteError, UsageError
from tracer.reports import Options
from tracer.reports.terminal import clean

if TYPE_CHECKING:
    from tracer.trace import Trace

_SEPARATES: Final = re.compile(r"[;\s]+")


class Folded:
    """One line a stack, the outermost function first."""

    name: ClassVar = "folded"
    suffixes: ClassVar = (".folded",)
    binary: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says. Raises UsageError for a trace without stacks."""
        tree = trace.tree
        if not tree.stacks:
            raise UsageError("this trace has no stacks", "record one with --cow-stacks")
        guard = clean if out.isatty() else str
        lines: Counter[str] = Counter()
        for (row, early, frames), (copies, _) in tree.stacks.items():
            words = (comm_of(tree, row, early) or "?", *reversed(frames))
            lines[";".join(_SEPARATES.sub(_replaced, word) for word in words)] += copies
        try:
            for line, copies in sorted(lines.items()):
                if copies > 0:
                    out.write(f"{guard(line)} {copies}\n".encode("utf-8", "surrogateescape"))
        except BrokenPipeError:
            raise
        except OSError as e:
            raise CannotWriteError(f"the export can not be written: {(e.strerror or str(e)).lower()}") from None


def _replaced(found: re.Match[str]) -> str:
    """Blanks stay, as names of C++ and of scripts have them."""
    return ":" if ";" in found[0] else " "
