"""`forktrace report FILE`: a saved trace as a person reads it, or as another output has it, on stdout."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from typing import TYPE_CHECKING

from tracer.commands import loss, redaction_options
from tracer.commands.loss import LOSS_STATUS, is_lossy
from tracer.errors import UsageError
from tracer.model.visible import binary

if TYPE_CHECKING:
    from tracer import reports


class Report:
    """Show a saved trace: its fork tree, what the births shared, and the figures.

    The same report as at the end of a run. FILE is a .ftrace file, or - for standard input; neither root nor BPF is
    needed. A file whose writer was killed is shown up to its last whole batch.
    """

    name = "report"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """What the bare command has for its report, and the file."""
        parser.add_argument("file", metavar="FILE", help="a saved trace (.ftrace), or - for standard input")
        parser.add_argument(
            "--as", dest="output_as", default="console", metavar="NAME", help="another output (default: console)"
        )
        redaction_options.add_options(parser)
        loss.add_option(parser)
        parser.add_argument("-t", "--times", action="store_true", help="show when each process was born")
        parser.add_argument("--threads", action="store_true", help="show threads")
        parser.add_argument("--full", action="store_true", help="fold nothing")

    def run(self, args: argparse.Namespace) -> int:
        """Read, and print. Raises NoInputError, BadDataError, CannotWriteError, UsageError."""
        from tracer import reports

        other = None if args.output_as == "console" else reports.by_name(args.output_as)
        if other is not None and other.binary and sys.stdout.isatty():
            raise UsageError(f"{other.name} is not for a terminal", "send it to a file with `> FILE`")
        # A million processes are millions of tuples that stay: looking for garbage among them, again and again, would
        # more than double the time. What little is in circles may wait for the end.
        gc.disable()
        try:
            return self._show(args, other)
        finally:
            gc.enable()

    def _show(self, args: argparse.Namespace, other: reports.Report | None) -> int:
        from tracer.api.capture import open_trace
        from tracer.reports import Options
        from tracer.reports.console.progress import Progress

        name = "standard input" if args.file == "-" else os.path.basename(args.file)  # noqa: PTH119  a str, any bytes
        with Progress(name) as progress:
            trace = open_trace(args.file, progress=None if args.quiet else progress)
            if other is not None:
                # Another output is for somebody else, as an export is; the report on the terminal is for oneself
                hidden = redaction_options.from_args(args)
                out = binary(sys.stdout)
                other.write(trace if hidden is None else hidden.of(trace), out, Options())
                out.flush()
                if not args.quiet:
                    redaction_options.say_source(other, trace.meta)
                    if hidden is not None:
                        hidden.say()
                return LOSS_STATUS if args.fail_on_loss and is_lossy(trace) else 0
            tree = trace.tree
        from tracer.reports.console.report import Console, title

        console = Console.from_args(args)
        console.report(trace, title=title(tree, name, console.terminal))
        return LOSS_STATUS if args.fail_on_loss and is_lossy(trace) else 0


COMMAND = Report()
