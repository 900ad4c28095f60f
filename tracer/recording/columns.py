"""Batches (dense columns by kind) to and from Arrow record batches (one wide table, nulls in between).

    Batch                                     RecordBatch
    kinds  fork exec fork exit                ts_ns  kind  pid  syscall  argv   exit_code
    parts  fork: pid [7, 8] syscall [..]        10   fork   7   clone    null   null
           exec: pid [7]    argv [..]     <->   11   exec   7   null     [ls]   null
           exit: pid [7]    exit_code [0]       12   fork   8   vfork    null   null
                                                13   exit   7   null     null   0

The wide schema is derived from `tracer.model.batch` and from nothing else. No Python object is made per row for
integers and booleans. Strings are plain utf8 (text.py tells of bytes that are not): dictionaries would save a
sixth of the file, but readers built on nanoarrow can not decode compressed ones, and a replaced dictionary is
one more message that a torn file can lose.

Knows nothing of files.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, Final

from tracer.model.batch import Batch, nulls
from tracer.model.schema import EVENT_COLUMNS, KIND_NAMES, KINDS_BY_NAME, NULL, Part
from tracer.recording import arrays
from tracer.recording.validity import SUPPLIED

COLUMNS: Final = EVENT_COLUMNS
"""Every column of the wide table, in order. `kind` is the only one that a batch keeps elsewhere."""

_KIND_WORDS: Final = tuple(KIND_NAMES.get(kind, f"kind_{kind}") for kind in range(256))


@functools.cache
def wide_schema() -> Any:
    """The pyarrow schema of the wide table, without metadata."""
    import pyarrow as pa

    return pa.schema([pa.field(f.name, arrays.arrow_type(f.type)) for f in COLUMNS])


def widen(batch: Batch) -> Any:
    """`batch` as one pyarrow RecordBatch of `wide_schema()`, rows in stream order."""
    import numpy as np
    import pyarrow as pa

    kinds = np.frombuffer(batch.kinds, np.uint8)
    n = len(kinds)
    found = ((kind, np.flatnonzero(kinds == kind)) for kind in batch.parts)
    rows = {kind: at for kind, at in found if len(at)}  # a batch that was split has kinds that are all on one side
    merges: dict[tuple[int, ...], _Merge] = {}
    columns = []
    for name, code, *_ in COLUMNS:
        having = tuple(kind for kind in rows if name in batch.parts[kind])
        if name == "kind":
            column = arrays.coded(batch.kinds, _KIND_WORDS)
        elif not having:
            column = pa.nulls(n, arrays.arrow_type(code))
        else:
            merge = merges.get(having)
            if merge is None:
                merge = merges[having] = _Merge([rows[kind] for kind in having], n)
            dense = [batch.parts[kind][name] for kind in having]
            column = merge.integers(code, dense) if code in "ib" else merge.objects(code, dense)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=wide_schema())


class _Merge:
    """Dense columns of some kinds as one wide column. `rows`: of each kind, in what rows of `n` its values stand.

    Many columns come from the same kinds: where what stands is found once for all of them.
    """

    def __init__(self, rows: Sequence[Any], n: int) -> None:
        import numpy as np

        self._n = n
        at = rows[0] if len(rows) == 1 else np.concatenate(rows)
        self._order = None if len(rows) == 1 else np.argsort(at, kind="stable")
        self._at = at if self._order is None else at[self._order]
        self._valid = np.zeros(n, bool)
        self._valid[self._at] = True
        # What lies under a null is free to choose: the value before it makes the file a quarter smaller.
        before = np.maximum(np.cumsum(self._valid) - 1, 0)
        self._take = before if self._order is None else self._order[before]
        self._bitmap: Any = None if len(at) == n else arrays.bits(self._valid)

    def integers(self, code: str, columns: Sequence[Any]) -> Any:
        """Integers with NULL in them (code i), or booleans (code b)."""
        import numpy as np
        import pyarrow as pa

        dense = np.asarray(columns[0], np.int64) if len(columns) == 1 else np.concatenate(columns, dtype=np.int64)
        least, most = (dense.min(), dense.max()) if len(dense) else (0, 0)
        if least == NULL:  # the least of all integers
            if most == NULL:
                return pa.nulls(self._n, arrays.arrow_type(code))
            values = np.full(self._n, NULL, np.int64)
            values[self._at] = dense if self._order is None else dense[self._order]
            return arrays.integers(code, values)
        values = np.full(self._n, least) if least == most else dense[self._take]
        return arrays.whole(code, values, self._bitmap, self._n - len(dense))

    def objects(self, code: str, columns: Sequence[Any]) -> Any:
        """Strings or lists, None among them."""
        import numpy as np

        if code == "s" and (word := _only_word(columns)) is not None:
            return arrays.repeated(word, self._valid, self._bitmap, len(self._at))
        if self._order is None:
            return arrays.objects(code, columns[0], self._at, self._n)
        values = np.fromiter(chain.from_iterable(columns), object, len(self._at))[self._order].tolist()
        return arrays.objects(code, values, self._at, self._n)


def _only_word(columns: Sequence[Sequence[str | None]]) -> str | None:
    """The word that every row of every column has, if there is one: in a storm most columns are so."""
    word = next((column[0] for column in columns if column), None)
    return word if word is not None and all(column.count(word) == len(column) for column in columns) else None


def narrow(wide: Any, names: Collection[str] | None = None) -> tuple[Batch, int]:
    """A pyarrow RecordBatch of (some of) the wide columns as a Batch; how many rows were of no known kind.

    Columns that are null in all rows of a kind are left out of its part, except those of validity.SUPPLIED, which
    every part has; `names` narrows them further. The caller has checked the types and validated `wide` in full.
    """
    import numpy as np

    place = {name: i for i, name in reversed(list(enumerate(wide.schema.names)))}
    indices, words = arrays.encode_strings(wide.column(place["kind"]))
    kinds = np.array([KINDS_BY_NAME.get(word or "", 0) for word in words], np.uint8)[indices]
    present = [kind for kind in np.flatnonzero(np.bincount(kinds)).tolist() if kind]
    rows = {kind: np.flatnonzero(kinds == kind) for kind in present}
    wanted = {f.name for f in COLUMNS} if names is None else {*names}
    parts: dict[int, Part] = {
        kind: {name: nulls(name, len(rows[kind])) for name in SUPPLIED[kind] if name in wanted} for kind in present
    }
    for name, code, *_ in COLUMNS:
        if name == "kind" or name not in place or name not in wanted:
            continue
        column = wide.column(place[name])
        if column.null_count == len(column):
            continue
        valid = arrays.is_valid(column)
        held = [kind for kind in present if valid[rows[kind]].any()]
        if code in "ib":
            values = arrays.read_integers(column)
            for kind in held:
                dense = values[rows[kind]].astype(np.int64, copy=False)
                dense[~valid[rows[kind]]] = NULL
                parts[kind][name] = array("q", dense.tobytes())
        elif code == "s":
            indices, words = arrays.encode_strings(column)
            table = np.fromiter(words, object, len(words))
            for kind in held:
                parts[kind][name] = table[indices[rows[kind]]].tolist()
        else:
            for kind in held:
                parts[kind][name] = arrays.read_lists(column, rows[kind])
    return Batch(kinds[kinds != 0].tobytes(), parts), int((kinds == 0).sum())
