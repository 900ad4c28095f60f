"""The verb `storm`: watch a host or a tree, say when a fork storm begins and ends, keep the seconds before it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from tracer.backends import BACKENDS, COW_LEVELS, Options
from tracer.capture.capabilities import after_attach
from tracer.capture.session import Plan, Session
from tracer.commands import owns_process, say, target_options
from tracer.commands.option_values import seconds, size
from tracer.commands.priority import raised
from tracer.commands.storm_lines import Lines
from tracer.errors import UsageError
from tracer.host.malloc_tuning import keep_freed
from tracer.storms.saved_files import TOTAL, StormFiles

if TYPE_CHECKING:
    from tracer.commands.storm_screen import OnScreen
    from tracer.storms.detect import Finding
    from tracer.storms.hook import Hook
    from tracer.storms.metrics import Metrics

_ARGV_MOST: Final = 4096  # of each exec: enough to know a command by


class Storm:
    """Watch for fork storms, explain them, and keep the seconds before.

    Watches the whole host, or what -p names, until Ctrl-C. Says when a storm begins: who makes it, of what, since when,
    at what cost, and what to do; and again when it is over. The last seconds are always held in memory, and are saved
    as a .ftrace file when one begins. On a terminal there is a live screen; else a line a second, or JSON lines.
    """

    name = "storm"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options that `run` has too are called the same."""
        what = parser.add_argument_group("what to watch")
        target_options.add(what, everyone="the whole host; this is the default")
        what.add_argument("--duration", type=seconds, metavar="S", help="stop watching after S seconds")
        what.add_argument(
            "--rate",
            type=_rate,
            metavar="N[/s]",
            help="a storm is what makes more than N forks a second (default: what is unusual here, and unhealthy)",
        )
        how = parser.add_argument_group("how")
        how.add_argument("--backend", default="auto", choices=("auto", *BACKENDS), help="default: the first ready one")
        how.add_argument("--cow", choices=COW_LEVELS, default="light", help="copy-on-write; default: light")
        how.add_argument(
            "-e",
            "--events",
            action="append",
            default=[],
            metavar="SET",
            help="fail: look for failed forks from the start; else only once they are suspected, as it taxes every"
            " system call",
        )
        how.add_argument("--buffer", type=size, default=16 << 20, metavar="BYTES", help="the kernel's ring; 16M")
        kept = parser.add_argument_group("what is kept")
        kept.add_argument(
            "--save", default=".", metavar="DIR|FILE", help="where storms are saved as .ftrace (default: here)"
        )
        kept.add_argument("--no-save", dest="save", action="store_const", const=None, help="save nothing")
        kept.add_argument("--keep", type=seconds, default=30.0, metavar="S", help="seconds held in memory; default 30")
        kept.add_argument("--keep-bytes", type=size, default=64 << 20, metavar="BYTES", help="at most so much; 64M")
        kept.add_argument("--max-file", type=size, default=256 << 20, metavar="BYTES", help="of one file; 256M")
        kept.add_argument(
            "--save-total",
            type=size,
            default=TOTAL,
            metavar="BYTES",
            help="of all saved storms, those of earlier runs in DIR included; the oldest are removed first; 5G",
        )
        out = parser.add_argument_group("what is said")
        out.add_argument("--format", choices=("text", "jsonl"), help="no live screen, but lines")
        out.add_argument(
            "--exec",
            metavar="CMD",
            help="run CMD with each finding as JSON on its standard input; what it writes goes to stderr",
        )
        out.add_argument("--exec-every", type=seconds, default=10.0, metavar="S", help="but not more often; 10")
        out.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics to Prometheus, as at 127.0.0.1:9464")

    def run(self, args: argparse.Namespace) -> int:
        """Until it is asked to end. 0 then, storms or not."""
        if args.program is not None:
            raise UsageError("storm starts no program", "use -p for what runs, or `forktrace -- PROGRAM`")
        teller: _Teller | None = None

        def tell(line: str) -> None:
            if teller is not None:
                teller.say(line)
            elif args.quiet < 2:
                say(line)

        session = Session(_plan(args), say=tell)
        hook = _hook(args, tell)
        with session:
            session.start()
            # A command of --exec may be set-uid, as those that send mail are
            if owns_process():
                after_attach(session.meta.source, nice=True, no_new_privs=args.exec is None)
            keep_freed()
            with raised(), _Teller(session, args, hook) as teller:
                session.run(teller.watch.take, tick=teller.tick)
        return 0


