"""The flight recorder: the last seconds are always held in memory, and go into a file when there is a reason.

    recorder = Recorder(); recorder.take(batch) ...      a sink; tick() now and then
    recorder.begin(path, meta, existing)                 the seconds held go into a file, and what comes follows
    recorder.end()                                       what has come so far is the end of it
    recorder.tick() -> path | None                       of a file that is complete now

Bounded three ways: by time and bytes in memory, by bytes on disk. What is too old while nothing is recorded was never
promised. What has to be dropped of a recording is counted, and stands at its place in the file as a `lost` row; details
go first (recording/thin.py), then rows. The file is fed a little at every tick, so that a ring is read in time however
much has to be written: batches wait in the queue meanwhile. A disk that is full ends the file, not the recorder.

A saved file is an ordinary trace: who lived when it begins comes as `existing` rows first. Knows no storms.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from tracer.errors import CannotWriteError
from tracer.host import boot_clock
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind
from tracer.recording.thin import earliest, latest, thin, weight

KEEP_S: Final = 30.0
KEEP_BYTES: Final = 64 << 20
MAX_FILE: Final = 256 << 20
_THIN_FROM: Final = 0.6  # of the file's bound: only lifecycle from here on
_RESERVE: Final = 256 << 10  # of the file's bound, for the rows that say what is missing
_SHARE: Final = 0.05  # seconds of writing per tick
_AFTER_S: Final = 10.0  # a file that is to end is written to the end, but not for longer than this


def fresh(folder: str, stem: str) -> str:
    """A name in `folder` that no file has: STEM-20261124-130534.ftrace."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for n in range(1000):
        path = Path(folder) / f"{stem}-{stamp}{f'-{n}' if n else ''}.ftrace"
        if not path.exists():
            break
    return str(path)


class _Held:
    """A batch that waits."""

    __slots__ = ("batch", "bytes", "left_out", "lost_before", "thin", "until_ns")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.bytes = weight(batch)
        self.until_ns = latest(batch)
        self.thin = False
        self.left_out = 0  # rows of detail
        self.lost_before = 0  # rows between the one before and this one


