"""A block of regular lines to tokens, all lines at once: what numpy can see of them without reading one by one.

Regular is what `strace -f -o` writes with or without -t, -tt, -ttt and -T: `PID TIME body`. Of these lines the kinds
below are read here; any other line is a RAW token, and a call that is not of life and death is none. A block that is
not regular has no tokens: its lines must be read one by one (line_reader.py), with the same result, only slower.

Knows positions and bytes, and nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tracer.importers.strace import lexer
from tracer.importers.strace.digits import Digits

RAW, EXITED, EXIT_GROUP, SIGCHLD, WAIT_HEAD, WAIT, WAIT_TAIL = range(7)
FORK_HEAD, FORK, FORK_TAIL, EXEC_HEAD, EXEC, EXEC_TAIL = range(7, 13)
_NOTHING: Final = -1

_SIGCHLD: Final = b"--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid="
_TAIL_STATUS: Final = b"<... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == "
_OURS: Final = (b"wait", b"exit", b"_exi", b"fork", b"vfor", b"clon", b"exec", b"sysc", b"kill", b"tkil", b"tgki",
                b"prct", b"SYS_", b"osf_", b"+++ ", b"--- ", b"<...", b"????")  # fmt: skip
_SPREAD: Final = 0x5F2F1B0F  # a factor whose product with each of these words has other upper six bits
GAP: Final = 12 * 3_600_000_000_000  # steps of half a day are for the clock to judge
_PAD: Final = 80  # bytes behind the block that may be looked at
_PIECE: Final = 1 << 20  # what is looked at at once to sort out calls of no interest: it should stay in the cache


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
    tail: Any  # where it ends without its duration
    line: Any  # the line's number in the block, from 0
    clock: int
    ordered: bool  # stamps never go back
    first: int  # stamp of the first regular line
    last: int  # the latest stamp
    lines: int  # in the block

    def rows(self, chosen: Any) -> Iterator[Row]:
        """The tokens that `chosen` picks, one by one."""
        columns = (self.kind, self.pid, self.ns, self.value, self.more, self.duration, self.start, self.body, self.end)
        return zip(*(column[chosen].tolist() for column in columns), strict=True)


Row = tuple[int, int, int, int, int, int, int, int, int]
"""kind, pid, ns, value, more, duration, start, body, end"""


def word(raw: bytes) -> int:
    """Up to eight bytes as they stand in a word of memory."""
    return int.from_bytes(raw, "little")


class Tokenizer:
    """Makes tokens of blocks. `np` is numpy, which is imported only where a log is long enough to need it."""

    def __init__(self) -> None:
        import numpy

        self.np: Any = numpy
        # glibc gives blocks of this size back to the kernel when they are freed, and takes page faults for the next
        # one: a fifth of the time. Once it has seen a larger one freed it keeps such (malloc.c, dynamic threshold).
        bytes(24 << 20)

    def tokens(self, block: bytes, *, heads: bool = False) -> Block | None:
        """Tokens of `block`, which ends in a newline; None if its first line is not regular.

        `heads`: the first halves of calls of no interest are RAW tokens, for the log may forget to say whose the
        second halves are.
        """
        layout = _layout(block)
        if layout is None:
            return None
        return _Lines(self.np, block, layout).read(heads=heads)


class _Layout(NamedTuple):
    clock: int
    width: int  # of the stamp and its blank
    template: bytes  # the stamp of the first line


def _layout(block: bytes) -> _Layout | None:
    """The shape of the first line, if it is regular and has nothing else before its body."""
    first = block[: block.find(b"\n")]
    if first[-1:] == b"\r" or b"\x1b" in first[:16]:
        return None
    prefix = lexer.prefix(first)
    if prefix.pid is None or prefix.bracketed or prefix.comm is not None or prefix.delta_ns is not None:
        return None
    digits = len(str(prefix.pid))
    at = max(digits, 5) + 1
    stamp = first[at : prefix.end]
    if first[:digits] != str(prefix.pid).encode() or first[digits:at].strip() or prefix.end < at:
        return None
    if prefix.clock == lexer.TIME_NONE:
        return _Layout(prefix.clock, 0, b"") if not stamp else None
    if stamp.count(b" ") != 1 or stamp[-1:] != b" " or len(stamp) > 24:
        return None
    return _Layout(prefix.clock, len(stamp), stamp)


class _Lines:
    """The lines of one block, a column for each fact. Methods of kinds take lines as indices into the columns."""

    def __init__(self, np: Any, block: bytes, layout: _Layout) -> None:
        self.np = np
        self.layout = layout
        self.size = len(block)
        self.data = np.frombuffer(block + b"\n" * _PAD, np.uint8)
        self.digits = Digits(np, self.data)
        self.words = self.digits.words
        self.lines = self.before = 0  # in the pieces that are read: how many, and where the next one begins
        self.ours = np.zeros(64, np.uint32)
        for ours in _OURS:
            self.ours[(word(ours) * _SPREAD & 0xFFFFFFFF) >> 26] = word(ours)

    def read(self, *, heads: bool) -> Block:
        """All kinds, and of each its numbers."""
        np, words, layout = self.np, self.words, self.layout
        pieces = [self._piece(low, heads) for low in range(0, self.size, _PIECE)]
        self.start, self.end, self.body, self.pid, self.key, self.good, self.line = (
            np.concatenate(columns) for columns in zip(*pieces, strict=True)
        )
        at = self.body - layout.width
        self.ns = np.zeros(len(at), np.int64)
        self._stamps(at)
        self.kind = np.zeros(len(at), np.int64)
        self.value = np.zeros(len(at), np.int64)
        self.more = np.full(len(at), -1, np.int64)
        self.open = words[self.end - 8] == word(b"hed ...>")
        self._durations()
        self.six = self.key & 0xFFFFFFFFFFFF
        self._exits()
        self._sigchld()
        self._waits()
        self._forks()
        self._execs()
        return self._told()

    def _piece(self, low: int, heads: bool) -> tuple[Any, ...]:
        """The lines that end in a piece of the block: start, end, body, pid, first word, whether regular, number.

        Calls of no interest go; whatever is not as it should be is looked at one by one.
        """
        np, data, words = self.np, self.data, self.words
        end = np.flatnonzero(data[low : min(low + _PIECE, self.size)] == 10)
        end += low
        start = np.empty_like(end)
        start[:1] = self.before
        start[1:] = end[:-1] + 1
        pid, digits = self.digits.at(start)
        at = start + np.maximum(digits, 5) + 1
        body = at + self.layout.width
        good = (digits > 0) & (body + 4 <= end) & (data[at - 1] == 32)
        good &= (data[body - 1] == 32) & (data[body] != 32)
        key = words[np.where(good, body, 0)]
        first = key & 0xFF
        gone = good & (first >= 97) & (first <= 122)
        four = key.astype(np.uint32)
        gone &= self.ours[(four * _SPREAD) >> np.uint32(26)] != four
        if heads:
            gone &= words[end - 8] != word(b"hed ...>")
        kept = np.flatnonzero(~gone)
        line = kept + self.lines
        self.lines += len(end)
        if len(end):
            self.before = int(end[-1]) + 1
        columns = (start, end, body, pid, key, good)
        if len(kept) < len(end):
            columns = tuple(column.take(kept) for column in columns)
        return *columns, line

    def _told(self) -> Block:
        np = self.np
        told = np.flatnonzero(self.kind != _NOTHING)
        columns = (self.kind, self.pid, self.ns, self.value, self.more, self.duration, self.start, self.body, self.end)
        stamps = self.ns[self.good]
        steps = stamps[1:] - stamps[:-1]
        ordered = bool(((steps >= 0) & (steps < GAP)).all()) if len(stamps) else True
        first, last = (int(stamps[0]), int(stamps.max())) if len(stamps) else (0, 0)
        kind, pid, ns, value, more, duration, start, body, end = (column.take(told) for column in columns)
        return Block(
            np, kind, pid, ns, value, more, duration, start, body, end, self.tail.take(told), self.line.take(told),
            self.layout.clock, ordered, first, last, self.lines,
        )  # fmt: skip

    def _stamps(self, at: Any) -> None:
        """Times; a line whose stamp is not like that of the first line is not good."""
        layout, good = self.layout, self.good
        for offset, size, weight in _fields(layout):
            value, right = self.digits.fixed(at + offset, size)
            good &= right
            if size > 9:
                good &= value <= lexer.LATEST_S
                value = self.np.minimum(value, lexer.LATEST_S)
            self.ns += value * weight
        for i, char in enumerate(layout.template[:-1]):
            if not 48 <= char <= 57:
                good &= self.data[at + i] == char

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
        resumed = self.good & (self.key == word(b"<... wai"))
        self.kind[whole & self.open] = WAIT_HEAD
        at = np.flatnonzero((whole | resumed) & ~self.open)
        tail = resumed[at]
        # ECHILD, and a wait to be begun anew; `= 0` of WNOHANG.
        last = words[self.tail[at] - 8]
        nobody = (last == word(b"ocesses)")) | (last == word(b" is set)"))
        child, right, sign = self._results(at)
        nobody |= right & (child == 0)
        self.kind[at[nobody & ~tail]] = _NOTHING
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
        self.kind[self._starting(at[zero], b"<... execve resumed>)")] = EXEC_TAIL


def _fields(layout: _Layout) -> list[tuple[int, int, int]]:
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
