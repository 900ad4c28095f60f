"""python3 -m tests.vm.inside.load: load each probe program alone, by the backend's own choice for this kernel.

A cell a program, `load OBJECT/PROGRAM`. The backend decides which programs it wants here and which options they get;
each is then loaded with all others left out, so a refusal is that program's own. Everything the backend can ask for
is asked for.
"""

from __future__ import annotations

import os
import time
from typing import Any

from tests.vm.inside.cells import Cell, emit
from tracer.backends import Options, _objects, bpf
from tracer.backends._libbpf import BpfObject
from tracer.errors import ForktraceError
from tracer.matching import Match

_load = BpfObject.load


def _load_each(obj: Any) -> None:
    """In place of BpfObject.load: first each program alone, then all that were taken, as the backend goes on."""
    asked, names = list(obj._asked), [name for name, _ in obj.programs()]
    refused = []
    for name in names:
        _anew(obj, asked)
        obj.skip(*(other for other in names if other != name))
        cell = f"load {obj._name.removesuffix('.bpf.o')}/{name}"
        started = time.monotonic()
        try:
            _load(obj)
            emit(Cell(cell, True, "", round(time.monotonic() - started, 2)))
        except ForktraceError as e:
            refused.append(name)
            emit(Cell(cell, False, e.message[:400], round(time.monotonic() - started, 2)))
    _anew(obj, asked)
    obj.skip(*refused)
    _load(obj)


def _anew(obj: Any, asked: list[Any]) -> None:
    if obj._obj is not None:
        obj._lib.bpf_object__close(obj._obj)
        obj._obj = None
    obj._open()
    obj._asked = []
    for do in asked:
        obj._ask(do)


def main() -> None:
    """Load everything once."""
    setattr(BpfObject, "load", _load_each)  # noqa: B010 - mypy takes no assignment here
    match = Match(comms=("cron",), uids=(1,))
    options = Options(cow="full", cow_stacks=0, reap_exact=True, failures=True, everyone=True, match=match)
    backend = bpf.Backend(options)
    try:
        backend.start()
        # Only needed by a forktrace in a container, which this one is not
        level = _objects._level_of(os.stat("/proc/self/ns/pid").st_ino)
        emit(Cell("load", level == 0, "" if level == 0 else f"the level of this pid namespace is {level}, not 0"))
    except ForktraceError as e:
        emit(Cell("load", False, e.message))
    finally:
        backend.close()


if __name__ == "__main__":
    main()
