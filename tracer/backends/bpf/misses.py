"""What the kernel's skipping of programs lost: a bound, from bpf_prog_info.recursion_misses.

From Linux 7.0 on a program on a tracepoint is skipped while another task, preempted on that CPU, is inside of it. Each
copy of a program counts its own misses (probes/once.h), and an event is lost only if all copies missed it: so at most
as many are lost as the copy with the fewest misses counted. Copies run right behind each other, so a miss of a later
copy belongs to a miss of an earlier one in the same interval between two readings, or in the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracer.backends.bpf.libbpf import BpfObject

EVENTS: Final = {
    ("lifecycle", "on_newtask"): "births",
    ("lifecycle", "on_exec"): "execs",
    ("lifecycle", "on_exit"): "ends",
    ("lifecycle", "on_signal"): "signals and zombies",
    ("lifecycle", "on_wait"): "waits",
    ("lifecycle", "on_free"): "releases",
    ("lifecycle", "on_rename"): "renames",
    ("lifecycle", "on_oom"): "kills by the OOM killer",
    ("lifecycle", "on_moved"): "moves into the group",
    ("lifecycle", "on_mkdir"): "new control groups",
    ("faults", "on_newtask"): "births (copies)",
    ("faults", "on_page_alloc"): "copies",
    ("faults", "on_rss_stat"): "kinds of copies",
    ("faults", "on_page_free"): "pages given back",
    ("faults", "on_dirty_folio"): "shared file pages made writable",
    ("faults", "on_rename"): "execs (copies)",
    ("faults", "on_exec"): "execs (copies)",
    ("faults", "on_exit"): "ends (copies)",
    ("faults", "on_signal"): "failed faults",
    ("faults", "on_fault_user"): "faults",
    ("faults", "on_fault_kernel"): "faults",
    ("failures", "on_sys_exit"): "failed forks and execs",
}
"""What is lost with an event of a program. A skipped program that is not named here loses nothing of its own."""


class _Copies:
    """The copies of one program, in the order in which they are run."""

    def __init__(self, copies: Sequence[BpfObject], program: str) -> None:
        self._copies = copies
        self._program = program
        self._counted = [0] * len(copies)
        self._earlier = [0] * len(copies)  # misses between the two readings before the last

    def lost(self) -> int:
        """At most so many since the last reading."""
        now = [copy.misses(self._program) or 0 for copy in self._copies]
        fresh = [new - old for new, old in zip(now, self._counted, strict=True)]
        reach = [a + b for a, b in zip(fresh, self._earlier, strict=True)]
        self._counted, self._earlier = now, fresh
        return min([fresh[-1], *reach[:-1]])


class Misses:
    """Of all programs of a capture: `watch` each object once it is loaded, then `lost` now and then, and at the end."""

    def __init__(self) -> None:
        self._programs: list[tuple[str, str, _Copies]] = []  # object, what is lost, the program's copies

    def watch(self, name: str, first: BpfObject, copies: Sequence[BpfObject] = ()) -> None:
        """The programs of object `name`, and those of its copies in the order in which they are attached."""
        for program, _ in first.programs():
            what = EVENTS.get((name, program))
            if what is not None:
                those = [first, *(copy for copy in copies if program in dict(copy.programs()))]
                self._programs.append((name, what, _Copies(those, program)))

    def forget(self, name: str) -> None:
        """Object `name` is about to be closed."""
        self._programs = [each for each in self._programs if each[0] != name]

    def lost(self) -> dict[str, int]:
        """{what: at most how many} since the last call, only what is more than 0."""
        found: dict[str, int] = {}
        for _, what, copies in self._programs:
            n = copies.lost()
            if n > 0:
                found[what] = found.get(what, 0) + n
        return found
