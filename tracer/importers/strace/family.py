"""The files of `strace -ff`: one for each task, NAME.PID, to one order of lines.

With times, by time: the midnight that a family runs over is where the day's clock face is empty longest. Without, by
what must come first: a file begins at the fork that names it, and a line that tells of a task's end waits for that
task's file to end. Knows nothing of meaning beyond that.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from tracer.importers.log_source import LogSource
from tracer.importers.strace import lexer

_SUFFIX: Final = re.compile(r"\.(\d{1,10})(?:\.(?:gz|xz|zst|bz2))?$")
_FORK: Final = re.compile(rb"\b(?:v?fork|clone[23]?|syscall_(?:435|0x1b3))\b")
_WAIT: Final = re.compile(rb"\bwait(?:4|pid)\b")
_SI_PID: Final = re.compile(rb"\bsi_pid=(\d{1,10})")
_SUPERSEDED: Final = re.compile(rb"superseded by execve in pid (\d{1,10})")
_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_SMALL: Final = 65536  # files up to this are read at once: a family may have more files than a process descriptors


def pid_of(path: str) -> int | None:
    """The task whose file this is, by its name."""
    m = _SUFFIX.search(path)
    return int(m[1]) if m else None


def stem_of(path: str) -> str:
    """The family's name: that of the file without its pid."""
    return _SUFFIX.sub("", path)


class Member:
    """One task's file. `stamp` is that of its first line, in ns of its clock."""

    def __init__(self, path: str, pid: int) -> None:
        self.path, self.pid = path, pid
        source = LogSource(path)
        self.size = source.size or 0
        self.head = source.head
        self.damaged: str | None = None
        source.close()
        self.clock, self.stamp = lexer.TIME_NONE, 0
        for raw in self.head.split(b"\n", 16)[:16]:
            prefix = lexer.prefix(raw)
            if prefix.clock:
                self.clock, self.stamp = prefix.clock, prefix.ns
                break
        self.whole = len(self.head) <= _SMALL and self.size <= _SMALL
        if not self.whole:
            self.head = b""
        self.offset = 0  # days, in ns

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """Its lines, and whether each has its newline."""
        if self.whole:
            found = self.head.split(b"\n")
            for raw in found[:-1]:
                yield raw, True
            if found[-1]:
                yield found[-1], False
            return
        source = LogSource(self.path)
        for block, ended in source.lines():
            for raw in block[:-1]:
                yield raw, True
            yield block[-1], ended
        self.damaged = source.damaged


Step = Callable[[Member], None]


def in_order(members: list[Member], done: Step) -> Iterator[tuple[int, bytes, bool]]:
    """(pid, line, has newline) of a family; `done` is called for each member that is read to its end."""
    timed = [m for m in members if m.clock]
    clocks = {m.clock for m in timed}
    if clocks == {lexer.TIME_OF_DAY}:
        start = day_start([m.stamp for m in timed])
        for m in timed:
            m.offset = _DAY if m.stamp < start else 0
    # Stamps of whole seconds are no order.
    if clocks in ({lexer.TIME_EPOCH}, {lexer.TIME_OF_DAY}) and any(m.stamp % _SECOND for m in timed):
        return _by_time(members, done)
    return _Edges(members).ordered(done)


# -- by time ----------------------------------------------------------------------------------------------------


def day_start(stamps: list[int]) -> int:
    """Where on the clock face a day of these stamps begins: after the longest empty stretch."""
    faces = sorted({s % _DAY for s in stamps})
    if len(faces) < 2:
        return 0
    gaps = [(b - a, b) for a, b in pairwise(faces)]
    gaps.append((faces[0] + _DAY - faces[-1], 0))
    return max(gaps)[1]


def _by_time(members: list[Member], done: Step) -> Iterator[tuple[int, bytes, bool]]:
    # A file without a single time is one that was cut short: it stands where it may, at the beginning.
    waiting = sorted(members, key=lambda m: (m.stamp + m.offset, m.pid), reverse=True)
    heap: list[tuple[int, int, int, Iterator[tuple[int, bytes, bool]], bytes, bool, Member]] = []
    number = 0
    while heap or waiting:
        while waiting and (not heap or waiting[-1].stamp + waiting[-1].offset <= heap[0][0]):
            member = waiting.pop()
            rows = _stamped(member)
            first = next(rows, None)
            if first is None:
                done(member)
                continue
            number += 1
            heapq.heappush(heap, (first[0], number, member.pid, rows, first[1], first[2], member))
        if not heap:
            continue
        _, own, pid, rows, raw, ended, member = heap[0]
        yield pid, raw, ended
        following = next(rows, None)
        if following is None:
            heapq.heappop(heap)
            done(member)
        else:
            heapq.heapreplace(heap, (following[0], own, pid, rows, following[1], following[2], member))


