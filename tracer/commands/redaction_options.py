"""What is shared, exports and pages: a trace with the secrets taken out, and a word on where it comes from.

    hiding = Hiding(rules_file);  trace = hiding.of(trace);  ... ;  hiding.count

`add_options` and `from_args` are the same for every verb that shares. What is a secret is tracer.redact's business.
Nothing is changed in the file that the trace came from.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracer.api.trace import Trace
from tracer.commands import say
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.redact import RULES, load_rules, redact_batch, redact_meta

if TYPE_CHECKING:
    from tracer.reports import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """--no-redact and --redact-rules."""
    parser.add_argument("--no-redact", action="store_true", help="leave secrets in commands, paths and environment")
    parser.add_argument("--redact-rules", metavar="FILE", help="a TOML file with more rules of what is a secret")


def from_args(args: argparse.Namespace) -> Hiding | None:
    """None with --no-redact."""
    return None if args.no_redact else Hiding(args.redact_rules)


def say_source(report: Report, meta: Meta) -> None:
    """What the source of a trace can not know, where the output itself has no place for it."""
    from tracer.reports.source import line

    about = None if report.says_source else line(meta)
    if about is not None:
        say(about)


class Hiding:
    """`count`: how many secrets were hidden, once the trace has been read. Raises NoInputError, BadDataError."""

    def __init__(self, rules: str | None = None) -> None:
        self.count = 0
        self._rules = RULES if rules is None else load_rules(Path(rules))

    def of(self, trace: Trace) -> Trace:
        """The same trace, its argv and environment without secrets."""
        meta, told = redact_meta(trace.meta, self._rules)
        self.count = told

        def batches() -> Iterator[Batch]:
            self.count = told  # of one reading, however often it is read
            for batch in trace.batches():
                self.count += redact_batch(batch, self._rules)
                yield batch

        return Trace(meta, batches, status=trace.status, damage=lambda: trace.damage, broken=lambda: trace.broken)

    def say(self) -> None:
        """How many were hidden, if any was."""
        if self.count:
            what = f"{self.count:,} secret{'s' if self.count > 1 else ''}"
            say(f"{what} hidden in commands, paths and environment (--no-redact leaves them)")
