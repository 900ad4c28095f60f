"""One column to an Arrow array and back, through its raw buffers.

`pyarrow.array()`, `Array.to_numpy()` and `pyarrow.scalar()` import pandas when it is installed (0.7 s),
and every compute function imports `pyarrow.compute` (0.13 s): a trace of three processes must pay neither.
So arrays are put together from numpy buffers here, which is faster too. Only big columns use compute.

Columns are as `tracer.model.batch` keeps them; types are its letters: i int64, b bool, s utf8, S list of utf8,
I list of int32. Knows nothing of kinds, schemas or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from tracer.model.schema import NULL
from tracer.model.vector_ops import combined, firsts
from tracer.recording import text

_COMPUTE_PAYS: Final = 16384  # rows
_SHARING_PAYS: Final = 1024  # rows
_SHORT: Final = 8  # items of a list that are looked at, to find equal ones


def arrow_type(code: str) -> Any:
    """The Arrow type of an `events.Field.type` letter."""
    import pyarrow as pa

    types = {"i": pa.int64, "b": pa.bool_, "s": pa.string}
    if code in types:
        return types[code]()
    return pa.list_(pa.string() if code == "S" else pa.int32())


def column(code: str, values: Sequence[Any]) -> Any:
    """A whole column as an Arrow array: array("q") with NULL for i and b, a list with None for s, S and I."""
    import numpy as np

    if code in "ib":
        return integers(code, np.array(values, np.int64))
    return objects(code, values, np.arange(len(values)), len(values))


def integers(code: str, values: Any) -> Any:
    """A numpy int64 array with NULL in it as an Arrow array, int64 (code i) or bool (code b)."""
    import numpy as np

    valid = values != NULL
    n = len(values)
    if not valid.all():
        # What lies under a null is free to choose: the value before it makes the file a quarter smaller.
        values = values[np.maximum.accumulate(np.where(valid, np.arange(n), 0))]
    data = bits(values != 0) if code == "b" else np.ascontiguousarray(values)
    return _array(code, n, valid, [data])


def whole(code: str, values: Any, bitmap: Any, nulls: int) -> Any:
    """A numpy int64 array as an Arrow array, int64 (code i) or bool (code b). `bitmap` says where nulls are, if any."""
    import numpy as np
    import pyarrow as pa

    data = bits(values != 0) if code == "b" else np.ascontiguousarray(values)
    raw = [pa.py_buffer(bitmap) if nulls else None, pa.py_buffer(data)]
    return pa.Array.from_buffers(arrow_type(code), len(values), raw, nulls)


def objects(code: str, values: Sequence[Any], at: Any, n: int) -> Any:
    """An Arrow array of `n` strings (code s) or lists (S, I): `values[i]` in row `at[i]`, null elsewhere.

    `at` is a rising numpy array of row numbers. Raises OverflowError beyond 2 GiB of text.
    """
    import numpy as np

    if None in values:
        held = np.fromiter((v is not None for v in values), bool, len(values))
        values, at = [v for v in values if v is not None], at[held]
    data: Any
    if code == "s":
        data, lengths = text.pack(values)
        children = []
    else:
        lengths = list(map(len, values))
        flat = list(chain.from_iterable(values))
        data = None
        children = [column("s", flat) if code == "S" else _int32(flat)]
    spread = np.zeros(n + 1, np.int64)
    spread[at + 1] = lengths
    offsets = np.cumsum(spread)
    if offsets[-1] > 0x7FFFFFFF:
        raise OverflowError(f"{offsets[-1]} bytes or items are too many for one column of a batch")
    valid = np.zeros(n, bool)
    valid[at] = True
    buffers = [offsets.astype(np.int32)] + ([data] if code == "s" else [])
    return _array(code, n, valid, buffers, children)


def repeated(word: str, valid: Any, bitmap: Any, n: int) -> Any:
    """A utf8 Arrow array with `word` in the `n` rows that are `valid`; `bitmap` says the same, None where all are."""
    import numpy as np
    import pyarrow as pa

    data, (length,) = text.pack([word])
    if length * n > 0x7FFFFFFF:
        raise OverflowError(f"{length * n} bytes are too many for one column of a batch")
    offsets = np.zeros(len(valid) + 1, np.int32)
    np.cumsum(valid, out=offsets[1:])
    offsets *= length
    raw = [None if bitmap is None else pa.py_buffer(bitmap), pa.py_buffer(offsets), pa.py_buffer(data * n)]
    return pa.Array.from_buffers(arrow_type("s"), len(valid), raw, len(valid) - n)


def coded(codes: bytes, words: Sequence[str]) -> Any:
    """A utf8 Arrow array without nulls: `words[codes[i]]` in row i. The words are plain ASCII."""
    import numpy as np

    encoded = [word.encode("ascii") for word in words]
    lengths = np.array(list(map(len, encoded)), np.int32)[np.frombuffer(codes, np.uint8)]
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    return _array("s", len(codes), np.ones(len(codes), bool), [offsets, b"".join(map(encoded.__getitem__, codes))])


def is_valid(array: Any) -> Any:
    """Which rows of an Arrow array are not null, as a numpy bool array."""
    import numpy as np

    bitmap = array.buffers()[0]
    return np.ones(len(array), bool) if bitmap is None else _unpack(bitmap, array)


def read_integers(array: Any) -> Any:
    """An int64, int32 or bool Arrow array as numpy; rows that are null hold anything."""
    import numpy as np
    import pyarrow as pa

    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(len(array), np.int64)
    if pa.types.is_boolean(array.type):
        return _unpack(data, array)
    width = np.int32 if pa.types.is_int32(array.type) else np.int64
    return np.frombuffer(data, width, len(array), array.offset * np.dtype(width).itemsize)


def encode_strings(array: Any) -> tuple[Any, list[str | None]]:
    """A utf8 Arrow array as numpy indices into a list of its distinct values; the last of them is None.

    So equal strings become one object, which keeps a big tree small.
    """
    import numpy as np

    if len(array) < _COMPUTE_PAYS:
        odd = _marked(array)
        strings: list[str | None] = array.to_pylist()
        distinct = [*(s for s in dict.fromkeys(strings) if s is not None), None]
        numbers = {s: i for i, s in enumerate(distinct)}
        indices = np.fromiter(map(numbers.__getitem__, strings), np.int64, len(strings))
    else:
        encoded = array.dictionary_encode()
        odd = _marked(encoded.dictionary)
        distinct = [*encoded.dictionary.to_pylist(), None]
        indices = np.where(is_valid(encoded.indices), read_integers(encoded.indices), len(distinct) - 1)
    return indices, [s and text.restore(s) for s in distinct] if odd else distinct


def read_lists(array: Any, index: Any) -> list[Any]:
    """Rows `index` (a numpy array) of a list Arrow array, as Python lists and None.

    Of many rows that are equal most are one and the same list: change none of them in place.
    """
    import numpy as np
    import pyarrow as pa

    values = array.values
    if pa.types.is_string(values.type):
        numbers, words = encode_strings(values)
        flat = np.fromiter(words, object, len(words))[numbers].tolist()
    else:
        numbers = read_integers(values)
        flat = numbers.tolist()
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
    starts, ends = offsets[index].astype(np.int64), offsets[index + 1].astype(np.int64)
    rows = _shared(flat, numbers, starts, ends) if len(index) >= _SHARING_PAYS else _cut(flat, starts, ends)
    for i in np.flatnonzero(~is_valid(array)[index]).tolist():
        rows[i] = None
    return rows


def _cut(flat: list[Any], starts: Any, ends: Any) -> list[Any]:
    return [flat[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _shared(flat: list[Any], numbers: Any, starts: Any, ends: Any) -> list[Any]:
    """The same as _cut, each different short one made once. `numbers`: equal ones stand for equal items of `flat`."""
    import numpy as np

    rows = np.empty(len(starts), object)
    for length in np.unique(ends - starts).tolist():
        at = np.flatnonzero(ends - starts == length)
        first = starts[at]
        if 0 < length <= _SHORT:
            codes, n = combined(*(numbers[first + i] for i in range(length)))
            once = first[firsts(codes, n)]
            rows[at] = np.fromiter(_cut(flat, once, once + length), object, n)[codes]
        else:
            rows[at] = np.fromiter(_cut(flat, first, first + length), object, len(at))
    made: list[Any] = rows.tolist()
    return made


def _marked(array: Any) -> bool:
    data = array.buffers()[2]
    return data is not None and text.marked(data.to_pybytes())


def _array(code: str, n: int, valid: Any, buffers: Sequence[Any], children: Sequence[Any] = ()) -> Any:
    import pyarrow as pa

    nulls = n - int(valid.sum())
    raw = [pa.py_buffer(bits(valid)) if nulls else None, *map(pa.py_buffer, buffers)]
    return pa.Array.from_buffers(arrow_type(code), n, raw, nulls, 0, list(children) or None)


def _int32(values: Sequence[int]) -> Any:
    import numpy as np
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(np.array(values, np.int32))], 0)


def bits(flags: Any) -> Any:
    """Eight of a numpy bool array in a byte, as Arrow has them."""
    import numpy as np

    return np.packbits(flags, bitorder="little")


def _unpack(bitmap: Any, array: Any) -> Any:
    import numpy as np

    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little", count=array.offset + len(array))
    return bits[array.offset :].view(bool)
