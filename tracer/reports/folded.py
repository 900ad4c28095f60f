"""Stacks at copies in the folded form that flame graphs are drawn from: `comm;main;serve;memset 127`, a line a stack.

The number is pages copied. Or, by --weight, programs below those that started them, `make;sh;gcc;cc1 127`, by how many
there were, how long they lived, what CPU they used or what they copied. Read by flamegraph.pl, inferno, speedscope and
others. What separates there (`;`, line ends) is replaced in names. Knows nothing of how stacks are found.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.analyses.stacks import comm_of
from tracer.errors import CannotWriteError, UsageError
from tracer.events import NULL
from tracer.reports import Options
from tracer.reports.table import as_bytes
from tracer.reports.terminal import clean

if TYPE_CHECKING:
    from tracer.trace import Trace
    from tracer.tree import ProcessTree

_DEEPEST: Final = 128
_SEPARATES: Final = re.compile(r"[;\s]+")


class Folded:
    """One line a stack, the outermost function first."""

    name: ClassVar = "folded"
    suffixes: ClassVar = (".folded",)
    binary: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says. Raises UsageError for stacks, or figures, that the trace does not have."""
        tree = trace.tree
        weight = options.weight or ("stacks" if tree.stacks else "count")
        if weight == "stacks" and not tree.stacks:
            raise UsageError("this trace has no stacks", "record one with --cow-stacks, or take another --weight")
        guard = clean if out.isatty() else str
        lines = _code(tree) if weight == "stacks" else _ancestors(tree, weight)
        try:
            for line, copies in sorted(lines.items()):
                if copies > 0:
                    out.write(as_bytes(f"{guard(line)} {copies}\n"))
        except BrokenPipeError:
            raise
        except OSError as e:
            raise CannotWriteError(f"the export can not be written: {(e.strerror or str(e)).lower()}") from None


def _replaced(found: re.Match[str]) -> str:
    """Blanks stay, as names of C++ and of scripts have them."""
    return ":" if ";" in found[0] else " "


def _code(tree: ProcessTree) -> Counter[str]:
    lines: Counter[str] = Counter()
    for (row, early, frames), (copies, _) in tree.stacks.items():
        words = (comm_of(tree, row, early) or "?", *reversed(frames))
        lines[";".join(_SEPARATES.sub(_replaced, word) for word in words)] += copies
    return lines


def _ancestors(tree: ProcessTree, weight: str) -> Counter[str]:
    """A stack is a process below its ancestors, by the names of their programs; what is not measured weighs nothing."""
    born, ended = tree.column("born_ns"), tree.column("exit_ns")
    if weight == "count":
        values = [0 if how == "existing" else 1 for how in tree.column("how")]
    elif weight == "life":
        values = [0 if NULL in (b, e) else e - b for b, e in zip(born, ended, strict=True)]
    else:
        names = ("cow_copies",) if weight == "cow" else ("cpu_user_ns", "cpu_system_ns")
        columns = [tree.column(name) for name in names]
        if all(v == NULL for column in columns for v in column):
            what = "copies" if weight == "cow" else "CPU time"
            raise UsageError(f"this trace has no {what}", "take another --weight: count and life are always there")
        values = [sum(v for v in each if v != NULL) for each in zip(*columns, strict=True)]
    paths: list[str] = []
    lines: Counter[str] = Counter()
    for row, parent in enumerate(tree.column("parent_id")):
        argv, comm = tree.value(row, "argv"), tree.value(row, "comm")
        word = _SEPARATES.sub(_replaced, (argv[0].rpartition("/")[2] if argv else comm) or "?")
        # Children of children of ... of one program would make a stack as deep as a chain is long
        above = paths[parent] if 0 <= parent < row else ""
        path = f"{above};{word}" if above else word
        paths.append(path if path.count(";") < _DEEPEST else above)
        if values[row] > 0:
            lines[paths[row]] += values[row]
    return lines
