"""What a trace can be turned into. A new output is one file and one line in REPORTS.

A report reads a `Trace` and writes bytes; it knows neither the command line nor where the trace came from. `by_name`
is for --as, `by_suffix` for -o; nothing of a report is imported before it is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from tracer.errors import CannotWriteError, UsageError
from tracer.model.frozen import record

if TYPE_CHECKING:
    from tracer.api.trace import Trace


@record
class Options:
    """What a report may be asked. Each reads what concerns it."""

    table: str = "processes"  # or "events"
    weight: str | None = None  # of folded stacks: cow count life cpu stacks


class Report(Protocol):
    """One output. `binary`: not for a terminal. `says_source`: it holds where the trace is from (source.py)."""

    name: str
    suffixes: tuple[str, ...]
    binary: bool
    says_source: bool

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """Write all of it to `out`, which need not be seekable. Raises CannotWriteError, UsageError."""


class Listed(NamedTuple):
    """A report that can be had: its name, the suffixes of files that mean it, and where it is."""

    name: str
    suffixes: tuple[str, ...]
    module: str
    attribute: str


REPORTS: Final = (
    Listed("jsonl", (".jsonl", ".ndjson"), "tracer.reports.table", "Jsonl"),
    Listed("csv", (".csv",), "tracer.reports.table", "Csv"),
    Listed("parquet", (".parquet",), "tracer.reports.table", "Parquet"),
    Listed("folded", (".folded",), "tracer.reports.folded", "Folded"),
    Listed("chrome", (".trace.json",), "tracer.reports.chrome", "Chrome"),
    Listed("perfetto", (".pftrace", ".perfetto-trace"), "tracer.reports.perfetto", "Perfetto"),
    Listed("dot", (".dot", ".gv"), "tracer.reports.dot", "Dot"),
    Listed("mermaid", (".mmd", ".mermaid"), "tracer.reports.mermaid", "Mermaid"),
    Listed("html", (".html", ".htm"), "tracer.reports.html.report", "Html"),
)


def by_name(name: str) -> Report:
    """The report called `name`. Raises UsageError, naming those there are."""
    for listed in REPORTS:
        if listed.name == name:
            return _load(listed)
    raise UsageError(f"there is no output called {name!r}", "there are " + ", ".join(r.name for r in REPORTS))


def by_suffix(path: str) -> Report | None:
    """The report that a file of this name is meant to be; None when its suffix says nothing."""
    name = PurePath(path).name.lower()
    for listed in REPORTS:
        if name.endswith(listed.suffixes):
            return _load(listed)
    return None


@contextmanager
def writing() -> Iterator[None]:
    """What goes wrong with the output is an error of ours, in a sentence; a reader that has left is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        raise CannotWriteError(f"the export can not be written: {(e.strerror or str(e)).lower()}") from None


def _load(listed: Listed) -> Report:
    return cast(Report, getattr(import_module(listed.module), listed.attribute)())
