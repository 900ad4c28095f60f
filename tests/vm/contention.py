"""contention.py [RUNS [PAGES CHILDREN ROUNDS]]: what is counted where many tasks preempt each other. One line, as root.

From Linux 7.0 on the kernel may skip a probe that another task is inside of. Each run, on 1 to as many processors as
there are, must hold: counted <= true <= counted + lost, for births, ends and copies.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import tracer
from tests.programs import cow

_STRAY = 3  # of the copies apart from the shared pages: a child differs by so many from another


def outside(pages: int) -> int:
    """Copies that a child makes apart from the shared pages, its stack and libc's data: of one that runs alone."""
    counted, lost, _ = run(pages, 1, 1, 1, 0)
    assert not lost
    return counted["copies"] - pages


def run(pages: int, children: int, rounds: int, cpus: int, apart: int) -> tuple[Counter[str], Counter[str], list[str]]:
    """What was counted below the root, what was lost at most, and what is wrong; `apart`: see `outside`."""
    words = [str(cow.build("contention")), *map(str, (pages, children, rounds, cpus))]
    trace = tracer.run(words, backend="bpf")
    rows = trace.processes.to_dict("records")[1:]
    counted = Counter(
        births=len(rows),
        ends=sum(row["exit_code"] == 7 for row in rows),
        copies=sum(int(row["cow_copies"]) for row in rows if row["cow_copies"] == row["cow_copies"]),
    )
    lost: Counter[str] = Counter()
    for loss in trace.tree.losses:
        lost[(loss.where or "").removeprefix("skipped by the kernel: ")] += loss.count or 0
    made = children * rounds
    sure = {
        "births": (made, made),
        "ends": (made, made),
        "copies": (made * (pages + apart - _STRAY), made * (pages + apart + _STRAY)),
    }
    may = {
        "births": lost["births"],
        "ends": lost["births"] + lost["ends"],
        "copies": lost["copies"] + (lost["births"] + lost["births (copies)"] + lost["ends (copies)"]) * pages,
    }
    wrong = [
        f"{name}: counted {counted[name]}, lost {may[name]}, true {low} to {high}"
        for name, (low, high) in sure.items()
        if counted[name] > high or counted[name] + may[name] < low
    ]
    return counted, lost, wrong


def main(runs: int = 20, pages: int = 2500, children: int = 6, rounds: int = 4) -> int:
    """Exit status: 1 if a run does not add up."""
    apart = outside(pages)
    cpus = len(os.sched_getaffinity(0))
    short: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    wrong: list[str] = []
    quiet = 0
    for number in range(runs):
        counted, lost, failed = run(pages, children, rounds, 1 + number % cpus, apart)
        made = children * rounds
        short["births"] += made - counted["births"]
        short["ends"] += made - counted["ends"]
        short["copies"] += max(0, made * (pages + apart) - counted["copies"])
        losses.update(lost)
        wrong += failed
        quiet += not lost
    true = {"births": made * runs, "ends": made * runs, "copies": made * (pages + apart) * runs}
    missing = ", ".join(f"{short[name]} of {n:,} {name} missing" for name, n in true.items())
    said = ", ".join(f"{n} {what}" for what, n in losses.items()) or "nothing"
    print(
        f"contention: {platform.release()}: {runs} runs on 1 to {cpus} CPUs: {missing}; at most {said} lost, "
        f"nothing in {quiet} runs; {'; '.join(wrong[:3]) or 'all adds up'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
