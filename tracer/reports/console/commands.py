"""Commands as a shell would take them: quoted, clean, what a process was before its last exec in front.

Knows argv and comm; knows neither columns nor colours: a span is (text, name of a style).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tracer.analyses.templates import Commands, common
from tracer.model.vector_ops import distinct
from tracer.reports.console.spans import Span
from tracer.reports.terminal import Terminal, clean, quoted
from tracer.tree.tree import Exec, ProcessTree

_IMAGES_MOST: Final = 4


class CommandWords:
    """Spans of commands. A folder at their front is a span of its own, style `folder`, as it may be left out."""

    def __init__(self, tree: ProcessTree, terminal: Terminal, commands: Commands | None = None) -> None:
        self._tree = tree
        self._known = commands
        self._unicode = terminal.unicode
        self._times, self._dots = ("×", "…") if terminal.unicode else ("x", "...")
        self._most = terminal.width * 2  # no command is shown in more columns than that

    def _clean(self, text: str) -> str:
        return clean(text[: self._most], unicode=self._unicode)

    def one(self, row: int) -> Iterator[Span]:
        """Of one process: what it was before, and its last command."""
        argv = self._tree.value(row, "argv")
        images = self._tree.execs(row) if self._tree.value(row, "execs") > 1 else []
        yield from self._images(images[:-1])
        if argv is None:
            yield self._unnamed(self._tree.value(row, "comm"))
        else:
            script = 1 if self._tree.value(row, "interpreter") else 0
            yield from self._words(argv, self._tree.value(row, "exe"), paths=1 + script)

    def _unnamed(self, comm: str | None) -> Span:
        """A copy of its parent, still: the kernel's name for it, in brackets as ps has it."""
        return f"({self._clean(comm) if comm is not None else '?'})", "fork"

    def _words(self, argv: Sequence[str | None], exe: str | None = None, *, paths: int = 1) -> Iterator[Span]:
        """The words of a command. The folder of each of the first `paths` is a span of its own, as it may be cut."""
        if not argv:  # Linux makes it [""] since 5.18; before, a program could be without any
            yield self._clean(exe or "?"), "program"
            return
        length = 0
        for i, word in enumerate(argv):
            space = " " if i else ""
            if word is None or (word == "..." and i + 1 == len(argv) and i):
                text = self._dots
            else:
                text = quoted(word[: self._most], unicode=self._unicode)
            if space:
                yield space, ""
            folder, slash, name = text.rpartition("/")
            if i < paths and slash and name and text == word:  # not inside quotes
                yield folder + slash, "folder"
                text = name
            yield text, "dim" if word is None else "" if i else "program"
            length += len(text) + 1
            if length > self._most:
                return

    def alike(self, rows: Sequence[int]) -> Iterator[Span]:
        """Of like siblings: the words they share."""
        if self._known is None:
            argvs = [self._tree.value(row, "argv") for row in rows]
        else:
            argvs = [self._known.table[n] for n in distinct(self._known.of, rows)]
        argvs = [argv for argv in argvs if argv is not None and not isinstance(argv, str)]
        if argvs:
            yield from self._words(common(argvs))
        else:
            yield self._unnamed(self._tree.value(rows[0], "comm"))

    def _images(self, images: Sequence[Exec]) -> Iterator[Span]:
        """What it was before: `bash → make → …`; the same name in a row once, with its number."""
        names: list[list[Any]] = []
        for image in images:
            name = (image.argv[0] if image.argv else "") or image.exe or "?"
            name = name.rstrip("/").rpartition("/")[2] or name
            if names and names[-1][0] == name:
                names[-1][1] += 1
            else:
                names.append([name, 1])
        arrow = " → " if self._unicode else " -> "
        if len(names) > _IMAGES_MOST:
            names[2:-1] = [[self._dots, 1]]
        for name, n in names:
            shown = name if name == self._dots else quoted(name[: self._most], unicode=self._unicode)
            yield (f"{shown} {self._times}{n}" if n > 1 else shown), "image"
            yield arrow, "dim"
