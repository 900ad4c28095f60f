"""The ways in which the processes of a trace came to be, and in words what each made parent and child share.

A plain fork shares nothing and needs no words. Where one `how` came with different sets of flags, each set gets a
small number, in the tree and in the legend. Knows no layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

from tracer.model.flags import flag_names
from tracer.model.frozen import record
from tracer.model.schema import NULL
from tracer.model.vector_ops import combined, firsts, view
from tracer.reports.words import UNKNOWN, is_plain_fork, sharing
from tracer.tree.tree import ProcessTree, signal_name

_SUPERSCRIPTS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_NOT_MADE_HERE: Final = frozenset({"root", "existing"})

_Key = tuple[str, tuple[str, ...] | None, int]  # how, its flags, exit signal


@record
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
        self._flags = tree.stored("clone_flags")
        self._signal = tree.column("exit_signal")
        self._unicode = unicode
        self._labels: dict[_Key, str] = {}
        self._births: list[tuple[bool, Birth]] = []
        self._count()

    def _key(self, row: int) -> _Key:
        return self._name(self._how[row], self._syscall[row]), _names(self._flags[row]), self._signal[row]

    def _name(self, how: str | None, syscall: str | None) -> str:
        """As in the table; a clone by the system call's own name, since that is what it was called with."""
        return (syscall or how) if how == "clone" else how or UNKNOWN

    def _count(self) -> None:
        counts: Counter[_Key] = Counter()
        for row, n in self._different():
            counts[self._key(row)] += n
        names = [name for name, _, _ in counts]
        numbers: dict[str, int] = {}
        for key, n in counts.items():
            name, flags, number = key
            signal = None if number == NULL else signal_name(number) if number else ""
            label = name
            plain = flags is None or name in _NOT_MADE_HERE or is_plain_fork(flags, signal)
            if names.count(name) > 1 and not plain:
                numbers[name] = which = numbers.get(name, 0) + 1
                label += str(which).translate(_SUPERSCRIPTS) if self._unicode else f"[{which}]"
            self._labels[key] = label
            if flags is not None and name not in _NOT_MADE_HERE:
                self._births.append((plain, Birth(label, n, str(sharing(flags, signal)))))

    def _different(self) -> Iterable[tuple[int, int]]:
        """(the first row, how many) of each different birth: a million rows are few of them."""
        words = (self._tree.words(name)[0] for name in ("how", "syscall"))
        codes, n = combined(*words, view(self._flags), view(self._signal))
        return sorted(zip(firsts(codes, n).tolist(), np.bincount(codes).tolist(), strict=True))

    def label(self, row: int) -> str:
        """How this process came to be. Alike processes, as folding has them, came to be alike."""
        return self._labels[self._key(row)]

    def legend(self, *, everything: bool = False) -> list[Birth]:
        """The ways that need words, in order of first appearance; `everything`: plain forks too."""
        return [birth for plain, birth in self._births if everything or not plain]


def _names(flags: int) -> tuple[str, ...] | None:
    return None if flags == NULL else tuple(flag_names(flags))
