"""Whole columns at once: by numpy where there are many rows, in plain Python where there are few.

    np = numpy_for(len(tree))      numpy, or None: then the rows are few, or numpy is not worth loading for them
    total(column), least_and_most(column, rows), ...      both ways in one

To load numpy takes a tenth of a second, which a report of three processes must not pay; a million rows one by one take
seconds, which a report of a million must not. Whichever way is taken, the answer is the same.

Columns are as the tree keeps them: array("q") with NULL. Knows no tree and no meaning.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final

from tracer.model.schema import NULL

MANY = 4096
"""Rows that are worth numpy's calls, where somebody has loaded it."""

LOADS = 50_000
"""Rows that are worth loading it."""

_FEW: Final = 24  # different values of a column, that are looked for one by one
_LOW: Final = (1 << 32) - 1


def numpy_for(rows: int) -> Any:
    """numpy, if it pays for so many rows; else None."""
    if rows < MANY:
        return None
    if rows >= LOADS:
        import numpy

        return numpy
    return sys.modules.get("numpy")


def numpy_of(rows: Any) -> Any:
    """numpy, if these row numbers are numpy's; else None."""
    return None if isinstance(rows, list | tuple | range | array) else sys.modules["numpy"]


def view(np: Any, column: Any) -> Any:
    """An integer column as numpy has it, without a copy: let go of it before the column grows."""
    return np.frombuffer(column, np.int64) if isinstance(column, array) else np.asarray(column, np.int64)


def index(np: Any, rows: Any) -> Any:
    """Row numbers as numpy takes them."""
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else view(np, rows)


def packed(values: Any) -> array[int]:
    """A numpy array of integers or booleans as a column."""
    column = array("q")
    column.frombytes(values.astype("=i8", copy=False).tobytes())
    return column


def exact_sum(np: Any, values: Any) -> int:
    """The sum of a numpy array of integers, also where 64 bits can not hold it."""
    if not len(values):
        return 0
    if max(-int(values.min()), int(values.max())) < (1 << 62) // len(values):
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & _LOW).sum())


def total(column: Sequence[int]) -> int | None:
    """Of what is known; None where nothing is."""
    np = numpy_for(len(column))
    if np is None:
        known = [v for v in column if v != NULL]
        return sum(known) if known else None
    values = view(np, column)
    values = values[values != NULL]
    return exact_sum(np, values) if len(values) else None


def taken(column: Sequence[int], rows: Sequence[int]) -> array[int]:
    """The values of these rows."""
    np = numpy_for(len(rows))
    if np is None:
        return array("q", [column[row] for row in rows])
    return packed(view(np, column)[index(np, rows)])


def where(np: Any, true: Any) -> array[int]:
    """Rows in which a numpy array is true."""
    return packed(np.flatnonzero(true))


def above_zero(column: Sequence[int]) -> Sequence[int]:
    """Rows with a value above 0."""
    np = numpy_for(len(column))
    return [row for row, n in enumerate(column) if n > 0] if np is None else where(np, view(np, column) > 0)


def sum_at(column: Sequence[int], rows: Sequence[int]) -> int:
    """Of these rows, where all are known."""
    np = numpy_for(len(rows))
    if np is None:
        return sum(column[row] for row in rows)
    return exact_sum(np, view(np, column)[index(np, rows)])


def different(column: Sequence[int]) -> int:
    """How many different values there are."""
    np = numpy_for(len(column))
    return len(set(column)) if np is None else len(np.unique(view(np, column)))


def occurrences(column: Sequence[int], value: int) -> int:
    """How many rows have this value."""
    np = numpy_for(len(column))
    if np is None:
        return sum(v == value for v in column)
    return int(np.count_nonzero(view(np, column) == value))


def ordered(column: Sequence[int]) -> array[int]:
    """What is known, sorted. An array, since a million numbers as objects are 32 MiB."""
    np = numpy_for(len(column))
    if np is None:
        return array("q", sorted(v for v in column if v != NULL))
    values = view(np, column)
    return packed(np.sort(values[values != NULL]))


def least_and_most(column: Sequence[int], rows: Sequence[int]) -> tuple[int, int] | None:
    """Of these rows, as far as they are known; None where none is."""
    np = numpy_for(len(rows))
    if np is None:
        known = [column[row] for row in rows if column[row] != NULL]
        return (min(known), max(known)) if known else None
    values = view(np, column)[index(np, rows)]
    values = values[values != NULL]
    return (int(values.min()), int(values.max())) if len(values) else None


def distinct(column: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The different values of these rows, NULL among them, the least first."""
    np = numpy_for(len(rows))
    if np is None:
        return sorted({column[row] for row in rows})
    found: list[int] = np.unique(view(np, column)[index(np, rows)]).tolist()
    return found


def coded(np: Any, values: Any) -> tuple[Any, int]:
    """(a number from 0 for each value, how many different): equal ones have one number. No order is kept."""
    if not len(values):
        return np.zeros(0, np.int64), 0
    null = values == NULL
    known = values[~null] if null.any() else values
    if not len(known):
        return np.zeros(len(values), np.int64), 1
    least, most = int(known.min()), int(known.max())
    if most - least < max(2 * len(values), 1 << 16):
        return _renumbered(np, np.where(null, most - least + 1, values - least))
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


def _renumbered(np: Any, numbers: Any) -> tuple[Any, int]:
    """Small numbers without those between that do not come."""
    used = np.bincount(numbers) > 0
    return (np.cumsum(used) - 1)[numbers], int(np.count_nonzero(used))


def combined(np: Any, *columns: Any) -> tuple[Any, int]:
    """The same for rows of several columns."""
    codes, n = coded(np, columns[0])
    for column in columns[1:]:
        more, m = coded(np, column)
        if m > 1:
            codes, n = coded(np, codes * m + more)
    return codes, n


def firsts(np: Any, codes: Any, n: int) -> Any:
    """Where each of the numbers 0 to n-1 comes first; all of them do come."""
    at = np.empty(n, np.int64)
    at[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of several, the last one that is written stays
    return at


class Groups:
    """Which of `of`'s places belong to row n: places(n). Built once, in two passes over `of`; -1 belongs to none."""

    def __init__(self, of: Sequence[int], rows: int) -> None:
        np = numpy_for(max(len(of), rows))
        if np is not None:
            whose = view(np, of)
            order = np.argsort(whose, kind="stable")  # mostly sorted as it stands, which is quick
            sizes = np.bincount(whose[whose >= 0], minlength=rows)
            self._start = packed(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))
            self._places = packed(order[len(order) - self._start[-1] :])
            return
        start = array("q", [0]) * (rows + 1)
        for row in of:
            if row >= 0:
                start[row + 1] += 1
        for i in range(rows):
            start[i + 1] += start[i]
        at, places = array("q", start), array("q", [0]) * start[-1]
        for place_, row in enumerate(of):
            if row >= 0:
                places[at[row]] = place_
                at[row] += 1
        self._start, self._places = start, places

    def places(self, row: int) -> Sequence[int]:
        """In order."""
        return self._places[self._start[row] : self._start[row + 1]]
