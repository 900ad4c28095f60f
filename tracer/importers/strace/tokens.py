"""A block of regular lines to tokens, all lines at once: what numpy can find in them without a loop.

Regular is what `strace -f` writes with or without -t, -tt, -ttt, -T: a time behind one of these prefixes

    28737 1700000000.000001 body          -o
    28737<make> 1700000000.000001 body    -o, -Y
    [pid 28737] 1700000000.000001 body    to a terminal or a pipe

Calls that do not matter are sieved out by their first bytes, whole or in two parts. Of the other lines the kinds below
are read here; any other line is a RAW token, to be read by itself (line_reader.py).

A line that is sieved out still matters where its task has no line yet, or has ended since: then its pid has a new
life. `Known` remembers which tasks are past that; the first line of any other is an OTHER token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tracer.importers.strace import lexer
from tracer.importers.strace.digits import Digits
from tracer.importers.strace.line_attribution import MOST_PIDS

RAW, EXITED, EXIT_GROUP, SIGCHLD, WAIT_HEAD, WAIT, WAIT_TAIL = range(7)
FORK_HEAD, FORK, FORK_TAIL, EXEC_HEAD, EXEC, EXEC_TAIL, OTHER = range(7, 14)
_NOTHING: Final = -1
_SECOND: Final = -2  # it says what its first part has said

_SIGCHLD: Final = b"--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid="
_TAIL_STATUS: Final = b"<... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == "
_OURS: Final = (
    b"wait",
    b"exit",
    b"_exi",
    b"fork",
    b"vfor",
    b"clon",
    b"exec",
    b"sysc",
    b"kill",
    b"tkil",
    b"tgki",
    b"prct",
    b"SYS_",
    b"osf_",
    b"+++ ",
    b"--- ",
    b"<...",
    b"????",
)
_SPREAD: Final = 0x5F2F1B0F  # a factor whose product with each of these words has other upper six bits
GAP: Final = 12 * 3_600_000_000_000  # steps of half a day are for the clock to judge
_PAD: Final = 96  # bytes behind the block that may be looked at
_PIECE: Final = 1 << 20  # sieved at once: it should stay in the cache
BARE, COMM, BRACKET = range(3)


class Block(NamedTuple):
    """Tokens, in order: one for each line that matters, a numpy array for each fact."""

    np: Any
    kind: Any
    pid: Any
    ns: Any  # the stamp as it stands; 0 where there is none
    value: Any  # EXITED, EXIT_GROUP: code; FORK, WAIT: the child; SIGCHLD: the child
    more: Any  # SIGCHLD, WAIT: its exit code, -1 if not seen here
    duration: Any  # ns, -1 if not shown
    start: Any  # where the line begins in the block
    body: Any
    end: Any
    line: Any  # the line's number in the block, from 0
    sieved: Sieved
    layout: Layout
    ordered: bool  # stamps never go back, in any line
    first: int  # stamp of the first regular line
    last: int  # the latest stamp
    lines: int  # in the block

    def rows(self) -> Iterator[Row]:
        """The tokens one by one."""
        columns = (
            self.kind,
            self.pid,
            self.ns,
            self.value,
            self.more,
            self.duration,
            self.start,
            self.body,
            self.end,
            self.line,
        )
        return zip(*(column.tolist() for column in columns), strict=True)


Row = tuple[int, int, int, int, int, int, int, int, int, int]
"""kind, pid, ns, value, more, duration, start, body, end, line"""


class Sieved(NamedTuple):
    """Lines that make no token, in order, a numpy array for each fact."""

    pid: Any
    ns: Any
    start: Any
    body: Any
    end: Any
    line: Any


class Layout(NamedTuple):
    """The prefix of a block's lines."""

    form: int  # BARE, COMM, BRACKET
    clock: int
    width: int  # of the stamp and its blank
    template: bytes  # the stamp of the first line


