"""The commands of a tree, and which of them are alike: made once, for folding and for what is said of many.

    alike = Alike(tree); alike.commands.of[row], alike.templates[command], alike.words(template)

Pure; how commands are compared is templates.py's.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tracer.analyses.templates import Commands, common, templates
from tracer.model.schema import NULL
from tracer.model.vector_ops import view
from tracer.tree.tree import ProcessTree

_COMPARED: Final = 1000  # commands, for the words they share


class Alike:
    """Which commands are alike: `commands`, and the number of the template of each."""

    def __init__(self, tree: ProcessTree) -> None:
        self.commands = _commands(tree)
        self.templates = templates(self.commands)
        self._members: dict[int, list[int]] | None = None

    def words(self, template: int) -> tuple[tuple[str | None, ...] | None, str | None]:
        """(argv with None for what differs, None), or (None, comm)."""
        table = self.commands.table
        if self._members is None:
            self._members = {}
            for n, number in enumerate(self.templates):
                if isinstance(table[n], tuple):
                    self._members.setdefault(number, []).append(n)
        members = self._members.get(template)
        if not members:
            return None, table[template]
        return tuple(common([table[n] for n in members[:_COMPARED]])), None


def _commands(tree: ProcessTree) -> Commands:
    argvs, _ = tree.argvs()
    argv = view(tree.last_argvs())
    comm, words = tree.words("comm")
    return Commands.numbered(np.where(argv == NULL, comm + len(argvs), argv), [*argvs, *words])
