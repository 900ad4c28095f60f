"""The execs of a block of tokens, all at once: nearly all have one form, which is found by its place and read as JSON.

    execve("/bin/sh", ["sh", "-c", "x"], 0x7ffd1e133378 /* 9 vars */) = 0 <0.000351>

The others (escapes, errors, halves, other environments) are read by one regular expression (call_text.py), and what
that does not know either is for values.py. Knows positions and bytes, and nothing of lives.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any, Final

from tracer.importers.strace import tokens
from tracer.importers.strace.call_text import Images, Texts
from tracer.importers.strace.tokens import Block

_FOUR: Final = 0xFFFFFFFF  # of a word's bytes
_FIVE: Final = 0xFFFFFFFFFF
_SIX: Final = 0xFFFFFFFFFFFF


def images_of(block: Block, text: bytes, texts: Texts, at: Any) -> Images:
    """What the execs at the tokens `at` of a block say, first halves too."""
    np = block.np
    kinds, bodies, tails = block.kind[at], block.body[at], block.tail[at]
    ends = _ends_of_argv(np, text, bodies, tails)
    rows = np.flatnonzero((kinds == tokens.EXEC) & (ends > 0))
    spans = zip((bodies[rows] + len(b"execve(")).tolist(), ends[rows].tolist(), strict=True)
    parts = [text[first:end] for first, end in spans]
    made = texts.plain(parts) if parts else None
    if made is None and parts:
        # Some have escapes: the others are still read at once.
        rows = rows[[b"\\" not in part for part in parts]]
        parts = [part for part in parts if b"\\" not in part]
        made = texts.plain(parts) if parts else None
    if made is None:
        rows = rows[:0]
        made = [], []
    exes, argvs = made
    if len(rows) == len(at):
        return Images(exes, argvs, texts.names(exes), ["0"] * len(at), [""] * len(at))
    others = np.ones(len(at), bool)
    others[rows] = False
    left = np.flatnonzero(others)
    # A first half ends in ` <unfinished ...>`, which its second half replaces.
    ends = block.end[at[left]] - 17 * (kinds[left] == tokens.EXEC_HEAD)
    lines = [text[first:end] for first, end in zip(bodies[left].tolist(), ends.tolist(), strict=True)]
    images = texts.images(lines)
    if not len(rows):
        return images
    order = np.argsort(np.concatenate((rows, left)), kind="stable").tolist()
    worked, nothing = repeat("0", len(rows)), repeat("", len(rows))
    return Images(
        _in_order(order, exes, images.exes), _in_order(order, argvs, images.argvs),
        _in_order(order, texts.names(exes), images.comms), _in_order(order, worked, images.done),
        _in_order(order, nothing, images.errors),
    )  # fmt: skip


def _in_order(order: list[int], some: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    both = [*some, *others]
    return [both[i] for i in order]


def _ends_of_argv(np: Any, text: bytes, bodies: Any, tails: Any) -> Any:
    """Where `, 0x7ffd1e133378 /* 9 vars */) = 0` begins before each tail; 0 where another text stands there.

    All before it is the path and the arguments, as there is no quote in it.
    """
    words = np.ndarray((len(text) - 7,), "<u8", buffer=text, strides=(1,))
    data = np.frombuffer(text, np.uint8)
    ends = np.zeros(len(bodies), np.int64)
    left = np.flatnonzero(words[tails - 8] == tokens.word(b" */) = 0"))
    for digits in (1, 2, 3):  # of their number
        for said in (b" vars", b" var "):
            if not len(left):
                return ends
            unit = tails[left] - len(said.rstrip() + b" */) = 0")
            number = unit - digits
            begin = np.maximum(number - len(b'"], 0x7ffd1e133378 /* '), 0)
            found = (begin > bodies[left]) & (words[begin] & _SIX == tokens.word(b'"], 0x'))
            found &= words[number - 4] & _FOUR == tokens.word(b" /* ")
            found &= words[unit] & _FIVE == tokens.word(said)
            for i in range(digits):
                found &= data[number + i] - np.uint8(48) < 10
            found &= hexadecimal(np, words[begin + 6]) & hexadecimal(np, words[begin + 10])
            ends[left[found]] = begin[found] + 2
            left = left[~found]
    return ends


def hexadecimal(np: Any, words: Any) -> Any:
    """Which of these words are eight digits of strace's hexadecimal: 0 to 9, a to f."""
    ones, high = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    low = words & (ones * np.uint64(0x7F))

    def least(n: int) -> Any:  # bytes of at least n have their high bit set; n is not above 0x7f
        return low + ones * np.uint64(0x80 - n)

    digits = least(0x30) & ~least(0x3A)
    letters = least(0x61) & ~least(0x67)
    return (digits | letters) & ~words & high == high
