"""The verb `export`: a saved trace as something that other programs read."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from tracer.commands import loss, redaction_options, say
from tracer.commands.loss import LOSS_STATUS, is_lossy
from tracer.errors import BadDataError, UsageError
from tracer.model.visible import binary

_TABLES: Final = ("jsonl", "csv", "parquet")
_OF_TABLES: Final = "jsonl, csv and parquet"


class Export:
    """Turn a saved trace into JSON lines, CSV, Parquet and the like.

    The format is --as, or what the suffix of -o says. Text goes to stdout where no -o is given.
    """

    name = "export"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """FILE, format, table and output."""
        from tracer.reports import REPORTS

        parser.add_argument("file", metavar="FILE", help="a saved trace; - for standard input")
        parser.add_argument("--as", dest="format", metavar="FORMAT", help=", ".join(listed.name for listed in REPORTS))
        parser.add_argument("--table", choices=("processes", "events"), help=f"of {_OF_TABLES}; default: processes")
        parser.add_argument(
            "--weight",
            choices=("cow", "count", "life", "cpu", "stacks"),
            help="of folded stacks: programs below their ancestors by bytes copied, number, ns of life or of CPU; or"
            " stacks at copies by pages (default: these, where they were taken, else count)",
        )
        parser.add_argument("-o", "--output", metavar="OUT", help="default: standard output")
        redaction_options.add_options(parser)
        loss.add_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Read, write, say nothing; status 65 where the file is damaged, after what could be read was written."""
        from tracer import reports
        from tracer.api.capture import open_trace
        from tracer.capture.privileges import open_output

        named = None if args.format is None else reports.by_name(args.format)
        report = named or (reports.by_suffix(args.output) if args.output else None)
        if report is None:
            names = ", ".join(listed.name for listed in reports.REPORTS)
            raise UsageError("which format is wanted is not clear", f"say --as with one of: {names}")
        if args.table is not None and report.name not in _TABLES:
            raise UsageError(f"--table is nothing that {report.name} has", f"it is for {_OF_TABLES}")
        if args.weight is not None and report.name != "folded":
            raise UsageError(f"--weight is nothing that {report.name} has", "it is for folded")
        trace = open_trace(args.file)
        hidden = redaction_options.from_args(args)
        trace = trace if hidden is None else hidden.of(trace)
        options = reports.Options(table=args.table or "processes", weight=args.weight)
        if args.output in (None, "-"):
            if report.binary and sys.stdout.isatty():
                raise UsageError(f"{report.name} is not for a terminal", "name a file with -o")
            out = binary(sys.stdout)
            report.write(trace, out, options)
            out.flush()
        else:
            with open_output(args.output) as out:
                report.write(trace, out, options)
        if not args.quiet:
            redaction_options.say_source(report, trace.meta)
            if hidden is not None:
                hidden.say()
        if trace.broken:  # what could be read has been written; who reads it must know that it is not all
            raise BadDataError(str(trace.damage))
        if trace.damage is not None:
            say(trace.damage)
        return LOSS_STATUS if args.fail_on_loss and is_lossy(trace) else 0


COMMAND = Export()
