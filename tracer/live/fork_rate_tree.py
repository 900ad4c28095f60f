"""The tree of what is being born, from a window: who has births below, folded by command. Not who merely lives.

    Births(window, seconds).lines(limit) -> [Branch]     in order of display, with guides

A branch stands for processes with one parent (or with parents that are folded into one branch) and one command
template. Where all that happened below it is known to the second, so are its figures: births, ends, living, zombies.
Pure; knows neither width nor words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracer.window.attribution import Below, Sum, spelled, take
from tracer.window.lineage import Cell, Life
from tracer.window.window import Window

LIMIT: Final = 400
_DEPTH_MOST: Final = 48
_LOOK_FOR_PID: Final = 64  # children searched for the one that lives


@dataclass
class Branch:
    """`pid` where it is one process that lives. `below`: births under it, its own line's not counted. `share` too."""

    label: str
    guides: tuple[bool, ...]  # for each level, whether more follow below; none for a root
    pid: int | None
    life: Life | None
    own: Sum  # of these processes: their births, their ends
    below: int
    failures_below: int
    comm: str | None
    cgroup: str | None
    key: tuple[str, ...] = field(default_factory=tuple)  # labels from the root on

    @property
    def weight(self) -> int:
        """What it is sorted by: all births at and below it."""
        return self.own.tally.forks + self.below


Order = Callable[[Branch], tuple[object, ...]]


def busiest_first(branch: Branch) -> tuple[object, ...]:
    """The usual order."""
    return (-branch.weight, -branch.own.alive, branch.label)


class _Node:
    """Children of some lives that have one label."""

    __slots__ = ("cells", "label", "lives")

    def __init__(self, label: str) -> None:
        self.label = label
        self.cells: list[Cell] = []
        self.lives: list[Life] = []  # of them, those with anything below


class Births:
    """One look at a window; `seconds` are the numbers of the seconds that count."""

    def __init__(self, window: Window, seconds: Collection[int]) -> None:
        self._lives = window.lives
        self._seconds = seconds
        self._below = Below(window.lives, seconds)
        namer = window.namer
        uses: dict[int, int] = {}
        for cell in window.lives.cells:
            number = cell.alike[0]
            if number >= 0:
                number = namer.now(number)
                # By use, as the other view counts: else commands that are rare are taken to be alike.
                forks = sum(tally.forks for second, tally in cell.seconds.items() if second in seconds)
                uses[number] = uses.get(number, 0) + max(forks, 1)
        words = namer.merged(uses)
        self._labels = {number: spelled(each) for number, each in words.items()}
        self._now = namer.now

    def label(self, number: int, comm: str | None) -> str:
        """A command, or a comm in brackets."""
        if number < 0:
            return f"({'?' if comm is None else comm})"
        return self._labels.get(self._now(number), f"({'?' if comm is None else comm})")

    def lines(self, limit: int = LIMIT, order: Order = busiest_first) -> tuple[list[Branch], int]:
        """Branches in order of display, at most `limit`; and how many there was no room for."""
        result: list[Branch] = []
        left_out = 0
        todo: list[tuple[_Node, Branch]] = []
        self._push(todo, [self._lives.outside], (), (), order)
        while todo:
            node, branch = todo.pop()
            if len(result) >= limit:
                left_out += 1
                continue
            result.append(branch)
            if node.lives and len(branch.guides) < _DEPTH_MOST:
                self._push(todo, node.lives, branch.guides, branch.key, order)
        return result, left_out

    def _push(
        self,
        todo: list[tuple[_Node, Branch]],
        parents: Iterable[Life],
        above: tuple[bool, ...],
        key: tuple[str, ...],
        order: Order,
    ) -> None:
        at_top = not key
        found = [(node, self._branch(node, key)) for node in self._children(parents)]
        found = [(node, branch) for node, branch in found if branch.weight or branch.failures_below]
        found.sort(key=lambda each: order(each[1]))
        for i, (node, branch) in enumerate(reversed(found)):
            branch.guides = () if at_top else (*above, i > 0)
            todo.append((node, branch))

    def _children(self, parents: Iterable[Life]) -> Iterable[_Node]:
        nodes: dict[str, _Node] = {}
        for parent in parents:
            for cell in (parent.cells or {}).values():
                label = self.label(cell.alike[0], cell.alike[1])
                node = nodes.get(label)
                if node is None:
                    node = nodes[label] = _Node(label)
                node.cells.append(cell)
            for kid in self._below.kids(parent):
                label = self.label(kid.command, kid.comm)
                node = nodes.get(label)
                if node is None:
                    node = nodes[label] = _Node(label)
                node.lives.append(kid)
        return nodes.values()

    def _branch(self, node: _Node, above: tuple[str, ...]) -> Branch:
        own = Sum()
        for cell in node.cells:
            take(own.tally, cell.seconds, self._seconds)
            own.alive += cell.alive
            own.zombies += cell.zombies
        below = failures = 0
        for life in node.lives:
            whole = self._below.whole.get(life)
            if whole is not None:
                below += whole.tally.forks
                failures += whole.tally.failures
        failures += own.tally.failures
        one = self._one(node, own)
        first = node.cells[0] if node.cells else None
        return Branch(
            node.label,
            (),
            one.pid if one is not None else None,
            one,
            own,
            below,
            failures,
            one.comm if one is not None else first.alike[1] if first is not None else None,
            one.cgroup if one is not None else first.alike[2] if first is not None else None,
            (*above, node.label),
        )

    def _one(self, node: _Node, own: Sum) -> Life | None:
        """The process that this is, if it is one that lives and no other has come and gone beside it."""
        if own.alive > 1 or own.tally.forks > 1:
            return None
        lives: Sequence[Life] = node.lives
        if len(lives) == 1:
            return lives[0]
        if not lives and own.alive == 1 and len(node.cells) == 1:
            kids = node.cells[0].parent.kids or ()
            if len(kids) <= _LOOK_FOR_PID:
                return next((kid for kid in kids if kid.cell is node.cells[0]), None)
        return None
