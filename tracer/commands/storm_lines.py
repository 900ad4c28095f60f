"""What `storm` says where there is no screen: a line a second and each finding, as text or as JSON lines.

Knows the window and how a second is told; writes to standard output and never waits for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Final

from tracer.capture.nonblocking_writer import Outlet

if TYPE_CHECKING:
    from tracer.reports.console.storm import Second
    from tracer.storms.detect import Finding
    from tracer.storms.monitor import Watch

_NS: Final = 10**9
_HEADING_EVERY: Final = 30  # lines
_SERIES: Final = ("forks", "execs", "exits", "failures", "alive", "zombies", "lost", "copies")


class Lines:
    """`tick` after every look at the source, `found` with each finding. Raises BrokenPipeError when nobody reads."""

    def __init__(self, watch: Watch, args: argparse.Namespace) -> None:
        from tracer.reports.terminal import facts

        self._watch = watch
        self._json = args.format == "jsonl"
        self._quiet = args.quiet > 0
        self._terminal = facts(sys.stdout, color=args.color, ascii_only=args.ascii, width=args.width)
        self._said: int | None = None  # the last second that was told
        self._lines = 0
        missed = '{{"kind": "missed", "lines": "{n}"}}' if self._json else "{n} lines were left out: nobody read them"
        self._out = Outlet(sys.stdout.fileno(), missed=missed)

    def tick(self) -> None:
        """Tell of the seconds that have closed."""
        span = self._watch.window.span
        if span and not self._quiet:
            for at in range(span.start + 1 if self._said is None else max(self._said + 1, span.start), span.stop):
                self._said = at
                self._tell(at)
        self._out.pump()

    def found(self, finding: Finding, kept: str | None) -> None:
        """A storm that began, or is over."""
        from tracer.reports.console.storm import finding_json, finding_text

        offset = self._watch.session.meta.wall_offset_ns
        if self._json:
            self._out.write(json.dumps(finding_json(finding, offset, kept)), important=True)
            return
        blank = [""] if self._lines else []
        for line in [*blank, *finding_text(finding, self._terminal, offset, kept), ""]:
            self._out.write(line, important=True)
        self._lines = 0

    def _tell(self, at: int) -> None:
        from tracer.reports.console.storm import heading, second_json, second_text

        second = self._second(at)
        offset = self._watch.session.meta.wall_offset_ns
        if self._json:
            self._out.write(json.dumps(second_json(second, offset)))
            return
        if self._lines % _HEADING_EVERY == 0:
            self._out.write(heading(self._terminal))
        self._lines += 1
        self._out.write(second_text(second, self._terminal, offset))

    def _second(self, at: int) -> Second:
        from tracer.reports.console.storm import Second

        window = self._watch.window
        place = at - window.span.start
        values = [window.series(name)[place] for name in _SERIES]
        groups = window.groups("ancestor", 1)
        busiest = groups[0] if groups and groups[0].forks else None
        forks, execs, exits, failures, alive, zombies, lost, copies = values
        return Second(
            ts_ns=(at + 1) * _NS,
            forks=forks,
            execs=execs,
            exits=exits,
            failures=failures,
            alive=alive,
            zombies=zombies,
            lost=lost,
            copies=copies,
            own_cpu=self._watch.own_cpu,
            busiest=busiest.label if busiest is not None else None,
            busiest_pid=busiest.pid if busiest is not None else None,
            busiest_share=busiest.share if busiest is not None else None,
        )

    def close(self) -> None:
        """What waits may go out, for a moment."""
        self._out.close()
