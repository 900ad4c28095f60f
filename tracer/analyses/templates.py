"""Commands that are alike: `gcc -c a.c` and `gcc -c b.c` are both `gcc -c …`.

A word belongs to a command's template if it repeats: going from left to right, the commands of one program are
split by their next word as long as each part would keep four processes on average. So 300 runs of git fall apart
into `git log …` and `git show …`, and 300 runs of `echo` with 300 different words do not.

    Commands(argvs, comms)   .of[row] -> number of the command; .table[number] -> its argv, or its comm
    templates(commands)      number of the template for each command
    common(argvs)            the words they share, None where they differ

Pure; knows no tree.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from tracer.model.vector_ops import packed

ALIKE: Final = 4
_POSITIONS: Final = 6


class Commands:
    """Every different command once. A process that never exec'd while watched goes by its comm, a str or None."""

    def __init__(self, argvs: Iterable[tuple[str, ...] | None], comms: Iterable[str | None]) -> None:
        numbers: dict[Hashable, int] = {}
        number = numbers.setdefault
        commands = (comm if argv is None else argv for argv, comm in zip(argvs, comms, strict=True))
        self.of = array("q", (number(command, len(numbers)) for command in commands))
        self.table: list[Any] = list(numbers)
        self.uses = array("q", [0]) * len(self.table)
        for n in self.of:
            self.uses[n] += 1

    @classmethod
    def numbered(cls, numbers: Any, commands: Sequence[Hashable]) -> Commands:
        """The same, where row n has `commands[numbers[n]]`; equal ones may be there more than once."""
        one: dict[Hashable, int] = {}
        same = np.array([one.setdefault(command, n) for n, command in enumerate(commands)], np.int64)
        numbers = same[numbers]
        first = np.full(len(commands), len(numbers), np.int64)
        first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last that is written is the first to come
        used = np.flatnonzero(first < len(numbers))
        used = used[np.argsort(first[used])]
        order = np.zeros(len(commands), np.int64)
        order[used] = np.arange(len(used))
        made = cls((), ())
        made.of = packed(order[numbers])
        made.table = [commands[n] for n in used.tolist()]
        made.uses = packed(np.bincount(order[numbers], minlength=len(used)))
        return made


def templates(commands: Commands) -> array[int]:
    """A number for each command; those with the same number are alike."""
    result = array("q", range(len(commands.table)))
    programs: dict[str, list[int]] = {}
    for n, command in enumerate(commands.table):
        if isinstance(command, tuple):
            programs.setdefault(command[0] if command else "", []).append(n)
    todo = [(members, 1) for members in programs.values() if len(members) > 1]
    while todo:
        members, position = todo.pop()
        total = sum(commands.uses[n] for n in members)
        if total < ALIKE:
            continue
        words = _next_words(commands.table, members, position, total // ALIKE) if position < _POSITIONS else None
        if words is None:
            for n in members:
                result[n] = members[0]
            continue
        parts: dict[str | None, list[int]] = {word: [] for word in words}
        for n in members:
            parts[_word(commands.table[n], position)].append(n)
        todo += [(part, position + 1) for part in parts.values() if len(part) > 1]
    return result


def _word(command: Sequence[str], position: int) -> str | None:
    return command[position] if position < len(command) else None


def _next_words(table: Sequence[Any], members: Sequence[int], position: int, most: int) -> set[str | None] | None:
    """The different words at `position`, or None if there are more than `most`."""
    words: set[str | None] = set()
    for n in members:
        words.add(_word(table[n], position))
        if len(words) > most:
            return None
    return words


def common(argvs: Sequence[Sequence[str]]) -> list[str | None]:
    """The words all have at the same place, from the left or from the right; None for each run that differs."""
    first = argvs[0]
    shortest = min(map(len, argvs))
    if all(len(argv) == shortest for argv in argvs):
        words = [word if all(argv[i] == word for argv in argvs) else None for i, word in enumerate(first)]
        return [word for i, word in enumerate(words) if word is not None or i == 0 or words[i - 1] is not None]
    head = tail = 0
    while head < shortest and all(argv[head] == first[head] for argv in argvs):
        head += 1
    while tail < shortest - head and all(argv[-1 - tail] == first[-1 - tail] for argv in argvs):
        tail += 1
    return [*first[:head], None, *first[len(first) - tail :]]
