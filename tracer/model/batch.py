"""Events as batches of columns: what backends and importers yield, and the tree, the file and the exports take.

A batch holds rows in stream order, grouped by kind into dense columns, and makes no Python object per event:

    kinds   b"\\x01\\x02\\x01..."            one byte a row, in stream order
    parts   {Kind.FORK: {"pid": array("q", ...), "comm": [...]}, Kind.EXEC: {...}}

Row k of the stream is the next unread row of `parts[kinds[k]]`. A column that is absent from a part is null in all
its rows. What each column means is in schema.py. An `Event` is a view of one row, made on demand.

Stream order is the truth about order; `ts_ns` (CLOCK_BOOTTIME, ns) is for show and for durations.
A process is (pid, born_ns): pid is the tgid in the pid namespace that forktrace runs in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracer.model.schema import KIND_NAMES, NULL, TYPES, Kind, Part, is_list


class Event:
    """One row, seen from Python: `e.kind`, `e.pid`, `e.argv`. A field its kind does not carry, or null, is None."""

    __slots__ = ("_values", "kind")

    def __init__(self, kind: Kind, values: Mapping[str, Any]) -> None:
        self.kind = kind
        self._values = {k: v for k, v in values.items() if v is not None}

    def __getattr__(self, name: str) -> Any:
        if name in TYPES:
            return self._values.get(name)
        raise AttributeError(name)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are not null, `kind` first as its name."""
        return {"kind": KIND_NAMES[self.kind], **self._values}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.kind == other.kind and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.kind, self._values.get("ts_ns"), self._values.get("pid")))

    def __repr__(self) -> str:
        return f"Event({self.as_dict()!r})"


class Batch:
    """Rows in stream order, in dense columns by kind. Not copied: who feeds one gives it away."""

    __slots__ = ("kinds", "parts")

    def __init__(self, kinds: bytes, parts: dict[int, Part]) -> None:
        self.kinds = kinds
        self.parts = parts

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Kind, Mapping[str, Any]]]) -> Batch:
        """From (kind, {field: value or None}) pairs. For sources of few events, and for tests."""
        kinds = bytearray()
        grouped: dict[int, list[Mapping[str, Any]]] = {}
        for kind, values in rows:
            kinds.append(kind)
            grouped.setdefault(int(kind), []).append(values)
        return cls(bytes(kinds), {k: _columns(v) for k, v in grouped.items()})

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """One batch of all rows, in order."""
        if len(batches) == 1:
            return batches[0]
        parts: dict[int, Part] = {}
        counts: dict[int, int] = {}
        for batch in batches:
            for kind, part in batch.parts.items():
                have, new = counts.get(kind, 0), batch.kinds.count(kind)
                target = parts.setdefault(kind, {})
                for name in target.keys() | part.keys():
                    if name not in target:
                        target[name] = nulls(name, have)
                    target[name].extend(part[name] if name in part else nulls(name, new))
                counts[kind] = have + new
        return cls(b"".join(b.kinds for b in batches), parts)

    def cut(self, start: int, end: int | None = None) -> Batch:
        """Rows `start` to `end` (None: the last), without copying the others."""
        end = len(self) if end is None else end
        if start <= 0 and end >= len(self):
            return self
        kinds = self.kinds[start:end]
        parts: dict[int, Part] = {}
        for kind in set(kinds):
            first = self.kinds.count(kind, 0, start)
            last = first + kinds.count(kind)
            parts[kind] = {name: column[first:last] for name, column in self.parts[kind].items()}
        return Batch(kinds, parts)

    def pieces(self, rows: int) -> Iterator[Batch]:
        """The batch in batches of at most `rows` rows."""
        read = dict.fromkeys(self.parts, 0)
        for start in range(0, len(self), rows):
            kinds = self.kinds[start : start + rows]
            parts: dict[int, Part] = {}
            for kind in set(kinds):
                first, n = read[kind], kinds.count(kind)
                read[kind] += n
                parts[kind] = {name: column[first : first + n] for name, column in self.parts[kind].items()}
            yield Batch(kinds, parts)

    def without(self, kind: Kind) -> Batch:
        """All rows but those of one kind."""
        if kind not in self.kinds:
            return self
        parts = {k: part for k, part in self.parts.items() if k != kind}
        return Batch(self.kinds.replace(bytes([kind]), b""), parts)

    def rows(self) -> Iterator[tuple[Kind, dict[str, Any]]]:
        """(kind, {field: value}) in stream order, nulls left out."""
        iterators = {k: _part_rows(p, self.kinds.count(k)) for k, p in self.parts.items()}
        for k in self.kinds:
            yield Kind(k), next(iterators[k])

    def events(self) -> Iterator[Event]:
        """Each row as an `Event`, in stream order."""
        for kind, values in self.rows():
            yield Event(kind, values)


def nulls(name: str, n: int) -> Any:
    """A column of `n` nulls, of the sort that `name` has."""
    return [None] * n if is_list(name) else array("q", [NULL]) * n


def _columns(rows: Sequence[Mapping[str, Any]]) -> Part:
    names = dict.fromkeys(name for row in rows for name in row)
    part: Part = {}
    for name in names:
        values = [row.get(name) for row in rows]
        part[name] = values if is_list(name) else array("q", [NULL if v is None else v for v in values])
    return part


def _part_rows(part: Part, n: int) -> Iterator[dict[str, Any]]:
    columns = [(name, col, TYPES[name]) for name, col in part.items()]
    for i in range(n):
        row: dict[str, Any] = {}
        for name, col, type_ in columns:
            v = col[i]
            if v is None or (type_ in "ib" and v == NULL):
                continue
            row[name] = bool(v) if type_ == "b" else v
        yield row
