"""Decimal numbers in text, many at once: eight digits are one 64-bit word, and three multiplications make it a number.

The trick is known from fast JSON parsers. Knows bytes, nothing of logs.
"""

from __future__ import annotations

from typing import Any

Array = Any  # a numpy array: numpy is imported only where a log is long enough to need it


class Digits:
    """Numbers in one block of text; `data` are its bytes, with 8 or more behind its end, `words` all words in it."""

    def __init__(self, np: Any, data: Array) -> None:
        self.np = np
        self.data = data
        self.words = np.ndarray((len(data) - 8,), "<u8", buffer=data, strides=(1,))
        u8 = np.uint64
        self._low = u8(0x0F0F0F0F0F0F0F0F)
        self._zeros = u8(0x3030303030303030)
        self._seven = u8(0x7F7F7F7F7F7F7F7F)
        self._six = u8(0x7676767676767676)
        self._high = u8(0x8080808080808080)
        self._ones = u8(0x0101010101010101)
        self._steps = (
            (u8(2561), u8(8), u8(0x00FF00FF00FF00FF)),
            (u8(6553601), u8(16), u8(0x0000FFFF0000FFFF)),
            (u8(42949672960001), u8(32), u8(0xFFFFFFFFFFFFFFFF)),
        )

    def _value(self, word: Array) -> Array:
        """The number of words of eight digits, the first in the lowest byte; a zero byte is a leading zero."""
        word = word & self._low
        for factor, shift, mask in self._steps:
            word = (word * factor >> shift) & mask
        return word.view(self.np.int64)

    def _others(self, word: Array) -> Array:
        """The high bit of each byte that is no digit."""
        word = word ^ self._zeros
        return (((word & self._seven) + self._six) | word) & self._high

    def at(self, place: Array) -> tuple[Array, Array]:
        """The number that begins at each place, and how many digits it has: 0 if none, or more than seven."""
        np = self.np
        word = self.words[place]
        others = self._others(word)
        # Below the lowest bit of these all are set: one in each byte of a digit, and one more.
        below = (others - np.uint64(1)) & ~others & self._ones
        count = (below * self._ones >> np.uint64(56)) - np.uint64(1)
        count[others == 0] = 0
        word = word << (((np.uint64(8) - count) << np.uint64(3)) & np.uint64(63))
        word[count == 0] = 0
        return self._value(word), count.view(np.int64)

    def before(self, place: Array) -> tuple[Array, Array]:
        """The number that ends before each place, and how many digits it has: 8 means eight or more."""
        np = self.np
        word = self.words[np.maximum(place - 8, 0)]
        others = self._others(word)
        highest = np.frexp(others.astype(np.float64))[1] >> 3
        count = 8 - highest
        shift = (highest << 3).astype(np.uint64) & np.uint64(63)
        word = np.where(count > 0, word >> shift << shift, np.uint64(0))
        return self._value(word), count

    def fixed(self, place: Array, size: int) -> tuple[Array, Array]:
        """The number of exactly `size` (1 to 16) digits at each place, and whether they are digits."""
        np = self.np
        if size > 8:
            low, good = self.fixed(place + (size - 8), 8)
            above = self.words[place]
            if size <= 16 and len(above) and (((above ^ above[0]) << np.uint64(8 * (16 - size))) == 0).all():
                place = place[:1]  # a clock: its first digits are the same for a long time
            high, also = self.fixed(place, size - 8)
            return high * 100_000_000 + low, good & also
        word = self.words[place + (size - 8)]
        shift = np.uint64(8 * (8 - size))
        word = word >> shift << shift
        good = self._others(word) & (~np.uint64(0) << shift) == 0
        return self._value(word), good
