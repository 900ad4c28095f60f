"""The last seconds of a stream: rates by second, and who they belong to. What the live screen and `storm` look at.

    window = Window(60, meta)
    window.feed(batch) ...; window.advance(now_ns)
    window.series("forks")            per closed second, oldest first; None where the source can not see it
    window.groups("ancestor")         who is behind it, busiest first
    window.living(), roots(), children(key)

Seconds are those of the events' own clock. A second is closed when time has gone past it; an event that comes late is
still counted in its second. Memory is bounded by what lives and by what happened in the window, however long it runs.
Fed by columns: no object is made for an event, one in plain slots for a process. Knows no tree and no source; a file
does as well as a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind
from tracer.window.attribution import Group, busiest
from tracer.window.ingest import Feeding
from tracer.window.lineage import Key, Life

SERIES: Final = ("forks", "execs", "exits", "failures", "alive", "zombies", "lost", "copies")


class Window(Feeding):
    """The last `seconds` of a stream. `meta` may be set later, or again when the source comes to see more."""

    def __init__(self, seconds: int = 60, meta: Meta | None = None) -> None:
        super().__init__(seconds, meta)

    def series(self, name: str) -> list[int | None]:
        """One value per closed second, oldest first, at most `seconds` of them. Raises KeyError for another name.

        forks execs exits failures lost copies: in that second; alive zombies: at its end.
        """
        if name not in SERIES:
            raise KeyError(name)
        if self._now < 0:
            return []
        seconds = self.span
        if name in self._blind:
            return [None] * len(seconds)
        if name in ("alive", "zombies"):
            level = self.lives.alive if name == "alive" else self.lives.zombies
            field = "born" if name == "alive" else "zombies"
            values: list[int | None] = []
            for at in reversed(seconds):
                later = self._seconds.get(at + 1)
                level -= getattr(later, field) if later is not None else 0
                values.append(level)
            return values[::-1]
        found = [self._seconds.get(at) for at in seconds]
        values = [0 if second is None else getattr(second, name) for second in found]
        if name == "failures" and self._failures_from is not None:
            values = [v if at >= self._failures_from else None for at, v in zip(seconds, values, strict=True)]
        return values

    @property
    def span(self) -> range:
        """Numbers of the closed seconds that are held: ts_ns // 10**9. The first is seen from its middle, mostly."""
        return range(max(self._first, self._now - self.seconds), self._now) if self._now >= 0 else range(0)

    def attempts(self, second: int) -> int:
        """Births in that second, those that failed included."""
        found = self._seconds.get(second)
        return found.forks + found.failures if found is not None else 0

    def lost(self, second: int) -> int:
        """Records that were lost in that second."""
        found = self._seconds.get(second)
        return found.lost if found is not None else 0

    def groups(self, by: str, seconds: int = 10) -> list[Group]:
        """Who is behind the last `seconds`, the running one included, busiest first. by: busiest.BY."""
        return busiest(self.lives, self.namer, by, range(self._now - seconds, self._now + 1), self._meta.facts)

    def living(self) -> Iterator[Life]:
        """What lives now, in order of birth as it was told."""
        return self.lives.living()

    def standing(self) -> Batch:
        """All that live now, as EXISTING rows: what a trace that begins now must know of them."""
        return Batch.from_rows(
            [
                (
                    Kind.EXISTING,
                    {
                        "pid": life.pid,
                        "tid": life.pid,
                        "born_ns": life.born_ns,
                        "how": "existing",
                        "ppid": None if life.parent is self.lives.outside else life.parent.pid,
                        "parent_born_ns": None if life.parent is self.lives.outside else life.parent.born_ns,
                        "comm": life.comm,
                        "cgroup": life.cgroup,
                        "uid": None if life.uid == NULL else life.uid,
                        "exe": life.argv[0] if life.argv else None,
                        "argv": life.argv or None,
                    },
                )
                for life in self.living()
            ]
        )

    def life(self, key: Key) -> Life | None:
        """One that lives, or waits to be released."""
        return self.lives.known(key)

    def roots(self) -> Iterable[Life]:
        """Those above whom nobody is known."""
        return tuple(self.lives.outside.kids or ())

    def children(self, key: Key) -> Iterable[Life]:
        """Its children, oldest first; the dead among them are those that others still hang on."""
        life = self.lives.of.get(key)
        kids = life.kids if life is not None else None
        return sorted(kids or (), key=lambda kid: (kid.born_ns, kid.pid))
