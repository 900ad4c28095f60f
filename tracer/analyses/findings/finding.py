"""One finding: a kind, who it is about, and the figures behind it. Holds; judges nothing and phrases nothing.

Units are in the names of the figures, as in the tables: `_ns`, `_bytes`; others are counts. None is not measured.
`weight_ns` is for order alone: time that was measured, and a page that was copied as a microsecond, which is about
what such a fault takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracer.model.frozen import record

PAGE_WEIGHT_NS: Final = 1000


@record
class Finding:
    """`maker`: the row that is to be changed, None where it is outside or there are several. `rows`: some examples."""

    kind: str
    maker: int | None
    rows: tuple[int, ...]
    figures: Mapping[str, Any]
    weight_ns: int
    breaks: bool = False  # something does not work, or will not for long

    def as_dict(self) -> dict[str, Any]:
        """JSON types; rows are ids of the process table."""
        return {"kind": self.kind, "maker": self.maker, "rows": list(self.rows), **self.figures}
