"""Runs checks in one guest a kernel and gathers their cells. Two guests at once where there are two processors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tests import samples
from tests.programs import cow
from tests.vm import guest
from tests.vm.home import GuestError
from tests.vm.inside.cells import Cell, parse

PROGRAMS = ("cow_anon", "cow_file", "cow_kernel", "contention", "forkfail")
T = TypeVar("T")
_printing = threading.Lock()


class Result(NamedTuple):
    """What a guest answered. `kernel`, `version`: exactly what was booted; without cells there is an `error`."""

    word: str
    kernel: str
    version: str
    cells: tuple[Cell, ...]
    error: str = ""
    seconds: float = 0.0


def prepare() -> None:
    """Compile what guests run, here: a guest of the small root has no compiler, and emulation is slow."""
    samples.build()
    for name in PROGRAMS:
        cow.build(name)


def ask(job: guest.Job, said: Callable[[str], object]) -> Result:
    """Run the job's command; `said` gets each line."""
    lines: list[str] = []
    rest = {"out": b"", "err": b""}

    def sink(name: str) -> guest.Sink:
        def take(data: bytes) -> None:
            *whole, rest[name] = (rest[name] + data).split(b"\n")
            for raw in whole:
                line = raw.decode("utf-8", "replace")
                if name == "out":
                    lines.append(line)
                with _printing:
                    said(line)

        return take

    try:
        outcome = guest.run(job, sink("out"), sink("err"))
    except GuestError as e:
        return Result(job.kernel, "", "", tuple(parse(lines)), str(e))
    cells = tuple(parse(lines))
    error = "" if cells else "no check gave an answer"
    return Result(job.kernel, outcome.kernel.name, outcome.kernel.version, cells, error, outcome.ran)


def at_once(guests: int, do: Callable[[T], Result], them: Sequence[T]) -> list[Result]:
    """The results for all, so many at a time, in their order."""
    with ThreadPoolExecutor(guests) as pool:
        return list(pool.map(do, them))
