"""python3 -m tests.vm.inside.features [CELL...]: what forktrace does on this kernel, a cell a feature.

Every check runs real programs with a known outcome and compares numbers; a fact that a trace says it has must be in
its rows. What the backend declares as not to be had is no failure but its note. Compiled programs were made outside.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import tracer
from tests import judge, samples
from tests.samples import Sample
from tests.vm.inside.cells import NotOfferedError, check
from tracer import backends
from tracer.model.meta import Fact
from tracer.model.schema import Kind

SHELL: Final = ("bash", "-c", "ls / | wc -l >/dev/null; (exit 3); true")
STATUSES: Final = [0, 0, 0, 3]
JUDGED: Final = ("chain", "every_way", "deaths", "zombie", "vfork_exec", "threads")


def tree(backend: str, **options: Any) -> Any:
    """The trace of a small shell: four processes, one by one, with their statuses."""
    state = backends.readiness(backend)
    if not state.ok:
        raise NotOfferedError(state.why)
    trace = tracer.run(list(SHELL), backend=backend, **options)
    rows = list(trace.tree.records())
    root, *children = rows
    if sorted(row["exit_code"] for row in rows) != STATUSES:
        raise AssertionError(f"statuses {[row['exit_code'] for row in rows]}, not {STATUSES}")
    if any(child["parent_id"] != root["id"] for child in children):
        raise AssertionError("a child of the shell hangs elsewhere in the tree")
    lost = [event for event in trace.events() if event.kind == Kind.LOST]
    if lost:
        raise AssertionError(f"{sum(event.count or 0 for event in lost)} records lost in {lost[0].where}")
    return trace


def lifecycle(backend: str) -> str:
    """The tree alone, by another backend."""
    return f"{len(tree(backend).meta.facts)} facts"


def known(trace: Any, fact: Fact, column: str) -> str:
    """The figures of a column; a fact that is missing is what the kernel does not offer, with the trace's reason."""
    if fact not in trace.meta.facts:
        raise AssertionError("; ".join(trace.meta.notes) or f"{fact} is not seen, and no note says why")
    values = [row[column] for row in trace.tree.records()]
    if None in values:
        raise AssertionError(
            f"{column} is unknown in {values.count(None)} of {len(values)} rows, though {fact} is seen"
        )
    return f"{sum(values)} {column}"


def bpf_tree() -> str:
    """What a default run must know of each child: how it was made, its words, who waited."""
    rows = list(tree("bpf").tree.records())
    for row in rows[1:]:
        if (row["how"], row["reaped_by"]) != ("fork", rows[0]["pid"]) or "CLONE_CHILD_SETTID" not in row["flags"]:
            raise AssertionError(f"{row['comm']}: {row['how']}, {row['flags']}, reaped by {row['reaped_by']}")
    return ""


def bpf_copies() -> str:
    """A shell's subshell copies pages in any case."""
    trace = tree("bpf")
    note = known(trace, Fact.COW, "cow_copies")
    if not sum(row["cow_copies"] for row in trace.tree.records()):
        raise AssertionError("a forking shell copied nothing")
    return note


def bpf_mappings() -> str:
    """Columns that may be null by declaration on older kernels."""
    rows = list(tree("bpf").tree.records())
    unknown = [name for name in ("cow_heap", "cow_stack", "cow_anon", "cow_file") if rows[-1][name] is None]
    if unknown:
        raise NotOfferedError(f"{', '.join(unknown)} unknown")
    for row in rows:
        if sum(row[name] for name in ("cow_heap", "cow_stack", "cow_anon", "cow_file")) != row["cow_copies"]:
            raise AssertionError(f"the mappings of {row['comm']} do not add up to its {row['cow_copies']} copies")
    return ""


def fork_cost() -> str:
    trace = tree("bpf", cow="fork")
    if Fact.FORK_COST not in trace.meta.facts:
        raise AssertionError("; ".join(trace.meta.notes))
    children = list(trace.tree.records())[1:]
    if not all(row["fork_ns"] for row in children):
        raise AssertionError(f"fork_ns: {[row['fork_ns'] for row in children]}")
    return f"{min(row['fork_ns'] for row in children)} ns"


def cow_light() -> str:
    """The kernel's own count, where it can be switched on."""
    switch = Path("/proc/sys/kernel/task_delayacct")
    if not switch.exists():
        tree("bpf", cow="light")
        raise NotOfferedError("the kernel's own count cannot be switched on (kernel.task_delayacct, from 5.14)")
    before = switch.read_text()
    switch.write_text("1")
    try:
        return known(tree("bpf", cow="light"), Fact.WPCOPY, "wpcopy_count")
    finally:
        switch.write_text(before)


def cow_off() -> str:
    trace = tree("bpf", cow="off")
    if Fact.COW in trace.meta.facts or any(row["cow_copies"] is not None for row in trace.tree.records()):
        raise AssertionError("copies are shown though nobody counted them")
    return ""


def failures() -> str:
    trace = tracer.run(["bash", "-c", "/nonexistent; exit 7"], backend="bpf", failures=True)
    found = [event for event in trace.events() if event.kind == Kind.EXEC_FAILED]
    if [event.error for event in found] != ["ENOENT"]:
        raise AssertionError(f"failed execs: {[event.error for event in found]}, not one ENOENT")
    return ""


