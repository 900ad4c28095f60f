"""What the two formats of track viewers have in common: slices, flows and counters of a trace, plain.

    tracks(tree)      (row, parent row or None, name), parents first, siblings in order of birth
    slices(tree)      one for each image of each process: from its exec, or its birth, to the next or its end
    flows(tree)       forks and reaps, from one process' moment to another's
    alive(tree), copies(tree)     (time, value), in order of time

Times are ns since the first of the trace, never negative. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tracer.events import NULL
from tracer.outline import ODD, below, command
from tracer.tree import ProcessTree

NAME_MOST: Final = 200
_FACTS: Final = ("how", "exit_code", "signal", "uid", "cgroup", "fork_ns", "cow_copies", "zombie_ns", "max_rss_bytes")


class Slice(NamedTuple):
    """`facts`: what is known of the process, with its last image."""

    row: int
    begin_ns: int
    end_ns: int
    name: str
    facts: dict[str, Any]


class Flow(NamedTuple):
    """What: fork or reap."""

    what: str
    source: int
    at_ns: int
    target: int
    then_ns: int


class Timeline:
    """Of one tree."""

    def __init__(self, tree: ProcessTree) -> None:
        self.tree = tree
        self._born, self._end = tree.column("born_ns"), tree.column("exit_ns")
        known = [t for column in (self._born, self._end) for t in column if t != NULL]
        first = tree.first_ns
        self.begin_ns = first if first is not None else min(known, default=0)
        self.last_ns = max(known, default=self.begin_ns) - self.begin_ns

    def at(self, ns: int) -> int:
        """Since the beginning; what was there before begins then."""
        return max(0, ns - self.begin_ns)

    def tracks(self) -> Iterator[tuple[int, int | None, str]]:
        """Depth first."""
        children = below(self.tree)
        stack = [(row, None) for row in reversed(children.get(-1, ()))]
        todo: list[tuple[int, int | None]] = list(stack)
        while todo:
            row, parent = todo.pop()
            yield row, parent, name(f"{command(self.tree, row)} {self.tree.value(row, 'pid')}")
            todo += [(child, row) for child in reversed(children.get(row, ()))]

    def slices(self) -> Iterator[Slice]:
        """In order of rows."""
        tree = self.tree
        for row in range(len(tree)):
            if self._born[row] == NULL:
                continue
            end = self.last_ns if self._end[row] == NULL else self.at(self._end[row])
            begin = self.at(self._born[row])
            facts = {key: _plain(value) for key in _FACTS if (value := tree.value(row, key)) is not None}
            facts["pid"] = tree.value(row, "pid")
            images = [(self.at(e.ts_ns), e) for e in tree.execs(row) if e.ts_ns != NULL]
            if not images or images[0][0] > begin:
                stop = images[0][0] if images else end
                comm = tree.value(row, "comm")
                yield Slice(
                    row,
                    begin,
                    max(begin, stop),
                    name(f"({comm if comm is not None else '?'})"),
                    {} if images else facts,
                )
            for i, (at, image) in enumerate(images):
                stop = images[i + 1][0] if i + 1 < len(images) else end
                words = " ".join(image.argv) if image.argv else image.exe or "?"
                own = dict(facts) if i + 1 == len(images) else {"pid": facts["pid"]}
                own["argv"] = name(words, 2000)
                yield Slice(
                    row,
                    at,
                    max(at, stop),
                    name((image.argv or (image.exe or "?",))[0].rpartition("/")[2] or words),
                    own,
                )

    def flows(self) -> Iterator[Flow]:
        """Forks in order of birth, each with its reap behind it."""
        tree = self.tree
        reaps, reapers = tree.column("reap_ns"), tree.column("reaped_by")
        for row in range(len(tree)):
            parent = tree.parent(row)
            if parent is None or self._born[row] == NULL:
                continue
            if tree.value(row, "how") != "existing":
                yield Flow("fork", parent, self.at(self._born[row]), row, self.at(self._born[row]))
            if reaps[row] != NULL and self._end[row] != NULL and reapers[row] == tree.value(parent, "pid"):
                yield Flow("reap", row, self.at(self._end[row]), parent, self.at(reaps[row]))

    def alive(self) -> Iterator[tuple[int, int]]:
        """Processes that live."""
        changes: dict[int, int] = {}
        for born, end in zip(self._born, self._end, strict=True):
            if born != NULL:
                changes[self.at(born)] = changes.get(self.at(born), 0) + 1
                if end != NULL:
                    changes[self.at(end)] = changes.get(self.at(end), 0) - 1
        total = 0
        for at, change in sorted(changes.items()):
            total += change
            yield at, total

    def copies(self) -> Iterator[tuple[int, int]]:
        """Pages copied by processes that have ended by then; nothing where nobody counted."""
        total = 0
        ends = sorted(
            (self.at(end), n)
            for end, n in zip(self._end, self.tree.column("cow_copies"), strict=True)
            if NULL not in (end, n)
        )
        for at, n in ends:
            total += n
            yield at, total


def _plain(value: Any) -> Any:
    return name(value) if isinstance(value, str) else value


def name(text: str, most: int = NAME_MOST) -> str:
    """As text that any reader takes."""
    return ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text if len(text) <= most else text[:most] + "…")
