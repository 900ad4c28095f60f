"""Who lives now, and what has lately happened below whom: the part of a rolling window that knows lineage.

    lives = Lives(); lives.resort(life, alike), lives.release(life); lives.living()

What is dead leaves memory whatever the shape of the tree: a dead process without children is dropped, one with a
single child is taken out from between, so there are never more dead than living ones. What happened below a dead
one is its parent's from then on, and whoever looks for the ancestor behind many births still finds it; but a single
child that is a copy of the dead one, and has not exec'd, takes its place and remembers who was the first (`origin`):
so a chain of processes that each make the next one and end is one thing with one beginning. Lineage goes by who
called clone, not by who adopted. In a storm most have ended, and only wait for the kernel to let go of them: these may
be `resting`, many as one, until something touches one of them. Knows no batches and no columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tracer.model.schema import NULL
from tracer.window.counters import ENDED, GONE, LIVING, Alike, Cell, Key, Life, Resting, Tally

__all__ = ["ENDED", "GONE", "LIVING", "Alike", "Cell", "Key", "Life", "Lives", "Resting", "Tally"]

_FEW: Final = 8
_MANY: Final = 50  # births: then a dead one is remembered a little longer


def _busy(life: Life) -> bool:
    return sum(tally.forks for cell in (life.cells or {}).values() for tally in cell.seconds.values()) >= _MANY


def _few(life: Life) -> bool:
    return len(life.kids or ()) + life.resting <= _FEW


def _last_second(life: Life) -> int:
    return max((second for cell in (life.cells or {}).values() for second in cell.seconds), default=-1)


class Lives:
    """The living, and what must be remembered of the dead. `touched[second]` are the cells with a Tally then."""

    def __init__(self) -> None:
        self.outside = Life((0, 0), None, (-1, None, None, NULL), -1)
        self.of: dict[Key, Life] = {}
        self.cells: dict[Cell, None] = {}
        self.touched: dict[int, list[Cell]] = {}
        self.alive = self.zombies = 0
        self.resting: dict[Key, Resting] = {}
        self._lingering: list[Life] = []
        self._buried: Life | None = None

    def cell(self, parent: Life, alike: Alike) -> Cell:
        """The cell of such children of `parent`."""
        cells = parent.cells
        if cells is None:
            cells = parent.cells = {}
        found = cells.get(alike)
        if found is None:
            found = cells[alike] = Cell(parent, alike)
            self.cells[found] = None
        return found

    def tally(self, cell: Cell, second: int) -> Tally:
        """What that cell counts for that second; it is forgotten when the second leaves the window."""
        found = cell.seconds.get(second)
        if found is None:
            found = cell.seconds[second] = Tally()
            self.touched.setdefault(second, []).append(cell)
        return found

    def join(self, life: Life) -> None:
        """Put a new life below its parent and among the living."""
        parent = life.parent
        if parent.kids is None:
            parent.kids = {life}
        else:
            parent.kids.add(life)
        cell = self.cell(parent, life.alike)
        cell.alive += 1
        life.cell = cell
        self.alive += 1
        self.of[life.key] = life

    def known(self, key: Key) -> Life | None:
        """It, also if it rests; then it is one of those by themselves from now on."""
        if key in self.resting:
            self.recall((key,))
        return self.of.get(key)

    def recall(self, keys: Iterable[Key] | None = None) -> None:
        """Those that rest, or all, are lives by themselves again: something touches them."""
        for key in [*(self.resting if keys is None else keys)]:
            rest = self.resting.pop(key)
            parent = rest.parent
            parent.resting -= 1
            life = Life(key, parent, rest.alike, rest.second)
            life.state, life.zombie, life.execs = ENDED, rest.zombie, rest.execs
            if parent.kids is None:
                parent.kids = {life}
            else:
                parent.kids.add(life)
            life.cell = self.cell(parent, rest.alike)
            self.of[key] = life

    def adopt(self, life: Life, parent: Life) -> None:
        """A parent that is known only now. No process becomes its own ancestor, whatever a file says."""
        up = parent
        while up is not self.outside:
            if up is life:
                return
            up = up.parent
        if life.parent.kids is not None:
            life.parent.kids.discard(life)
        life.parent = parent
        parent.kids = parent.kids or set()
        parent.kids.add(life)
        self.resort(life, life.alike)
        todo = [life]
        while todo:
            below = todo.pop()
            below.depth = below.parent.depth + 1
            todo += below.kids or ()

    def resort(self, life: Life, alike: Alike) -> None:
        """It is no longer what it was (an exec, a new name, another parent): its birth counts where it is now."""
        life.alike = alike
        old = life.cell
        new = self.cell(life.parent, alike)
        if old is new or old is None:
            return
        if life.state == LIVING:
            old.alive -= 1
            new.alive += 1
        if life.zombie:
            old.zombies -= 1
            new.zombies += 1
        at = life.second
        if at in old.seconds:
            before, after = old.seconds[at], self.tally(new, at)
            if before.forks:
                before.forks -= 1
                after.forks += 1
                if before.moved > before.forks:
                    before.moved -= 1
                    after.moved += 1
            after.deepest = max(after.deepest, life.depth)
        life.cell = new

    def release(self, life: Life) -> None:
        """The kernel has let go of it, so do we; and of every dead one above that nothing living needs any more."""
        if life.zombie:
            life.zombie = False
            self.zombies -= 1
            if life.cell is not None:
                life.cell.zombies -= 1
        if life.resting:
            self.recall(key for key, rest in self.resting.items() if rest.parent is life)
        life.state = GONE
        self.of.pop(life.key, None)
        self._settle(life)

    def bury(self, before: int) -> None:
        """Let go of the dead that lingered because they had just made many: none of it after that second."""
        for life in [each for each in self._lingering if _last_second(each) < before]:
            self._lingering.remove(life)
            self._buried = life
            self._settle(life)
        self._buried = None

    def _settle(self, life: Life) -> None:
        while life.state == GONE and life is not self.outside:
            if life in self._lingering:
                return
            kids = life.kids
            parent = life.parent
            if kids and len(kids) > 1:
                return
            kid = next(iter(kids)) if kids else None
            if kid is not None and kid.alike == life.alike and not kid.execs and _few(kid):
                self._replace(life, kid)
            elif life.cells and life is not self._buried and _busy(life):
                self._lingering.append(life)  # whoever looks at the last second must still find who it was
                return
            elif life.cells:
                self._inherit(parent, life)
            siblings = parent.kids
            if siblings is not None:
                siblings.discard(life)
            if kid is not None:  # the one that is left goes where this was
                kid.parent = parent
                if siblings is None:
                    parent.kids = {kid}
                else:
                    siblings.add(kid)
                if kid.cell is not None and kid.cell.parent is not parent:
                    kid.cell = self.cell(parent, kid.alike)
                return
            life = parent

    def _replace(self, life: Life, kid: Life) -> None:
        """The copy of a dead one goes on in its place: what happened below that one happened below it."""
        kid.origin = life.origin or life.key
        newer, cells = kid.cells, life.cells
        life.cells = None
        if cells is None:
            return
        for cell in cells.values():
            cell.parent = kid
            for tally in cell.seconds.values():
                tally.moved = tally.forks
        kid.cells = cells
        if kid.cell is not None and kid.cell.parent is kid:  # it was in one of these itself
            kid.cell.alive -= kid.state == LIVING
            kid.cell.zombies -= kid.zombie
            kid.cell = self.cell(life.parent, kid.alike)
            kid.cell.alive += kid.state == LIVING
            kid.cell.zombies += kid.zombie
        if newer:
            for alike, cell in newer.items():
                self._merge(self.cell(kid, alike), cell)
            for below in kid.kids or ():
                below.cell = self.cell(kid, below.alike)

    def _merge(self, mine: Cell, cell: Cell) -> None:
        """All of `cell` goes into `mine`."""
        mine.alive += cell.alive
        mine.zombies += cell.zombies
        for second, tally in cell.seconds.items():
            have = mine.seconds.get(second)
            if have is None:
                mine.seconds[second] = tally
                self.touched.setdefault(second, []).append(mine)
            else:
                have.add(tally)
        cell.seconds = {}
        cell.alive = cell.zombies = 0
        self.cells.pop(cell, None)

    def _inherit(self, parent: Life, life: Life) -> None:
        """What happened below a dead one has happened below its parent, by way of it."""
        for alike, cell in (life.cells or {}).items():
            for tally in cell.seconds.values():
                tally.moved = tally.forks
            self._merge(self.cell(parent, alike), cell)
        life.cells = None

    def forget(self, second: int) -> None:
        """That second has left the window. Cells in which nothing is left go too."""
        for cell in self.touched.pop(second, ()):
            cell.seconds.pop(second, None)
            if not cell.seconds and not cell.alive and not cell.zombies:
                self.cells.pop(cell, None)
                if cell.parent.cells is not None:
                    cell.parent.cells.pop(cell.alike, None)

    def living(self) -> Iterator[Life]:
        """All that have not ended, zombies left out."""
        return (life for life in self.of.values() if life.state == LIVING)