class _Teller:
    """Passes what is found to the screen or the lines, to the hook and to the metrics. A context manager."""

    def __init__(self, session: Session, args: argparse.Namespace, hook: Hook | None) -> None:
        from tracer.capture.flight_recorder import Recorder
        from tracer.capture.privileges import as_caller, open_output
        from tracer.storms.monitor import Watch

        self._session, self._hook = session, hook
        recorder = Recorder(
            keep_s=args.keep,
            keep_bytes=args.keep_bytes,
            max_file=min(args.max_file, args.save_total),
            opener=open_output,
            as_caller=as_caller,
        )
        self._quiet = args.quiet > 1
        self._shown: Lines | OnScreen | None = None
        save = None
        if args.save is not None:
            save = StormFiles(args.save, args.save_total, as_caller=as_caller, say=self.say)
        self.watch = Watch(session, recorder, rate=args.rate, save=save, found=self._found, say=self.say)
        self._metrics: Metrics | None = None
        if args.metrics is not None:
            from tracer.storms.metrics import Metrics

            self._metrics = Metrics(self.watch.window)
            self.say(f"metrics at {self._metrics.serve(args.metrics)}")
        self._shown = self._screen(args) or Lines(self.watch, args)
        if hook is not None:
            hook.silent = os.isatty(2) and not isinstance(self._shown, Lines)  # what it writes would tear the screen

    def _screen(self, args: argparse.Namespace) -> OnScreen | None:
        """The live screen, where there is a terminal for one and rich to draw on it."""
        if args.format is not None or args.quiet or not sys.stdout.isatty():
            return None
        from tracer.commands import storm_screen

        return storm_screen.OnScreen(self.watch, args) if storm_screen.wanted(args) else None

    def say(self, line: str) -> None:
        """For the user's eye: on the screen while there is one."""
        if isinstance(self._shown, Lines) or self._shown is None:
            if not self._quiet:
                say(line)
        else:
            self._shown.say(line)

    def _found(self, finding: Finding) -> None:
        kept = self.watch.recorder.path
        if self._shown is not None:
            self._shown.found(finding, kept)
        if self._hook is not None:
            from tracer.reports.console.storm import finding_json

            self._hook.run(json.dumps(finding_json(finding, self._session.meta.wall_offset_ns, kept)))

    def tick(self) -> None:
        """After every look at the source."""
        self.watch.tick()
        assert self._shown is not None
        self._shown.tick()
        if self._hook is not None:
            self._hook.tick()
        if self._metrics is not None:
            self._metrics.storms, self._metrics.storming = self.watch.storms, bool(self.watch.detector.storming)
            self._metrics.tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever has happened: the file is finished, what was found is told."""
        try:
            self.watch.close()
        finally:
            if self._hook is not None:
                self._hook.close()
            if self._metrics is not None:
                self._metrics.close()
            shown, self._shown = self._shown, None
            if shown is not None:
                shown.close()


def _plan(args: argparse.Namespace) -> Plan:
    chosen = target_options.selected(args)
    events = {word for words in args.events for word in words.split(",") if word}
    if events - {"fail", "all"}:
        raise UsageError(f"-e knows no '{sorted(events - {'fail', 'all'})[0]}' here", "fail is what can be added")
    return Plan(
        pids=chosen.pids,
        backend=args.backend,
        options=Options(
            cow=args.cow,
            failures=bool(events),
            everyone=not chosen.pids and not chosen.match,
            match=chosen.match,
            buffer_bytes=args.buffer,
            argv_max=_ARGV_MOST,
        ),
        duration=args.duration,
    )


def _hook(args: argparse.Namespace, tell: Callable[[str], None]) -> Hook | None:
    """Made before anything is attached: a command that is not there is an error at once."""
    if args.exec is None:
        return None
    from tracer.storms.hook import Hook

    return Hook(args.exec, every_s=args.exec_every, say=tell)


def _rate(word: str) -> float:
    body = word.removesuffix("/s")
    try:
        value = float(body)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{word}' is no number of forks a second")
    return value


COMMAND = Storm()
