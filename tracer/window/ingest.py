"""Batches into a window: ends, releases, failures and losses, second by second and life by life.

Births and execs are coming.py's; reading is window.py's. Written for speed, as coming.py is: in a storm most lives are
in one batch from beginning to end, and are taken as columns (brief.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tracer.host.fork_errors import failure_words
from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind, Part
from tracer.recording.thin import earliest, latest
from tracer.window.births import Coming, cell_of
from tracer.window.lineage import ENDED, GONE, LIVING, Cell, Key, Life, Resting, Tally
from tracer.window.short_lived import MANY, find

_NS: Final = 10**9
_TOUCHING: Final = frozenset(
    {Kind.FORK, Kind.EXISTING, Kind.EXEC, Kind.RENAME, Kind.FAULTS, Kind.FORK_FAILED, Kind.EXIT, Kind.ZOMBIE}
)
_IDENTITIES: Final = (("pid", "born_ns"), ("creator_pid", "creator_born_ns"), ("ppid", "parent_born_ns"))


class Feeding(Coming):
    """The part of a Window that takes batches."""

    def feed(self, batch: Batch) -> None:
        """Take a batch. Within one, births come first, then execs, then ends: a process has each but once."""
        parts = batch.parts
        if self._now < 0:
            self.advance(earliest(batch))
        self.advance(latest(batch))
        brief, numbers = None, None
        if Kind.FORK in parts and len(parts[Kind.FORK]["pid"]) >= MANY and not self._suspects:
            brief = find(parts, self.lives, least_ns=(self._now - self.seconds) * _NS, reaps=self._reaps)
        if brief is not None:
            # All commands in their turn, whichever way they go: what the namer learns depends on it.
            everyone = self._numbers(parts[Kind.EXEC]) if Kind.EXEC in parts else []
            parts, numbers = brief.others(), brief.left(everyone)
        if self.lives.resting:
            self._wake(parts)
        if Kind.EXISTING in parts:
            part = parts[Kind.EXISTING]
            self._births(part, born=False)
            for i, argv in enumerate(part.get("argv", ())):
                if argv:
                    self.tell((part["pid"][i], part["born_ns"][i]), argv)
        if Kind.FORK in parts:
            self._births(parts[Kind.FORK], born=True)
        if brief is not None:
            self._brief(brief, everyone)
        if Kind.EXEC in parts:
            self._execs(parts[Kind.EXEC], numbers)
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

    def forget(self, key: Key) -> None:
        """It is known, from elsewhere, that this one lives no more."""
        life = self.lives.known(key)
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

    def _wake(self, parts: Mapping[int, Part]) -> None:
        """Those that rest, and that something in this batch is about that is not their release."""
        resting = self.lives.resting
        for kind in _TOUCHING & parts.keys():
            part = parts[kind]
            for pid, born in _IDENTITIES:
                if part.get(pid) is not None and part.get(born) is not None:
                    touched = resting.keys() & zip(part[pid], part[born], strict=True)
                    if touched:
                        self.lives.recall(touched)

    def _faults(self, part: Part) -> None:
        n = len(part["pid"])
        for key, ts, copies in zip(
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("ts_ns") or [NULL] * n,
            part.get("cow_copies") or [NULL] * n,
            strict=True,
        ):
            if copies > 0:
                at, second = self._second(ts)
                second.copies += copies
                life = self.lives.of.get(key)
                if life is not None:
                    self.lives.tally(cell_of(life), at).copies += copies

    def _failures(self, part: Part) -> None:
        n = len(part["pid"])
        none: Sequence[None] = [None] * n
        for key, ts, error, cause, uid in zip(
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("ts_ns") or [NULL] * n,
            part.get("error") or none,
            part.get("cause") or none,
            part.get("uid") or [NULL] * n,
            strict=True,
        ):
            at, second = self._second(ts)
            second.failures += 1
            life = self.lives.of.get(key) or self._stranger(key)
            if uid not in (NULL, life.uid):  # it has become another user since, and their limit is what counts
                self.lives.resort(life, (*life.alike[:3], uid))
            # The caller's own: its children would have been like it.
            tally = self.lives.tally(self.lives.cell(life, life.alike), at)
            tally.failures += 1
            word = failure_words(error, cause)
            if word in tally.causes or len(tally.causes) < 32:
                tally.causes[word] = tally.causes.get(word, 0) + 1

    def _exits(self, part: Part) -> None:
        of, lives, reaps = self.lives.of, self.lives, self._reaps
        n = len(part["pid"])
        nothing = [NULL] * n
        last: Any = part.get("last") or [1] * n
        at, until = -1, 0
        second: Any = None
        cell: Cell | None = None
        tally: Any = None
        for key, ts, end, code, signal in zip(
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("ts_ns") or nothing,
            last,
            part.get("exit_code") or nothing,
            part.get("signal") or nothing,
            strict=True,
        ):
            if end != 1:
                continue
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
                cell = None
            second.exits += 1
            life = of.get(key)
            if life is None or life.state:  # LIVING is 0
                continue
            life.state = ENDED
            lives.alive -= 1
            second.born -= 1
            if life.cell is not cell:
                cell = life.cell
                tally = cell.seconds.get(at) or lives.tally(cell, at)  # type: ignore[union-attr, arg-type]
            cell.alive -= 1  # type: ignore[union-attr]
            tally.exits += 1
            if ts != NULL and life.second >= 0:
                bits = (ts - key[1]).bit_length()
                spans = tally.spans
                spans[bits] = spans.get(bits, 0) + 1
            if code == NULL:
                if signal == NULL:
                    code = None
                else:
                    code = -signal
            if code is not None:
                statuses = tally.statuses
                statuses[code] = statuses.get(code, 0) + 1
            if not reaps:
                lives.release(life)
                cell = None

    def _zombies(self, part: Part) -> None:
        n = len(part["pid"])
        of, found = self.lives.of, 0
        at, until = -1, 0
        second: Any = None
        for key, ts, evidence in zip(
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("ts_ns") or [NULL] * n,
            part.get("evidence") or [None] * n,
            strict=True,
        ):
            life = of.get(key)
            if life is None or life.zombie:
                continue
            if evidence == "snapshot" and life.state == LIVING:  # its end was before
                life.state = ENDED
                self.lives.alive -= 1
                life.cell.alive -= 1  # type: ignore[union-attr]
                self._second(ts)[1].born -= 1
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
            life.zombie = True
            life.cell.zombies += 1  # type: ignore[union-attr]
            second.zombies += 1
            found += 1
        self.lives.zombies += found

    def _releases(self, part: Part) -> None:
        lives = self.lives
        of, resting = lives.of, lives.resting
        suspects = self._suspects
        lately: Resting | None = None
        n = len(part["pid"])
        nothing = [NULL] * n
        at, until = -1, 0
        second: Any = None
        cell: Cell | None = None
        tally: Tally | None = None
        for key, tid, ts, runtime, utime, stime in zip(
            zip(part["pid"], part["born_ns"], strict=True),
            part.get("tid") or part["pid"],
            part.get("ts_ns") or nothing,
            part.get("runtime_ns") or nothing,
            part.get("utime_ns") or nothing,
            part.get("stime_ns") or nothing,
            strict=True,
        ):
            if tid != key[0]:
                continue
            rest = resting.pop(key, None)
            life: Any = of.get(key)
            if life is None and rest is None:
                continue
            if not at * _NS <= ts < until:
                at, second = self._second(ts)
                until = (at + 1) * _NS
                cell = lately = None
            used = runtime if runtime != NULL else utime + stime if NULL not in (utime, stime) else 0
            if rest is not None:
                if rest is not lately:
                    lately, cell = rest, lives.cell(rest.parent, rest.alike)
                    tally = cell.seconds.get(at)
                rest.parent.resting -= 1
                if rest.zombie:
                    lives.zombies -= 1
                    cell.zombies -= 1  # type: ignore[union-attr]
                    second.zombies -= 1
                if used:
                    tally = tally or lives.tally(cell, at)  # type: ignore[arg-type]
                    tally.cpu_ns += used
                continue
            lately = None
            if used and life.second >= 0:  # of one that was there before, most was used before
                if life.cell is not cell or tally is None:
                    cell = life.cell
                    tally = cell.seconds.get(at) or lives.tally(cell, at)
                tally.cpu_ns += used
            parent = life.parent
            if life.state != ENDED or life.kids or life.cells or life.resting or suspects or parent.state == GONE:
                self._gone(life, ts)
                cell = None
                continue
            # Nearly all: nobody below it, and its parent is there.
            if life.zombie:
                life.zombie = False
                lives.zombies -= 1
                life.cell.zombies -= 1
                second.zombies -= 1
            life.state = GONE
            del of[key]
            parent.kids.discard(life)

    def _gone(self, life: Life, ts: int = NULL) -> None:
        if life.zombie:
            self._second(ts)[1].zombies -= 1
        if life.state == LIVING:  # its end was lost
            self.lives.alive -= 1
            self._second(ts)[1].born -= 1
            cell_of(life).alive -= 1
        if self._suspects:
            self._suspects.pop(life.pid, None)
        if life.state != GONE:
            self.lives.release(life)

    def _losses(self, part: Part) -> None:
        for ts, count in zip(part["ts_ns"], part["count"], strict=True):
            self._second(ts)[1].lost += max(count, 0)
        self.lives.recall()
        self._suspects = {life.pid: life for life in self.lives.of.values()}

    def _prove(self, part: Part) -> None:
        """A new process has this pid, so nobody else has."""
        for key in zip(part["pid"], part["born_ns"], strict=True):
            suspect = self._suspects.get(key[0])
            if suspect is not None and suspect.key != key:
                self._gone(suspect)