class Known:
    """What earlier lines have said of each pid, for all blocks of a log."""

    def __init__(self, np: Any) -> None:
        self.np = np
        # Large arrays of zeros cost memory only where they are written: where there are pids.
        self._settled = np.zeros(MOST_PIDS, np.uint8)  # its lines that are sieved out change nothing
        self._last = np.zeros(MOST_PIDS, np.int32)  # of a block, the last line sieved out, counted from 1
        # A single number is read from a memoryview in a third of the time.
        self._settled_one, self._last_one = memoryview(self._settled), memoryview(self._last)
        self._names: Any = None  # COMM: a hash of the name it has
        self._sieved: Sieved | None = None

    def block(self, sieved: Sieved) -> None:
        """The lines of the next block that were sieved out."""
        if self._sieved is not None:
            self._last[self._sieved.pid] = 0
        self._sieved = sieved
        self._last[sieved.pid] = self.np.arange(1, len(sieved.pid) + 1, dtype=self.np.int32)

    def news(self, sieved: Sieved) -> Any:
        """Which of these lines are the first of a pid that is not settled."""
        np = self.np
        at = np.flatnonzero(self._settled[sieved.pid] == 0)
        if len(at):
            _, first = np.unique(sieved.pid[at], return_index=True)
            at = at[np.sort(first)]
        return at

    def unsettled(self, pids: Any) -> Any:
        """Which of these have no line yet, or have ended."""
        return self._settled[pids] == 0

    def settle(self, pids: Any) -> None:
        """These have lines, and so tasks."""
        self._settled[pids] = 1

    def next(self, pid: int, start: int) -> int:
        """The first line of `pid` behind `start` in this block that was sieved out; -1, and no longer settled."""
        sieved, np = self._sieved, self.np
        if sieved is None or not 0 < pid < MOST_PIDS:
            return -1
        last = self._last_one[pid]
        if not last or sieved.start[last - 1] <= start:
            self._settled_one[pid] = 0
            return -1
        at = np.flatnonzero(sieved.pid[:last] == pid)
        return int(at[np.searchsorted(sieved.start[at], start, "right")])

    def last(self, pids: list[int], start: int | None = None) -> list[int]:
        """Of each pid the last line of this block that was sieved out, before `start` if that is given; -1 if none."""
        sieved, np = self._sieved, self.np
        if sieved is None:
            return [-1] * len(pids)
        found: list[int] = (self._last[np.array(pids, np.int64)] - 1).tolist()
        if start is not None:
            for i, last in enumerate(found):
                if last >= 0 and sieved.start[last] >= start:
                    at = np.flatnonzero(sieved.pid[: last + 1] == pids[i])
                    at = at[: np.searchsorted(sieved.start[at], start)]
                    found[i] = int(at[-1]) if len(at) else -1
        return found

    def unsettle(self) -> None:
        """Lines were read one by one: the next line of each task is looked at."""
        self._settled[:] = 0

    def renamed(self, pid: Any, name: Any) -> Any:
        """Which lines show another name than the line of the same task before; `name` 0: it does not count."""
        np = self.np
        if self._names is None:
            self._names = np.zeros(MOST_PIDS, np.uint32)
        order = np.argsort(pid, kind="stable")
        pids, names = pid[order], name[order]
        before = np.empty_like(names)
        before[1:] = names[:-1]
        first = np.empty(len(pids), bool)
        first[:1] = True
        first[1:] = pids[1:] != pids[:-1]
        before[first] = self._names[pids[first]]
        self._names[pid] = name
        out = np.empty(len(pid), bool)
        out[order] = before != names
        return out


def word(raw: bytes) -> int:
    """Up to eight bytes as they stand in a word of memory."""
    return int.from_bytes(raw, "little")


class Tokenizer:
    """Makes tokens of a log's blocks. `np` is numpy, which is imported only where a log is long enough to need it."""

    def __init__(self) -> None:
        import numpy

        self.np: Any = numpy
        self.known = Known(numpy)
        # glibc gives blocks of this size back to the kernel when they are freed, and takes page faults for the next
        # one: a fifth of the time. Once it has seen a larger one freed it keeps such (malloc.c, dynamic threshold).
        bytes(24 << 20)

    def tokens(self, block: bytes, *, halves: bool = True) -> Block | None:
        """Tokens of `block`, which ends in a newline; None if it has no regular lines.

        `halves` False: no call has returned in a second part so far, and the log may forget to say whose the second
        parts are (strace -z), so calls in two parts are RAW tokens even if they do not matter.
        """
        layout = _layout(block)
        if layout is None:
            return None
        return _Lines(self.np, block, layout, self.known, halves=halves).read()


