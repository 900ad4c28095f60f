"""The ways in which the processes of a trace came to be, and in words what each made parent and child share.

A plain fork shares nothing and needs no words. Where one `how` came with different sets of flags, each set gets a
small number, in the tree and in the legend. Knows no layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tracer.events import NULL
from tracer.reports.words import is_plain_fork, sharing
from tracer.tree import ProcessTree, signal_name

_SUPERSCRIPTS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_NOT_MADE_HERE: Final = frozenset({"root", "existing"})

_Key = tuple[str, tuple[str, ...] | None, int]  # how, its flags behind an empty string, exit signal


@dataclass(frozen=True)
class Birth:
    """One way: its label in the tree, how often it came, and what it shared, in words."""

    label: str
    count: int
    words: str


class Births:
    """`label` is what stands under HOW; `legend` explains the labels that need it."""

    def __init__(self, tree: ProcessTree, *, unicode: bool = True) -> None:
        self._tree = tree
        self._how = tree.column("how")
        self._syscall = tree.column("syscall")
        self._flags = tree.column("flags")
        self._signal = tree.column("exit_signal")
        self._unicode = unicode
        self._sets: dict[int, tuple[str, ...] | None] = {}
        self._labels: dict[_Key, str] = {}
        self._births: list[tuple[bool, Birth]] = []
        self._count()

    def _key(self, row: int) -> _Key:
        flags = self._flags[row]
        known = self._sets.get(id(flags), ())  # one list stands for the same set in all rows
        if known == ():
            known = self._sets[id(flags)] = None if flags is None else ("", *flags)
        return self._name(row), known, self._signal[row]

    def _name(self, row: int) -> str:
        """As in the table; a clone by the system call's own name, since that is what it was called with."""
        how = self._how[row] or "-"
        return (self._syscall[row] or how) if how == "clone" else how

    def _count(self) -> None:
        counts = Counter(map(self._key, range(len(self._tree))))
        names = [name for name, _, _ in counts]
        numbers: dict[str, int] = {}
        for key, n in counts.items():
            name, known, number = key
            flags = None if known is None else known[1:]
            signal = None if number == NULL else signal_name(number) if number else ""
            label = name
            plain = flags is None or name in _NOT_MADE_HERE or is_plain_fork(flags, signal)
            if names.count(name) > 1 and not plain:
                numbers[name] = which = numbers.get(name, 0) + 1
                label += str(which).translate(_SUPERSCRIPTS) if self._unicode else f"[{which}]"
            self._labels[key] = label
            if flags is not None and name not in _NOT_MADE_HERE:
                self._births.append((plain, Birth(label, n, str(sharing(flags, signal)))))

    def label(self, rows: Sequence[int]) -> str:
        """How these processes came to be: one label, or what the labels have in common."""
        labels = {self._labels[self._key(row)] for row in rows}
        return labels.pop() if len(labels) == 1 else self._name(rows[0])

    def legend(self, *, everything: bool = False) -> list[Birth]:
        """The ways that need words, in order of first appearance; `everything`: plain forks too."""
        return [birth for plain, birth in self._births if everything or not plain]
