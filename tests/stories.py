"""Small histories told in seconds, for the rolling window and what looks at it.

    story = Story(); story.existing(1); story.run(0.5, 100, 1, "curl", "http://a"); window = story.window(until=3)

A pid is used once. Knows nothing of what a window should say of them.
"""

from __future__ import annotations

from typing import Any, Final

from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.window.window import Window

S: Final = 10**9
ALL: Final = Meta("bpf", frozenset(Fact))


class Story:
    """Rows of a history, in the order in which they are told."""

    def __init__(self) -> None:
        self.rows: list[tuple[Kind, dict[str, Any]]] = []
        self._born: dict[int, int] = {0: 0}
        self._has: dict[int, dict[str, Any]] = {}  # what its children will have too

    def existing(self, pid: int, above: int | None = None, **more: Any) -> int:
        """It was there before."""
        return self._birth(Kind.EXISTING, 0.0, pid, above, {"how": "existing", **more})

    def fork(self, at: float, pid: int, above: int, **more: Any) -> int:
        """A birth."""
        return self._birth(Kind.FORK, at, pid, above, {"how": "fork", **more})

    def exec(self, at: float, pid: int, *argv: str, **more: Any) -> None:
        """A new image."""
        comm = argv[0].rpartition("/")[2][:15]
        self._has[pid] = {**self._has[pid], "comm": comm, **more}
        self.row(Kind.EXEC, at, pid, argv=list(argv), exe=argv[0], comm=comm, **more)

    def exit(self, at: float, pid: int, code: int | None = 0, signal: int | None = None) -> None:
        """The end of the whole process."""
        self.row(Kind.EXIT, at, pid, last=True, exit_code=None if signal else code, signal=signal)

    def reap(self, at: float, pid: int, **more: Any) -> None:
        """The kernel has let go of it."""
        self.row(Kind.REAP, at, pid, **more)

    def run(self, at: float, pid: int, above: int, *argv: str, lasts: float = 0.01, code: int = 0) -> None:
        """A whole life; without `argv` it stays a copy of its parent."""
        self.fork(at, pid, above)
        if argv:
            self.exec(at + lasts / 2, pid, *argv)
        self.exit(at + lasts, pid, code)
        self.reap(at + lasts, pid)

    def batch(self) -> Batch:
        """All of it."""
        return Batch.from_rows(self.rows)

    def window(self, until: float, meta: Meta = ALL, seconds: int = 60) -> Window:
        """A window that has seen it, and the clock go on."""
        window = Window(seconds, meta)
        window.feed(self.batch())
        window.advance(int(until * S))
        return window

    def key(self, pid: int) -> tuple[int, int]:
        """(pid, born_ns)."""
        return pid, self._born[pid]

    def row(self, kind: Kind, at: float, pid: int, **values: Any) -> None:
        """Any other row."""
        row = {"ts_ns": int(at * S), "pid": pid, "tid": pid, "born_ns": self._born[pid], **values}
        self.rows.append((kind, {name: value for name, value in row.items() if value is not None}))

    def _birth(self, kind: Kind, at: float, pid: int, above: int | None, more: dict[str, Any]) -> int:
        self._born[pid] = int(at * S)
        given: dict[str, Any] = {name: more[name] for name in ("comm", "cgroup", "uid") if name in more}
        self._has[pid] = {**self._has.get(above or 0, {"comm": "x", "cgroup": "/", "uid": 0}), **given}
        if above is not None:
            more = {"ppid": above, "parent_born_ns": self._born[above], **more}
            if kind == Kind.FORK:
                more = {"creator_pid": above, "creator_born_ns": self._born[above], **more}
        self.row(kind, at, pid, **{**self._has[pid], **more})
        return pid
