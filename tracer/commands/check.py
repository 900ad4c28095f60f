"""`forktrace check FILE --max-processes 200 ...`: a budget for CI; exit status 1 with the reasons if exceeded."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from tracer.commands.check_limits import budget_of, limit_of
from tracer.errors import BadDataError, UsageError
from tracer.model.visible import write

if TYPE_CHECKING:
    from tracer.analyses.budget import Outcome, Worst
    from tracer.reports.console.spans import Spans
    from tracer.reports.terminal import Terminal

_METAVARS: Final = {"count": "N", "bytes": "SIZE", "ns": "TIME"}


class Check:
    """Hold a saved trace against limits, for CI.

    Exit status 0 when all is within, 1 when a limit is exceeded, with a line for each: what was measured, and who had
    most of it. What the trace could not measure, and a trace that is torn or has lost records, is an error (65) and
    never passes. Sizes are as 64MiB, times as 50ms or 10s. Secrets in commands are hidden.
    """

    name = "check"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """The file, and an option for each limit."""
        from tracer.analyses.budget import LIMITS

        parser.add_argument("file", metavar="FILE", help="a saved trace (.ftrace), or - for standard input")
        parser.add_argument(
            "--budget",
            metavar="TOML",
            help='limits from a file, max-cow = "64MiB"; of a pyproject.toml the table '
            "[tool.forktrace.check]. Options override it",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
        group = parser.add_argument_group("limits")
        for limit in LIMITS.values():
            if limit.unit == "flag":
                group.add_argument(f"--{limit.name}", action="store_const", const=0, help=limit.doc)
            else:
                group.add_argument(f"--{limit.name}", metavar=_METAVARS[limit.unit], help=limit.doc)

    def run(self, args: argparse.Namespace) -> int:
        """Read, measure, say. Raises NoInputError, BadDataError, UsageError."""
        limits = self._limits(args)
        outcomes = self._outcomes(args, limits)
        within = all(outcome.within for outcome in outcomes)
        if args.format == "json":
            document = {"file": args.file, "within": within, "limits": [_as_dict(outcome) for outcome in outcomes]}
            write(sys.stdout, json.dumps(document, indent=2) + "\n")
            return 0 if within else 1
        from tracer.reports.console.report import Console

        console = Console.from_args(args)
        over = [_reason(outcome, console.terminal) for outcome in outcomes if not outcome.within]
        if over:
            console.print(over)
            return 1
        if not args.quiet:
            console.print([_within(outcomes, console.terminal)])
        return 0

    def _limits(self, args: argparse.Namespace) -> dict[str, int]:
        from tracer.analyses.budget import LIMITS

        limits = {} if args.budget is None else budget_of(args.budget)
        for name in LIMITS:
            word = getattr(args, name.replace("-", "_"))
            if word is not None:
                try:
                    limits[name] = word if word == 0 else limit_of(name, word)
                except ValueError as e:
                    raise UsageError(str(e)) from None
        if not limits:
            raise UsageError("there is no limit to check", "give some, as --max-processes 200, or --budget TOML")
        return limits

    def _outcomes(self, args: argparse.Namespace, limits: dict[str, int]) -> tuple[Outcome, ...]:
        from tracer.analyses.budget import check
        from tracer.api.capture import open_trace
        from tracer.reports.console.progress import Progress

        name = "standard input" if args.file == "-" else os.path.basename(args.file)  # noqa: PTH119  a str, any bytes
        gc.disable()  # columns make many objects and no circles
        try:
            with Progress(name) as progress:
                trace = open_trace(args.file, progress=None if args.quiet else progress)
                tree = trace.tree
            if trace.torn:
                raise BadDataError(f"{trace.damage}, so no limit can be checked", "record it again")
            try:
                return check(tree, limits)
            except BadDataError as e:
                raise BadDataError(f"{name}: {e.message}", e.mend) from None
        finally:
            gc.enable()


def _shown(unit: str, n: int, terminal: Terminal) -> str:
    from tracer.reports.words import count, duration, size

    return size(n) if unit == "bytes" else duration(n, ascii_only=not terminal.unicode) if unit == "ns" else count(n)


_NOUNS: Final = {
    "max-processes": "processes",
    "max-depth": "generations",
    "max-alive": "at one time",
    "max-rate": "births a second",
    "max-threads": "threads",
    "max-failures": "failed",
    "max-failed-execs": "failed execs",
    "max-failed-forks": "failed forks",
    "max-cow": "copied",
    "max-fork-time": "for one fork",
    "max-life": "for one life",
    "max-cpu": "CPU",
    "max-rss": "resident",
    "max-zombie": "as a zombie",
    "no-zombies": "left as zombies",
    "max-lost": "records lost",
}
_OFFENDERS: Final = {
    "max-processes": "{share} made by ",
    "max-depth": "the deepest is ",
    "max-threads": "{share} by ",
    "max-failures": "{share} like ",
    "max-failed-execs": "{share} by ",
    "max-failed-forks": "{share} by ",
    "max-cow": "{share} by ",
    "max-cpu": "{share} by ",
    "max-fork-time": "forked by ",
    "no-zombies": "{share} left by ",
}
"""How the worst of a limit is told; else by its pid and command alone."""

_COMMAND_MOST: Final = 72


def _reason(outcome: Outcome, terminal: Terminal) -> Spans:
    """One line: what was measured, what was allowed, who had most of it."""
    measured = _shown(outcome.unit, outcome.measured, terminal)
    most = _shown(outcome.unit, outcome.most, terminal)
    allowed = "none" if outcome.name == "no-zombies" else f"{most} at most"
    spans = [
        (outcome.name, "bad"),
        (": ", ""),
        (f"{measured} {_NOUNS[outcome.name]}", "figure"),
        (f", {allowed}", ""),
    ]
    if outcome.worst is not None:
        share = _shown(outcome.unit, outcome.worst.share, terminal)
        told = _OFFENDERS.get(outcome.name, "").format(share=share)
        spans += [("; " + told, ""), (_who(outcome.worst, terminal), "program")]
    return spans


def _who(worst: Worst, terminal: Terminal) -> str:
    from tracer.reports.terminal import clean, cut, quoted

    pid = "pid -" if worst.pid is None else f"pid {worst.pid}"
    if worst.command is None:
        return pid
    bare = len(worst.command) == 1 and worst.command[0].startswith("(")
    words = [word[: _COMMAND_MOST + 1] for word in worst.command[:_COMMAND_MOST]]
    text = " ".join(clean(w, unicode=terminal.unicode) if bare else quoted(w, unicode=terminal.unicode) for w in words)
    return f"{pid} {cut(text, _COMMAND_MOST, dots='…' if terminal.unicode else '...')}"


def _within(outcomes: tuple[Outcome, ...], terminal: Terminal) -> Spans:
    from tracer.reports.console.spans import fitted

    def told(outcome: Outcome) -> str:
        measured = _shown(outcome.unit, outcome.measured, terminal)
        if outcome.name == "no-zombies":
            return "no zombies left"
        return f"{measured} of {_shown(outcome.unit, outcome.most, terminal)} {_NOUNS[outcome.name]}"

    separator = " · " if terminal.unicode else ", "
    line = "within budget: " + separator.join(map(told, outcomes))
    return fitted([(line, "")], terminal.width, "…" if terminal.unicode else "...")


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    worst = outcome.worst
    return {
        "limit": outcome.name,
        "unit": outcome.unit,
        "most": outcome.most,
        "measured": outcome.measured,
        "within": outcome.within,
        "worst": None
        if worst is None
        else {
            "pid": worst.pid,
            "command": None if worst.command is None else list(worst.command),
            "share": worst.share,
        },
    }


COMMAND = Check()