_LOOKED_AT: Final = 64  # lines of a block, for one with a pid


def _layout(block: bytes) -> Layout | None:
    """The shape of the first line that begins with a pid, if it is regular and has nothing else before its body."""
    at = 0
    for _ in range(_LOOKED_AT):
        stop = block.find(b"\n", at)
        if stop < 0:
            return None
        line = block[at : min(stop, at + 256)]
        prefix = lexer.prefix(line)
        if prefix.pid is not None and not line.startswith(b" "):
            # strace's notices have no time, and a line of a task that is glued to one has
            break
        at = stop + 1
    else:
        return None
    if line[-1:] == b"\r" or b"\x1b" in line[:16] or prefix.delta_ns is not None:
        return None
    number = b"%d" % prefix.pid
    if prefix.bracketed:
        if prefix.comm is not None or not line.startswith(b"[pid %5d] " % prefix.pid):
            return None
        form, begin = BRACKET, len(number.rjust(5)) + 7
    elif prefix.comm is not None:
        form, begin = COMM, len(number) + len(prefix.comm) + 3
        if line[:begin] != number + b"<" + prefix.comm + b"> ":
            return None
    else:
        form, begin = BARE, max(len(number), 5) + 1
        if line[:begin] != number.ljust(5) + b" ":
            return None
    stamp = line[begin : prefix.end]
    if prefix.end < begin:
        return None
    if prefix.clock == lexer.TIME_NONE:
        return Layout(form, prefix.clock, 0, b"") if not stamp else None
    if stamp.count(b" ") != 1 or stamp[-1:] != b" " or len(stamp) > 24:
        return None
    return Layout(form, prefix.clock, len(stamp), stamp)


