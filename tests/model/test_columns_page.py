"""docs/columns.md is made of the schema: `pytest tests/model/test_columns_page.py --update-golden` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tracer.model.schema import EVENT_COLUMNS, PROCESS_COLUMNS, Column, Kind

PAGE = Path(__file__).parents[2] / "docs" / "columns.md"
TYPES = {"i": "integer", "b": "boolean", "s": "string", "S": "list of strings", "I": "list of integers"}
HEAD = """# Columns

Made from `tracer/model/schema.py`; do not edit. `forktrace export FILE --table processes|events` writes these columns,
in this order. Null means "not measured" or "not known", never 0. Times are nanoseconds on CLOCK_BOOTTIME, other `_ns`
columns durations.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            "## The process table: one row a process",
            "",
            "`needs`: null unless the source sees this fact (`forktrace doctor`, `--need`).",
            "",
            *table(("column", "type", "unit", "needs", "meaning"), map(process_row, PROCESS_COLUMNS)),
            "",
            "## The event table: one row an event",
            "",
            "`in`: the kinds of event that have the column; `all` is every kind but lost and end.",
            "",
            *table(("column", "type", "unit", "in", "meaning"), map(event_row, EVENT_COLUMNS)),
            "",
        ]
    )


def process_row(c: Column) -> tuple[str, ...]:
    return f"`{c.name}`", TYPES[c.type], c.unit, c.fact.value if c.fact else "", c.doc


def event_row(c: Column) -> tuple[str, ...]:
    tasks = {k.name.lower() for k in Kind} - {"lost", "end"}
    kinds = c.kinds.split()
    rest = [kind for kind in kinds if kind not in tasks]
    return f"`{c.name}`", TYPES[c.type], c.unit, " ".join(["all", *rest] if tasks <= set(kinds) else kinds), c.doc


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows)]


def test_the_page_is_the_schema(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page(), encoding="utf-8")

    assert PAGE.read_text(encoding="utf-8") == page(), "write docs/columns.md anew with --update-golden"
