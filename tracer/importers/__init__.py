"""Logs of other tools as traces: `open_log(paths)` finds out by content what a file is, and gives events.

    IMPORTERS    module          reads
                 strace.log      strace 4.5 to 7.x: -f, -o, -ff, stderr, any options
                 perf.script     perf script: sched and task tracepoints, page faults

An importer is a module with NAME, `score(head)` (how sure it is of a file that begins so, 0 to 1) and `open_log`.
A new one is one file and one line here. Importers know nothing of trees and of reports.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from tracer.errors import BadDataError, UsageError
from tracer.importers.log_source import LogSource, Progress
from tracer.importers.strace.family import pid_of, stem_of
from tracer.importers.strace.line_attribution import Skipped
from tracer.model.batch import Batch
from tracer.model.meta import Meta

IMPORTERS: Final = ("strace.log", "perf.script")
"""Modules of this package, in the order they are asked."""

_OPEN: Final = 64
_BINARY: Final = (
    (b"PERFILE2", "is a perf.data file", "give the text: perf script -i FILE > perf.txt"),
    (b"\xff\xff\xff\xff", "is an Arrow stream, perhaps a trace of ours", "look at it with forktrace report"),
)


class Import(Protocol):
    """The events of a log, to be iterated once. `skipped` and `notes` are complete at its end."""

    skipped: Skipped
    """Lines not understood: a count, and samples of them."""
    notes: list[str]
    """What is to be said of the log, beyond the notes in its Meta."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def close(self) -> None:
        """Close the files, for who does not read to the end."""


def sniff(head: bytes) -> str | None:
    """The importer for a file that begins with `head`; None if it is nobody's."""
    best: tuple[float, str | None] = (0.0, None)
    for name in IMPORTERS:
        sure: float = importlib.import_module(f"tracer.importers.{name}").score(head)
        if sure > best[0]:
            best = (sure, name)
        if sure >= 1:
            break  # a large log should not be looked at by all
    return best[1]


def open_log(paths: Sequence[str], *, progress: Progress | None = None) -> tuple[Meta, Import]:
    """What the logs at `paths` (`-`: standard input) are, and their events; what is read is what the iterator takes.

    `progress(done, total)` is called with bytes, the total None if unknown. Raises UsageError, NoInputError,
    BadDataError.
    """
    if not paths:
        raise UsageError("no log is named", "forktrace import LOG... -o FILE.ftrace")
    if len(set(paths)) < len(paths):
        raise UsageError("a log is named twice", "name each file once")
    sources: list[LogSource] = []
    try:
        for path in paths:
            sources.append(LogSource(path))
            if len(sources) > _OPEN or not sources[-1].head:
                sources[-1].close()  # a family may have more files than a process may have open
        module: Any = importlib.import_module(f"tracer.importers.{_tool(sources)}")
        opened: tuple[Meta, Import] = module.open_log([source for source in sources if source.head], progress=progress)
    except BaseException:
        for source in sources:
            source.close()
        raise
    return opened


def _tool(sources: Sequence[LogSource]) -> str:
    """The importer for all of these. Raises BadDataError if there is none, or not one for all."""
    kinds: dict[str, str] = {}
    unknown: list[LogSource] = []
    known: list[str] = []
    for source in sources:
        kind = sniff(source.head)
        if kind is not None:
            kinds[kind] = source.name
            known.append(source.path)
        elif source.head or source.damaged is not None or len(sources) == 1:
            unknown.append(source)
    families = {stem_of(path) for path in known if pid_of(path) is not None}
    for source in unknown:
        # In a family there are files of tasks that did next to nothing.
        if source.damaged is not None or pid_of(source.path) is None or stem_of(source.path) not in families:
            raise _refused(source)
    if len(kinds) > 1:
        names = " and ".join(sorted(kinds.values()))
        raise BadDataError(f"{names} are logs of different tools", "import them one by one")
    if not kinds:
        raise BadDataError("the logs are empty", "name files that hold the output of strace or perf script")
    return next(iter(kinds))


def _refused(source: LogSource) -> BadDataError:
    mend = "forktrace import reads the output of strace and of perf script"
    if source.damaged is not None:
        return BadDataError(source.damaged, "nothing of it can be read")
    if not source.head:
        return BadDataError(f"{source.name} is empty", mend)
    for magic, what, cure in _BINARY:
        if source.head.startswith(magic):
            return BadDataError(f"{source.name} {what}, not a log", cure)
    return BadDataError(f"{source.name} is neither a log of strace nor of perf script", mend)
