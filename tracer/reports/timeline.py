"""What the formats of track viewers, and the page, have in common: a trace as lives on one time line, plain.

    line.tracks()       (row, parent row or None, name), parents first, siblings in order of birth
    line.slices(row)    one for each image of a process: from its exec, or its birth, to the next one or its end
    line.flows(row)     forks and reaps: of a child, from one process' moment to the other's
    line.alive(), line.copies()     (time, value), in order of time

Times are ns since the first of the trace, never negative; a life begins and ends where the report on the terminal has
it. Nothing is kept that is not an array: a million processes stream through. Knows no format.
"""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

from tracer.analyses.summary import program
from tracer.analyses.tree_index import Shape
from tracer.model.schema import NULL
from tracer.tree.notebook_tree import ODD
from tracer.tree.tree import ProcessTree

NAME_MOST: Final = 200
ARGV_MOST: Final = 2000
_FACTS: Final = (
    "how",
    "pid",
    "ppid",
    "exit_code",
    "signal",
    "killed_by",
    "uid",
    "cgroup",
    "fork_ns",
    "pgtables_bytes",
    "rss_bytes",
    "max_rss_bytes",
    "cpu_user_ns",
    "cpu_system_ns",
    "min_flt",
    "maj_flt",
    "cow_copies",
    "wp_faults",
)
_NOT_BORN_HERE: Final = frozenset({"root", "existing", None})


class Slice(NamedTuple):
    """`facts`: what is known of the process, with its last image. `sort`: process or zombie."""

    begin_ns: int
    end_ns: int
    name: str
    sort: str
    facts: dict[str, Any]


class Flow(NamedTuple):
    """What: fork or reap."""

    what: str
    source: int
    at_ns: int
    target: int
    then_ns: int


