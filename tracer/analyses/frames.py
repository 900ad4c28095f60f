"""What the analyses say as pandas frames, for notebooks.

    edges_frame(tree)     a row per fork: who, how, what the two shared, what it took
    ledger_frame(tree)    the forks that copied an address space, the dearest first, with what both sides copied

    column                dtype     unit
    id parent_id          Int64     rows of the process table (`trace.processes`)
    pid parent_pid        Int64
    how comm parent_comm  string
    born_ns               Int64     CLOCK_BOOTTIME
    shares_memory wasted  boolean   wasted: it went on to exec, so posix_spawn would have copied nothing
    fork_ns to_exec_ns    Int64     page-table copy; from birth to first exec
    pgtables_bytes rss_bytes        Int64, of the parent at the fork
    child_copies parent_copies before_exec copies     Int64, pages
    bytes                 Int64     copies, in bytes
    share                 Float64   of the parent's resident memory

Null is not measured, never 0. Imports pandas; knows no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from tracer.analyses.cow import Edge, edges, ledger

if TYPE_CHECKING:
    import pandas as pd

    from tracer.tree.tree import ProcessTree

_DTYPES: Final = {
    "id": "Int64",
    "parent_id": "Int64",
    "pid": "Int64",
    "parent_pid": "Int64",
    "how": "string",
    "comm": "string",
    "parent_comm": "string",
    "born_ns": "Int64",
    "shares_memory": "boolean",
    "fork_ns": "Int64",
    "to_exec_ns": "Int64",
    "pgtables_bytes": "Int64",
    "rss_bytes": "Int64",
    "child_copies": "Int64",
    "parent_copies": "Int64",
    "before_exec": "Int64",
    "copies": "Int64",
    "bytes": "Int64",
    "share": "Float64",
    "wasted": "boolean",
}
EDGE_COLUMNS: Final = tuple(name for name in _DTYPES if name not in ("copies", "bytes", "share", "wasted"))
LEDGER_COLUMNS: Final = tuple(_DTYPES)


def edges_frame(tree: ProcessTree) -> pd.DataFrame:
    """Every fork of the trace, in order of birth, EDGE_COLUMNS."""
    return _frame(tree, edges(tree), EDGE_COLUMNS)


def ledger_frame(tree: ProcessTree) -> pd.DataFrame:
    """Forks that copied an address space, the dearest first, LEDGER_COLUMNS."""
    return _frame(tree, ledger(tree, None).edges, LEDGER_COLUMNS)


def _frame(tree: ProcessTree, found: Iterable[Edge], names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in names}
    for edge in found:
        of_process = {
            "id": edge.row,
            "parent_id": edge.parent,
            "pid": tree.value(edge.row, "pid"),
            "parent_pid": None if edge.parent is None else tree.value(edge.parent, "pid"),
            "how": tree.value(edge.row, "how"),
            "comm": _text(tree.value(edge.row, "comm")),
            "parent_comm": None if edge.parent is None else _text(tree.value(edge.parent, "comm")),
            "born_ns": tree.value(edge.row, "born_ns"),
        }
        for name, column in columns.items():
            column.append(of_process[name] if name in of_process else getattr(edge, name))
    made = {}
    for name, column in columns.items():
        # Python strings: Arrow's storage can not hold the surrogates that stand for odd bytes
        dtype: Any = pd.StringDtype("python") if _DTYPES[name] == "string" else _DTYPES[name]
        made[name] = pd.array(column, dtype=dtype)
    return pd.DataFrame(made, columns=list(names))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
