"""`storm` on a terminal: the live screen, a storm as one line on top of it, and all findings in full when it is gone.

Knows how a finding is told in one line; draws nothing itself.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from tracer.live import Live, possible
from tracer.model.visible import write
from tracer.reports.console.storm import finding_line, finding_text
from tracer.reports.terminal import facts

if TYPE_CHECKING:
    from tracer.storms.detect import Finding
    from tracer.storms.monitor import Watch

_MOST: Final = 50  # findings told at the end: the newest


def wanted(args: argparse.Namespace) -> bool:
    """On a terminal that can show it, unless lines were asked for."""
    return args.format is None and not args.quiet and possible(1) is None


class OnScreen:
    """What Lines is to a pipe. `close` gives the terminal back and tells what was found."""

    def __init__(self, watch: Watch, args: argparse.Namespace) -> None:
        self._watch = watch
        self._terminal = facts(sys.stdout, color=args.color, ascii_only=args.ascii, width=args.width)
        self._found: deque[tuple[Finding, str | None]] = deque(maxlen=_MOST)
        self._going: dict[tuple[int, int], Finding] = {}
        session = watch.session
        pids = session.plan.pids
        what = f"pid {', '.join(map(str, pids))} and below" if pids else "whole host"
        self._live = Live(
            watch.window,
            what=f"{what} · {session.meta.source}",
            stop=session.stop,
            save=watch.save,
            own_cpu=lambda: watch.own_cpu,
            color=args.color,
            ascii_only=args.ascii,
        )
        self._live.__enter__()
        session.wakes = (self._live.fileno(),)

    def tick(self) -> None:
        """After every look at the source."""
        self._live.tick()

    def say(self, line: str) -> None:
        """For the user's eye."""
        self._live.say(line)

    def found(self, finding: Finding, kept: str | None) -> None:
        """A storm that began, or is over: on top stands the newest that goes on, else what was last said."""
        self._found.append((finding, kept))
        key = (finding.who.pid if finding.who is not None else 0, finding.began_ns)
        if finding.ended_ns is None:
            self._going[key] = finding
        else:
            self._going.pop(key, None)
        shown = next(reversed(self._going.values()), finding)
        line = finding_line(shown, self._watch.session.meta.wall_offset_ns, unicode=self._terminal.unicode)
        if len(self._going) > 1:
            line = f"{len(self._going)} storms; {line}"
        self._live.found(line, "bad" if self._going else "note")

    def close(self) -> None:
        """The terminal is the user's again."""
        self._live.__exit__(None, None, None)
        offset = self._watch.session.meta.wall_offset_ns
        for finding, kept in self._found:
            write(sys.stdout, "\n".join([*finding_text(finding, self._terminal, offset, kept), "", ""]))
