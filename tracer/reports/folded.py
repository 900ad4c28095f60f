"""Stacks at copies in the folded form that flame graphs are drawn from: `comm;main;serve;memset 127`, a line a stack.

The number is pages copied. Or, by --weight, programs below those that started them, `make;sh;gcc;cc1 127`, by how many
there were (count), how many ns they lived (life) or used of the CPU (cpu), how many bytes they copied (cow). Read by
flamegraph.pl, inferno, speedscope and others. What separates there (`;`, line ends) is replaced in names, long ones
are cut. Knows nothing of how stacks are found.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.analyses.stacks import comm_of
from tracer.analyses.summary import program
from tracer.analyses.tree_index import Shape
from tracer.errors import CannotWriteError, UsageError
from tracer.model.schema import NULL
from tracer.reports import Options
from tracer.reports.table import as_bytes
from tracer.reports.terminal import clean

if TYPE_CHECKING:
    from tracer.api.trace import Trace
    from tracer.tree.tree import ProcessTree

_DEEPEST: Final = 128
_WORD_MOST: Final = 200
_FRAME_MOST: Final = 4000  # names of C++ are long
_SEPARATES: Final = re.compile(r"[;\s]+")


class Folded:
    """One line a stack, the outermost function first."""

    name: ClassVar = "folded"
    suffixes: ClassVar = (".folded",)
    binary: ClassVar = False
    says_source: ClassVar = False

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
        lines[";".join(_SEPARATES.sub(_replaced, word[:_FRAME_MOST]) for word in words)] += copies
    return lines


def _ancestors(tree: ProcessTree, weight: str) -> Counter[str]:
    """A stack is a process below its ancestors, by the names of their programs."""
    shape = Shape(tree)
    values = _values(tree, shape, weight)
    argvs, comms, parents = map(tree.column, ("argv", "comm", "parent_id"))
    # A million processes have few different stacks: each is a number, (number of the stack above it, word)
    numbers: dict[tuple[int, str], int] = {}
    depths = [0]
    at = array("q", [0]) * len(tree)
    weights: Counter[int] = Counter()
    for row in shape.order:
        above = 0 if parents[row] == NULL else at[parents[row]]
        if depths[above] < _DEEPEST:  # a stack as deep as a long chain of programs would be read by nobody
            word = program(argvs[row], comms[row])
            key = (above, _SEPARATES.sub(_replaced, word[:_WORD_MOST]))
            at[row] = numbers.setdefault(key, len(depths))
            if at[row] == len(depths):
                depths.append(depths[above] + 1)
        else:
            at[row] = above
        weights[at[row]] += values[row]
    stacks = [""]
    for above, word in numbers:
        stacks.append(f"{stacks[above]};{word}" if above else word)
    lines: Counter[str] = Counter()
    for number, total in weights.items():
        lines[stacks[number]] += total
    return lines


def _values(tree: ProcessTree, shape: Shape, weight: str) -> Sequence[int]:
    """What each process weighs itself; what is not measured, and who was there before the trace, weighs nothing."""
    made = [how != "existing" for how in tree.column("how")]
    if weight == "count":
        return made
    if weight == "life":
        if len(tree) and all(life == NULL for life in shape.life):
            raise UsageError("this trace has no times", "take another --weight: count is always there")
        return [life if here and life != NULL else 0 for here, life in zip(made, shape.life, strict=True)]
    names = ("cow_copies",) if weight == "cow" else ("cpu_user_ns", "cpu_system_ns")
    columns = [tree.column(name) for name in names]
    if all(v == NULL for column in columns for v in column):
        what = "copies" if weight == "cow" else "CPU time"
        raise UsageError(f"this trace has no {what}", "take another --weight: count is always there")
    unit = tree.meta.page_size if weight == "cow" else 1
    if unit is None:
        why = "this trace does not say how large its pages are"
        raise UsageError(why, "take another --weight: count is always there")
    return [unit * sum(v for v in each if v != NULL) for each in zip(*columns, strict=True)]