class Timeline:
    """Of one tree, as it is now."""

    def __init__(self, tree: ProcessTree, shape: Shape | None = None) -> None:
        self.tree = tree
        self.shape = shape = shape or Shape(tree)
        begins = [at for at in shape.begin if at != NULL]
        first = tree.first_ns if tree.first_ns is not None else min(begins, default=0)
        if begins and len(begins) == len(tree) and "existing" not in tree.column("how"):
            first = max(first, min(begins))  # the root is held for a while before it begins
        self.begin_ns = first
        self.last_ns = self.at(self._last())
        self.begin = array("q", [NULL if at == NULL else self.at(at) for at in shape.begin])
        self.end = self._ends()
        self._fork, self._reap = tree.column("how"), tree.column("reap_ns")

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """Columns of what is known of any of them."""
        columns = {key: self.tree.column(key) for key in _FACTS}
        return {key: c for key, c in columns.items() if any(v is not None and v != NULL for v in c)}

    def _last(self) -> int:
        """The last that happened to any of them, where all came to their end: forktrace itself ends later."""
        tree = self.tree
        ends, reaps = tree.column("exit_ns"), tree.column("reap_ns")
        seen = max(ends, default=NULL)
        if seen == NULL or not all(self.shape.ended) or any(map(self._unreaped, range(len(tree)))):
            return max((t for t in (tree.last_ns, *ends) if t is not None), default=0)
        by_others = (at for at, how in zip(reaps, tree.column("how"), strict=True) if how != "root")
        return max(seen, max(by_others, default=NULL))

    def _unreaped(self, row: int) -> bool:
        return self.tree.zombie_since(row) is not None and not self.tree.released(row)

    def at(self, ns: int) -> int:
        """Since the beginning; what was there before begins then."""
        return max(0, ns - self.begin_ns)

    def _ends(self) -> array[int]:
        """NULL where a process lives on, or where nobody knows when it ended."""
        ends = array("q")
        for begin, end in zip(self.begin, self.tree.column("exit_ns"), strict=True):
            ends.append(NULL if end == NULL else max(0 if begin == NULL else begin, self.at(end)))
        return ends

    def stop(self, row: int) -> int:
        """Where its slice stops: at its end, or where the trace ends; at once, if it ended nobody knows when."""
        if self.end[row] != NULL:
            return self.end[row]
        return max(0, self.begin[row]) if self.shape.ended[row] else max(self.last_ns, self.begin[row])

    def tracks(self) -> Iterator[tuple[int, int | None, str]]:
        """Depth first."""
        children = self.shape.children
        argvs, comms, pids = map(self.tree.column, ("argv", "comm", "pid"))
        todo: list[tuple[int, int | None]] = [(row, None) for row in reversed(self.shape.roots())]
        while todo:
            row, parent = todo.pop()
            called = name(program(argvs[row], comms[row]))
            yield row, parent, called if pids[row] == NULL else f"{called} {pids[row]}"
            todo += [(child, row) for child in reversed(children(row))]

    def slices(self, row: int) -> Iterator[Slice]:
        """In order of time, one after the other; none for a process whose birth nobody knows."""
        begin, end = self.begin[row], self.stop(row)
        if begin == NULL:
            return
        facts = {}
        for key, column in self._facts.items():
            value = column[row]
            if value is not None and value != NULL:
                facts[key] = name(value) if isinstance(value, str) else value
        images = [(min(end, max(begin, self.at(e.ts_ns))), e) for e in self.tree.execs(row) if e.ts_ns != NULL]
        images.sort(key=lambda each: each[0])
        if not images or images[0][0] > begin:
            comm = self.tree.value(row, "comm") if not images else None
            called = f"({name(comm)})" if comm is not None else "(before exec)" if images else "(?)"
            yield Slice(begin, images[0][0] if images else end, called, "process", {} if images else facts)
        for i, (at, image) in enumerate(images):
            last = i + 1 == len(images)
            words = image.argv or (image.exe or "?",)
            own = {**(facts if last else {}), "argv": joined(words)}
            if image.exe is not None:
                own["exe"] = name(image.exe)
            yield Slice(at, end if last else images[i + 1][0], name(program(words, None)), "process", own)
        yield from self._zombie(row, end)

    def _zombie(self, row: int, end: int) -> Iterator[Slice]:
        since, wait, reaped = self.tree.zombie_since(row), self.tree.value(row, "zombie_ns"), self._reap[row]
        if since is None and wait and reaped != NULL:
            since = reaped - wait
        if since is None or self.end[row] == NULL or self._fork[row] == "root":  # forktrace waits for that one
            return
        until = self.last_ns if reaped == NULL and not self.tree.released(row) else max(reaped, since + (wait or 0))
        until = until if until == self.last_ns else self.at(until)
        begin = max(end, self.at(since))
        if until > begin:
            yield Slice(begin, until, "zombie", "zombie", {} if wait is None else {"zombie_ns": wait})

    def flows(self, row: int) -> Iterator[Flow]:
        """Its birth, and its reap, if its parent did that."""
        parent, begin, end, reaped = self.tree.parent(row), self.begin[row], self.end[row], self._reap[row]
        if parent is None or begin == NULL or self.begin[parent] == NULL:
            return
        if self._fork[row] not in _NOT_BORN_HERE:
            yield Flow("fork", parent, begin, row, begin)
        by = self.tree.value(row, "reaped_by")
        if NULL not in (reaped, end) and by is not None and by == self.tree.value(parent, "pid"):
            yield Flow("reap", row, end, parent, max(end, self.at(reaped)))

    def alive(self) -> Iterator[tuple[int, int]]:
        """Processes that live. Not those of which nobody knows when they began or ended."""
        ended = self.shape.ended
        known = [i for i, at in enumerate(self.begin) if at != NULL and (self.end[i] != NULL or not ended[i])]
        begins = array("q", sorted(self.begin[i] for i in known))
        ends = array("q", sorted(self.end[i] for i in known if self.end[i] != NULL))
        total = 0
        changes = heapq.merge(((at, 1) for at in begins), ((at, -1) for at in ends))
        for at, together in itertools.groupby(changes, key=lambda change: change[0]):
            total += sum(change for _, change in together)
            yield at, total

    def copies(self) -> Iterator[tuple[int, int]]:
        """Pages copied because of forks, those of a process as it ends; nothing where nobody counted."""
        copied = self.tree.column("cow_copies")
        known = array("q", [row for row, n in enumerate(copied) if n != NULL and self.begin[row] != NULL])
        total = 0
        for row in sorted(known, key=self.stop):
            if copied[row]:
                total += copied[row]
                yield self.stop(row), total


def name(text: str, most: int = NAME_MOST) -> str:
    """As text that any reader takes."""
    return ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text if len(text) <= most else text[:most] + "…")


def joined(words: Iterable[str], most: int = ARGV_MOST) -> str:
    """An argv as one text; no more of it is looked at than is kept."""
    kept: list[str] = []
    room = most + 1
    for word in words:
        kept.append(word[: max(0, room)])
        room -= len(word) + 1
        if room <= 0:
            break
    return name(" ".join(kept), most)