class _Lines:
    """The lines of one block, a column for each fact. Methods of kinds take lines as indices into the columns."""

    def __init__(self, np: Any, block: bytes, layout: Layout, known: Known, *, halves: bool) -> None:
        self.np = np
        self.block = block
        self.layout = layout
        self.known = known
        self.halves = halves
        self.size = len(block)
        self.data = np.frombuffer(block + b"\n" * _PAD, np.uint8)
        self.digits = Digits(np, self.data)
        self.words = self.digits.words
        self.fields = _fields(layout)
        self.lines = self.before = 0  # in the pieces that are read: how many, and where the next one begins
        self.first: int | None = None  # stamp
        self.last = 0
        self.ordered = True
        self.ours = np.zeros(64, np.uint32)
        for ours in _OURS:
            self.ours[(word(ours) * _SPREAD & 0xFFFFFFFF) >> 26] = word(ours)

    def read(self) -> Block:
        """All kinds, and of each its numbers."""
        np, words = self.np, self.words
        kept, sieved = zip(*(self._piece(low) for low in range(0, self.size, _PIECE)), strict=True)
        self.start, self.end, self.body, self.pid, self.key, self.good, self.line, self.ns, self.news = (
            np.concatenate(columns) for columns in zip(*kept, strict=True)
        )
        self.kind = np.zeros(len(self.start), np.int64)
        self.value = np.zeros(len(self.start), np.int64)
        self.more = np.full(len(self.start), -1, np.int64)
        self.open = words[self.end - 8] == word(b"hed ...>")
        self._durations()
        self.six = self.key & 0xFFFFFFFFFFFF
        self._exits()
        self._sigchld()
        self._waits()
        self._forks()
        self._execs()
        return self._told([np.concatenate(columns) for columns in zip(*sieved, strict=True)])

    def _piece(self, low: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The lines that end in a piece of the block, those that are kept and those that are sieved out.

        Kept: start, end, body, pid, first word, whether regular, number, stamp. What is not as it should be is kept.
        """
        np, data, words = self.np, self.data, self.words
        end = np.flatnonzero(data[low : min(low + _PIECE, self.size)] == 10)
        end += low
        start = np.empty_like(end)
        start[:1] = self.before
        start[1:] = end[:-1] + 1
        pid, at, good, name = self._prefixes(start)
        body = at + self.layout.width
        good &= (body + 4 <= end) & (pid > 0) & (pid < MOST_PIDS)
        body[~good] = 0
        at[~good] = 0
        good &= (data[body - 1] == 32) & (data[body] != 32)
        ns = self._stamps(at, good)
        body[~good] = ns[~good] = pid[~good] = 0
        self._in_order(ns[good])
        key = words[body]
        first = key & np.uint64(0xFF)
        four = key.astype(np.uint32)
        gone = good & (first >= 97) & (first <= 122)
        gone &= self.ours[(four * _SPREAD) >> np.uint32(26)] != four
        open_ends = words[np.maximum(end - 8, 0)] == word(b"hed ...>")
        if self.halves:
            resumed = np.flatnonzero(good & (four == word(b"<...")))
            called = words[body[resumed] + 5].astype(np.uint32)
            gone[resumed] = self.ours[(called * _SPREAD) >> np.uint32(26)] != called
        else:
            gone &= ~open_ends
        self._whole(gone, open_ends, body, end)
        if name is not None:
            # After an exec the name is looked at anew, even if it is the one that stood in the line of the exec.
            name[(four == word(b"exec")) | (key == word(b"<... exe"))] = 0
            news = self.known.renamed(np.where(good, pid, 0), np.where(good, name, 0))
            gone &= ~news
        else:
            news = np.zeros(len(end), bool)
        line = np.arange(self.lines, self.lines + len(end))
        self.lines += len(end)
        if len(end):
            self.before = int(end[-1]) + 1
        stay, go = np.flatnonzero(~gone), np.flatnonzero(gone)
        kept = (start, end, body, pid, key, good, line, ns, news)
        return (
            tuple(column.take(stay) for column in kept),
            tuple(column.take(go) for column in (pid, ns, start, body, end, line)),
        )

    def _prefixes(self, start: Any) -> tuple[Any, Any, Any, Any]:
        """Of each line the pid, where the stamp begins, whether it is regular so far, and COMM's name as a hash."""
        np, data, words = self.np, self.data, self.words
        if self.layout.form == BRACKET:
            good = words[start] & np.uint64(0xFFFFFFFFFF) == word(b"[pid ")
            close = start + 10
            for _ in range(2):
                close += good & (data[close] != 93)
            good &= (data[close] == 93) & (data[close + 1] == 32)
            pid, digits = self.digits.before(np.where(good, close, 8))
            good &= (digits > 0) & (digits < 8) & (data[close - digits - 1] == 32)
            return pid, close + 2, good, None
        pid, digits = self.digits.at(start)
        if self.layout.form == BARE:
            at = start + np.maximum(digits, 5) + 1
            return pid, at, (digits > 0) & (data[at - 1] == 32), None
        begin = start + digits + 1
        good = (digits > 0) & (data[begin - 1] == 60)
        low, high = words[np.where(good, begin, 0)], words[np.where(good, begin + 8, 0)]
        first, second = _place(np, low, 62), _place(np, high, 62)
        size = np.where(first < 8, first, 8 + second)
        good &= size < 16
        at = begin + size + 2
        good &= data[np.where(good, at - 1, 0)] == 32
        shift = (np.minimum(size, 8) << 3).astype(np.uint64)
        low = np.where(size < 8, low & ((np.uint64(1) << (shift & np.uint64(63))) - np.uint64(1)), low)
        shift = (np.clip(size - 8, 0, 7) << 3).astype(np.uint64)
        high = np.where(size > 8, high & ((np.uint64(1) << shift) - np.uint64(1)), np.uint64(0))
        mixed = low * np.uint64(0x9E3779B97F4A7C15) ^ high * np.uint64(0xC2B2AE3D27D4EB4F)
        return pid, at, good, (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)

    def _stamps(self, at: Any, good: Any) -> Any:
        """Times; a line whose stamp is not like that of the first line is not good."""
        np = self.np
        ns = np.zeros(len(at), np.int64)
        for offset, size, weight in self.fields:
            value, right = self.digits.fixed(at + offset, size)
            good &= right
            if size > 9:
                good &= value <= lexer.LATEST_S
                value = np.minimum(value, lexer.LATEST_S)
            ns += value * weight
        for i, char in enumerate(self.layout.template[:-1]):
            if not 48 <= char <= 57:
                good &= self.data[at + i] == char
        return ns

    def _in_order(self, stamps: Any) -> None:
        if not len(stamps):
            return
        if self.first is None:
            self.first = self.last = int(stamps[0])
        steps = self.np.diff(stamps, prepend=self.last)
        self.ordered = self.ordered and bool(((steps >= 0) & (steps < GAP)).all())
        self.last = max(self.last, int(stamps.max()))

    def _whole(self, gone: Any, open_ends: Any, body: Any, end: Any) -> None:
        """Keep what is to be sieved out, but does not end as a call does: the rest may stand on the next line."""
        np, data, words = self.np, self.data, self.words
        doubt = np.flatnonzero(gone & ~open_ends)
        for width in (10, 13):  # ` <0.000123>`, or in ns
            tail = end[doubt]
            doubt = doubt[
                (data[tail - 1] != 62)
                | (data[tail - width] != 60)
                | (data[tail - width - 1] != 32)
                | (data[tail - width + 2] != 46)
            ]
            if not len(doubt):
                return
        tail = end[doubt]
        value, digits = self.digits.before(tail)
        del value
        sign = tail - digits - 2
        right = (digits > 0) & (digits < 8) & (data[sign] == 61) & (data[sign + 1] == 32)
        right |= words[tail - 8] == word(b"rectory)")
        right |= words[tail - 16] & np.uint64(0xFFFFFFFF) == word(b"= 0x")
        doubt = doubt[~right]
        for i, first, last in zip(doubt.tolist(), body[doubt].tolist(), end[doubt].tolist(), strict=True):
            gone[i] = lexer.complete(self.block[first:last])

    def _firsts(self, lines: Any, sieved: list[Any]) -> Any:
        """Those of `lines` before which no line of the same pid stands in this block."""
        np = self.np
        mine, theirs = (np.flatnonzero(np.isin(pids, self.pid[lines])) for pids in (self.pid, sieved[0]))
        pid = np.concatenate((self.pid[mine], sieved[0][theirs]))
        start = np.concatenate((self.start[mine], sieved[2][theirs]))
        order = np.argsort(start, kind="stable")
        _, first = np.unique(pid[order], return_index=True)
        return lines[np.isin(self.start[lines], start[order[first]])]

    def _told(self, sieved: list[Any]) -> Block:
        np = self.np
        self.kind[(self.kind == _NOTHING) & self.news] = RAW  # it shows another name of its task
        told, silent = np.flatnonzero(self.kind >= 0), np.flatnonzero(self.kind == _NOTHING)
        second = np.flatnonzero((self.kind == _SECOND) & self.known.unsettled(self.pid))
        if len(second):
            second = self._firsts(second, sieved)
            told = np.sort(np.concatenate((told, second)))
            self.kind[second] = RAW
        if len(silent):
            more = (self.pid, self.ns, self.start, self.body, self.end, self.line)
            sieved = [np.concatenate((a, b[silent])) for a, b in zip(sieved, more, strict=True)]
            order = np.argsort(sieved[2], kind="stable")
            sieved = [column[order] for column in sieved]
        out = Sieved(*sieved)
        self.known.block(out)
        news = self.known.news(out)
        self.known.settle(out.pid)
        self.known.settle(self.pid[self.good])
        columns = [
            column.take(told)
            for column in (
                self.kind,
                self.pid,
                self.ns,
                self.value,
                self.more,
                self.duration,
                self.start,
                self.body,
                self.end,
                self.line,
            )
        ]
        if len(news):
            zeros = np.zeros(len(news), np.int64)
            others = (
                zeros + OTHER,
                out.pid[news],
                out.ns[news],
                zeros,
                zeros,
                zeros,
                out.start[news],
                out.body[news],
                out.end[news],
                out.line[news],
            )
            columns = [np.concatenate(pair) for pair in zip(columns, others, strict=True)]
            order = np.argsort(columns[6], kind="stable")
            columns = [column[order] for column in columns]
        kind, pid, ns, value, many, duration, start, body, end, line = columns
        return Block(
            np,
            kind,
            pid,
            ns,
            value,
            many,
            duration,
            start,
            body,
            end,
            line,
            out,
            self.layout,
            self.ordered,
            self.first or 0,
            self.last,
            self.lines,
        )

    def _durations(self) -> None:
        """Where each line ends without its ` <0.000123>`, and that duration."""
        np, data, end = self.np, self.data, self.end
        self.tail = end.copy()
        self.duration = np.full(len(end), -1, np.int64)
        closed = np.flatnonzero((data[end - 1] == 62) & ~self.open)
        for whole, fraction in ((1, 6), (2, 6), (1, 9)):
            width = whole + fraction + 4  # and ` <.>`
            at = closed[(data[end[closed] - width] == 32) & (data[end[closed] - width + 1] == 60)]
            at = at[data[end[at] - fraction - 2] == 46]
            if not len(at):
                continue
            seconds, good = self.digits.fixed(end[at] - width + 2, whole)
            parts, also = self.digits.fixed(end[at] - fraction - 1, fraction)
            right = good & also
            at = at[right]
            self.tail[at] = end[at] - width
            self.duration[at] = seconds[right] * 1_000_000_000 + parts[right] * 10 ** (9 - fraction)
            if len(at) == len(closed):
                break

    # -- kinds

    def _of(self, *starts: bytes) -> Any:
        """The good lines whose body starts with one of these (of eight bytes)."""
        found = self.key == word(starts[0])
        for start in starts[1:]:
            found |= self.key == word(start)
        return self.np.flatnonzero(found & self.good)

    def _starting(self, at: Any, text: bytes) -> Any:
        """Those of the lines `at` whose body starts with `text`."""
        np = self.np
        body = self.body[at]
        good = self.words[body] == word(text[:8])
        for i in (*range(8, len(text) - 8, 8), len(text) - 8):
            good &= self.words[np.minimum(body + i, len(self.words) - 1)] == word(text[i : i + 8])
        return at[good]

    def _last_four(self, at: Any, text: bytes) -> Any:
        return self.words[self.end[at] - 4] & 0xFFFFFFFF == word(text)

    def _exits(self) -> None:
        at = self._of(b"+++ exit")
        code, digits = self.digits.at(self.body[at] + 16)
        right = (digits > 0) & (self.body[at] + 20 + digits == self.end[at]) & self._last_four(at, b" +++")
        right &= (self.words[self.body[at] + 8] == word(b"ed with ")) & (code < 256)
        self._set(at[right], EXITED, code[right])
        at = self._of(b"exit_gro")
        code, digits = self.digits.at(self.body[at] + 11)
        after = self.data[self.body[at] + 11 + digits]
        ended = self.words[self.end[at] - 3] & 0xFFFFFF == word(b"= ?")
        right = (digits > 0) & (code <= 255) & (self.data[self.body[at] + 10] == 40)
        right &= ((after == 41) & ended) | ((after == 32) & self.open[at])
        self._set(at[right], EXIT_GROUP, code[right])
        if self.halves:
            at = self._starting(self._of(b"<... exi"), b"<... exit_group resumed>")  # its first part has said all
            self.kind[at[self.words[self.end[at] - 3] & self.np.uint64(0xFFFFFF) == word(b"= ?")]] = _SECOND

    def _set(self, at: Any, kind: int, value: Any) -> None:
        self.kind[at], self.value[at] = kind, value

    def _sigchld(self) -> None:
        words = self.words
        at = self._starting(self._of(b"--- SIGC"), _SIGCHLD)
        place = self.body[at] + len(_SIGCHLD)
        child, digits = self.digits.at(place)
        place = place + digits
        right = (digits > 0) & (words[place] == word(b", si_uid"))
        _, digits = self.digits.at(place + 9)
        right &= digits > 0
        place = place + 9 + digits
        right &= (words[place] == word(b", si_sta")) & (words[place + 4] == word(b"_status="))
        code, digits = self.digits.at(place + 12)
        right &= (digits > 0) & (code < 256) & self._last_four(at, b" ---")
        self._set(at[right], SIGCHLD, child[right])
        self.more[at[right]] = code[right]

    def _results(self, at: Any) -> tuple[Any, Any, Any]:
        """The number after ` = ` at the end of each line, whether there is one, and where the `=` stands."""
        data = self.data
        value, digits = self.digits.before(self.tail[at])
        sign = self.tail[at] - digits - 2
        right = (digits > 0) & (digits < 8) & (data[sign] == 61) & (data[sign + 1] == 32) & (data[sign - 1] == 32)
        return value, right, sign

    def _waits(self) -> None:
        np, data, words = self.np, self.data, self.words
        whole = self.good & (self.six == word(b"wait4("))
        resumed = self.good & (self.key == word(b"<... wai"))  # waitid returns 0 where a child is in its siginfo
        resumed &= words[np.minimum(self.body + 8, len(words) - 1)] & np.uint64(0xFFFF) == word(b"t4")
        # The second part of a wait says all: where calls are known to come in two parts, the first says nothing.
        self.kind[whole & self.open] = _NOTHING if self.halves and self.layout.form == BARE else WAIT_HEAD
        at = np.flatnonzero((whole | resumed) & ~self.open)
        tail = resumed[at]
        # ECHILD, and a wait to be begun anew; `= 0` of WNOHANG.
        last = words[self.tail[at] - 8]
        nobody = (last == word(b"ocesses)")) | (last == word(b" is set)"))
        child, right, sign = self._results(at)
        nobody |= right & (child == 0)
        self.kind[at[nobody if self.halves else nobody & ~tail]] = _NOTHING
        # With rusage, or with a gap before the `=`, it is looked at one by one.
        right &= (child > 0) & (data[sign - 2] == 41) & (words[sign - 6] & 0xFFFFFFFF == word(b"NULL"))
        self._set(at[right], WAIT, child[right])
        self.kind[at[right & tail]] = WAIT_TAIL
        coded = self._starting(at[right & tail], _TAIL_STATUS)
        place = self.body[coded] + len(_TAIL_STATUS)
        code, digits = self.digits.at(place)
        sure = (digits > 0) & (code < 256) & (data[place + digits] == 125)
        self.more[coded[sure]] = code[sure]

    def _forks(self) -> None:
        np, six = self.np, self.six
        whole = (six == word(b"clone(")) | (six == word(b"vfork(")) | (six == word(b"clone3"))
        whole |= six & 0xFFFFFFFFFF == word(b"fork(")
        whole &= self.good
        resumed = (self.key == word(b"<... clo")) | (self.key == word(b"<... vfo")) | (self.key == word(b"<... for"))
        resumed &= self.good
        self.kind[whole & self.open] = FORK_HEAD
        at = np.flatnonzero((whole | resumed) & ~self.open)
        child, right, _ = self._results(at)
        right &= child > 0
        self._set(at[right], FORK, child[right])
        self.kind[at[right & resumed[at]]] = FORK_TAIL

    def _execs(self) -> None:
        data, tail = self.data, self.tail
        at = self._of(b'execve("')
        self.kind[at] = EXEC
        self.kind[at[self.open[at]]] = EXEC_HEAD
        at = self._of(b"<... exe")
        zero = (data[tail[at] - 1] == 48) & (data[tail[at] - 2] == 32) & (data[tail[at] - 3] == 61) & ~self.open[at]
        failed = data[tail[at] - 1] == 41
        self.kind[self._starting(at[zero], b"<... execve resumed>)")] = EXEC_TAIL
        self.kind[self._starting(at[failed & ~zero], b"<... execve resumed>) = -1 E")] = EXEC_TAIL


def _fields(layout: Layout) -> list[tuple[int, int, int]]:
    """(offset, digits, ns) of each number of a stamp."""
    whole, _, fraction = layout.template.rstrip().partition(b".")
    out = []
    if fraction:
        out.append((len(whole) + 1, len(fraction), 10 ** (9 - len(fraction))))
    if layout.clock == lexer.TIME_OF_DAY:
        out += [(0, 2, 3_600_000_000_000), (3, 2, 60_000_000_000), (6, 2, 1_000_000_000)]
    elif layout.clock == lexer.TIME_EPOCH:
        out.append((0, len(whole), 1_000_000_000))
    return out


def _place(np: Any, words: Any, char: int) -> Any:
    """Where in each word the first byte `char` stands; 8 if nowhere."""
    ones, high = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    other = words ^ (ones * np.uint64(char))
    found = (other - ones) & ~other & high
    lowest = found & (~found + np.uint64(1))
    return np.where(found == 0, 8, (np.frexp(lowest.astype(np.float64))[1] - 1) >> 3)
