"""The verb `import`: logs of strace and perf script to a saved trace."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tracer.commands import say
from tracer.errors import UsageError

if TYPE_CHECKING:
    from tracer.importers.strace.line_attribution import Skipped

_SHOWN: Final = 40
_EVERY_S: Final = 0.2


class Import:
    """Make a trace of logs that other tools wrote.

    LOG is the output of strace (4.5 to 7.x, with -f, with or without -o, or all the files of -ff) or of perf script, as
    it is or packed by gzip, xz, bzip2 or zstd; `-` is standard input. What a file is, is found out by its content. What
    a log can not show is null in the trace, and the reports say so.
    """

    name = "import"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Input and output."""
        parser.add_argument("logs", nargs="+", metavar="LOG", help="files, all of one run; - for standard input")
        parser.add_argument("-o", "--output", metavar="FILE", help="trace to write (.ftrace); - for standard output")
        parser.add_argument("--redact", action="store_true", help="take secrets out of argv before they are kept")

    def run(self, args: argparse.Namespace) -> int:
        """Import, and say what was not understood."""
        if not args.output:
            raise UsageError("there is no place to write to", "name it: forktrace import LOG... -o FILE.ftrace")
        if args.output != "-" and any(_same(args.output, log) for log in args.logs):
            raise UsageError(f"{args.output} is the log itself", "name another file for the trace")
        from tracer.capture.privileges import as_caller, open_output
        from tracer.importers import open_log
        from tracer.recording import Writer

        bar = Bar(sys.stderr) if not args.quiet and sys.stderr.isatty() else None
        meta, batches = open_log(args.logs, progress=bar.show if bar else None)
        target: str | IO[bytes] = sys.stdout.buffer if args.output == "-" else args.output
        with (
            contextlib.closing(batches),
            Writer(target, meta, opener=open_output, as_caller=as_caller) as writer,
            _no_collector(),
        ):
            for batch in batches:
                if args.redact:
                    from tracer.redact import redact_batch

                    redact_batch(batch)
                writer.write(batch)
            writer.close({"skipped_lines": batches.skipped.lines, "notes": batches.notes})
        if bar:
            bar.clear()
        if not args.quiet:
            for line in said(batches.skipped, batches.notes, all_of_it=bool(args.verbose)):
                say(line)
        return 0


def said(skipped: Skipped, notes: list[str], *, all_of_it: bool) -> Iterator[str]:
    """What to tell the user of a log's lines that were not understood. Their text may be anybody's: it is cleaned."""
    from tracer.reports.terminal import clean

    yield from (clean(note) for note in notes)
    if not skipped.lines:
        return
    lines = f"{skipped.lines} line{'s' if skipped.lines > 1 else ''} not understood"
    cut = f", {skipped.cut} of them strace's own, cut or broken" if skipped.cut else ""
    yield f"{lines}{cut}" + ("" if all_of_it else "; -v lists them")
    if all_of_it:
        for name, number, text in skipped.samples:
            where = f"{clean(name)}:{number}: " if number else f"{clean(name)}: "
            yield where + clean(text.decode("utf-8", "surrogateescape"))
        if skipped.lines > len(skipped.samples):
            yield f"... and {skipped.lines - len(skipped.samples)} more"


class Bar:
    """One line on a terminal: how much, how fast, how long still."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._start = self._last = time.monotonic()
        self._shown = False

    def show(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are read."""
        now = time.monotonic()
        if now - self._last < _EVERY_S:
            return
        self._last = now
        rate = done / max(now - self._start, 1e-9)
        text = f"{done / 1e6:.0f} MB, {rate / 1e6:.0f} MB/s"
        if total and rate > 0:
            share = min(done / total, 1.0)
            blocks = "#" * round(20 * share)
            text = f"[{blocks:<20}] {share:4.0%}  {text}, {max(total - done, 0) / rate:.0f} s left"
        self._stream.write(f"\r{text:<{_SHOWN + 30}}")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Leave no trace of the bar."""
        if self._shown:
            self._stream.write("\r" + " " * (_SHOWN + 30) + "\r")
            self._stream.flush()


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of tuples and no cycles: the collector would look through them again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _same(a: str, b: str) -> bool:
    try:
        return b != "-" and Path(a).samefile(b)
    except (OSError, ValueError):
        return False


COMMAND = Import()
