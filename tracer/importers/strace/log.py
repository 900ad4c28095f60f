"""strace's output, from 4.5 to 7.x, with whatever options: one or more logs, or a family of -ff files.

What a trace from a log can see, and what it can not, is said once here (`meta`): times are the tracer's, faults and
copies are not in a log, and a log of few calls shows few things. Reading stays in line_reader.py and below.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Final

from tracer.errors import BadDataError
from tracer.importers.log_source import BLOCK, LogSource, Progress
from tracer.importers.strace import family, lexer
from tracer.importers.strace.clock import NAMES, Clock
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.line_attribution import Skipped
from tracer.importers.strace.line_reader import LineReader
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta

NAME: Final = "strace-log"
_FACTS: Final = (
    Fact.THREADS,
    Fact.FLAGS,
    Fact.SYSCALL,
    Fact.ARGV,
    Fact.EXEC_FAILED,
    Fact.FORK_FAILED,
    Fact.STATUS,
    Fact.KILLER,
    Fact.REAPS,
)
# Lines that only strace writes. A result alone proves nothing: other programs print `f(x) = 1` too.
_SURE: Final = re.compile(
    rb"(?:execve|brk|mmap2?|openat?|read|write|close|clone3?|fork|vfork|wait4|waitid|exit_group|exit|futex|rt_sig\w+|"
    rb"poll|select|ppoll|epoll_\w+|ioctl|stat|fstat|lstat|newfstatat|statx|access|arch_prctl|mprotect|munmap|pause|"
    rb"nanosleep|clock_nanosleep|restart_syscall|kill|recv\w*|send\w*|connect|accept4?|syscall_\w+|SYS_\d+)\("
)
_STATUS_LINE: Final = re.compile(
    rb"\+\+\+ (?:exited with \d+|killed by SIG|superseded by)|--- SIG\w+ [{(]|--- stopped by SIG"
)
_SNIFFED: Final = 4000
_LONG: Final = 2 * BLOCK  # a longer block is one long line, or ends in one
_BULK: Final = 1 << 20  # logs shorter than this are read before numpy is even there


class Look:
    """What the first lines of a log say of it."""

    def __init__(self, head: bytes) -> None:
        self.lines = self.calls = self.pids = self.bare = 0
        self.clock = lexer.TIME_NONE
        self.times = b"ru_utime=" in head
        self.rusage = b"ru_minflt=" in head
        seen: set[int | None] = set()
        ended = went_on = noticed = False  # an end of a task that bears no pid, and another's call behind it
        for raw in head.split(b"\n", _SNIFFED)[:_SNIFFED]:
            raw = lexer.SGR.sub(b"", raw.replace(b"\0", b"")) if b"\x1b" in raw or b"\0" in raw else raw
            raw = raw.lstrip(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            self.lines += 1
            prefix = lexer.prefix(raw.lstrip(b"> ") if raw[:1] == b">" else raw)
            body = raw[prefix.end :]
            sure = _STATUS_LINE.match(body) or lexer.RESUMED.match(body) or lexer.notice(raw)
            if not sure and lexer.CALL.match(body):
                sure = _SURE.match(body) if lexer.complete(body) or prefix.pid is not None else None
            if not sure:
                continue
            self.calls += 1
            self.pids += prefix.pid is not None
            self.bare += prefix.pid is not None and not prefix.bracketed
            seen.add(prefix.pid)
            noticed = noticed or lexer.notice(raw) is not None
            ended = ended or body.startswith(b"+++ ")
            went_on = went_on or (ended and lexer.CALL.match(body) is not None and not body.startswith(b"execve"))
            if not self.clock and prefix.clock:
                self.clock = prefix.clock
        self.follows = len(seen) > 1
        self.anonymous = went_on and not self.pids and not noticed
        self.numbered = 2 * self.bare > self.calls
        self.closed = self.bare == self.calls > 0  # all lines of strace bear a pid: another line is none of a task

    @property
    def score(self) -> float:
        """From 0, no log of strace's, to 1."""
        return 0.0 if not self.calls else max(0.05, min(1.0, 2 * self.calls / self.lines))


@lru_cache(4)
def look(head: bytes) -> Look:
    """The same look for the same head: one is enough to know it, to refuse it, and to read on."""
    return Look(head)


def score(head: bytes) -> float:
    """How sure it is that a file which begins with `head` is strace's."""
    return look(head).score


def meta(look: Look, *, relative_family: bool = False) -> Meta:
    """The facts and the notes for a log that looks like `look`."""
    clock = NAMES[lexer.TIME_NONE if relative_family else look.clock]
    facts = {str(f) for f in _FACTS}
    notes = [
        "From an strace log: pages copied, page-table copy time and memory sizes are not in it.",
        "A process that strace did not follow shows only its birth; a signal's sender is known if the log has it.",
    ]
    if clock == "none":
        notes.append("The log has no times: order is known, durations are not; born_ns is a running number.")
    else:
        facts.add(str(Fact.ZOMBIES))
        notes.append("Times are those of the tracer, which slows the program down.")
    if clock == "wall":
        notes.append("The log has times of day without a date: times count from the midnight before its first line.")
    if clock == "relative":
        notes.append("The log has steps from line to line only: times count from its first line.")
    if look.anonymous:
        notes.append(
            "Lines of several tasks stand in it without their pids, so whose they are is a guess: import the files of"
            " -ff themselves, or what strace-log-merge makes of them."
        )
    if look.rusage:
        facts |= {str(Fact.FAULTS), str(Fact.MAX_RSS)}
        notes.append("Faults and peak memory are known where a wait asked for them.")
    if look.times:
        facts.add(str(Fact.CPU))
        notes.append("CPU time is known where a wait asked for it.")
    return Meta(
        source=NAME,
        facts=frozenset(facts),
        wall_offset_ns=0 if clock == "epoch" else None,
        options={"clock": clock},
        notes=tuple(notes),
    )


