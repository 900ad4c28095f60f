"""Operations on whole columns, by numpy. A column is an array("q") with NULL; `view` shows it to numpy uncopied.

Sums are exact beyond 64 bits, and what is not known (NULL) is never counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tracer.model.schema import NULL

_FEW: Final = 24  # different values of a column, that are looked for one by one
_LOW: Final = (1 << 32) - 1


def view(column: Any) -> Any:
    """An integer column as numpy has it, without a copy: drop it before the column grows."""
    return np.frombuffer(column, np.int64) if isinstance(column, array) else np.asarray(column, np.int64)


def index(rows: Any) -> Any:
    """Row numbers as numpy takes them."""
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else view(rows)


def packed(values: Any) -> array[int]:
    """A numpy array of integers or booleans as a column."""
    column = array("q")
    column.frombytes(values.astype("=i8", copy=False).tobytes())
    return column


def exact_sum(values: Any) -> int:
    """The sum of a numpy array of integers, also where 64 bits cannot hold it."""
    if not len(values):
        return 0
    if max(-int(values.min()), int(values.max())) < (1 << 62) // len(values):
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & _LOW).sum())


def total(column: Sequence[int]) -> int | None:
    """Of what is known; None where nothing is."""
    values = view(column)
    values = values[values != NULL]
    return exact_sum(values) if len(values) else None


def taken(column: Sequence[int], rows: Sequence[int]) -> array[int]:
    """The values of these rows."""
    return packed(view(column)[index(rows)])


def where(true: Any) -> array[int]:
    """Rows in which a numpy array is true."""
    return packed(np.flatnonzero(true))


def above_zero(column: Sequence[int]) -> Sequence[int]:
    """Rows with a value above 0."""
    return where(view(column) > 0)


def sum_at(column: Sequence[int], rows: Sequence[int]) -> int:
    """Of these rows, where all are known."""
    return exact_sum(view(column)[index(rows)])


def different(column: Sequence[int]) -> int:
    """How many different values there are."""
    return len(np.unique(view(column)))


def occurrences(column: Sequence[int], value: int) -> int:
    """How many rows have this value."""
    return int(np.count_nonzero(view(column) == value))


def ordered(column: Sequence[int]) -> array[int]:
    """What is known, sorted. An array, since a million numbers as objects are 32 MiB."""
    values = view(column)
    return packed(np.sort(values[values != NULL]))


def least_and_most(column: Sequence[int], rows: Sequence[int]) -> tuple[int, int] | None:
    """Of these rows, as far as they are known; None where none is."""
    values = view(column)[index(rows)]
    values = values[values != NULL]
    return (int(values.min()), int(values.max())) if len(values) else None


def distinct(column: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The different values of these rows, NULL among them, the least first."""
    found: list[int] = np.unique(view(column)[index(rows)]).tolist()
    return found


def coded(values: Any) -> tuple[Any, int]:
    """(a number from 0 for each value, how many different): equal ones have one number. No order is kept."""
    if not len(values):
        return np.zeros(0, np.int64), 0
    null = values == NULL
    known = values[~null] if null.any() else values
    if not len(known):
        return np.zeros(len(values), np.int64), 1
    least, most = int(known.min()), int(known.max())
    if most - least < max(2 * len(values), 1 << 16):
        return _renumbered(np.where(null, most - least + 1, values - least))
    codes = np.zeros(len(values), np.int64)
    rest = np.arange(len(values))
    for number in range(_FEW):  # few values that lie far apart, as flags do
        same = values[rest] == values[rest[0]]
        codes[rest[same]] = number
        rest = rest[~same]
        if not len(rest):
            return codes, number + 1
        if number == _FEW // 4 and 2 * len(rest) > len(values):
            break
    _, codes = np.unique(values, return_inverse=True)
    return codes, int(codes.max()) + 1


def _renumbered(numbers: Any) -> tuple[Any, int]:
    """Small numbers without those between that do not come."""
    used = np.bincount(numbers) > 0
    return (np.cumsum(used) - 1)[numbers], int(np.count_nonzero(used))


def combined(*columns: Any) -> tuple[Any, int]:
    """The same for rows of several columns."""
    codes, n = coded(columns[0])
    for column in columns[1:]:
        more, m = coded(column)
        if m > 1:
            codes, n = coded(codes * m + more)
    return codes, n


def firsts(codes: Any, n: int) -> Any:
    """Where each of the numbers 0 to n-1 comes first; all of them do come."""
    at = np.empty(n, np.int64)
    at[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of several, the last one that is written stays
    return at


class Groups:
    """Which of `of`'s places belong to row n: places(n). Built once; -1 belongs to none."""

    def __init__(self, of: Sequence[int], rows: int) -> None:
        groups = view(of)
        order = np.argsort(groups, kind="stable")  # mostly sorted as it stands, which is quick
        sizes = np.bincount(groups[groups >= 0], minlength=rows)
        self._start = packed(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))
        self._places = packed(order[len(order) - self._start[-1] :])

    def places(self, row: int) -> Sequence[int]:
        """In order."""
        return self._places[self._start[row] : self._start[row + 1]]
