"""The threads of the processes of a tree: which process, tid, creation and end of each."""

from __future__ import annotations

from array import array

from tracer.model.schema import NULL
from tracer.tree.table import Table


class Threads:
    """One row a thread, in order of creation; the first thread of a process has none."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.process, self.tid = array("q"), array("q")
        self.born, self.end = array("q"), array("q")
        self._living: dict[tuple[int, int], tuple[int, ...]] = {}  # by (tid, process row); tids are used again

    def __bool__(self) -> bool:
        """Whether any thread has not ended."""
        return bool(self._living)

    def began(self, row: int, tid: int, ts: int) -> None:
        """A thread of process `row` was created."""
        self._living[tid, row] = (*self._living.get((tid, row), ()), len(self.process))
        self.process.append(row)
        self.tid.append(tid)
        self.born.append(ts)
        self.end.append(NULL)
        made = self._table.column("threads")
        made[row] = 1 if made[row] == NULL else made[row] + 1

    def ended(self, row: int, tid: int, ts: int) -> None:
        """The thread that had this tid ended: the last one created by then, as a batch's births are taken first."""
        living = self._living.get((tid, row), ())
        at = next((i for i in reversed(living) if NULL in (ts, self.born[i]) or self.born[i] <= ts), None)
        if at is None:
            return  # an io_uring worker had the number before
        self.end[at] = ts
        rest = tuple(i for i in living if i != at)
        if rest:
            self._living[tid, row] = rest
        else:
            del self._living[tid, row]