def _stamped(member: Member) -> Iterator[tuple[int, bytes, bool]]:
    now = member.stamp + member.offset
    base = member.offset
    for raw, ended in member.lines():
        prefix = lexer.prefix(raw)
        if prefix.clock == member.clock:
            ns = prefix.ns + base
            if ns < now - _DAY // 2 and member.clock == lexer.TIME_OF_DAY:
                base += _DAY
                ns += _DAY
            now = max(now, ns)  # a clock that is set back must not reorder a task's own lines
        yield now, raw, ended


# -- by edges ---------------------------------------------------------------------------------------------------


def _names(raw: bytes) -> int | None:
    """The child that a fork line names."""
    if b"= " not in raw or not _FORK.search(raw):
        return None
    got = lexer.result(raw)
    return None if got is None else got.real_pid or got.value


def _tells_end_of(raw: bytes) -> int | None:
    """The task whose end, or whose exec, a line tells of."""
    m = None
    if b"--- SIGCHLD " in raw or b"waitid" in raw:
        m = _SI_PID.search(raw)
    elif b"+++ super" in raw:
        m = _SUPERSEDED.search(raw)
    elif b"wait" in raw and _WAIT.search(raw):
        got = lexer.result(raw)
        return None if got is None else got.real_pid or got.value
    return int(m[1]) if m else None


class _Reading:
    """A member that is being read; `until`: stop when it has named that child."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.rows = member.lines()
        self.held: tuple[bytes, bool] | None = None
        self.until: int | None = None
        self.born: list[int] = []


class _Edges:
    """Reads a family so that births stand before lives, and lives before what tells of their end."""

    def __init__(self, members: list[Member]) -> None:
        self.by_pid = {m.pid: m for m in members}
        self.namer: dict[int, int] = {}  # child -> whose file names it
        self.to_come: Counter[int] = Counter()  # child -> how many forks still name it; more than one: a pid used again
        for m in members:
            for raw, _ in m.lines():
                child = _names(raw)
                if child is not None and child in self.by_pid:
                    self.namer.setdefault(child, m.pid)
                    self.to_come[child] += 1
        self.todo = {m.pid: _Reading(m) for m in sorted(members, key=lambda m: (m.pid in self.namer, m.pid))}
        # Nobody names them: roots, and children whose number was that of an inner pid namespace.
        self.unnamed = sorted(pid for pid in self.by_pid if pid not in self.namer)
        self.inner: dict[tuple[int, int], int] = {}

    def ordered(self, done: Step) -> Iterator[tuple[int, bytes, bool]]:
        """All lines of all members."""
        while self.todo:
            # A list, no recursion: chains of a thousand generations are real.
            stack: list[_Reading | int] = [next(iter(self.todo))]
            while stack:
                one = stack[-1]
                if isinstance(one, int):
                    stack.pop()  # not begun yet: somebody may have called for it meanwhile
                    if one in self.todo:
                        stack.append(self._take(one))
                    continue
                row = one.held or next(one.rows, None)
                one.held = None
                if row is None:
                    done(one.member)
                    stack.pop()
                    stack += reversed(one.born)
                    continue
                whose = self._number(one, _tells_end_of(row[0]))
                if whose is not None and whose in self.todo and not self._earlier_life(whose):
                    one.held = row  # first all of that task, then this line
                    stack.append(self._take(whose))
                    while (namer := self.namer.get(whose)) is not None and namer in self.todo:
                        maker = self._take(namer)  # and before that its birth, and its maker's
                        maker.until = whose
                        stack.append(maker)
                        whose = namer
                    continue
                yield one.member.pid, *row
                child = self._number(one, _names(row[0]), birth=True)
                if child is None:
                    continue
                self.namer.pop(child, None)
                self.to_come[child] -= 1
                if child == one.until:
                    one.until = None
                    stack.pop()
                    self.todo[one.member.pid] = one
                elif self.to_come[child] <= 0:
                    one.born.append(child)

    def _earlier_life(self, pid: int) -> bool:
        """Whether forks will name `pid` again: its file is that of its last life, for strace has overwritten it."""
        return pid not in self.namer and self.to_come[pid] > 0

    def _take(self, pid: int) -> _Reading:
        return self.todo.pop(pid)

    def _number(self, one: _Reading, number: int | None, *, birth: bool = False) -> int | None:
        """The member that `one` calls `number`: an inner namespace counts on its own, in order of birth."""
        pid = one.member.pid
        if number is None or number in self.by_pid:
            return number
        if birth and 0 < number < pid:
            following = next((p for p in self.unnamed if p > pid), None)
            if following is not None:
                self.unnamed.remove(following)
                self.inner[pid, number] = following
        return self.inner.get((pid, number))
