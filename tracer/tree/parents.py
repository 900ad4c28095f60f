"""New parents: events that name a parent other than the one a process was born to."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.model.schema import NULL, Part
from tracer.model.vector_ops import view
from tracer.tree.table import Table


def adoptions(table: Table, rows: Any, part: Part) -> None:
    """Note the first parent other than the one at birth, by time. Most events name the same parent."""
    ppids = part.get("ppid")
    if ppids is None:
        return
    born_to, adopted, since = table.column("ppid"), table.column("adopted_by"), table.column("adopted_ns")
    stamps = part["ts_ns"]
    for i in np.flatnonzero(view(born_to)[rows] != view(ppids)).tolist():
        row, ppid, ts = int(rows[i]), ppids[i], stamps[i]
        if ppid == NULL or born_to[row] == NULL:
            continue
        # An exec may be taken before the earlier end of a thread: the first new parent by time counts.
        if adopted[row] == NULL or NULL < ts < since[row]:
            adopted[row], since[row] = ppid, ts
