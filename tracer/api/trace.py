"""A trace: what it is of, its events, and the tree they make. The same for a run that has just ended and for a file.

Everything is made when it is first asked for. Knows no source and no report.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from tracer.model.batch import Batch, Event
from tracer.model.meta import Meta

if TYPE_CHECKING:
    import pandas as pd

    from tracer.model.status import Status
    from tracer.tree.tree import ProcessTree


class Trace:
    """`meta`, `tree`, `events()`, `processes`. `status` is how the program ended, for a run."""

    def __init__(
        self,
        meta: Meta,
        batches: Callable[[], Iterable[Batch]],
        *,
        status: Status | None = None,
        damage: Callable[[], str | None] = lambda: None,
        broken: Callable[[], bool] = lambda: False,
    ) -> None:
        self.meta = meta
        self.status = status
        self._damage = damage
        self._broken = broken
        self._batches = batches
        self._tree: ProcessTree | None = None

    def batches(self) -> Iterable[Batch]:
        """Its events in columns, from the beginning, in stream order."""
        return self._batches()

    def events(self) -> Iterator[Event]:
        """Its events one by one."""
        for batch in self._batches():
            yield from batch.events()

    @property
    def tree(self) -> ProcessTree:
        """The process tree; built once."""
        if self._tree is None:
            from tracer.tree.tree import ProcessTree

            tree = ProcessTree(self.meta)
            # Columns make many objects and no circles: the collector would walk them again and again (half the time
            # of a million processes) and find nothing.
            collecting = gc.isenabled()
            gc.disable()
            try:
                for batch in self._batches():
                    tree.feed(batch)
            finally:
                if collecting:
                    gc.enable()
            self._tree = tree
        return self._tree

    @property
    def torn(self) -> bool:
        """Known once it was read: the file has no end, as its writer was killed or still writes."""
        return self._damage() is not None

    @property
    def broken(self) -> bool:
        """Known once it was read: it is torn because it is damaged, not because its end never came."""
        return self._broken()

    @property
    def damage(self) -> str | None:
        """Known once it was read: why it is torn, and where, as a sentence; None when it is whole."""
        return self._damage()

    @property
    def processes(self) -> pd.DataFrame:
        """The process table as a pandas frame: tracer.tree.tables says dtypes and units."""
        from tracer.tree.tables import processes_frame

        return processes_frame(self.tree)

    def events_frame(self, columns: Collection[str] | None = None) -> pd.DataFrame:
        """The event table as a pandas frame; dtypes as in tree/tables.py. Name the columns of a long trace."""
        from tracer.tree.tables import events_frame

        return events_frame(self._batches(), columns)

    @property
    def edges(self) -> pd.DataFrame:
        """Every fork, a row each: tracer.analyses.frames says dtypes and units."""
        from tracer.analyses.frames import edges_frame

        return edges_frame(self.tree)

    @property
    def ledger(self) -> pd.DataFrame:
        """The forks that copied an address space, the dearest first: tracer.analyses.frames says dtypes and units."""
        from tracer.analyses.frames import ledger_frame

        return ledger_frame(self.tree)

    def _repr_html_(self) -> str:
        return self.tree._repr_html_()
