"""The folklore of fork(), measured: how long the call takes, how much of it is copying page tables, what is copied.

    make -C samples bin/fork_cost && sudo .venv/bin/python samples/fork_cost.py [TIMES]

Each line is the median of TIMES calls (default 7) by samples/fork_cost.c: `call` by the program's own clock without
forktrace, then, traced, page-table copy time and the pages that parent and child copied while both lived.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

import tracer
from tracer.analyses.cow import Edge, edges

PROGRAM = Path(__file__).parent / "bin" / "fork_cost"
SAID = {
    (0, "fork"): "",
    (100, "fork"): "0.05 ms, nothing copied",
    (1024, "fork"): "under 1 ms, nothing copied",
    (1024, "vfork"): "does not depend on size",
    (1024, "posix_spawn"): "does not depend on size",
}
CASES = [
    *((mib, how, "small") for mib in (0, 100, 1024) for how in ("fork", "vfork", "posix_spawn")),
    (100, "fork", "huge"),
    (1024, "fork", "huge"),
]


def measure(mib: int, how: str, pages: str, times: int) -> tuple[float, list[Edge]]:
    """Median ns of the untraced call, and the edges of a traced run."""
    words = [str(PROGRAM), str(mib), how, pages, str(times)]
    calls = told(lambda env, fd: subprocess.run(words, env=env, pass_fds=(fd,), check=True))
    traces: list[Any] = []
    told(lambda env, fd: traces.append(tracer.run(words, env=env, pass_fds=(fd,))))
    return statistics.median(calls), list(edges(traces[0].tree))


def told(run: Callable[[dict[str, str], int], object]) -> list[int]:
    """The ns that the program tells of its calls."""
    read, write = os.pipe()
    try:
        run({**os.environ, "FORKTRACE_TRUTH_FD": str(write)}, write)
    finally:
        os.close(write)
    with os.fdopen(read) as lines:
        return [line["ns"] for line in map(json.loads, lines) if line["ev"] == "call"]


def middle(values: list[int | None]) -> float | None:
    """Median of what is known; None if nothing is."""
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def shown(value: float | None, scale: float, digits: int) -> str:
    """A number, `-` if there is none."""
    return "-" if value is None else f"{value / scale:,.{digits}f}"


def main() -> int:
    """Print the table."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(
        f"{'parent':>9}  {'pages':5}  {'how':11}  {'call ms':>8}  {'tables ms':>9}  {'tables KiB':>10}  "
        f"{'child':>6}  {'parent':>6}  what is said"
    )
    for mib, how, pages in CASES:
        call, found = measure(mib, how, pages, times)
        said = SAID.get((mib, how), "") if pages == "small" else ""
        print(
            f"{mib:>5} MiB  {'huge' if pages == 'huge' else f'{PAGESIZE >> 10} KiB':5}  {how:11}  {call / 1e6:8.3f}  "
            f"{shown(middle([e.fork_ns for e in found]), 1e6, 3):>9}  "
            f"{shown(middle([e.pgtables_bytes for e in found]), 1024, 0):>10}  "
            f"{shown(middle([e.child_copies for e in found]), 1, 0):>6}  "
            f"{shown(middle([e.parent_copies for e in found]), 1, 0):>6}  {said}".rstrip()
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
