"""python3 -m tests.vm.inside.load: which probe programs this kernel takes, each by itself.

A cell a program, `load OBJECT/PROGRAM`, by the trial that `forktrace doctor` makes: a refused program is left out and
its object loaded again, so every verdict is that program's own. Everything that a run can ask for is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.vm.inside.cells import Cell, NotOfferedError, check, emit
from tracer import backends
from tracer.backends.bpf import objects
from tracer.backends.bpf.trial import EVERYTHING, trial
from tracer.model.process_filter import Group, Match


def every_object() -> str:
    """A note for the whole; raises where not even the maps can be made."""
    state = backends.readiness("bpf")
    if not state.ok:
        raise NotOfferedError(state.why)
    top = Path("/sys/fs/cgroup")
    group = Group("/", top, top.stat().st_ino, None, None)
    options = EVERYTHING._replace(match=Match(groups=(group,), comms=("cron",), uids=(1,)))
    loaded = 0
    for verdict in trial(options):
        emit(Cell(f"load {verdict.object}/{verdict.program}", verdict.ok, verdict.why[:400]))
        loaded += verdict.ok
    return f"{loaded} programs"


def level() -> str:
    """An object that only a forktrace inside a pid namespace needs, which this one is not."""
    found = objects._level_of(os.stat("/proc/self/ns/pid").st_ino)
    if found != 0:
        raise AssertionError(f"the level of the first pid namespace is {found}, not 0")
    return ""


if __name__ == "__main__":
    check("load", every_object)
    check("load level/find_level", level)
