"""What each backend costs beside the others: its start, its memory, and a storm of forks on both cores.

    sudo .venv/bin/python -m tests.bench.bench_backends [--rounds N] [--seconds S]

start: wall time of `forktrace -qq --backend NAME -- true`, median. MiB: peak of forktrace's own process; the child in
which bcc compiles is in the last line. us a fork: forktrace's own CPU time less what `true` takes, over the forks it
saw; strace's own is not in it, and shows in the rate alone. Two loops, one on each core, fork as fast as they can.
Prints a table, asserts nothing; bars: netlink <= 15 us a fork, nothing lost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any, Final

from tests.bench.bench_netlink import build, storm
from tests.conftest import mount_privately
from tracer.backends import BACKENDS, readiness

ROOT: Final = Path(__file__).parents[2]

# Runs one capture, and tells its figures on stdout, which the program does not have.
RUN: Final = """
    import json, os, resource, sys
    from tracer.backends import Options
    from tracer.model.schema import Kind
    from tracer.capture.session import Plan, Session
    out = os.dup(1)
    os.dup2(2, 1)
    forks = lost = 0
    def sink(batch):
        global forks, lost
        forks += batch.kinds.count(Kind.FORK)
        if Kind.LOST in batch.parts:
            lost += sum(values.get("count", 1) for kind, values in batch.rows() if kind == Kind.LOST)
    with Session(Plan(argv=sys.argv[2:], backend=sys.argv[1], options=Options(cow="off"))) as session:
        session.start()
        session.run(sink)
    own, cpu = resource.getrusage(resource.RUSAGE_SELF), os.times()
    os.write(out, json.dumps({
        "forks": forks, "lost": lost, "cpu": cpu.user + cpu.system, "self": own.ru_maxrss,
    }).encode())
    """


def capture(backend: str, command: list[str]) -> dict[str, Any]:
    """Figures of one run: forks, lost, cpu seconds, wall seconds, and peak KiB of ourselves and of the compiler."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), backend, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "wall": time.perf_counter() - begin}


def compiler_kib() -> int:
    """Peak of the child in which BCC compiles."""
    code = (
        "import resource; from tracer.backends import Options, bcc; b = bcc.Backend(Options()); b.start(); b.close()\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)


def start_s(backend: str) -> float:
    """As a user waits for it."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "tracer", "-qq", "--backend", backend, "--", "true"]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench_backends")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    if not Path("/sys/kernel/tracing/events").exists():
        mount_privately("tracefs", "/sys/kernel/tracing")
    print(f"{os.uname().release}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        program = build(Path(name))
        command = storm(program, "fork", options.seconds)
        free = [untraced(command) / options.seconds for _ in range(options.rounds)]
        print(f"untraced: {statistics.median(free):,.0f} forks a second")
        print(f"{'':9} {'start ms':>9} {'MiB':>5} {'forks':>9} {'a second':>9} {'us a fork':>10} {'lost':>5}")
        for backend in BACKENDS:
            state = readiness(backend)
            if not state.ok:
                print(f"{backend:9} {state.why}")
                continue
            starts = [start_s(backend) for _ in range(options.rounds)]
            idle = min(capture(backend, ["true"])["cpu"] for _ in range(3))
            runs = [capture(backend, command) for _ in range(options.rounds)]
            forks = sum(run["forks"] for run in runs)
            costs = [(run["cpu"] - idle) / run["forks"] * 1e6 for run in runs]
            mib = f"{max(run['self'] for run in runs) / 1024:.0f}"
            print(
                f"{backend:9} {statistics.median(starts) * 1000:9.0f} {mib:>5} {forks:9,}"
                f" {statistics.median(run['forks'] / options.seconds for run in runs):9,.0f}"
                f" {statistics.median(costs):10.1f} {sum(run['lost'] for run in runs):5,}"
            )
        if readiness("bcc").ok:
            print(f"bcc's compiler, which is gone when the program starts: {compiler_kib() / 1024:.0f} MiB")
    return 0


def untraced(command: list[str]) -> int:
    """Forks when nobody looks: the loops say how many."""
    return sum(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))


if __name__ == "__main__":
    sys.exit(main())