class StraceImport(Iterator[Batch]):
    """Batches of a log. `skipped` and `notes` are complete when the last one was taken."""

    def __init__(self, sources: list[LogSource], *, progress: Progress | None = None) -> None:
        self.skipped = Skipped()
        self.rows = Rows()
        self.notes: list[str] = []
        self._sources = sources
        self._progress = progress
        self._total = sum(s.size or 0 for s in sources) if all(s.size for s in sources) else None
        self._done = 0
        self._steps = 0
        first = look(sources[0].head)
        members: dict[str, list[LogSource]] = {}
        plain: list[LogSource] = []
        for source in sources:
            pid = family.pid_of(source.path)
            if pid is not None and not look(source.head).pids:
                members.setdefault(family.stem_of(source.path), []).append(source)
            else:
                plain.append(source)
        self.relative_family = bool(members) and first.clock == lexer.TIME_RELATIVE
        self.meta = meta(first, relative_family=self.relative_family and not plain)
        self._numbered, self._closed = first.numbered, first.closed
        self._follows = first.follows or any(len(files) > 1 for files in members.values())
        self._batches = self._run(plain, members)

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """Close the files, for who does not read to the end."""
        self._batches.close()
        for source in self._sources:
            source.close()

    def _run(self, plain: list[LogSource], families: dict[str, list[LogSource]]) -> Generator[Batch, None, None]:
        if plain:
            stream = self._stream()
            for source in plain:
                stream.name = source.name
                stream.line = 0
                yield from self._plain(stream, source)
            yield from self._end(stream)
        for sources in families.values():
            paths = [source.path for source in sources]
            for source in sources:
                source.close()
            yield from self._family(paths)
        self.rows.finish()
        self.rows.cut()
        yield from self._take()
        if self._progress is not None and self._total is not None:
            self._progress(self._total, self._total)

    def _stream(self) -> LineReader:
        stream = LineReader(self.rows, self.skipped)
        stream.machine.follows = self._follows
        stream.numbered, stream.closed = self._numbered, self._closed
        return stream

    def _plain(self, stream: LineReader, source: LogSource) -> Iterator[Batch]:
        bulk = None
        if self.meta.options["clock"] != "relative" and len(source.head) >= _BULK:
            from tracer.importers.strace.block_reader import BlockReader

            bulk = BlockReader(stream)
        for block in source.whole():
            ended = block[-1:] == b"\n"
            if bulk is not None and ended and len(block) <= _LONG:
                bulk.feed(block)
            else:
                found = block.split(b"\n")
                block = b""  # with lines of megabytes each copy counts
                last = found.pop()
                found.reverse()
                while found:
                    stream.feed(found.pop())
                if not ended:
                    stream.feed(last, ended=False)
                if bulk is not None:
                    bulk.read_by_line()
            yield from self._take()
            if self._progress is not None:
                self._progress(self._done + source.position, self._total)
        self._done += source.size or 0
        if source.damaged is not None:
            self._damage(source.damaged)

    def _family(self, paths: list[str]) -> Iterator[Batch]:
        members = [family.Member(path, family.pid_of(path) or 0) for path in paths]
        stream = self._stream()
        stream.timed = not self.relative_family
        stream.machine.one_file_each = True

        def done(member: family.Member) -> None:
            stream.pause(member.pid)
            self._done += member.size
            if member.damaged is not None:
                self._damage(member.damaged)
            if self._progress is not None:
                self._progress(self._done, self._total)

        ordered = family.in_order(members, done)
        stream.names = {member.pid: member.path for member in members}
        stream.clocks = {member.pid: Clock(member.offset) for member in members}
        for pid, raw, ended in ordered:
            stream.feed_of(pid, raw, ended=ended)
            if self.rows.out:
                yield from self._take()
        yield from self._end(stream)

    def _take(self) -> Iterator[Batch]:
        out = self.rows.out
        if out:
            self.rows.out = []
            yield from out

    def _damage(self, why: str) -> None:
        self.notes.append(why)
        self.rows.lost(None, 1, why)

    def _end(self, stream: LineReader) -> Iterator[Batch]:
        stream.close()
        yield from self._take()
        clocks = [stream.clock, *stream.clocks.values()]
        steps = sum(clock.steps_back for clock in clocks)
        if steps:
            self.notes.append(f"The clock was set back {steps} times: durations across that are too short.")
        if any(clock.mixed for clock in clocks):
            self.notes.append("The log changes its sort of times: events after that have none.")
        if self.rows.unknown_pids:
            self.notes.append("The log does not say the pid of its first process: it is null.")


def open_log(sources: list[LogSource], *, progress: Progress | None = None) -> tuple[Meta, StraceImport]:
    """Logs of strace. Raises BadDataError if there is no line of strace's in any of them."""
    if not any(look(source.head).calls for source in sources):
        raise BadDataError(f"{sources[0].name} is no log of strace", "write one with strace -f -ttt -o FILE PROGRAM")
    run = StraceImport(sources, progress=progress)
    return run.meta, run
