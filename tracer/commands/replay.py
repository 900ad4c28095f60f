"""`forktrace replay FILE`: watch a saved trace again, on the live screen or as lines, at its pace or another."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tracer.errors import UsageError
from tracer.reports.terminal import quoted
from tracer.reports.words import duration

if TYPE_CHECKING:
    from tracer.live.tape import Outline
    from tracer.model.meta import Meta
    from tracer.recording import Recording

_NS: Final = 10**9
_LONGEST_S: Final = 1e9
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d{1,9})?))?\Z")

When = Callable[["Meta", int], int]


class Replay:
    """Watch a saved trace again, as it happened.

    The live screen fed from FILE (.ftrace, or - for standard input), at its own pace, faster or slower: space pauses,
    . steps to the next fork, exec or exit (f, e, x to one of them), arrows seek, + and - change the speed, ? shows
    all keys. Without a terminal: a line for each second of the trace, or with -v for each event. Needs no root. A file
    whose writer was killed is played up to its last whole batch.
    """

    name = "replay"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """What to play, how fast, and as what."""
        parser.add_argument("file", metavar="FILE", help="a saved trace (.ftrace), or - for standard input")
        parser.add_argument(
            "--speed", type=_speed, default=1.0, metavar="N|max", help="so many times as fast as it was; default: 1"
        )
        parser.add_argument(
            "--from",
            dest="begin",
            metavar="T",
            help="begin there: seconds from its beginning, or the time of day as HH:MM:SS",
        )
        parser.add_argument("--until", dest="end", metavar="T", help="end there")
        parser.add_argument("--format", choices=("lines", "jsonl"), help="no screen, but lines, or JSON lines")

    def run(self, args: argparse.Namespace) -> int:
        """Play. Raises NoInputError, BadDataError, UsageError."""
        if args.program is not None:
            raise UsageError("replay starts no program", "name a file, as in `forktrace replay x.ftrace`")
        begin, end = _time(args.begin), _time(args.end)
        from tracer.live.device import why_not
        from tracer.recording import Recording
        from tracer.reports.console.progress import Progress

        if args.format is not None or not sys.stdout.isatty() or why_not(sys.stdout.fileno()) is not None:
            from tracer.live.lines import play_lines

            recording = Recording(args.file)
            meta = recording.meta
            play_lines(
                recording,
                args,
                begin=None if begin is None else lambda first: begin(meta, first),
                end=None if end is None else lambda first: end(meta, first),
            )
            return 0
        bars: list[Progress] = []  # while it is looked through the first time

        def progress(at: int, size: int) -> None:
            for each in bars:
                each(at, size)

        recording = Recording(args.file, progress=progress)
        with Progress(_name(args.file)) as bar:
            bars.append(bar)
            found = _outline(recording)
            bars.clear()
        return self._screen(recording, found, begin, end, args)

    def _screen(
        self, recording: Recording, outline: Outline, begin: When | None, end: When | None, args: argparse.Namespace
    ) -> int:
        from tracer.live.player import Player
        from tracer.live.replay_screen import Playing
        from tracer.live.tape import Tape

        damage = recording.damage  # it has been read to the end, once
        first = outline.first_ns or 0
        begins = None if begin is None else begin(recording.meta, first)
        ends = None if end is None else end(recording.meta, first)
        if begins is not None and outline.last_ns is not None and begins > outline.last_ns:
            raise UsageError(
                f"--from {args.begin} is after the end of the trace", f"it is {duration(outline.length_ns)} long"
            )
        if ends is not None and ends < (first if begins is None else begins):
            raise UsageError(f"--until {args.end} is before what is to be played", "give a later time")
        player = Player(Tape(recording), outline, recording.meta, begin_ns=begins, end_ns=ends, speed=args.speed)
        screen = Playing(
            player,
            outline,
            damage=damage,
            what=_what(recording.meta, args.file),
            color=args.color,
            ascii_only=args.ascii,
        )
        with screen:
            ended_by = screen.loop()
        if ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        if ended_by:
            signal.signal(ended_by, signal.SIG_DFL)
            signal.raise_signal(ended_by)
        return 0


def _outline(recording: Recording) -> Outline:
    from tracer.live.tape import outline

    return outline(recording)


def _time(word: str | None) -> Callable[[Meta, int], int] | None:
    """How to find the stamp that `word` means, of a trace and its first stamp. Raises UsageError."""
    if word is None:
        return None
    match = _CLOCK.match(word)
    if match is not None:
        hours, minutes, seconds = int(match[1]), int(match[2]), float(match[3] or 0)
        if hours < 24 and minutes < 60 and seconds < 60:
            return lambda meta, first: _at(word, hours * 3600 + minutes * 60 + seconds, meta, first)
    try:
        since = float(word.removesuffix("s"))
    except ValueError:
        since = -1.0
    if not 0 <= since < _LONGEST_S:
        raise UsageError(f"'{word}' is no time", "give seconds from the beginning, or the time of day as HH:MM:SS")
    return lambda _, first: first + round(since * _NS)


def _at(word: str, seconds: float, meta: Meta, first: int) -> int:
    """The first such time of day that is not before the beginning of the trace, on this host's clock."""
    if meta.wall_offset_ns is None:
        raise UsageError(f"this trace does not know the time of day, so not what {word} is", "give seconds")
    try:
        began = datetime.fromtimestamp((first + meta.wall_offset_ns) // _NS).astimezone()
    except (OverflowError, OSError, ValueError):
        raise UsageError(f"the times of this trace are beyond any calendar, so not known by {word}") from None
    midnight = began.replace(hour=0, minute=0, second=0)
    at = round((midnight.timestamp() + seconds) * _NS) - meta.wall_offset_ns
    # The second in which it began is the beginning.
    return at if at >= first - _NS else at + 86_400 * _NS


def _speed(word: str) -> float:
    if word == "max":
        return float("inf")
    try:
        value = float(word.removeprefix("x").removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"'{word}' is no speed: a number, as 10 or 0.5, or max")
    return value


def _name(path: str) -> str:
    return "standard input" if path == "-" else os.path.basename(path)  # noqa: PTH119  a str, any bytes


def _what(meta: Meta, path: str) -> str:
    command = " ".join(quoted(word[:60]) for word in meta.command[:20])
    return " · ".join(word for word in (_name(path), command, meta.host, meta.source) if word)


COMMAND = Replay()
