"""Births and execs into a window: who is there, below whom, and what it is.

The loops are written for speed: they run for each process of a host that makes ten thousand a second. Consecutive
births mostly have one parent and are alike, so the last cell is at hand; a tally is looked up when the cell or the
second changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tracer.model.schema import NULL, Part
from tracer.window.clock import Ticking
from tracer.window.lineage import GONE, Alike, Cell, Key, Life, Resting, Tally
from tracer.window.short_lived_sums import Brief, Group, Sums

_NS: Final = 10**9


class Coming(Ticking):
    """What comes to be."""

    def _births(self, part: Part, *, born: bool) -> None:
        lives = self.lives
        of, outside = lives.of, lives.outside
        pids, borns = part["pid"], part["born_ns"]
        n = len(pids)
        above: Any = part.get("creator_pid"), part.get("creator_born_ns")
        parents: Any = part.get("ppid"), part.get("parent_born_ns")
        if above[0] is None or above[1] is None or not born:
            above = parents
        nothing = [NULL] * n
        none: Sequence[None] = [None] * n
        fork_times = part.get("fork_ns") or nothing
        alive = 0
        until, at = 0, -1
        second: Any = None
        cell: Any = None
        tally: Any = None
        parent_key: Any = None
        parent: Any = None
        alike: Any = None
        for key, tid, ts, above_key, how, comm, cgroup, uid, fork_ns in zip(
            zip(pids, borns, strict=True),
            part.get("tid") or pids,
            part.get("ts_ns") or nothing,
            zip(above[0] or nothing, above[1] or nothing, strict=True),
            part.get("how") or none,
            part.get("comm") or none,
            part.get("cgroup") or none,
            part.get("uid") or nothing,
            fork_times,
            strict=True,
        ):
            if tid != key[0]:
                continue
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
                tally = None
            if how == "root":  # its parent is forktrace: none of those that are watched
                parent, parent_key, alike = outside, None, None
            elif above_key != parent_key or parent.state == GONE:
                parent_key = above_key
                if above_key[0] == NULL or above_key == key:
                    parent, parent_key = outside, None
                else:
                    parent = of.get(above_key) or self._stranger(above_key)
                alike = None
            if key in of:
                self._known(of[key], parent, comm, cgroup, uid)
                alike = None
                continue
            command = parent.alike[0] if born else -1
            if alike is None or alike != (command, comm, cgroup, uid):
                alike = (command, comm, cgroup, uid)
                cell, tally = lives.cell(parent, alike), None
            life = Life(key, parent, alike, at if born else -1)
            kids = parent.kids
            if kids is None:
                parent.kids = {life}
            else:
                kids.add(life)
            life.cell = cell
            cell.alive += 1
            alive += 1
            of[key] = life
            second.born += 1
            if not born or how == "root":
                continue
            second.forks += 1
            if tally is None:
                tally = cell.seconds.get(at) or lives.tally(cell, at)
            tally.forks += 1
            depth = life.depth
            if depth > tally.deepest:  # noqa: PLR1730 - max() is a call for each birth
                tally.deepest = depth
            if fork_ns != NULL:
                tally.fork_ns += fork_ns
                tally.timed += 1
        lives.alive += alive

    def _stranger(self, key: Key) -> Life:
        """A parent that was never heard of: it stands above its children all the same."""
        outside = self.lives.outside
        life = Life(key, outside, outside.alike, -1)
        life.gap = True
        self.lives.join(life)
        self._second(NULL)[1].born += 1
        return life

    def _known(self, life: Life, parent: Life, comm: str | None, cgroup: str | None, uid: int) -> None:
        """Told again, or for the first time of one that was a stranger."""
        if life.gap:
            life.gap = False
            if parent is not life.parent:
                self.lives.adopt(life, parent)
            self.lives.resort(life, (life.alike[0], comm, cgroup, uid))

    def _brief(self, brief: Brief, numbers: Sequence[int]) -> None:
        """Whole lives, summed up."""
        lives = self.lives
        for at, forks, execs, exits, zombies, copies in brief.by_second():
            second = self._second(at * _NS)[1]
            second.forks += forks
            second.execs += execs
            second.exits += exits
            second.born += forks - exits
            second.zombies += zombies
            second.copies += copies
        for sums in brief.sums(numbers):
            group = sums.group
            parent = lives.of[group.parent]
            at, depth = sums.second, parent.depth + 1
            if group.exec is not None and sums.forks:
                # As one that execs leaves it behind: its birth counts elsewhere, what its birth took does not.
                alike = (parent.alike[0], group.comm, group.cgroup, group.uid)
                self._born(lives.tally(lives.cell(parent, alike), at), depth, sums)
            alike = _became(group, parent)
            tally = lives.tally(lives.cell(parent, alike), at)
            if sums.forks:
                tally.forks += sums.forks
                tally.deepest = max(tally.deepest, depth)
                if group.exec is None:
                    self._born(tally, depth, sums)
            tally.execs += sums.execs
            tally.exits += sums.exits
            tally.copies += sums.copies
            tally.cpu_ns += sums.cpu_ns
            for mine, theirs in ((tally.spans, sums.spans), (tally.statuses, sums.statuses)):
                for value, n in theirs.items():
                    mine[value] = mine.get(value, 0) + n

        for group, at, zombie, keys in brief.resting(numbers):
            parent = lives.of[group.parent]
            rest = Resting(parent, _became(group, parent), at, zombie, int(group.exec is not None))
            lives.resting.update(dict.fromkeys(keys, rest))
            parent.resting += len(keys)
            if zombie:
                lives.cell(parent, rest.alike).zombies += len(keys)
                lives.zombies += len(keys)

    @staticmethod
    def _born(tally: Tally, depth: int, sums: Sums) -> None:
        tally.deepest = max(tally.deepest, depth)
        tally.fork_ns += sums.fork_ns
        tally.timed += sums.timed

    def _numbers(self, part: Part) -> list[int]:
        """Of the command of each exec."""
        argvs, exes = part.get("argv"), part.get("exe")
        n = len(part["pid"])
        number = self.namer.number
        return [
            number(argv) if argv else number((exe,)) if exe else -1
            for argv, exe in zip(argvs or [None] * n, exes or [None] * n, strict=True)
        ]

    def _execs(self, part: Part, numbers: Sequence[int] | None = None) -> None:
        """`numbers`: of the commands, where they are known."""
        lives, of = self.lives, self.lives.of
        n = len(part["pid"])
        none: Sequence[None] = [None] * n
        if numbers is None:
            numbers = self._numbers(part)
        for number, key, ts, argv, exe, comm, cgroup, uid in zip(
            numbers,
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("ts_ns") or [NULL] * n,
            part.get("argv") or none,
            part.get("exe") or none,
            part.get("comm") or none,
            part.get("cgroup") or none,
            part.get("uid") or [NULL] * n,
            strict=True,
        ):
            at, second = self._second(ts)
            second.execs += 1
            life = of.get(key) or self._stranger(key)
            life.execs += 1
            life.argv = argv or ((exe,) if exe else None)
            _, old_comm, old_cgroup, old_uid = life.alike
            if comm is None:
                comm = exe.rpartition("/")[2][:15] if exe else old_comm
            alike = (
                number,
                comm,
                old_cgroup if cgroup is None else cgroup,
                old_uid if uid == NULL else uid,
            )
            lives.resort(life, alike)
            if life.kids:
                self._hand_down(life, ts)
            lives.tally(cell_of(life), at).execs += 1

    def _hand_down(self, life: Life, ts: int) -> None:
        """Children born after the exec, but told of before it: births of a batch are taken first."""
        todo = [life]
        while todo:
            above = todo.pop()
            for kid in above.kids or ():
                if kid.born_ns >= ts and not kid.execs and kid.alike[0] != life.alike[0]:
                    kid.argv = life.argv
                    self.lives.resort(kid, (life.alike[0], *kid.alike[1:]))
                    todo.append(kid)

    def _renames(self, part: Part) -> None:
        for key, comm in zip(zip(part["pid"], part["born_ns"], strict=True), part["comm"], strict=True):
            life = self.lives.of.get(key)
            if life is not None:
                self.lives.resort(life, (life.alike[0], comm, *life.alike[2:]))

    def tell(self, key: Key, argv: Sequence[str] | None, comm: str | None = None) -> None:
        """The command, and the name, of one that was there before, as /proc has them; what is known already stays."""
        life = self.lives.of.get(key)
        if life is None:
            return
        command, known, *rest = life.alike
        if command == -1 and argv:
            life.argv = argv
            command = self.namer.number(argv)
        self.lives.resort(life, (command, comm if known is None else known, rest[0], rest[1]))  # type: ignore[arg-type]


def _became(group: Group, parent: Life) -> Alike:
    """What they were at the end."""
    if group.exec is None:
        return parent.alike[0], group.comm, group.cgroup, group.uid
    number, comm, cgroup, uid = group.exec
    return (
        number,
        group.comm if comm is None else comm,
        group.cgroup if cgroup is None else cgroup,
        group.uid if uid == NULL else uid,
    )


def cell_of(life: Life) -> Cell:
    """The cell that a life is counted in; all but `outside` have one."""
    assert life.cell is not None
    return life.cell
