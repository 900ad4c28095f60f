"""What `forktrace storm` costs itself: share of one core, memory and losses, at a given rate of forks.

    sudo python tests/bench/bench_storm.py [--rate 10000] [--seconds 20]

Forks are made by as many `samples/bin/storm_shapes noexec 2000` as the rate takes, so they are paced: a slower machine
makes fewer, and the rate that was reached is said. Two cases: watching only, and a storm that goes into a file.

Last figures, a virtual machine with two cores that the forks and other work keep busy (load 10 to 30), nothing lost:

    forks/s      watching      a storm, saved
      4,000      3.9 %         6.1 %            of a core
      8,300      8.9 %         15.9 %           the same (bar: 15 % at 10,000)

200 s of 2,000 a second: 6.9 % of a core, resident memory 98 to 99 MiB from the first minute on, nothing lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples/bin/storm_shapes"
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def measure(rate: int, seconds: int, *words: str) -> dict[str, object]:
    """One run: figures of the seconds in the middle."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with out.open("w") as stdout:
            watching = subprocess.Popen(
                [sys.executable, "-m", "tracer", "storm", "--format", "jsonl", *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=stdout,
                stderr=subprocess.DEVNULL,
            )
        time.sleep(2)
        makers = [
            subprocess.Popen([str(SAMPLE), "noexec", str(min(2000, rate)), str(seconds + 6)])
            for _ in range(max(1, rate // 2000))
        ]
        time.sleep(5)  # a storm has been found by then, and its file is begun
        before, memory = cpu(watching.pid), resident(watching.pid)
        began = time.monotonic()
        time.sleep(seconds)
        used = (cpu(watching.pid) - before) / (time.monotonic() - began)
        grown = resident(watching.pid) - memory
        for maker in makers:
            maker.wait()
        watching.terminate()
        watching.wait()
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        told = [line for line in lines if line["kind"] == "second" and line["forks"] > rate / 4][3:-3]
        size = sum(file.stat().st_size for file in Path(folder).glob("*.ftrace"))
        return {
            "forks/s": round(sum(line["forks"] for line in told) / max(1, len(told))),
            "core": f"{used:.1%}",
            "RSS MiB": memory >> 20,
            "grown MiB": round(grown / 2**20, 1),
            "lost": sum(line["lost"] for line in lines if line["kind"] == "second"),
            "file MiB": round(size / 2**20, 1),
        }


def main() -> None:
    """Both cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=20)
    args = parser.parse_args()
    for name, words in (
        ("watching", ("--rate", "1e9", "--no-save")),
        ("a storm, saved", ("--rate", "100", "--save", ".")),
    ):
        print(f"{name:<16}", measure(args.rate, args.seconds, *words), flush=True)


if __name__ == "__main__":
    main()
