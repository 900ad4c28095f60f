"""What a reader of an importer's events sees: each life once, as a record and as one line of text for comparing.

    100 root; /bin/sh [sh -c x]; exit 5
    101 <- 100 vfork=vfork; /bin/true [true]; exit 3; reaped by 100
    201 thread of 200 <- 200 clone3

An order of lives is that of their births. Knows nothing of logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.line_attribution import Skipped
from tracer.importers.strace.line_reader import LineReader
from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind
from tracer.tree.tree import signal_name


@dataclass
class Seen:
    """A process, or a thread (`tgid` is another's)."""

    tid: int | None
    tgid: int | None
    how: str | None = None
    creator: int | None = None
    parent: int | None = None
    syscall: str | None = None
    born: bool = False  # by a fork; else it was there before
    execs: list[tuple[str | None, list[str] | None]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    end: str | None = None
    code: int | None = None
    signal: int | None = None
    killed_by: int | None = None
    reaped_by: int | None = None
    inferred: bool = False

    @property
    def thread(self) -> bool:
        return self.tid != self.tgid

    def line(self) -> str:
        """All of it in one line."""
        if self.thread:
            by = f" <- {self.creator} {self.syscall}" if self.creator else ""
            parts = [f"{self.tid} thread of {self.tgid}{by}"]
        elif not self.born:
            parts = [f"{self.tid} {self.how}"]
        else:
            above = "" if self.parent == self.creator else f" (parent {self.parent})"
            parts = [f"{self.tid} <- {self.creator}{above} {self.syscall}={self.how}"]
        parts[0] += "?" if self.inferred else ""
        parts += [f"{exe} [{' '.join(argv or ())}]" for exe, argv in self.execs]
        parts += self.failed
        if self.end is not None:
            parts.append(self.end)
        if self.killed_by is not None:
            parts.append(f"killed by {self.killed_by}")
        if self.reaped_by is not None:
            parts.append(f"reaped by {self.reaped_by}")
        return "; ".join(parts)


def lives(batches: Iterable[Batch]) -> list[Seen]:
    """Every life that the events tell of."""
    found: dict[tuple[int | None, int | None, int | None], Seen] = {}
    for batch in batches:
        for event in batch.events():
            if event.kind != Kind.LOST:
                _take(event, found)
    return list(found.values())


def _take(event: Event, found: dict[tuple[int | None, int | None, int | None], Seen]) -> None:
    key = (event.pid, event.born_ns, event.tid if event.kind in (Kind.FORK, Kind.EXIT) else event.pid)
    if key not in found:
        assert event.kind in (Kind.FORK, Kind.EXISTING), f"{event} before its birth"
        found[key] = Seen(event.tid, event.pid)
    one = found[key]
    if event.kind == Kind.FORK:
        one.born, one.how, one.syscall, one.inferred = True, event.how, event.syscall, event.evidence == "inferred"
        one.creator, one.parent = event.creator_tid, event.ppid
    elif event.kind == Kind.EXISTING:
        one.how = event.how
    elif event.kind == Kind.EXEC:
        one.execs.append((event.exe, event.argv))
    elif event.kind == Kind.EXEC_FAILED:
        one.failed.append(f"{event.error} {event.exe}")
    elif event.kind == Kind.FORK_FAILED:
        one.failed.append(f"{event.error} {event.syscall}" + (f" {event.cause}" if event.cause else ""))
    elif event.kind == Kind.EXIT and (one.thread or event.last):  # a first thread may end before its process does
        assert one.end is None, f"{event} ends twice"
        one.code, one.signal, one.killed_by = event.exit_code, event.signal, event.killed_by
        one.end = "ended" if one.code is None else f"exit {one.code}"
        if one.signal is not None:
            one.end = str(signal_name(one.signal)) + (" core" if event.core_dumped else "")
    elif event.kind == Kind.REAP:
        assert one.reaped_by is None, f"{event} is reaped twice"
        one.reaped_by = event.reaped_by


def story(batches: Iterable[Batch]) -> list[str]:
    """The lives as lines."""
    return [one.line() for one in lives(batches)]


def lost(batches: Iterable[Batch]) -> list[str | None]:
    """What the events say was lost."""
    return [event.where for batch in batches for event in batch.events() if event.kind == Kind.LOST]


def read(
    text: bytes | str, *, numbered: bool = False, closed: bool = False, follows: bool = False, hold: int = 16384
) -> tuple[list[Batch], Skipped]:
    """One log of strace, line by line, as the importer reads a small one."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    rows, skipped = Rows(hold=hold), Skipped()
    stream = LineReader(rows, skipped)
    stream.numbered, stream.closed, stream.machine.follows = numbered, closed, follows
    found = data.split(b"\n")
    for raw in found[:-1]:
        stream.feed(raw)
    if found[-1]:
        stream.feed(found[-1], ended=False)
    stream.close()
    rows.cut()
    return rows.out, skipped
