"""Whole lives found in a block of tokens: born, perhaps exec'd, ended and waited for within the block, and no parent.

Such a life needs no bookkeeping: nobody will ask for it again. All of a block are found at once, by sorting; what is
left over goes through strace_bulk.py one by one. Stateless, so another process can do it: whether the parents are what
they seem, and the pids free, is for the taker to judge (`accept` in strace_bulk.py).

Knows tokens and arrays, and the text of execs and forks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tracer.events import NULL
from tracer.importers import strace_tokens as tokens
from tracer.importers import strace_values as values
from tracer.importers.strace_task import CLONE_NEWPID, CLONE_PARENT, CLONE_THREAD
from tracer.importers.strace_texts import Texts
from tracer.importers.strace_tokens import Block

_NUMBER = re.compile(rb"\d{1,8}")
_LONG = 4096  # a longer line than this is not searched for pids
_SPECIAL = CLONE_THREAD | CLONE_PARENT | CLONE_NEWPID


class Execs(NamedTuple):
    """Execs of lives, one row each: whose, at which token, and what stands in the rows."""

    life: list[int]
    token: list[int]
    texts: list[tuple[Any, ...]]  # exe, argv, comm; or exe, argv, error, ""
    errno: list[int]  # 0: it worked


class Lives(NamedTuple):
    """Candidates, a column each (numpy arrays of token indices and numbers), and `owner`: the life of each token."""

    child: Any
    parent: Any
    birth: Any
    exit: Any
    wait: Any
    told: Any  # SIGCHLD for it stands in the block
    tail: Any  # the wait's second half: its time is exact
    flags: list[int]
    signal: list[int]
    how: list[str | None]
    call: list[str]
    execs: Execs
    owner: Any


def find(block: Block, text: bytes, texts: Texts) -> Lives | None:
    """The lives in a block of tokens; None if there are none."""
    return _Finder(block, text, texts).lives()


class _Finder:
    def __init__(self, block: Block, text: bytes, texts: Texts) -> None:
        self.np = block.np
        self.block = block
        self.text = text
        self.texts = texts
        # A pid's tokens lie together, in order.
        self.order = self.np.argsort(block.pid, kind="stable")
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
        by_value = waits[np.argsort(block.value[waits], kind="stable")]
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
        by_value = signals[np.argsort(block.value[signals], kind="stable")]
        numbers = block.value[by_value]
        left = np.searchsorted(numbers, child, "left")
        count = np.searchsorted(numbers, child, "right") - left
        one = by_value[np.minimum(left, len(by_value) - 1)]
        right = (one > end) & (block.pid[one] == parent)
        return count == 1, (count == 0) | ((count == 1) & right)

    def _made(self, columns: Sequence[Any]) -> Lives | None:
        np, block = self.np, self.block
        child, parent, birth, reveal, end, wait, told, left, right = columns
        calls = [self.texts.call(self.text, body, stop)
                 for body, stop in zip(block.body[birth].tolist(), block.end[birth].tolist(), strict=True)]  # fmt: skip
        execs, unread = self._execs(left, right)
        good = [
            i for i, (_, args, _) in enumerate(calls)
            if args.flags is not None and not args.flags & _SPECIAL and i not in unread
        ]  # fmt: skip
        if not good:
            return None
        number = np.full(len(child), -1, np.int64)
        number[good] = np.arange(len(good))
        owner = np.full(len(block.kind), -1, np.int64)
        kept = np.array(good)
        for where in (birth, reveal, end, wait):
            owner[where[kept]] = number[kept]
        signals = np.flatnonzero(block.kind == tokens.SIGCHLD)
        owner_of = dict(zip(child[kept].tolist(), range(len(good)), strict=True))
        for at, pid in zip(signals.tolist(), block.value[signals].tolist(), strict=True):
            if pid in owner_of:
                owner[at] = owner_of[pid]
        spans = np.repeat(number[kept], (right - left)[kept])
        offsets = np.concatenate([np.arange(a, b) for a, b in zip(left[kept], right[kept], strict=True)])
        owner[self.order[offsets]] = spans
        renumbered = number.tolist()
        rows = [(renumbered[life], *rest) for life, *rest in execs if renumbered[life] >= 0]
        made = Execs(*(list(column) for column in zip(*rows, strict=True))) if rows else Execs([], [], [], [])
        chosen = [calls[i] for i in good]
        return Lives(
            child[kept], parent[kept], birth[kept], end[kept], wait[kept], told[kept],
            block.kind[wait[kept]] == tokens.WAIT_TAIL,
            [args.flags or 0 for _, args, _ in chosen],
            [NULL if args.exit_signal is None else args.exit_signal for _, args, _ in chosen],
            [how for _, _, how in chosen], [call for call, _, _ in chosen], made, owner,
        )  # fmt: skip

    def _execs(self, left: Any, right: Any) -> tuple[list[tuple[int, int, Any, int]], set[int]]:
        """(life, token, texts, errno) of each exec, and the lives with one that can not be read here."""
        np, block = self.np, self.block
        lengths = right - left
        offsets = np.repeat(left - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())
        life = np.repeat(np.arange(len(left)), lengths)
        at = self.order[offsets]
        kind = block.kind[at]
        of_exec = np.flatnonzero((kind == tokens.EXEC) | (kind == tokens.EXEC_HEAD) | (kind == tokens.EXEC_TAIL))
        rows: list[tuple[int, int, Any, int]] = []
        unread: set[int] = set()
        head: tuple[int, bytes] | None = None
        for owner, token, what, body, end in zip(
            life[of_exec].tolist(), at[of_exec].tolist(), kind[of_exec].tolist(), block.body[at[of_exec]].tolist(),
            block.end[at[of_exec]].tolist(), strict=True,
        ):  # fmt: skip
            if head is not None and (what != tokens.EXEC_TAIL or head[0] != owner):
                unread.add(head[0])
                head = None
            if what == tokens.EXEC_HEAD:
                head = (owner, self.text[body : end - 17])
                continue
            if what == tokens.EXEC_TAIL:
                found = self.texts.image(head[1], 0, len(head[1])) if head is not None else None
                found = None if found is None or found[3] else found
            else:
                found = self.texts.image(self.text, body, end)
                found = None if found is None or not found[4] else found
            head = None
            if found is None:
                unread.add(owner)
                continue
            exe, argv, comm, error, _ = found
            if error:
                rows.append((owner, token, (exe, argv, error, ""), values.error_number(error) or 0))
            else:
                rows.append((owner, token, (exe, argv, comm), 0))
        if head is not None:
            unread.add(head[0])
        return rows, unread
