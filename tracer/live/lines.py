"""A saved trace as lines: one for each second of it, or for each event, at its pace or at once, as text or as JSON.

    play_lines(recording, args, begin=..., end=...)

Seconds are told as `storm` tells them, by the same window. Writes to standard output, and may wait for its reader: the
file does not run away. Knows no terminal beyond its width and colours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tracer.errors import BadDataError, UsageError
from tracer.live.event_line import told
from tracer.live.tape import Tape
from tracer.model.batch import Batch, Event
from tracer.model.schema import NULL, Kind
from tracer.model.visible import write
from tracer.reports.console.storm import Second, heading, second_json, second_text
from tracer.reports.terminal import facts
from tracer.reports.words import duration
from tracer.window.window import Window

if TYPE_CHECKING:
    from tracer.recording import Recording

_NS: Final = 10**9
_HEADING_EVERY: Final = 30
_GAP_S: Final = 600  # with nothing in them: one line says so
_PACE_NS: Final = 50_000_000  # of the trace, between two looks at the clock, where events are told
_SERIES: Final = ("forks", "execs", "exits", "failures", "alive", "zombies", "lost", "copies")

When = Callable[[int], int]


def play_lines(recording: Recording, args: argparse.Namespace, *, begin: When | None, end: When | None) -> None:
    """`begin` and `end`: from the stamp of the first row to the stamp that was asked for."""
    player = _Lines(recording, args)
    try:
        player.play(begin, end)
    finally:
        sys.stdout.flush()
    if recording.damage is not None:
        from tracer.reports.terminal import clean

        write(sys.stderr, f"forktrace: {clean(recording.damage)}\n")


class _Lines:
    def __init__(self, recording: Recording, args: argparse.Namespace) -> None:
        self._tape = Tape(recording, held_most=0)
        self._window = Window(60, recording.meta)
        self._offset = recording.meta.wall_offset_ns
        self._json = args.format == "jsonl"
        self._events = args.verbose > 0
        self._speed = float(args.speed)
        self._terminal = facts(sys.stdout, color=args.color, ascii_only=args.ascii, width=args.width)
        self._lines = 0
        self._first = 0
        self._began = 0.0
        self._began_ns = 0

    def play(self, begin: When | None, end: When | None) -> None:
        timeless = 0
        while (first := self._tape.next_ns()) == NULL:  # rows without a stamp, before the first with one
            batch = self._tape.until(NULL)
            if batch is not None:
                timeless += len(batch) - batch.kinds.count(Kind.END)
                self._window.feed(batch)
        if first is None:
            if timeless:
                mend = "see `forktrace report`, or `forktrace export --table events`"
                raise BadDataError("no record of this trace has a time, so there is nothing to play", mend)
            return
        self._first = first
        start = first if begin is None else max(begin(first), first)
        until = None if end is None else end(first)
        if until is not None and until < start:
            raise UsageError("--until is before what is to be played", "give a later time")
        at = first // _NS if start == first else self._skip(start)
        if self._tape.next_ns() is None:
            long = duration(max(self._tape.at_ns - first, 0), ascii_only=not self._terminal.unicode)
            raise UsageError("--from is after the end of the trace", f"it is {long} long")
        self._began, self._began_ns = time.monotonic(), start
        while (coming := self._tape.next_ns()) is not None and (until is None or coming <= until):
            if coming // _NS - at > _GAP_S:
                self._gap(at, coming // _NS)
                at = coming // _NS
            stop = (at + 1) * _NS - 1
            self._second(at, stop if until is None else min(stop, until))
            at += 1

    def _skip(self, start: int) -> int:
        """Up to `start` without a word. Returns its second."""
        while (coming := self._tape.next_ns()) is not None and coming < start:
            edge = min(start - 1, (coming // _NS + 1) * _NS - 1)
            while (batch := self._tape.until(edge)) is not None:
                self._window.feed(batch)
        self._window.advance(start)
        return start // _NS

    def _second(self, at: int, stop: int) -> None:
        edge = max(at * _NS, self._began_ns)
        while True:
            edge = min(stop, edge + _PACE_NS) if self._events else stop
            self._wait(edge)
            while (batch := self._tape.until(edge)) is not None:
                if self._events:
                    self._tell(batch)
                self._window.feed(batch)
            if edge >= stop:
                break
        self._window.advance((at + 1) * _NS)
        if not self._events:
            self._tell_second(at)

    def _wait(self, ns: int) -> None:
        if self._speed == float("inf"):
            return
        left = self._began + (ns - self._began_ns) / _NS / self._speed - time.monotonic()
        if left > 0:
            sys.stdout.flush()
            time.sleep(left)

    # -- what is said -----------------------------------------------------------------------------------------

    def _tell(self, batch: Batch) -> None:
        out = sys.stdout
        for event in batch.events():
            if event.kind == Kind.DECAY and not self._json:  # a sum of the whole trace, and nothing that happened
                continue
            if self._json:
                write(out, json.dumps(event.as_dict()) + "\n")
            else:
                write(out, f"{self._since(event)}  {told(event, self._terminal)}\n")

    def _since(self, event: Event) -> str:
        return f"{'-':>12}" if event.ts_ns is None else f"{(event.ts_ns - self._first) / _NS:12.6f}"

    def _tell_second(self, at: int) -> None:
        window = self._window
        place = at - window.span.start
        values = [window.series(name)[place] for name in _SERIES]
        groups = window.groups("ancestor", 1)
        busiest = groups[0] if groups and groups[0].forks else None
        forks, execs, exits, failures, alive, zombies, lost, copies = values
        second = Second(
            ts_ns=(at + 1) * _NS,
            forks=forks,
            execs=execs,
            exits=exits,
            failures=failures,
            alive=alive,
            zombies=zombies,
            lost=lost,
            copies=copies,
            own_cpu=None,
            busiest=busiest.label if busiest is not None else None,
            busiest_pid=busiest.pid if busiest is not None else None,
            busiest_share=busiest.share if busiest is not None else None,
        )
        if self._json:
            self._write(json.dumps(second_json(second, self._offset)))
            return
        if self._lines % _HEADING_EVERY == 0:
            self._write(heading(self._terminal))
        self._lines += 1
        self._write(second_text(second, self._terminal, self._offset))

    def _gap(self, since: int, until: int) -> None:
        seconds = until - since
        if self._json:
            self._write(json.dumps({"kind": "gap", "ts_ns": since * _NS, "seconds": seconds}))
        else:
            self._write(f"nothing for {duration(seconds * _NS, ascii_only=not self._terminal.unicode)}")
        self._began_ns, self._began = until * _NS, time.monotonic()  # nobody waits for that

    def _write(self, line: str) -> None:
        write(sys.stdout, line + "\n")
        if self._speed != float("inf"):
            sys.stdout.flush()
