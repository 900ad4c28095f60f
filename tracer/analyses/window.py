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

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tracer.analyses.busiest import Group, busiest
from tracer.analyses.lives import ENDED, GONE, LIVING, Cell, Key, Life, Lives
from tracer.analyses.naming import Namer
from tracer.events import NULL, Batch, Fact, Kind, Meta, Part

SERIES: Final = ("forks", "execs", "exits", "failures", "alive", "zombies", "lost", "copies")
_NS: Final = 10**9
_RELEASE_S: Final = 30  # an ended process whose release was never told is let go of then


class _Second:
    """What happened in one second. `born` and `zombies` are what came less what went."""

    __slots__ = ("born", "copies", "execs", "exits", "failures", "forks", "lost", "zombies")

    def __init__(self) -> None:
        self.forks = self.execs = self.exits = self.failures = self.lost = self.copies = self.born = self.zombies = 0


class Window:
    """The last `seconds` of a stream. `meta` may be set later, or again when the source comes to see more."""

    def __init__(self, seconds: int = 60, meta: Meta | None = None) -> None:
        self.seconds = seconds
        self.now_ns = 0
        """Time as the events, or `advance`, have last told it; 0 before the first."""
        self.lives = Lives()
        self.namer = Namer()
        self._first = -1  # the first second that was seen, from its middle most likely
        self._now = -1
        self._seconds: dict[int, _Second] = {}
        self._ended: deque[tuple[int, Life]] = deque()
        self._suspects: dict[int, Life] = {}  # by pid: after a loss, their end may be what was lost
        self._failures_from: int | None = None
        self.meta = meta or Meta(source="")

    @property
    def meta(self) -> Meta:
        """Of the stream; its facts decide what is null."""
        return self._meta

    @meta.setter
    def meta(self, meta: Meta) -> None:
        self._meta = meta
        facts = meta.facts
        self._reaps = Fact.REAPS in facts
        sees = Fact.FORK_FAILED in facts
        self._failures_from = (self._now if self._failures_from is None else self._failures_from) if sees else None
        self._blind = {
            name
            for name, fact in (("failures", Fact.FORK_FAILED), ("zombies", Fact.ZOMBIES), ("copies", Fact.COW))
            if fact not in facts
        }

    # -- feeding ----------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> None:
        """Take a batch. Within one, births come first, then execs, then ends: a process has each but once."""
        parts = batch.parts
        stamps = [part["ts_ns"] for part in parts.values() if part.get("ts_ns")]
        if stamps:
            if self._now < 0:
                self.advance(min((ts for column in stamps for ts in column if ts != NULL), default=NULL))
            self.advance(max(max(column) for column in stamps))
        if Kind.EXISTING in parts:
            part = parts[Kind.EXISTING]
            self._births(part, born=False)
            for i, argv in enumerate(part.get("argv", ())):
                if argv:
                    self.tell((part["pid"][i], part["born_ns"][i]), argv)
        if Kind.FORK in parts:
            self._births(parts[Kind.FORK], born=True)
        if Kind.EXEC in parts:
            self._execs(parts[Kind.EXEC])
        if Kind.RENAME in parts:
            self._renames(parts[Kind.RENAME])
        if Kind.FAULTS in parts:
            self._faults(parts[Kind.FAULTS])
        if Kind.FORK_FAILED in parts:
            self._failures(parts[Kind.FORK_FAILED])
        if Kind.EXIT in parts:
            self._exits(parts[Kind.EXIT])
        if Kind.ZOMBIE in parts:
            self._zombies(parts[Kind.ZOMBIE])
        if Kind.REAP in parts:
            self._releases(parts[Kind.REAP])
        if self._suspects and Kind.FORK in parts:  # only now: within a batch, births are taken before ends
            self._prove(parts[Kind.FORK])
        if Kind.LOST in parts:
            self._losses(parts[Kind.LOST])

    def advance(self, now_ns: int) -> None:
        """It is now at least `now_ns`: closes seconds in which nothing came, forgets those that are too old."""
        if now_ns < 0 or (now_ns <= self.now_ns and self._now >= 0):
            return
        self.now_ns = now_ns
        now = now_ns // _NS
        before = self._now
        if now == before:
            return
        self._now = now
        if before < 0:
            self._first = now
        if self._failures_from is not None and self._failures_from < 0:
            self._failures_from = now
        old = now - self.seconds - 1
        for second in [s for s in self._seconds if s < old]:
            del self._seconds[second]
        for second in [s for s in self.lives.touched if s < old]:
            self.lives.forget(second)
        ended = self._ended
        while ended and ended[0][0] < now - _RELEASE_S:
            life = ended.popleft()[1]
            if life.state == ENDED and not life.zombie:
                self.lives.release(life)

    def forget(self, key: Key) -> None:
        """It is known, from elsewhere, that this one lives no more."""
        life = self.lives.of.get(key)
        if life is not None:
            self._gone(life)

    def doubtful(self) -> Iterator[Key]:
        """After a loss: whose end may be what was lost. Ask /proc; `forget` who is not there, `trust` the others."""
        return (life.key for life in list(self._suspects.values()) if life.state == LIVING)

    def trust(self, key: Key) -> None:
        """It is known, from elsewhere, that this one lives."""
        life = self._suspects.get(key[0])
        if life is not None and life.key == key:
            del self._suspects[key[0]]

    def _second(self, ts: int) -> tuple[int, _Second]:
        at = self._now if ts == NULL else ts // _NS
        if at <= self._now - self.seconds - 1:
            at = self._now - self.seconds
        found = self._seconds.get(at)
        if found is None:
            found = self._seconds[at] = _Second()
        return at, found

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
        until = 0
        at, second = -1, None
        for key, tid, ts, above_pid, above_born, how, comm, cgroup, uid, fork_ns in zip(
            zip(pids, borns, strict=True), part.get("tid") or pids, part.get("ts_ns") or nothing,
            above[0] or nothing, above[1] or nothing, part.get("how") or none, part.get("comm") or none,
            part.get("cgroup") or none, part.get("uid") or nothing, fork_times, strict=True,
        ):  # fmt: skip
            if tid != key[0]:
                continue
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
            known = of.get(key)
            if how == "root":
                above_pid = NULL
            if above_pid == NULL or (above_pid, above_born) == key:
                parent = outside
            else:
                parent = of.get((above_pid, above_born)) or self._stranger((above_pid, above_born))
            if known is not None:
                self._known(known, parent, comm, cgroup, uid)
                continue
            life = Life(key, parent, (parent.alike[0] if born else -1, comm, cgroup, uid), at if born else -1)
            lives.join(life)
            assert second is not None
            second.born += 1
            if not born or how == "root":
                continue
            second.forks += 1
            assert life.cell is not None
            tally = life.cell.seconds.get(at) or lives.tally(life.cell, at)
            tally.forks += 1
            depth = life.depth
            if depth > tally.deepest:  # noqa: PLR1730 - max() is a call for each birth
                tally.deepest = depth
            if fork_ns != NULL:
                tally.fork_ns += fork_ns
                tally.timed += 1

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

    def _execs(self, part: Part) -> None:
        lives, of = self.lives, self.lives.of
        n = len(part["pid"])
        none: Sequence[None] = [None] * n
        for key, ts, argv, exe, comm, cgroup, uid in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("ts_ns") or [NULL] * n, part.get("argv") or none,
            part.get("exe") or none, part.get("comm") or none, part.get("cgroup") or none,
            part.get("uid") or [NULL] * n, strict=True,
        ):  # fmt: skip
            at, second = self._second(ts)
            second.execs += 1
            life = of.get(key) or self._stranger(key)
            life.execs += 1
            words = life.argv = argv or ((exe,) if exe else None)
            _, old_comm, old_cgroup, old_uid = life.alike
            if comm is None:
                comm = exe.rpartition("/")[2][:15] if exe else old_comm
            alike = (
                -1 if words is None else self.namer.number(words), comm,
                old_cgroup if cgroup is None else cgroup, old_uid if uid == NULL else uid,
            )  # fmt: skip
            lives.resort(life, alike)
            if life.kids:
                self._hand_down(life, ts)
            lives.tally(_cell(life), at).execs += 1

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

    def _faults(self, part: Part) -> None:
        n = len(part["pid"])
        for key, ts, copies in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("ts_ns") or [NULL] * n,
            part.get("cow_copies") or [NULL] * n, strict=True,
        ):  # fmt: skip
            if copies > 0:
                at, second = self._second(ts)
                second.copies += copies
                life = self.lives.of.get(key)
                if life is not None:
                    self.lives.tally(_cell(life), at).copies += copies

    def _failures(self, part: Part) -> None:
        n = len(part["pid"])
        none: Sequence[None] = [None] * n
        for key, ts, error, cause, uid in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("ts_ns") or [NULL] * n,
            part.get("error") or none, part.get("cause") or none, part.get("uid") or [NULL] * n, strict=True,
        ):  # fmt: skip
            at, second = self._second(ts)
            second.failures += 1
            life = self.lives.of.get(key) or self._stranger(key)
            if uid not in (NULL, life.uid):  # it has become another user since, and their limit is what counts
                self.lives.resort(life, (*life.alike[:3], uid))
            # The caller's own: its children would have been like it.
            tally = self.lives.tally(self.lives.cell(life, life.alike), at)
            tally.failures += 1
            word = f"{error or '?'}: {cause}" if cause else error or "?"
            if word in tally.causes or len(tally.causes) < 32:
                tally.causes[word] = tally.causes.get(word, 0) + 1

    def _exits(self, part: Part) -> None:
        of, lives, reaps, ended = self.lives.of, self.lives, self._reaps, self._ended
        n = len(part["pid"])
        nothing = [NULL] * n
        last: Any = part.get("last") or [1] * n
        at, until = -1, 0
        second: Any = None
        for key, ts, end, code, signal in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("ts_ns") or nothing, last,
            part.get("exit_code") or nothing, part.get("signal") or nothing, strict=True,
        ):  # fmt: skip
            if end != 1:
                continue
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
            life = of.get(key)
            second.exits += 1
            if life is None or life.state != LIVING:
                continue
            life.state = ENDED
            lives.alive -= 1
            second.born -= 1
            cell = life.cell
            cell.alive -= 1  # type: ignore[union-attr]
            tally = cell.seconds.get(at) or lives.tally(cell, at)  # type: ignore[union-attr, arg-type]
            tally.exits += 1
            if ts != NULL and life.second >= 0:
                bits = (ts - key[1]).bit_length()
                tally.spans[bits] = tally.spans.get(bits, 0) + 1
            status = code if code != NULL else -signal if signal != NULL else None
            if status is not None:
                tally.statuses[status] = tally.statuses.get(status, 0) + 1
            if reaps:
                ended.append((at, life))
            else:
                lives.release(life)

    def _zombies(self, part: Part) -> None:
        n = len(part["pid"])
        for key, ts in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("ts_ns") or [NULL] * n, strict=True
        ):
            life = self.lives.of.get(key)
            if life is not None and not life.zombie:
                life.zombie = True
                self.lives.zombies += 1
                _cell(life).zombies += 1
                self._second(ts)[1].zombies += 1

    def _releases(self, part: Part) -> None:
        of = self.lives.of
        n = len(part["pid"])
        nothing = [NULL] * n
        for key, tid, ts, runtime, utime, stime in zip(
            zip(part["pid"], part["born_ns"], strict=True), part.get("tid") or part["pid"],
            part.get("ts_ns") or nothing, part.get("runtime_ns") or nothing, part.get("utime_ns") or nothing,
            part.get("stime_ns") or nothing, strict=True,
        ):  # fmt: skip
            if tid != key[0]:
                continue
            life = of.get(key)
            if life is None:
                continue
            used = runtime if runtime != NULL else utime + stime if NULL not in (utime, stime) else 0
            if used and life.second >= 0:  # of one that was there before, most was used before
                cell = life.cell
                at = self._now if ts == NULL else ts // _NS
                tally = cell.seconds.get(at) or self.lives.tally(cell, at)  # type: ignore[union-attr, arg-type]
                tally.cpu_ns += used
            self._gone(life, ts)

    def _gone(self, life: Life, ts: int = NULL) -> None:
        if life.zombie:
            self._second(ts)[1].zombies -= 1
        if life.state == LIVING:  # its end was lost
            self.lives.alive -= 1
            self._second(ts)[1].born -= 1
            _cell(life).alive -= 1
        if self._suspects:
            self._suspects.pop(life.pid, None)
        if life.state != GONE:
            self.lives.release(life)

    def _losses(self, part: Part) -> None:
        for ts, count in zip(part["ts_ns"], part["count"], strict=True):
            self._second(ts)[1].lost += max(count, 0)
        self._suspects = {life.pid: life for life in self.lives.of.values()}

    def _prove(self, part: Part) -> None:
        """A new process has this pid, so nobody else has."""
        for key in zip(part["pid"], part["born_ns"], strict=True):
            suspect = self._suspects.get(key[0])
            if suspect is not None and suspect.key != key:
                self._gone(suspect)

    # -- reading ----------------------------------------------------------------------------------------------

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
                        "pid": life.pid, "tid": life.pid, "born_ns": life.born_ns, "how": "existing",
                        "ppid": None if life.parent is self.lives.outside else life.parent.pid,
                        "parent_born_ns": None if life.parent is self.lives.outside else life.parent.born_ns,
                        "comm": life.comm, "cgroup": life.cgroup, "uid": None if life.uid == NULL else life.uid,
                        "exe": life.argv[0] if life.argv else None, "argv": life.argv or None,
                    },
                )
                for life in self.living()
            ]
        )  # fmt: skip

    def life(self, key: Key) -> Life | None:
        """One that lives, or waits to be released."""
        return self.lives.of.get(key)

    def roots(self) -> Iterable[Life]:
        """Those above whom nobody is known."""
        return tuple(self.lives.outside.kids or ())

    def children(self, key: Key) -> Iterable[Life]:
        """Its children, oldest first; the dead among them are those that others still hang on."""
        life = self.lives.of.get(key)
        kids = life.kids if life is not None else None
        return sorted(kids or (), key=lambda kid: (kid.born_ns, kid.pid))

    def tell(self, key: Key, argv: Sequence[str]) -> None:
        """The command of one that was there before, as /proc has it."""
        life = self.lives.of.get(key)
        if life is not None and life.command == -1 and argv:
            life.argv = argv
            self.lives.resort(life, (self.namer.number(argv), *life.alike[1:]))


def _cell(life: Life) -> Cell:
    assert life.cell is not None
    return life.cell
