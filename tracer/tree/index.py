"""Where a process is found: (pid, born_ns) -> its row.

A hash table of row numbers: the keys are in the tree's own columns, as a million pairs in a dict would be 220 MB.
Single keys that were just added wait in a dict until many are looked up at once.
"""

from __future__ import annotations

import os
from array import array
from typing import Any, Final

import numpy as np

_WORD: Final = (1 << 64) - 1
_FREE: Final = 4  # places a row at least, when the table is made anew; half of them are taken before it is again


class Index:
    """`pids` and `borns` are columns: the keys by row. A key that is set has its row there by the next `find`."""

    def __init__(self, pids: array[int], borns: array[int]) -> None:
        self._pids, self._borns = pids, borns
        self._young: dict[tuple[int, int], int] = {}
        self._table: Any = None  # numpy int32, -1 where there is none; neighbours take what has no room
        self._old = 0  # rows in the table
        self._shift = 64
        # Not the same in each run: a file could be made of keys that all want one place.
        self._factors = [int.from_bytes(os.urandom(8), "little") | 1 for _ in range(3)]

    def __len__(self) -> int:
        return len(self._young) + self._old

    def __setitem__(self, key: tuple[int, int], row: int) -> None:
        self._young[key] = row

    def get(self, key: tuple[int, int]) -> int:
        """Its row, -1 if there is none."""
        row = self._young.get(key, -1)
        if row >= 0 or self._table is None:
            return row
        table, pids, borns = self._table, self._pids, self._borns
        mask = len(table) - 1
        place = self._place(key)
        while (row := int(table[place])) >= 0 and (pids[row] != key[0] or borns[row] != key[1]):
            place = (place + 1) & mask
        return row

    def _place(self, key: tuple[int, int]) -> int:
        a, b, c = self._factors
        mixed = (key[0] * a + key[1] * b) & _WORD
        mixed ^= mixed >> 32
        return ((mixed * c) & _WORD) >> self._shift

    # -- many at once, by numpy ------------------------------------------------------------------------------------

    def find(self, pids: Any, borns: Any) -> Any:
        """Rows as numpy int64, -1 where there is none."""
        self._settle()
        if self._table is None:
            return np.full(len(pids), -1, np.int64)
        table, mask = self._table, len(self._table) - 1
        known_pids, known_borns = np.frombuffer(self._pids, np.int64), np.frombuffer(self._borns, np.int64)
        places = self._places(pids, borns)
        rows = table[places].astype(np.int64)
        others = np.flatnonzero((rows >= 0) & ((known_pids[rows] != pids) | (known_borns[rows] != borns)))
        while len(others):
            places[others] = (places[others] + 1) & mask
            found = rows[others] = table[places[others]]
            wrong = (found >= 0) & ((known_pids[found] != pids[others]) | (known_borns[found] != borns[others]))
            others = others[wrong]
        return rows

    def add(self, first: int, n: int) -> None:
        """Rows from `first` on, whose keys are in the columns, and new."""
        self._settle()
        self._put(np.arange(first, first + n))

    def _settle(self) -> None:
        if self._young:
            rows = np.fromiter(self._young.values(), np.int64, len(self._young))
            self._young.clear()
            self._put(rows)

    def _put(self, rows: Any) -> None:
        if not len(rows):
            return
        old, self._old = self._old, self._old + len(rows)
        if self._table is None or self._old * 2 > len(self._table):
            if old:
                rows = np.concatenate([self._table[self._table >= 0], rows])
            bits = (self._old * _FREE - 1).bit_length()
            self._shift = 64 - bits
            self._table = np.full(1 << bits, -1, np.int32)
        table, mask = self._table, len(self._table) - 1
        places = self._places(np.frombuffer(self._pids, np.int64)[rows], np.frombuffer(self._borns, np.int64)[rows])
        while len(rows):
            free = table[places] < 0
            table[places[free]] = rows[free]  # of several that want one place, the last one has it
            left = table[places] != rows
            rows, places = rows[left], (places[left] + 1) & mask

    def _places(self, pids: Any, borns: Any) -> Any:
        a, b, c = (np.uint64(factor) for factor in self._factors)
        mixed = pids.view(np.uint64) * a + borns.view(np.uint64) * b
        mixed ^= mixed >> np.uint64(32)
        return ((mixed * c) >> np.uint64(self._shift)).astype(np.int64)
