"""Whole lives found in a block of tokens: born, perhaps exec'd, ended and waited for within the block, and no parent.

Such a life needs no bookkeeping: nobody will ask for it again. All of a block are found at once, by sorting; what is
left over goes through block_reader.py one by one. Stateless, so another process can do it: whether the parents are what
they seem, and the pids free, is for the taker to judge (`accept` in block_reader.py).

Knows tokens and arrays, and the text of execs and forks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

from tracer.events import NULL
from tracer.importers.strace import tokens
from tracer.importers.strace.call_text import Texts
from tracer.importers.strace.exec_columns import images_of
from tracer.importers.strace.task import CLONE_NEWPID, CLONE_PARENT, CLONE_THREAD
from tracer.importers.strace.tokens import Block

_NUMBER = re.compile(rb"\d{1,8}")
_PLACES = 32  # bits for the number of a token
_LONG = 4096  # a longer line than this is not searched for pids
_FORMS = 64  # so many forms of fork calls are looked for in a block; others stand for themselves
_SPECIAL = CLONE_THREAD | CLONE_PARENT | CLONE_NEWPID


class Execs(NamedTuple):
    """Execs of lives, one row each: whose and at which token (numpy arrays), and what they say."""

    life: Any
    token: Any
    exes: list[str]
    argvs: list[list[str]]
    comms: list[str]
    errors: list[str]  # empty: it worked


class Lives(NamedTuple):
    """Candidates, a column each (numpy arrays of token indices and numbers), and `owner`: the life of each token."""

    child: Any
    parent: Any
    birth: Any
    exit: Any
    wait: Any
    told: Any  # SIGCHLD for it stands in the block
    tail: Any  # the wait's second half: its time is exact
    form: Any  # which of `forms` each was made by
    forms: list[tuple[str, str | None, int, int]]  # call, how, flags, exit signal
    execs: Execs
    owner: Any


def find(block: Block, text: bytes, texts: Texts) -> Lives | None:
    """The lives in a block of tokens; None if there are none."""
    return _Finder(block, text, texts).lives()


def _order(np: Any, numbers: Any) -> Any:
    """What a stable argsort of numbers below 2**31 gives. Sorting the words themselves is several times faster."""
    return np.sort(numbers << _PLACES | np.arange(len(numbers))) & ((1 << _PLACES) - 1)


class _Finder:
    def __init__(self, block: Block, text: bytes, texts: Texts) -> None:
        self.np = block.np
        self.block = block
        self.text = text
        self.texts = texts
        # A pid's tokens lie together, in order.
        self.order = _order(self.np, block.pid)
        self.sorted_pid = block.pid[self.order]
        self.sorted_kind = block.kind[self.order]

    def lives(self) -> Lives | None:
        np, block = self.np, self.block
        child, birth, reveal = self._births()
        parent = block.pid[birth]
        left = np.searchsorted(self.sorted_pid, child, "left")
        right = np.searchsorted(self.sorted_pid, child, "right")
        good = (right > left) & (child > parent)
        # Of its own it has execs and an end, no more.
        plain = np.zeros(16, bool)
        plain[[tokens.EXITED, tokens.EXIT_GROUP, tokens.EXEC, tokens.EXEC_HEAD, tokens.EXEC_TAIL]] = True
        other = np.concatenate(([0], np.cumsum(~plain[self.sorted_kind])))
        ends = np.concatenate(([0], np.cumsum(self.sorted_kind == tokens.EXITED)))
        good &= (other[right] == other[left]) & (ends[right] - ends[left] == 1)
        end = self.order[np.maximum(right - 1, 0)]
        first = self.order[np.minimum(left, len(self.order) - 1)]
        good &= (block.kind[end] == tokens.EXITED) & (first > birth)
        good &= ~self._repeated(child) & ~self._spoken_of(child)
        wait, waited = self._waits(child, end, parent)
        good &= waited
        told, fine = self._signals(child, end, parent)
        good &= fine
        chosen = np.flatnonzero(good)
        if not len(chosen):
            return None
        columns = [c[chosen] for c in (child, parent, birth, reveal, end, wait, told, left, right)]
        return self._made(columns)

    def _births(self) -> tuple[Any, Any, Any]:
        """Children, the token at which each was born, and the one that names it."""
        np, block, order = self.np, self.block, self.order
        whole = np.flatnonzero(block.kind == tokens.FORK)
        tails = np.flatnonzero(block.kind == tokens.FORK_TAIL)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        heads = order[np.maximum(place[tails] - 1, 0)]
        paired = (block.pid[heads] == block.pid[tails]) & (block.kind[heads] == tokens.FORK_HEAD)
        tails, heads = tails[paired], heads[paired]
        reveal = np.concatenate((whole, tails))
        return block.value[reveal], np.concatenate((whole, heads)), reveal

    def _repeated(self, child: Any) -> Any:
        np = self.np
        found, where, counts = np.unique(child, return_inverse=True, return_counts=True)
        del found
        return counts[where] > 1

    def _spoken_of(self, child: Any) -> Any:
        """Children whose pid stands in a line that is still to be read: who knows what it says of them."""
        np, block = self.np, self.block
        numbers: set[bytes] = set()
        unread = block.kind == tokens.RAW
        for start, end in zip(block.start[unread].tolist(), block.end[unread].tolist(), strict=True):
            numbers.update(_NUMBER.findall(self.text, start, min(end, start + _LONG)))
            if end - start > _LONG:
                return np.ones(len(child), bool)
        return np.isin(child, np.array([int(number) for number in numbers], np.int64))

    def _waits(self, child: Any, end: Any, parent: Any) -> tuple[Any, Any]:
        """The only wait for each child, and whether there is one, after its end, by its parent."""
        np, block = self.np, self.block
        waits = np.flatnonzero((block.kind == tokens.WAIT) | (block.kind == tokens.WAIT_TAIL))
        if not len(waits):
            return np.zeros(len(child), np.int64), np.zeros(len(child), bool)
        by_value = waits[_order(np, block.value[waits])]
        numbers = block.value[by_value]
        left = np.searchsorted(numbers, child, "left")
        only = np.searchsorted(numbers, child, "right") - left == 1
        wait = by_value[np.minimum(left, len(by_value) - 1)]
        return wait, only & (wait > end) & (block.pid[wait] == parent)

    def _signals(self, child: Any, end: Any, parent: Any) -> tuple[Any, Any]:
        """Whether a SIGCHLD speaks of each child, and whether all of them are as they should be."""
        np, block = self.np, self.block
        signals = np.flatnonzero(block.kind == tokens.SIGCHLD)
        if not len(signals):
            return np.zeros(len(child), bool), np.ones(len(child), bool)
        by_value = signals[_order(np, block.value[signals])]
        numbers = block.value[by_value]
        left = np.searchsorted(numbers, child, "left")
        count = np.searchsorted(numbers, child, "right") - left
        one = by_value[np.minimum(left, len(by_value) - 1)]
        right = (one > end) & (block.pid[one] == parent)
        return count == 1, (count == 0) | ((count == 1) & right)

    def _made(self, columns: Sequence[Any]) -> Lives | None:
        np, block = self.np, self.block
        child, parent, birth, reveal, end, wait, told, left, right = columns
        form, forms, good = self._forms(birth)
        # The tokens of each pid, one life after the other.
        lengths = right - left
        offsets = np.repeat(left - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())
        life = np.repeat(np.arange(len(left)), lengths)
        own = self.order[offsets]
        execs, unread = self._execs(life, own)
        good[list(unread)] = False
        kept = np.flatnonzero(good)
        if not len(kept):
            return None
        number = np.full(len(child), -1, np.int64)
        number[kept] = np.arange(len(kept))
        owner = np.full(len(block.kind), -1, np.int64)
        for where in (birth, reveal, end, wait):
            owner[where[kept]] = number[kept]
        owner[own] = number[life]
        signals = np.flatnonzero(block.kind == tokens.SIGCHLD)
        by_pid = kept[np.argsort(child[kept])]
        place = np.minimum(np.searchsorted(child[by_pid], block.value[signals]), len(by_pid) - 1)
        ours = child[by_pid[place]] == block.value[signals]
        owner[signals[ours]] = number[by_pid[place[ours]]]
        if unread or len(kept) < len(child):
            numbers = number[execs.life]
            stay = numbers >= 0
            lists: list[list[Any]] = [list(compress(column, stay.tolist())) for column in execs[2:]]
            execs = Execs(numbers[stay], execs.token[stay], *lists)
        return Lives(
            child[kept], parent[kept], birth[kept], end[kept], wait[kept], told[kept],
            block.kind[wait[kept]] == tokens.WAIT_TAIL, form[kept], forms, execs, owner,
        )  # fmt: skip

    def _forms(self, birth: Any) -> tuple[Any, list[tuple[str, str | None, int, int]], Any]:
        """Which of some forms each fork call has, the forms, and whether the call makes a plain process.

        Nearly all calls of a log are letter for letter the same, up to the child's pid.
        """
        np, block, text = self.np, self.block, self.text
        body, end = block.body[birth], block.end[birth]
        form = np.zeros(len(birth), np.int64)
        good = np.zeros(len(birth), bool)
        forms: list[tuple[str, str | None, int, int]] = []
        words = np.ndarray((max(len(text) - 8, 0),), "<u8", buffer=text, strides=(1,)) if len(text) > 8 else None
        left = np.arange(len(birth))
        while len(left):
            first, last = int(body[left[0]]), int(end[left[0]])
            call, args, how = self.texts.call(text, first, last)
            stop = self.texts.stop(text, first, last)
            size = min(stop + 1, last) - first
            same = np.zeros(len(left), bool)
            if size >= 8 and words is not None and len(forms) < _FORMS:
                fit = np.flatnonzero(body[left] + size <= end[left])
                begin = body[left[fit]]
                alike = np.ones(len(fit), bool)
                for at in (*range(0, size - 8, 8), size - 8):
                    alike &= words[begin + at] == tokens.word(text[first + at : first + at + 8])
                same[fit] = alike
            same[0] = True
            alike = left[same]
            form[alike] = len(forms)
            good[alike] = args.flags is not None and not args.flags & _SPECIAL
            signal = NULL if args.exit_signal is None else args.exit_signal
            forms.append((call, how, args.flags or 0, signal))
            left = left[~same]
        return form, forms, good

    def _execs(self, life: Any, own: Any) -> tuple[Execs, set[int]]:
        """The execs among the tokens `own` of each life, and the lives with one that can not be read here."""
        np, block = self.np, self.block
        kind = block.kind[own]
        of_exec = np.flatnonzero((kind == tokens.EXEC) | (kind == tokens.EXEC_HEAD) | (kind == tokens.EXEC_TAIL))
        at = own[of_exec]
        kinds = kind[of_exec]
        images = images_of(block, self.text, self.texts, at)
        n = len(at)
        known = np.array(list(map(bool, images.exes)), bool)
        failed = np.array(list(map(bool, images.errors)), bool)
        whole = known & (failed | np.array(list(map(bool, images.done)), bool))
        # A first half goes with a second half of the same life right behind it.
        lives = life[of_exec]
        tail = kinds == tokens.EXEC_TAIL
        paired = np.zeros(n, bool)
        paired[1:] = tail[1:] & (kinds[:-1] == tokens.EXEC_HEAD) & (lives[1:] == lives[:-1])
        image = np.arange(n) - paired
        good = np.where(tail, paired & known[image] & ~failed[image], whole & (kinds == tokens.EXEC))
        bad = ~good
        bad[:-1] &= ~(good & paired)[1:]  # the first half of a good one
        rows = np.flatnonzero(good)
        picked = image[rows].tolist()
        columns: list[list[Any]] = [
            list(column if len(rows) == n else map(column.__getitem__, picked))
            for column in (images.exes, images.argvs, images.comms, images.errors)
        ]
        return Execs(lives[rows], at[rows], *columns), set(lives[bad].tolist())
