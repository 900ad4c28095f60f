"""Load every object of the probes as a run would, and say of each program whether this kernel takes it.

Nothing is attached, and nothing stays loaded. Needs the privileges that a run needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tracer.backends import STACKS_USUAL, Options, _programs
from tracer.backends._faults import Faults, faults_readiness
from tracer.backends._libbpf import BpfObject
from tracer.backends._objects import beside, options_data, probe_object, ring_size, set_lifecycle
from tracer.backends._stacks import Stacks

EVERYTHING = Options(cow="full", cow_stacks=STACKS_USUAL, failures=True, reap_exact=True)


class Verdict(NamedTuple):
    """Of one program. `why`: the kernel's reason where it refused; `costs`: what is not measured without it.

    `main`: without it, its whole object is of no use: of "lifecycle", the whole backend.
    """

    object: str
    program: str
    ok: bool
    why: str
    costs: str
    main: bool


def trial(options: Options = EVERYTHING) -> Iterator[Verdict]:
    """Verdicts on all programs that a run with `options` would load, object by object.

    Raises ProbesRefusedError or NoPermissionError where not even the maps can be made.
    """
    with ExitStack() as stack:

        def opened(obj: BpfObject) -> BpfObject:
            stack.callback(obj.close)
            return obj

        data = options_data(options)
        shared = opened(BpfObject(probe_object("shared")))
        shared.resize("events", ring_size(options))
        shared.load()
        lifecycle = opened(BpfObject(probe_object("lifecycle")))
        set_lifecycle(lifecycle, shared, data, options)
        yield from _loaded("lifecycle", lifecycle)
        yield from _loaded("attach", opened(beside("attach", shared, data)))
        if options.failures:
            yield from _loaded("failures", opened(beside("failures", lifecycle, data, ("texts",))))
        if options.cow != "full" or not faults_readiness().ok:
            return
        faults = Faults(probe_object("faults"), shared, data)
        stack.callback(faults.close)
        faults.load(_names(faults.object))
        yield from _verdicts("faults", faults.object)
        yield from _loaded("faults_walk", opened(faults.beside(probe_object("faults_walk"))))
        if options.cow_stacks is not None:
            stacks = Stacks(probe_object("stacks"), faults, rate=options.cow_stacks)
            stack.callback(stacks.close)
            stacks.load(_names(stacks.object))
            yield from _verdicts("stacks", stacks.object)


def _names(obj: BpfObject) -> frozenset[str]:
    return frozenset(program for program, _ in obj.programs())


def _loaded(name: str, obj: BpfObject) -> Iterator[Verdict]:
    obj.load(_names(obj))
    return _verdicts(name, obj)


def _verdicts(name: str, obj: BpfObject) -> Iterator[Verdict]:
    optional = _programs.OPTIONAL.get(name, {})
    for program in [*(program for program, _ in obj.programs()), *obj.refused]:
        why = obj.refused.get(program)
        costs = _programs.costs(name, program)
        yield Verdict(name, program, why is None, why or "", costs, program not in optional)
