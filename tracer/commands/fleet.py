"""`forktrace fleet DIR|URL`: many traces from many hosts, asked as one."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracer.commands import say
from tracer.model.visible import write

if TYPE_CHECKING:
    from tracer.fleet.dataset import Update
    from tracer.fleet.questions import Answer

_BY: Final = ("host", "unit", "container", "user", "program", "template")  # fleet.questions.BY, without importing it
_TROUBLES: Final = 5


class Fleet:
    """Ask many traces from many hosts as one: rates, commands, failures, copies, storms.

    All .ftrace files below a folder, or below an address that fsspec knows (s3://, gs://, sftp://...), become, once, a
    data set of Parquet files, host=NAME/day=DATE; then DuckDB answers. A folder host=NAME in a trace's path says whose
    it is, else the trace itself does. Needs `pip install 'forktrace[fleet]'`, and [cluster] for --scheduler.
    """

    name = "fleet"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Where, what and how."""
        parser.add_argument("place", metavar="DIR|URL", help="where the traces are, or a data set made before")
        parser.add_argument(
            "--into", metavar="DIR|URL", help="where the data set is kept (default: below ~/.cache/forktrace/fleet)"
        )
        parser.add_argument("--by", choices=_BY, default="host", help="what is counted together (default: host)")
        parser.add_argument(
            "--every", type=_span, metavar="TIME", help="bucket of time, as 10s, 5m, 1h, 1d (default: by the span)"
        )
        parser.add_argument("--since", type=_when, metavar="WHEN", help="as 2026-01-31 or 2026-01-31T12:00, UTC")
        parser.add_argument("--until", type=_when, metavar="WHEN", help="likewise; not included")
        parser.add_argument("--top", type=_number, default=10, metavar="N", help="rows of each table (default: 10)")
        parser.add_argument(
            "--rate", type=float, default=100.0, metavar="N", help="births a second that can be a storm (default: 100)"
        )
        parser.add_argument(
            "--scheduler", metavar="ADDRESS", help="rebuild the traces on a Dask cluster, as tcp://host:8786"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")

    def run(self, args: argparse.Namespace) -> int:
        """Bring the data set up to date, ask, print.

        Raises NoInputError, BadDataError, CannotWriteError, UsageError.
        """
        from tracer.fleet.places import Place
        from tracer.fleet.questions import Fleet as Questions

        place = Place.of(args.place)
        updated: Update | None = None
        if any(place.files(table) for table in ("traces", "processes")):
            data = place  # it is a data set
        else:
            data = Place.of(args.into or _cache(args.place))
            updated = self._update(args, place, data)
        questions = Questions(data, args.since, args.until)
        overview = questions.overview()
        answers = [
            overview,
            *([questions.groups(args.by, args.top)] if args.by not in ("host", "template") else []),
            questions.over_time(args.by, args.every or _fitting(overview), args.top),
            questions.templates(args.top),
            questions.failures(args.top),
            questions.copies(args.top),
            questions.storms(args.rate),
        ]
        questions.close()
        if args.format == "json":
            document: dict[str, Any] = {answer.name: answer.dicts() for answer in answers}
            if updated is not None:
                document["unreadable"] = [{"trace": path, "why": why} for path, why in updated.troubles]
            write(sys.stdout, json.dumps(document, indent=2) + "\n")
        else:
            self._print(args, answers)
        return 0

    def _update(self, args: argparse.Namespace, traces: Any, data: Any) -> Update:
        from tracer.errors import NoInputError
        from tracer.fleet.dataset import update
        from tracer.reports.console.progress import Progress

        with Progress("traces") as progress:
            done = update(traces, data, args.scheduler, None if args.quiet else progress)
        if not done.there:
            make = "make some: forktrace -o FILE.ftrace -- PROGRAM"
            raise NoInputError(f"there is no .ftrace file below {args.place}", make)
        if not args.quiet:
            for path, why in done.troubles[: None if args.verbose else _TROUBLES]:
                say(f"{path}: {why}")
            if len(done.troubles) > _TROUBLES and not args.verbose:
                say(f"and {len(done.troubles) - _TROUBLES} more like these; -v lists them")
        return done

    def _print(self, args: argparse.Namespace, answers: list[Answer]) -> None:
        from tracer.reports.console.fleet import lines
        from tracer.reports.console.report import Console

        console = Console.from_args(args)
        console.print(lines(answers, console.terminal, by=args.by))


def _cache(place: str) -> str:
    """A folder of this user's for the data set of that place."""
    from tracer.capture.privileges import output_identity
    from tracer.fleet.places import digest_of

    who = output_identity()  # under sudo HOME is root's, and what is written is the caller's
    base = Path(who.home) / ".cache" if who else os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    where = place if "://" in place else os.path.realpath(place)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", where).strip("-")[-40:]
    return str(Path(base) / "forktrace" / "fleet" / f"{name}-{digest_of(where, 12)}")


def _fitting(overview: Answer) -> int:
    """Seconds a bucket so that some sixty cover all: of the steps a clock knows."""
    place = {name: i for i, name in enumerate(overview.columns)}
    began = [row[place["began"]] for row in overview.rows]
    ended = [row[place["ended"]] for row in overview.rows]
    span = (max(ended) - min(began)).total_seconds() if began else 0
    steps = (1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 86_400)
    return next((step for step in steps if span / step <= 60), 86_400)


def _span(word: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})(s|m|min|h|d)?", word)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"'{word}' is no span of time; give it as 10s, 5m, 1h or 1d")
    return int(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}[found[2] or "s"]


def _when(word: str) -> datetime.datetime:
    try:
        when = datetime.datetime.fromisoformat(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{word}' is no time; give it as 2026-01-31 or 2026-01-31T12:00") from None
    return when.astimezone(datetime.UTC).replace(tzinfo=None) if when.tzinfo else when


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= 100_000:
        raise argparse.ArgumentTypeError(f"'{word}' is no number from 1 to 100000")
    return int(word)


COMMAND = Fleet()
