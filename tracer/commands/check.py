"""`forktrace check FILE --max-processes 200 ...`: does a saved trace keep to a budget? For CI.

Status 0: it does. 1: it does not, and each reason is said. 65: the trace can not tell. 2: no limit, or one that makes
no sense. A limit on what was not measured never passes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracer.errors import BadDataError, NoInputError, UsageError

if TYPE_CHECKING:
    from tracer.analyses.budget import Verdict

_UNITS: Final = {"": 0, "B": 0, "K": 10, "KIB": 10, "M": 20, "MIB": 20, "G": 30, "GIB": 30, "T": 40, "TIB": 40}
_COUNTS: Final = {
    "max_processes": "processes, those that were there before left out", "max_depth": "generations below the root",
    "max_failures": "processes that a signal ended, or with a status other than 0",
    "max_failed_forks": "forks that failed", "max_failed_execs": "execs that failed",
}  # fmt: skip


class Check:
    """Hold a saved trace against limits, for CI.

    The status is 0 when it keeps to all of them, 1 when not, 65 when the trace can not tell (a figure was not measured,
    or records are missing). `--budget FILE` takes the limits from TOML: max_processes = 200, max_cow = "64MiB",
    no_zombies = true; of a pyproject.toml from its table [tool.forktrace.check].
    """

    name = "check"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """The limits."""
        parser.add_argument("file", metavar="FILE", help="a saved trace (.ftrace), or - for standard input")
        group = parser.add_argument_group("limits")
        for name, words in _COUNTS.items():
            group.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=f"at most so many {words}")
        group.add_argument("--max-cow", metavar="SIZE", help="memory copied on write, as 64MiB")
        group.add_argument("--max-forks-ms", metavar="MS", help="page-table copy time of all forks together")
        group.add_argument("--no-zombies", action="store_true", default=None, help="no child that nobody waited for")
        group.add_argument("--budget", metavar="FILE", help="limits from a TOML file")
        parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")

    def run(self, args: argparse.Namespace) -> int:
        """Read, judge, print. Raises UsageError, NoInputError, BadDataError."""
        from tracer.analyses.budget import BY_NAME, check
        from tracer.capture import open_trace

        given = budget(args.budget, list(BY_NAME)) if args.budget is not None else {}
        for name in BY_NAME:
            if getattr(args, name) is not None:
                given[name] = limit(name, getattr(args, name), f"--{name.replace('_', '-')}")
        limits = {name: most for name, most in given.items() if most is not None}
        if not limits:
            raise UsageError("no limit was given", "as in --max-processes 200, or --budget FILE")
        trace = open_trace(args.file)
        tree = trace.tree
        verdicts = check(tree, limits, torn=trace.torn)
        over = any(v.ok is False for v in verdicts)
        unknown = [v for v in verdicts if v.ok is None]
        if args.format == "json":
            sys.stdout.write(json.dumps(_document(verdicts), indent=2) + "\n")
        else:
            for v in verdicts:
                if v.ok is False or (v.ok and not args.quiet) or (v.ok is None and over):
                    sys.stdout.write(_line(v, unicode=not args.ascii) + "\n")
        if unknown and not over:
            what = ", ".join(v.limit.name for v in unknown)
            mend = "`forktrace report -v` tells what this trace can not know"
            raise BadDataError(f"{what} can not be checked: what is asked for {unknown[0].why}", mend)
        return 1 if over else 0


def _document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    states = [v.ok for v in verdicts]
    return {
        "ok": False if False in states else None if None in states else True,
        "checks": [
            {"limit": v.limit.name, "unit": v.limit.unit, "value": v.value, "most": v.most, "ok": v.ok, "why": v.why}
            for v in verdicts
        ],
    }


def limit(name: str, value: Any, where: str) -> int | None:
    """The most, in bytes and ns; None where it is switched off (no_zombies = false). Raises UsageError."""
    if name == "no_zombies":
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {value!r} is neither true nor false")
        return 0 if value else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where}: {value!r} is no number")
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]{0,3})", str(value), re.ASCII)
    unit = found[2].upper() if found else ""
    if found is None or (unit and name != "max_cow") or unit not in _UNITS:
        raise UsageError(f"{where}: {str(value)!r} is no {'size, as 64MiB' if name == 'max_cow' else 'number'}")
    number = float(found[1]) * (1 << _UNITS[unit]) * (1_000_000 if name == "max_forks_ms" else 1)
    if name in _COUNTS and number != int(number):
        raise UsageError(f"{where}: {str(value)!r} is no whole number")
    return int(number)


def budget(path: str, names: Sequence[str]) -> dict[str, int | None]:
    """The limits of a TOML file. Raises NoInputError, BadDataError, UsageError for a name that is no limit."""
    try:
        with Path(path).open("rb") as file:
            table: Any = tomllib.load(file)
    except OSError as e:
        raise NoInputError(f"{path} can not be read: {(e.strerror or str(e)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadDataError(f"{path} is not TOML: {e}") from None
    if Path(path).name == "pyproject.toml":
        for part in ("tool", "forktrace", "check"):
            table = table.get(part) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            raise BadDataError(f"{path} has no table [tool.forktrace.check]")
    result = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in names:
            raise UsageError(f"{path}: {key!r} is no limit", "there are " + ", ".join(names))
        result[name] = limit(name, value, f"{path}: {key}")
    return result


def _line(verdict: Verdict, *, unicode: bool) -> str:
    from tracer.reports.words import UNKNOWN, count, duration, size

    def said(value: int) -> str:
        if verdict.limit.unit == "bytes":
            return size(value)
        return duration(value, ascii_only=not unicode) if verdict.limit.unit == "ns" else count(value)

    state = {True: "ok  ", False: "OVER", None: "?   "}[verdict.ok]
    value = UNKNOWN if verdict.value is None else said(verdict.value)
    why = f" {verdict.why}" if verdict.why else ""
    return f"{state}  {verdict.limit.name:<16}  {value}, {said(verdict.most)} allowed: {verdict.limit.what}{why}"


COMMAND = Check()
