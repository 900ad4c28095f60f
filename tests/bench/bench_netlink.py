"""What capture by netlink costs: CPU a fork, losses and argv missed, at the highest rate two cores make.

    sudo .venv/bin/python -m tests.bench.bench_netlink [--seconds S] [--rounds N]

"backend" is the backend alone, read as a session reads it; "session" is all of it, writing a file, less what
`forktrace -- true` takes. A fork is fork, exit and taskstats; a spawn is fork, exec, exit and taskstats. The bar:
<= 15 us a fork, nothing lost. What others do on the host meanwhile is in the figures: their events are read as well.

{figures}
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tracer.backends import Options
from tracer.backends.netlink import backend as netlink
from tracer.model.batch import Batch
from tracer.model.schema import Kind

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]


class Figures(NamedTuple):
    """Of one storm."""

    forks: int
    per_second: float
    cpu_us: float  # a fork
    lost: int
    missed: int  # execs whose argv came too late


def build(folder: Path) -> Path:
    """The program under test."""
    out = folder / "loops"
    subprocess.run(["cc", "-O2", "-o", out, HERE / "loops.c"], check=True)
    return out


def storm(program: Path, what: str, seconds: int) -> list[str]:
    """Both of the first two cores at once; spawns by number, as loops counts them."""
    words = f"storm {seconds}" if what == "fork" else f"spawn {1500 * seconds}"
    return ["sh", "-c", f"taskset 1 {program} {words} & taskset 2 {program} {words}; wait"]


def count(batches: list[Batch], kind: Kind) -> int:
    """Rows of one kind."""
    return sum(batch.kinds.count(kind) for batch in batches)


def lost(batches: list[Batch]) -> int:
    """Events that were lost; a loss of unknown size counts as one."""
    found = [v for batch in batches if Kind.LOST in batch.parts for k, v in batch.rows() if k == Kind.LOST]
    return sum(v.get("count", 1) for v in found)


def backend(command: list[str]) -> Figures:
    """The backend alone."""
    capture = netlink.Backend(Options(cow="off"))
    capture.start()
    held = subprocess.Popen(
        ["sh", "-c", 'read x && exec "$@"', "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert held.stdin is not None
    capture.attach(held.pid)
    poll = select.poll()
    poll.register(capture.descriptors()[0], select.POLLIN)
    begin, used, got, pause = time.monotonic(), 0.0, [], 0.02
    held.stdin.write(b"\n")
    held.stdin.close()
    while capture.alive():
        poll.poll(pause * 1000)
        before = time.thread_time()
        batches = capture.read()
        used += time.thread_time() - before
        pause = 0.02 if batches else min(2 * pause, 0.2)
        got += batches
    wall = time.monotonic() - begin
    got += capture.finish()
    execs = [e for batch in got if Kind.EXEC in batch.parts for e in batch.events() if e.kind == Kind.EXEC]
    capture.close()
    held.wait()
    forks = count(got, Kind.FORK)
    return Figures(forks, forks / wall, used / forks * 1e6, lost(got), sum(e.argv is None for e in execs))


def session(command: list[str], folder: Path) -> tuple[list[Batch], float, float]:
    """Batches of the file, our own CPU seconds, wall seconds."""
    import tracer

    out = folder / "storm.ftrace"
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "tracer", "-qq", "--backend", "netlink", "-o", str(out), "--", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall = time.monotonic() - begin
    batches = list(tracer.load(str(out)).batches())
    end = next(v for batch in batches if Kind.END in batch.parts for k, v in batch.rows() if k == Kind.END)
    return batches, (end["utime_ns"] + end["stime_ns"]) / 1e9, wall


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="bench_netlink")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'':18} {'forks':>8} {'a second':>9} {'us a fork':>10} {'lowest':>7} {'lost':>5} {'argv missed':>12}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder)
        idle = min(session(["true"], folder)[1] for _ in range(3))
        for what in ("fork", "spawn"):
            command = storm(program, what, options.seconds)
            rounds = [backend(command) for _ in range(options.rounds)]
            whole = []
            for _ in range(options.rounds):
                batches, cpu, wall = session(command, folder)
                forks = count(batches, Kind.FORK)
                whole.append(Figures(forks, forks / wall, (cpu - idle) / forks * 1e6, lost(batches), -1))
            for label, figures in (("backend", rounds), ("session", whole)):
                costs = [f.cpu_us for f in figures]
                missed = "" if figures[0].missed < 0 else f"{sum(f.missed for f in figures)}"
                print(
                    f"{what:6} {label:11} {sum(f.forks for f in figures):8,}"
                    f" {statistics.median(f.per_second for f in figures):9,.0f} {statistics.median(costs):10.1f}"
                    f" {min(costs):7.1f} {sum(f.lost for f in figures):5,} {missed:>12}"
                )
    print(f"load at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
