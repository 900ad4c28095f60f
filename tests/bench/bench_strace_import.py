"""How fast logs of strace are imported, held against `LC_ALL=C grep -cE` of the calls of life and death.

    .venv/bin/python tests/bench/bench_strace_import.py [MB [JOBS...]]

Makes two logs in a temporary folder: one of all system calls, one of those of life and death alone. Prints, of each,
MB/s of grep, MB/s of the import (events made, and with the trace written), the ratio to grep, and the peak memory of
an import of this and of a log of a tenth of the size. grep and imports take turns, and the best of three is taken:
other work on the machine can only make a run slower.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.strace_logs import make

ROOT: Final = Path(__file__).parents[2]
PATTERN: Final = (
    r"(fork|clone3?|execve(at)?|exit(_group)?|wait4|waitid)(\(| resumed>)|\+\+\+ (exited|killed)|--- SIGCHLD"
)
RUNS: Final = 3


def grep(log: Path) -> None:
    """What the importer is held against. (With /dev/null as its output grep would stop at the first match.)"""
    env = {**os.environ, "LC_ALL": "C"}
    subprocess.run(["grep", "-cE", PATTERN, str(log)], env=env, capture_output=True, check=True)


def read(log: Path, jobs: int) -> int:
    """All events; their number."""
    from tracer.importers import open_log

    _, batches = open_log([str(log)], jobs=jobs)
    return sum(len(batch) for batch in batches)


def write(log: Path, jobs: int) -> None:
    """The whole verb, in a process of its own."""
    words = ["-m", "tracer", "import", str(log), "-j", str(jobs), "-o", str(log.with_suffix(".ftrace"))]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def peak(log: Path) -> int:
    """MiB that an import holds at most."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            read(log, 1)
            status = 0
        finally:
            os._exit(status)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_maxrss >> 10


def best(*works: Callable[[], object]) -> list[float]:
    """Seconds of each, the best of RUNS, taking turns."""
    times = [float("inf")] * len(works)
    for _ in range(RUNS):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


def main(megabytes: float, jobs: list[int]) -> None:
    """Make, measure, print."""
    print(f"{'log':<6} {'jobs':>4} {'grep':>10} {'events':>10} {'of grep':>8} {'written':>10} {'of grep':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("full", "dense"):
            log, tenth = Path(folder, name), Path(folder, f"{name}-tenth")
            make(log, megabytes, dense=name == "dense")
            make(tenth, megabytes / 10, dense=name == "dense")
            size = log.stat().st_size / 1e6
            for n in jobs:
                g, r, w = best(partial(grep, log), partial(read, log, n), partial(write, log, n))
                print(
                    f"{name:<6} {n:>4} {size / g:>5.0f} MB/s {size / r:>5.0f} MB/s {g / r:>8.2f} {size / w:>5.0f} MB/s "
                    f"{g / w:>8.2f}"
                )
            print(f"{name:<6} peak memory {peak(tenth)} MiB of {size / 10:.0f} MB, {peak(log)} MiB of {size:.0f} MB")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 50, [int(word) for word in sys.argv[2:]] or [1, 2])
