"""How fast logs of strace are imported, compared with `LC_ALL=C grep -cE` of the calls that matter into a pipe.

    .venv/bin/python -m tests.bench.bench_strace_import [MB] [--project DIR] [--logs FOLDER]

Records the logs of strace_logs.py (or takes those in FOLDER), replicates each to MB megabytes (default 100), and prints
of each MB a second of CPU for the import and for grep, their ratio, the share of lines that are half a call, and the
peak memory of the import. Both are CPU times of a process of their own, the best of three in turn: other work on the
machine can only make a run slower.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.strace_logs import NAMES, SAMPLES, record, replicate

ROOT: Final = Path(__file__).parents[2]
PATTERN: Final = (
    r"(fork|clone3?|execve(at)?|exit(_group)?|wait4|waitid)(\(| resumed>)|\+\+\+ (exited|killed)|--- SIGCHLD"
)
RUNS: Final = 3
# As the command reads: without the garbage collector.
_READ: Final = """
import gc, sys, time
from tracer.importers import open_log
gc.disable()
start = time.process_time()
_, run = open_log([sys.argv[1]])
events = sum(map(len, run))
seconds = time.process_time() - start
# Not ru_maxrss: a process inherits that of the one that has started it.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, events, peak >> 10)
"""


def grep(log: Path) -> float:
    """Seconds of CPU. (With /dev/null as its output grep would stop at the first match.)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        ["grep", "-cE", PATTERN, str(log)], env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(log: Path) -> tuple[float, int, int]:
    """Seconds of CPU of an import, its events, and the MiB that it holds at most."""
    done = subprocess.run([sys.executable, "-c", _READ, str(log)], cwd=ROOT, capture_output=True, check=True, text=True)
    seconds, events, peak = done.stdout.split()
    return float(seconds), int(events), int(peak)


def measure(name: str, log: Path) -> str:
    """One row of the table."""
    size = log.stat().st_size / 1e6
    with log.open("rb") as file:
        head = file.read(8 << 20)
    halves = len(re.findall(rb"<unfinished \.\.\.>$|<\.\.\. \w+ resumed>", head, re.MULTILINE)) / head.count(b"\n")
    runs = [(grep(log), *read(log)) for _ in range(RUNS)]
    g, r = min(run[0] for run in runs), min(run[1] for run in runs)
    return (
        f"| {name} | {size:.0f} | {halves:.0%} | {runs[0][2]:,} | {size / r:.0f} | {size / g:.0f} | {g / r:.3f} | "
        f"{max(run[3] for run in runs)} |"
    )


def main() -> None:
    """Record, replicate, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("megabytes", nargs="?", type=float, default=100)
    parser.add_argument("--project", type=Path, default=SAMPLES)
    parser.add_argument("--logs", type=Path, help="a folder of recorded logs")
    parser.add_argument("--only", nargs="*", default=NAMES)
    args = parser.parse_args()
    print("| log | MB | halves | events | MB/s | grep MB/s | of grep | peak MiB |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            source, log = (args.logs or Path(folder)) / f"{name}.log", Path(folder, f"{name}-many.log")
            if args.logs is None:
                record(name, source, args.project)
            replicate(source, log, args.megabytes)
            print(measure(name, log), flush=True)
            log.unlink()


if __name__ == "__main__":
    main()
