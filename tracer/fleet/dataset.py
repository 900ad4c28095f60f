"""Brings a data set up to date with its traces: rebuilds what is new or has changed, here or on a Dask cluster.

    update(traces, data, scheduler=None, say=..., progress=...) -> Update

Of each trace the file `traces/.../NAME.parquet` is written last: who is killed in the middle does that trace again.
On a cluster the workers rebuild and the answers are written from here; `distributed` gives the work of a lost worker
to another. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from tracer.errors import ForktraceError, UsageError
from tracer.fleet.places import Place, Source
from tracer.fleet.rebuild import TABLES, Rebuilt, rebuild

_IN_FLIGHT: Final = 2  # traces a worker: their bytes wait in its memory
_RETRIES: Final = 3

Progress = Callable[[int, int], object]


@dataclass
class Update:
    """What was done: traces by fate, and (trace, why) for each that could not be read, or not to its end."""

    there: int = 0
    new: int = 0
    gone: int = 0
    processes: int = 0
    troubles: list[tuple[str, str]] = field(default_factory=list)


def update(traces: Place, data: Place, scheduler: str | None = None, progress: Progress | None = None) -> Update:
    """Rebuild what `data` lacks, forget what is gone from `traces`.

    Raises NoInputError, CannotWriteError, UsageError; ForktraceError for a cluster that does not work.
    """
    sources = list(traces.traces())
    known = _known(data)
    wanted = {source.name for source in sources}
    done = Update(there=len(sources))
    for name in sorted(known.keys() - wanted):
        for path in known[name]:
            data.remove(path)
        done.gone += 1
    whole = {name for name, paths in known.items() if any(path.startswith("traces/") for path in paths)}
    todo = [source for source in sources if source.name not in whole]
    made = _here(traces, todo) if scheduler is None else _cluster(traces, todo, scheduler)
    paths = {source.name: source.path for source in todo}
    for i, result in enumerate(made, 1):
        for piece in sorted(result.pieces, key=lambda p: TABLES.index(p.table)):
            folder = f"{piece.table}/host={quote(piece.host, safe='')}/day={piece.day}"
            data.write(f"{folder}/{result.name}.parquet", piece.parquet)
        if result.trouble is not None:
            done.troubles.append((paths[result.name], result.trouble))
        done.new += bool(result.pieces)
        done.processes += result.processes
        if progress is not None:
            progress(i, len(todo))
    return done


def _known(data: Place) -> dict[str, list[str]]:
    """{name of a trace: its files}."""
    known: dict[str, list[str]] = {}
    for table in TABLES:
        for path in data.files(table):
            known.setdefault(path.rpartition("/")[2].removesuffix(".parquet"), []).append(path)
    return known


def _here(traces: Place, todo: Sequence[Source]) -> Iterator[Rebuilt]:
    for source in todo:
        yield _one(traces, source)


def _one(traces: Place, source: Source) -> Rebuilt:
    try:
        data = traces.read(source.path)
    except OSError as e:
        return Rebuilt(source.name, (), 0, f"it can not be read: {(e.strerror or str(e)).lower()}")
    return rebuild(data, source.name, source.host)


def _cluster(traces: Place, todo: Sequence[Source], scheduler: str) -> Iterator[Rebuilt]:
    """As they come. What only this machine sees is read here and sent; other addresses the workers open themselves."""
    if not re.match(r"(tcp|tls|ws|wss|ucx|inproc)://", scheduler):
        raise UsageError(f"{scheduler!r} is no scheduler's address", "give it as in tcp://host:8786")
    try:
        import distributed
    except ImportError:
        raise UsageError("distributed can not be imported", "pip install 'forktrace[cluster]'") from None
    package: Any = distributed  # it has types for a part of what is called here
    try:
        client = package.Client(scheduler, timeout=10, set_as_default=False)
    except (OSError, TimeoutError) as e:
        why = f"no scheduler answers at {scheduler}: {str(e).splitlines()[0]}"
        raise ForktraceError(why, "start one, or leave --scheduler away") from None
    with client:
        _check(client)
        rest = iter(todo)

        def submit(source: Source) -> Any:
            given: bytes | str = traces.read(source.path) if traces.local else traces.address(source.path)
            return client.submit(rebuild, given, source.name, source.host, pure=False, retries=_RETRIES)

        def fill(room: int) -> Iterator[Any]:
            for _, source in zip(range(room), rest, strict=False):
                yield submit(source)

        first = list(fill(len(client.scheduler_info(-1)["workers"]) * _IN_FLIGHT or 1))
        running = package.as_completed(first, loop=client.loop)
        for future in running:
            yield future.result()
            future.release()
            for each in fill(1):
                running.add(each)


def _check(client: Any) -> None:
    """That there are workers and that they have forktrace: better said now, in a sentence."""
    if not client.scheduler_info(-1)["workers"]:
        raise ForktraceError("the scheduler has no workers", "start some: dask worker ADDRESS")
    try:
        client.submit(rebuild, b"", "check", None, pure=False).result(timeout=60)
    except ForktraceError:
        raise
    except Exception as e:  # whatever a worker's import gave
        raise ForktraceError(
            f"a worker can not run forktrace: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}",
            "install the same forktrace on every worker",
        ) from None
