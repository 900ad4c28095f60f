"""`forktrace diff A B`, `forktrace diff a*.ftrace -- b*.ftrace`: what differs between two programs' runs."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracer.commands import say
from tracer.errors import UsageError
from tracer.model.visible import write

if TYPE_CHECKING:
    from tracer.analyses.diff import Change, Diff, Values
    from tracer.analyses.profile import Places, Profile


class Compare:
    """Compare two runs, or several runs on each side: what came, what went, what differs.

    Processes are compared by command and by place in the tree: how many, how they ended, what was copied on write, what
    forks took, lives and CPU time. With one run each, counts differ when they are not equal, copies and times when they
    are clearly apart; with several, when the ranges of the two sides do not overlap. What one side did not measure is
    not compared.
    """

    name = "diff"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """The files, and what to do with a difference."""
        parser.add_argument(
            "files", metavar="FILE", nargs="+", help="two saved traces, or several, `--`, and several others"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
        parser.add_argument("--exit-code", action="store_true", help="status 1 where something differs")

    def run(self, args: argparse.Namespace) -> int:
        """Read all, compare, print. Raises NoInputError, BadDataError, UsageError."""
        from tracer.analyses.diff import diff
        from tracer.analyses.profile import Places

        a, b = _sides(args.files, args.words)
        places = Places()
        found = diff([self._profile(f, places, args) for f in a], [self._profile(f, places, args) for f in b], places)
        if args.format == "json":
            write(sys.stdout, json.dumps(_document(found, a, b), indent=2) + "\n")
        elif not args.quiet or found.differs:
            from tracer.reports.console.diff import SHOWN, lines
            from tracer.reports.console.report import Console

            console = Console.from_args(args)
            most = None if args.verbose else SHOWN
            console.print(lines(found, a, b, console.terminal, most=most))
        return 1 if args.exit_code and found.differs else 0

    def _profile(self, file: str, places: Places, args: argparse.Namespace) -> Profile:
        from tracer.analyses.profile import profile
        from tracer.api.capture import open_trace
        from tracer.reports.console.progress import Progress

        name = "standard input" if file == "-" else os.path.basename(file)  # noqa: PTH119  a str, any bytes
        gc.disable()  # columns make many objects and no circles
        try:
            with Progress(name) as progress:
                trace = open_trace(file, progress=None if args.quiet else progress)
                tree = trace.tree
            if trace.torn:
                say(f"{trace.damage}; what is missing looks like a difference")
            elif tree.losses:
                say(f"{name}: records were lost; what is missing looks like a difference")
            return profile(tree, places)
        finally:
            gc.enable()


def _sides(files: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """argparse takes the `--` away; what stands behind it are files, whatever they look like."""
    if "--" in words:
        right = len(words) - 1 - list(words).index("--")
        left = len(files) - right
    elif len(files) == 2:
        left = 1
    else:
        raise UsageError(f"which of {len(files)} traces are compared with which?", "put `--` between the two sides")
    if not left or left == len(files):
        raise UsageError("one side has no trace", "name some on both sides of `--`")
    for file in files[left:]:
        if file.startswith("-") and file != "-" and not os.path.lexists(file):
            raise UsageError(f"{file!r} stands behind `--`, where only traces do", "put options before the traces")
    return list(files[:left]), list(files[left:])


def _document(found: Diff, a: Sequence[str], b: Sequence[str]) -> dict[str, Any]:
    return {
        "a": list(a),
        "b": list(b),
        "differs": found.differs,
        "commands": found.groups,
        "unknown": list(found.unknown),
        "sources": dict(zip("ab", map(list, found.sources), strict=True)),
        "total": _values(found.total),
        "changes": [_change(change) for change in found.changes],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "command": change.template,
        "below": list(change.place),
        **_values(change.values),
        "ends": _values(change.ends),
        "ways": _values(change.ways),
    }


def _values(values: Mapping[str, Values]) -> dict[str, Any]:
    return {name: {"a": list(v.a), "b": list(v.b), "differs": v.differs} for name, v in values.items()}


COMMAND = Compare()
