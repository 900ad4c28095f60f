"""Load every object of the probes as a run would, and say of each program whether this kernel takes it.

Nothing is attached, and nothing stays loaded. Needs the privileges that a run needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Final

from tracer.backends import STACKS_USUAL, Options, Readiness, Trial, Verdict
from tracer.backends.bpf import programs
from tracer.backends.bpf.faults import Faults, faults_readiness
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.objects import beside, options_data, probe_object, ring_size, set_lifecycle
from tracer.backends.bpf.stacks import Stacks
from tracer.errors import NoPermissionError, ProbesRefusedError
from tracer.model.meta import Fact

EVERYTHING: Final = Options(cow="full", cow_stacks=STACKS_USUAL, failures=True, reap_exact=True)


_COUNTED: Final = frozenset({Fact.COW, Fact.WP_FAULTS, Fact.STACKS})
_OBJECTS: Final = {
    "failures": frozenset({Fact.EXEC_FAILED, Fact.FORK_FAILED}),
    "faults": _COUNTED,
    "stacks": frozenset({Fact.STACKS}),
}
"""What is seen by a whole object, and not without one of its main programs."""


def judged() -> Trial:
    """What a run would have on this kernel, whatever it is asked for."""
    try:
        verdicts = tuple(trial())
    except (ProbesRefusedError, NoPermissionError) as e:
        return Trial(Readiness(False, e.message, e.mend, isinstance(e, NoPermissionError)))
    refused = next((v for v in verdicts if v.object == "lifecycle" and v.main and not v.ok), None)
    if refused is not None:
        return Trial(Readiness(False, f"the kernel refuses {refused.program}: {refused.why}"), verdicts)
    return Trial(Readiness(True), verdicts, lost(verdicts))


def lost(verdicts: Iterable[Verdict]) -> frozenset[str]:
    """Facts that a run cannot see here, though its options ask for them."""
    facts: set[str] = set()
    tried = set()
    for verdict in verdicts:
        tried.add(verdict.object)
        if verdict.ok:
            continue
        if verdict.main:
            facts |= _OBJECTS.get(verdict.object, frozenset())
        else:
            facts |= programs.without(verdict.object, {verdict.program: verdict.why}).facts
    return frozenset(facts.union(*(seen for name, seen in _OBJECTS.items() if name not in tried)))


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
    optional = programs.OPTIONAL.get(name, {})
    for program in [*(program for program, _ in obj.programs()), *obj.refused]:
        why = obj.refused.get(program)
        costs = programs.costs(name, program)
        yield Verdict(name, program, why is None, why or "", costs, program not in optional)
