"""What lives that begin and end in one batch add up to, by columns: rates by second, and tallies by parent and command.

    brief.others(), brief.left(values)     what is left, for who takes lives one by one
    brief.by_second(), brief.sums(...)     what these lives add up to
    brief.resting(numbers)                 who of them was not let go of yet, many as one

Which lives they are brief.py has found. Pure columns; knows no window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, pairwise
from typing import Any, Final, NamedTuple

from tracer.model.schema import NULL, Kind, Part
from tracer.window.lineage import Key

_NS: Final = 10**9
USED: Final[Mapping[int, Sequence[str]]] = {
    Kind.FORK: (
        "pid",
        "born_ns",
        "tid",
        "ts_ns",
        "creator_pid",
        "creator_born_ns",
        "ppid",
        "parent_born_ns",
        "how",
        "comm",
        "cgroup",
        "uid",
        "fork_ns",
    ),
    Kind.EXEC: ("pid", "born_ns", "ts_ns", "argv", "exe", "comm", "cgroup", "uid"),
    Kind.EXIT: ("pid", "born_ns", "ts_ns", "last", "exit_code", "signal"),
    Kind.ZOMBIE: ("pid", "born_ns", "ts_ns", "evidence"),
    Kind.REAP: ("pid", "born_ns", "tid", "ts_ns", "runtime_ns", "utime_ns", "stime_ns"),
    Kind.FAULTS: ("pid", "born_ns", "ts_ns", "cow_copies"),
}
"""Columns that a window looks at, of the kinds that lives are taken out of."""


class Group(NamedTuple):
    """Lives below one parent that are alike. `exec`: comm, cgroup, uid and the row of an exec; None: they had none."""

    parent: Key
    comm: str | None
    cgroup: str | None
    uid: int
    exec: tuple[int, str | None, str | None, int] | None


class Sums(NamedTuple):
    """Of one group and one second. `spans` by bit length of the life time; `statuses` as a Tally has them."""

    group: Group
    second: int
    forks: int
    fork_ns: int
    timed: int
    execs: int
    exits: int
    copies: int
    cpu_ns: int
    spans: dict[int, int]
    statuses: dict[int, int]


class Brief:
    """What `find` has found. `seconds[at]`: (births, execs, ends, zombies less releases, copies) of those lives."""

    def __init__(
        self, parts: Mapping[int, Part], rows: Mapping[int, Any], births: Any, base: int, *, reaps: bool
    ) -> None:
        self._parts = parts
        self._reaps = reaps
        self._grouped: tuple[list[Group], Any] | None = None
        self._rows = rows  # kind: for each row the birth that it belongs to, as a number below; -1: none of ours
        self._births = births  # rows of FORK that are ours, in order
        self._base = base  # the first second

    @property
    def count(self) -> int:
        """Lives."""
        return len(self._births)

    def others(self) -> dict[int, Part]:
        """Rows of all other lives, and of these kinds the columns that are looked at."""
        import numpy as np

        result = dict(self._parts)
        for kind, of in self._rows.items():
            part = self._parts[kind]
            left = of < 0
            if left.all():
                continue
            if not left.any():
                del result[kind]
                continue
            picked: Part = {}
            keep = left.tobytes()
            for name in USED[kind]:
                column = part.get(name)
                if column is None:
                    continue
                if isinstance(column, list):
                    picked[name] = list(compress(column, keep))
                else:
                    picked[name] = np.frombuffer(column, np.int64)[left].tolist()
            result[kind] = picked
        return result

    def left(self, values: Sequence[int]) -> list[int]:
        """Of `values`, one for each row of EXEC, those of the rows that are left."""
        of = self._rows.get(Kind.EXEC)
        return [*values] if of is None else list(compress(values, (of < 0).tobytes()))

    def _seconds(self, kind: int) -> tuple[Any, Any]:
        """(births that these rows belong to, seconds counted from the first)."""
        import numpy as np

        of = self._rows.get(kind)
        if of is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        ours = of >= 0
        return of[ours], np.frombuffer(self._parts[kind]["ts_ns"], np.int64)[ours] // _NS - self._base

    def by_second(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """(second, births, execs, ends, zombies less releases of zombies, copies) of the seconds that have any."""
        import numpy as np

        at = {kind: self._seconds(kind) for kind in USED}
        n = max((int(seconds.max()) + 1 for _, seconds in at.values() if len(seconds)), default=0)
        counts = {kind: np.bincount(seconds, minlength=n) for kind, (_, seconds) in at.items()}
        zombies = np.zeros(n, np.int64)
        if self._reaps and len(at[Kind.ZOMBIE][0]):
            was = self._have(Kind.ZOMBIE)
            released, seconds = at[Kind.REAP]
            zombies = counts[Kind.ZOMBIE] - np.bincount(seconds[was[released]], minlength=n)
        copies = np.zeros(n, np.int64)
        if len(at[Kind.FAULTS][0]):
            np.add.at(copies, at[Kind.FAULTS][1], self._ours(Kind.FAULTS, "cow_copies"))
        table = [counts[kind] for kind in (Kind.FORK, Kind.EXEC, Kind.EXIT)] + [zombies, copies]
        for second, row in enumerate(zip(*(column.tolist() for column in table), strict=True)):
            if any(row):
                yield (second + self._base, *row)

    def _have(self, kind: int) -> Any:
        """Which of the births have a row of that kind."""
        import numpy as np

        have = np.zeros(self.count, bool)
        have[self._seconds(kind)[0]] = True
        return have

    def _ours(self, kind: int, name: str, missing: int = NULL) -> Any:
        import numpy as np

        of = self._rows[kind]
        column = self._parts[kind].get(name)
        if column is None:
            return np.full(int((of >= 0).sum()), missing, np.int64)
        return np.frombuffer(column, np.int64)[of >= 0]

    def _groups(self, numbers: Sequence[int]) -> tuple[list[Group], Any]:
        """Groups, and for each birth the number of its group. `numbers`: of the command of each exec."""
        import numpy as np

        if self._grouped is not None:
            return self._grouped
        fork = self._parts[Kind.FORK]
        births = self._births.tolist()
        n = len(fork["pid"])
        none = [None] * n
        nothing = [NULL] * n
        above = fork["creator_pid"], fork["creator_born_ns"]
        comms, cgroups, uids = fork.get("comm") or none, fork.get("cgroup") or none, fork.get("uid") or nothing
        execs: list[Any] = [None] * len(births)
        of = self._rows.get(Kind.EXEC)
        if of is not None:
            part = self._parts[Kind.EXEC]
            m = len(numbers)
            words = (part.get(name) or [None] * m for name in ("comm", "cgroup", "exe"))
            columns = zip(numbers, *words, part.get("uid") or [NULL] * m, of.tolist(), strict=True)
            for number, comm, cgroup, exe, uid, birth in columns:
                if birth >= 0:
                    if comm is None and exe:
                        comm = exe.rpartition("/")[2][:15]
                    execs[birth] = (number, comm, cgroup, uid)
        known: dict[Any, int] = {}
        number_of = known.setdefault
        ids = [
            number_of((above[0][i], above[1][i], comms[i], cgroups[i], uids[i], became), len(known))
            for i, became in zip(births, execs, strict=True)
        ]
        groups = [Group((pid, born), comm, cgroup, uid, became) for pid, born, comm, cgroup, uid, became in known]
        self._grouped = groups, np.array(ids, np.int64)
        return self._grouped

    def resting(self, numbers: Sequence[int]) -> Iterator[tuple[Group, int, bool, list[Key]]]:
        """(group, second of birth, whether they are zombies, who) of those that were not let go of yet."""
        import numpy as np

        left = np.flatnonzero(~self._have(Kind.REAP)) if self._reaps else self._births[:0]
        if not len(left):
            return
        groups, group_of = self._groups(numbers)
        seconds = self._seconds(Kind.FORK)[1][left]
        span = int(seconds.max()) + 1
        codes = (group_of[left] * span + seconds) * 2 + self._have(Kind.ZOMBIE)[left]
        order = np.argsort(codes, kind="stable")
        edges = np.flatnonzero(np.diff(codes[order])) + 1
        rows = self._births[left[order]]
        pids, borns = (array_of(self._parts[Kind.FORK][name])[rows].tolist() for name in ("pid", "born_ns"))
        keys = list(zip(pids, borns, strict=True))
        for start, end in pairwise((0, *edges.tolist(), len(keys))):
            place, zombie = divmod(int(codes[order[start]]), 2)
            group, second = divmod(place, span)
            yield groups[group], second + self._base, bool(zombie), keys[start:end]

    def sums(self, numbers: Sequence[int]) -> Iterator[Sums]:
        """By group and second, what is not nothing. `numbers`: for each row of EXEC, that of its command."""
        import numpy as np

        groups, group_of = self._groups(numbers)
        at = {kind: self._seconds(kind) for kind in USED}
        span = max((int(seconds.max()) + 1 for _, seconds in at.values() if len(seconds)), default=1)
        size = len(groups) * span
        places = {kind: group_of[births] * span + seconds for kind, (births, seconds) in at.items()}

        def summed(kind: int, values: Any) -> list[int]:
            total = np.zeros(size, np.int64)
            np.add.at(total, places[kind], values)
            found: list[int] = total.tolist()
            return found

        nothing = [0] * size
        forks, execs, exits = (
            np.bincount(places[kind], minlength=size).tolist() for kind in (Kind.FORK, Kind.EXEC, Kind.EXIT)
        )
        fork_ns = timed = copies = cpu = nothing
        took = self._ours(Kind.FORK, "fork_ns")
        if (took != NULL).any():
            fork_ns = summed(Kind.FORK, np.where(took == NULL, 0, took))
            timed = summed(Kind.FORK, took != NULL)
        if len(places[Kind.FAULTS]):
            copies = summed(Kind.FAULTS, self._ours(Kind.FAULTS, "cow_copies"))
        if len(places[Kind.REAP]):
            cpu = summed(Kind.REAP, self._used())
        spans = self._histograms(places[Kind.EXIT], self._bits(), size)
        statuses = self._histograms(places[Kind.EXIT], self._statuses(), size)
        for place, row in enumerate(zip(forks, fork_ns, timed, execs, exits, copies, cpu, strict=True)):
            if any(row):
                group, second = divmod(place, span)
                histograms = spans.get(place, {}), statuses.get(place, {})
                yield Sums._make((groups[group], second + self._base, *row, *histograms))

    def _used(self) -> Any:
        """CPU time of each release."""
        import numpy as np

        runtime, utime, stime = (self._ours(Kind.REAP, name) for name in ("runtime_ns", "utime_ns", "stime_ns"))
        ticks = np.where((utime == NULL) | (stime == NULL), 0, utime + stime)
        return np.where(runtime == NULL, ticks, runtime)

    def _bits(self) -> Any:
        import numpy as np

        lasted = self._ours(Kind.EXIT, "ts_ns") - self._ours(Kind.EXIT, "born_ns")
        return np.frexp(lasted.astype(float))[1].astype(np.int64)

    def _statuses(self) -> Any:
        """NULL where neither is known."""
        import numpy as np

        code, signal = self._ours(Kind.EXIT, "exit_code"), self._ours(Kind.EXIT, "signal")
        return np.where(code != NULL, code, np.where(signal != NULL, -signal, NULL))

    @staticmethod
    def _histograms(places: Any, values: Any, size: int) -> dict[int, dict[int, int]]:
        """place: {value: how many}; NULL is no value."""
        import numpy as np

        known = values != NULL
        places, values = places[known], values[known]
        if not len(values):
            return {}
        least = int(values.min())
        width = int(values.max()) - least + 1
        kinds, counts = np.unique(places * width + (values - least), return_counts=True)
        found: dict[int, dict[int, int]] = {}
        for kind, n in zip(kinds.tolist(), counts.tolist(), strict=True):
            place, value = divmod(kind, width)
            found.setdefault(place, {})[value + least] = n
        return found


def array_of(column: Any) -> Any:
    """A column of integers as a numpy array, not copied."""
    import numpy as np

    return np.frombuffer(column, np.int64)