class Recorder:
    """`opener` and `as_caller` as for recording.Writer. Nothing here raises but `begin`."""

    def __init__(
        self,
        *,
        keep_s: float = KEEP_S,
        keep_bytes: int = KEEP_BYTES,
        max_file: int = MAX_FILE,
        opener: Callable[[str, str], IO[bytes]] | None = None,
        as_caller: Callable[[], Any] = contextlib.nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keep_s = keep_s
        self.keep_bytes = keep_bytes
        self.max_file = max_file
        self.path: str | None = None
        """Of the file that is being written."""
        self.failure: CannotWriteError | None = None
        """Why the last file was not finished."""
        self.dropped = 0
        """Rows that are missing in the file that is, or was last, written; its `lost` rows add up to as many."""
        self._opener, self._as_caller, self._clock = opener, as_caller, clock
        self._queue: deque[_Held] = deque()
        self._bytes = 0
        self._thinned = 0  # so many at the front of the queue are thin
        self._writer: Any = None
        self._ending: float | None = None
        self._gap = 0  # rows dropped, not told of in the file yet
        self._full = False

    def __len__(self) -> int:
        return sum(len(held.batch) for held in self._queue)

    @property
    def held_bytes(self) -> int:
        """Bytes in memory, about."""
        return self._bytes

    def take(self, batch: Batch) -> None:
        """A sink: the newest batch."""
        if not batch.kinds:
            return
        held = _Held(batch)
        self._queue.append(held)
        self._bytes += held.bytes
        if self._writer is None:
            self._expire(held.until_ns)
        while self._bytes > self.keep_bytes and len(self._queue) > 1:
            self._shrink()

    def _expire(self, now: int) -> None:
        old = now - int(self.keep_s * 1e9)
        while self._queue and NULL != self._queue[0].until_ns < old:
            self._pop()

    def _shrink(self) -> None:
        """Make room: details of the oldest batch that has some, else the oldest batch."""
        if self._thinned < len(self._queue) - 1:
            held = self._queue[self._thinned]
            self._thinned += 1
            if not held.thin:
                self._thin(held)
            return
        gone = self._pop()
        if self._writer is not None:
            missing = gone.lost_before + gone.left_out + len(gone.batch)
            self.dropped += len(gone.batch)
            if self._queue:
                self._queue[0].lost_before += missing

    def _thin(self, held: _Held) -> None:
        before = held.bytes
        held.batch, left_out = thin(held.batch)
        held.left_out += left_out
        if self._writer is not None:
            self.dropped += left_out
        held.thin = True
        held.bytes = weight(held.batch)
        self._bytes += held.bytes - before

    def _pop(self) -> _Held:
        held = self._queue.popleft()
        self._bytes -= held.bytes
        self._thinned = max(0, self._thinned - 1)
        return held

    # -- the file ---------------------------------------------------------------------------------------------

    def begin(self, path: str, meta: Meta, existing: Callable[[], Batch] | None = None) -> None:
        """Write what is held to a new file, and go on. `existing`: EXISTING rows of all that live now.

        Raises CannotWriteError if it can not be made. While one file is written no other is begun.
        """
        if self._writer is not None:
            return
        from tracer.recording import Writer

        self._writer = Writer(path, meta, opener=self._opener, as_caller=self._as_caller, clock=self._clock)
        self.path, self.failure, self._ending, self._full, self._gap = path, None, None, False, 0
        self.dropped = sum(held.left_out for held in self._queue)
        standing = self._standing(existing() if existing is not None else None)
        if standing is not None:
            self._write(standing)

    def end(self) -> None:
        """The file is to end with what has been taken so far."""
        if self._writer is not None and self._ending is None:
            self._ending = self._clock()

    def tick(self, *, all_of_it: bool = False) -> str | None:
        """Write for some milliseconds. Returns the path of a file that was completed, or has failed, by this."""
        if self._writer is None:
            return None
        now = self._clock()
        late = self._ending is not None and now > self._ending + _AFTER_S
        until = now + _SHARE
        while self._queue and self._writer is not None and (all_of_it or late or self._clock() < until):
            held = self._pop()
            self._gap += held.lost_before + held.left_out
            self._put(held)
        if self._writer is not None and not self._queue:
            if self._ending is not None:
                return self._close()
            self._guard(lambda writer: writer.maybe_flush())
        return self._given_up()

    def _put(self, held: _Held) -> None:
        writer = self._writer
        if writer.size > self.max_file - _RESERVE:
            self._full = True
        if self._full:
            self._gap += len(held.batch)
            self.dropped += len(held.batch)
            return
        if not held.thin and writer.size > _THIN_FROM * self.max_file:
            batch, left_out = thin(held.batch)
            self._gap += left_out
            self.dropped += left_out
        else:
            batch = held.batch
        if self._gap:
            self._write(_lost(self._gap, held.until_ns))
            self._gap = 0
        if batch.kinds:
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        self._guard(lambda writer: writer.write(batch))

    def _guard(self, do: Callable[[Any], object]) -> None:
        if self._writer is None:
            return
        try:
            do(self._writer)
        except CannotWriteError as e:
            self.failure = e
            self.dropped += self._writer.unwritten
            self._writer.abandon()
            self._writer = None

    def _given_up(self) -> str | None:
        if self._writer is not None or self.path is None:
            return None
        path, self.path = self.path, None
        return path

    def _close(self) -> str | None:
        if self._gap:
            self._write(_lost(self._gap, boot_clock.now_ns()))
            self._gap = 0
        self._guard(lambda writer: writer.close({"dropped": self.dropped}))
        self._writer = None
        return self._given_up()

    def close(self) -> str | None:
        """Finish the file, all of it. Returns its path."""
        if self._writer is None:
            return None
        self.end()
        return self.tick(all_of_it=True)

    def _standing(self, now: Batch | None) -> Batch | None:
        """Who lived before the first row that is held: of the living, and of those that ended since."""
        told: set[tuple[int, int]] = set()
        ended: dict[tuple[int, int], dict[str, Any]] = {}
        for held in self._queue:
            parts = held.batch.parts
            for kind in (Kind.FORK, Kind.EXISTING):
                part = parts.get(kind)
                if part is not None:
                    told.update(_keys(part))
            part = parts.get(Kind.EXIT)
            if part is not None:
                for i, key in enumerate(_keys(part)):
                    if key not in told and key not in ended:
                        ended[key] = {name: part[name][i] for name in _FROM_END if name in part}
        at = earliest(self._queue[0].batch) if self._queue else NULL
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        for kind, values in now.rows() if now is not None else ():
            key = (values["pid"], values["born_ns"])
            if kind == Kind.EXISTING and key not in told:
                rows[key] = values
        for (pid, born), values in ended.items():
            if (pid, born) not in rows:
                rows[pid, born] = {"pid": pid, "born_ns": born, "tid": pid, "how": "existing", **_known(values)}
        if not rows:
            return None
        # The oldest first, and so parents before their children.
        order = sorted(rows.values(), key=lambda row: (row["born_ns"], row["pid"]))
        return Batch.from_rows([(Kind.EXISTING, {**row, "ts_ns": None if at == NULL else at}) for row in order])


_FROM_END: Final = ("ppid", "parent_born_ns", "comm", "uid")


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != NULL}


def _keys(part: dict[str, Any]) -> Iterator[tuple[int, int]]:
    return zip(part["pid"], part["born_ns"], strict=True)


def _lost(count: int, ts: int) -> Batch:
    return Batch.from_rows([(Kind.LOST, {"ts_ns": None if ts == NULL else ts, "count": count, "where": "recorder"})])
