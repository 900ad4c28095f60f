"""Templates of commands in a stream, in bounded memory: `curl -s https://a/…` however many addresses there are.

    namer = Namer()
    namer.number(argv)        a number for this command; the same for commands that have been found alike
    namer.merged(uses)        number -> words of the template, over the commands in use just now
    namer.words(number)       what it stands for: argv, cut, or a template with None for what differs

Of each program a few dozen different commands are kept as they are. When there are more, what they share is learnt
from these by templates.py, and from then on a new command is one of the learnt templates, or, if it fits none, waits
for the next lesson as `program …`. Arguments are cut: a name is for telling apart. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from tracer.analyses.templates import Commands, common, templates

Words = tuple["str | None", ...]

_SAMPLE: Final = 48  # different commands of one program that are kept apart
_LESSONS: Final = 4  # then everything else of that program is alike
_PROGRAMS: Final = 2048
_KNOWN: Final = 8192  # commands whose number is remembered
_WORDS_MOST: Final = 20_000
_WORDS: Final = 12
_LETTERS: Final = 160


class _Program:
    __slots__ = ("alone", "learnt", "lessons", "other", "sample")

    def __init__(self, other: int) -> None:
        self.sample: dict[tuple[str, ...], int] = {}
        self.alone: dict[tuple[str, ...], int] = {}  # like no other in its lesson
        self.learnt: list[tuple[tuple[str, ...], tuple[str, ...], int, int]] = []  # head, tail, least words, number
        self.lessons = 0
        self.other = other


class Namer:
    """Numbers for commands. Numbers are never used twice; -1 is a process of which only the comm is known."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}
        self._words: dict[int, Words] = {}
        self._next = 0
        self._is: dict[int, int] = {}  # a command that has since been found to be of a template
        self._programs: dict[str, _Program] = {}
        self._rest = self._new((None,))

    def number(self, argv: Sequence[str]) -> int:
        """The number of a command."""
        if len(argv) > _WORDS or any(len(word) > _LETTERS for word in argv):
            argv = [word[:_LETTERS] for word in argv[:_WORDS]]
        key = tuple(argv)
        known = self._numbers.get(key)
        if known is not None:
            return known
        found = self._find(key)
        if len(self._numbers) >= _KNOWN:
            self._numbers.clear()
        self._numbers[key] = found
        return found

    def now(self, number: int) -> int:
        """The number it has since become part of."""
        return self._is.get(number, number)

    def words(self, number: int) -> Words:
        """Its words, None for what differs."""
        return self._words[self._is.get(number, number)]

    def merged(self, uses: Mapping[int, int]) -> dict[int, Words]:
        """Number -> template, over these numbers and how often each is in use; those that are alike share words."""
        plain: dict[int, int] = {}
        result: dict[int, Words] = {}
        for number, n in uses.items():
            words = self.words(number)
            if None in words:
                result[number] = words
            else:
                plain[number] = n
        commands = Commands((self.words(n) for n in plain), (None for _ in plain))  # type: ignore[misc]
        for i, n in enumerate(plain):
            commands.uses[commands.of[i]] += max(plain[n], 1) - 1
        of = templates(commands)
        parts: dict[int, list[int]] = {}
        for i, template in enumerate(of):
            parts.setdefault(template, []).append(i)
        said = {t: tuple(common([commands.table[i] for i in members])) for t, members in parts.items()}
        for i, n in enumerate(plain):
            result[n] = said[of[commands.of[i]]]
        return result

    @property
    def many(self) -> bool:
        """It is time to `prune`."""
        return len(self._words) > _WORDS_MOST

    def prune(self, used: Collection[int]) -> None:
        """Forget all numbers but those `used`, and what was learnt: new programs may come for days."""
        keep = {self._rest, *used, *(self._is[number] for number in used if number in self._is)}
        self._words = {number: words for number, words in self._words.items() if number in keep}
        self._is = {number: template for number, template in self._is.items() if number in keep}
        self._numbers.clear()
        self._programs.clear()

    def _new(self, words: Words) -> int:
        self._words[self._next] = words
        self._next += 1
        return self._next - 1

    def _find(self, key: tuple[str, ...]) -> int:
        name = key[0] if key else ""
        program = self._programs.get(name)
        if program is None:
            if len(self._programs) >= _PROGRAMS:
                del self._programs[next(iter(self._programs))]  # the oldest begins anew, should it come again
            program = self._programs[name] = _Program(self._new((name, None)))
        known = program.sample.get(key, program.alone.get(key))
        if known is not None:
            return known
        for head, tail, least, number in program.learnt:
            if len(key) >= least and key[: len(head)] == head and (not tail or key[-len(tail) :] == tail):
                return number
        if program.lessons >= _LESSONS:
            return program.other
        number = program.sample[key] = self._new(key)
        if len(program.sample) >= _SAMPLE:
            self._learn(program)
        return number

    def _learn(self, program: _Program) -> None:
        """What the sample has in common. A command that stands alone keeps its own number."""
        program.lessons += 1
        keys = list(program.sample)
        parts: dict[int, list[tuple[str, ...]]] = {}
        commands = Commands(keys, (None for _ in keys))
        for i, template in enumerate(templates(commands)):
            parts.setdefault(template, []).append(keys[i])
        for members in parts.values():
            words = tuple(common(members))
            if None not in words:
                program.alone[members[0]] = program.sample[members[0]]
                continue
            at, last = words.index(None), len(words) - words[::-1].index(None)
            head, tail = members[0][:at], members[0][len(members[0]) - (len(words) - last) :]
            number = self._new(words)
            program.learnt.append((head, tail, len(head) + len(tail), number))
            for key in members:
                self._is[program.sample[key]] = number
        program.learnt.sort(key=lambda entry: -entry[2])
        program.sample = {}