def stacks() -> str:
    program = "import os\nif os.fork() == 0:\n    x = [bytes(4096) for _ in range(2000)]\n    os._exit(0)\nos.wait()"
    trace = tracer.run([sys.executable, "-c", program], backend="bpf", cow_stacks=0)
    known(trace, Fact.STACKS, "cow_copies")
    found = [event for event in trace.events() if event.kind == Kind.STACKS]
    if not any(event.frames for event in found):
        raise AssertionError(f"{len(found)} stacks, none with a frame")
    return f"{sum(event.count for event in found)} copies with a stack"


def reap_exact() -> str:
    trace = tree("bpf", cow="off", reap_exact=True)
    notes = [note for note in trace.meta.notes if "reap" in note]
    if notes:
        raise AssertionError(notes[0])
    reaped = [row["reap_ns"] for row in list(trace.tree.records())[1:]]
    if None in reaped:
        raise AssertionError(f"{reaped.count(None)} of {len(reaped)} reaps are unknown")
    return ""


def judged() -> str:
    """Samples by their own truth, but for durations: an emulated processor stands still in the middle of anything."""
    bad = []
    for name in JUDGED:
        with tempfile.TemporaryDirectory() as folder:
            outcome = samples.run(Sample(name), "bpf", Path(folder))
            trace = outcome.trace
            wrong = judge.differences(outcome.lives, trace.tree.records(), trace.events(), trace.meta.facts)
            bad += [f"{name}: {sentence}" for sentence in wrong if not re.search(r"_ns is \d+, and was", sentence)]
    if bad:
        raise AssertionError("; ".join(bad[:3]))
    return f"{len(JUDGED)} samples"


def contention() -> str:
    """Many tasks that preempt each other, on one processor to as many as there are: counted and lost make the truth."""
    command = [sys.executable, "-m", "tests.vm.contention", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    note = (done.stdout or done.stderr).strip().splitlines()[-1:]
    if done.returncode:
        raise AssertionError(*note)
    return " ".join(note).partition(" CPUs: ")[2]


def watched(options: list[str], start: list[str], *, pid: bool = False) -> list[Mapping[str, Any]]:
    """Rows of a trace of something that begins by itself: a shell that goes round until it is killed."""
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(start, stdin=subprocess.DEVNULL) as program:
        try:
            file = Path(folder) / "t.ftrace"
            chosen = [*options, *(["-p", str(program.pid)] if pid else []), "--duration", "3"]
            command = [sys.executable, "-m", "tracer", "-qq", "--backend", "bpf", *chosen, "-o", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                raise AssertionError((done.stderr or done.stdout).strip()[-300:])
            rows: list[Mapping[str, Any]] = list(tracer.load(str(file)).tree.records())
            return rows
        finally:
            program.kill()


def goes_on(name: str, options: list[str], *, pid: bool = False) -> str:
    """Children of the shell that were born while it was watched."""
    loop = ["bash", "-c", f"exec -a {name} bash -c 'for i in $(seq 3000); do /bin/true; sleep 0.3; done'"]
    rows = watched(options, loop, pid=pid)
    born = [row for row in rows if row["how"] == "fork" and row["exit_code"] == 0 and row["comm"] in ("true", "sleep")]
    if len(born) < 4:
        raise AssertionError(f"{len(born)} children were seen from birth to end among {len(rows)} rows")
    return f"{len(born)} children"


def container() -> str:
    """A control group of its own."""
    group = Path("/sys/fs/cgroup/forktrace-check")
    group.mkdir(exist_ok=True)
    moved = ["bash", "-c", f"echo $$ >{group}/cgroup.procs; for i in $(seq 3000); do /bin/true; sleep 0.3; done"]
    rows = watched(["--cgroup", str(group)], moved)
    if len([row for row in rows if row["comm"] in ("true", "sleep") and row["exit_code"] == 0]) < 4:
        raise AssertionError(f"{len(rows)} rows, and few children among them")
    return ""


def owner() -> str:
    return goes_on("uid", ["--uid", str(os.getuid())])


def doctor() -> str:
    """The backend that doctor chooses is the one that a run takes."""
    command = [sys.executable, "-m", "tracer", "doctor", "--json"]
    says = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    taken = tracer.run(["true"]).meta.source
    if says["chosen"] != taken:
        raise AssertionError(f"doctor chooses {says['chosen']}, and a run takes {taken}")
    return f"{taken}"


CELLS: Final[Mapping[str, Callable[[], str]]] = {
    "tree": bpf_tree,
    "copies": bpf_copies,
    "copies by mapping": bpf_mappings,
    "--cow fork": fork_cost,
    "--cow light": cow_light,
    "--cow off": cow_off,
    "-e fail": failures,
    "--cow-stacks": stacks,
    "--reap exact": reap_exact,
    "samples": judged,
    "contention": contention,
    "-p": lambda: goes_on("pid", [], pid=True),
    "-a": lambda: goes_on("all", ["-a"]),
    "--comm": lambda: goes_on("comm", ["--comm", "bash"]),
    "--uid": owner,
    "--cgroup": container,
    "bcc": lambda: lifecycle("bcc"),
    "netlink": lambda: lifecycle("netlink"),
    "strace": lambda: lifecycle("strace"),
    "doctor": doctor,
}
WITHOUT_BPF: Final = frozenset({"bcc", "netlink", "strace", "doctor"})


def main(names: list[str]) -> None:
    """The cells of these names, or all."""
    state = backends.readiness("bpf")
    for name in names or CELLS:
        check(name, CELLS[name] if state.ok or name in WITHOUT_BPF else lambda: not_offered(state.why))


def not_offered(why: str) -> str:
    """In place of a check that asks for the bpf backend."""
    raise NotOfferedError(why)


if __name__ == "__main__":
    main(sys.argv[1:])
