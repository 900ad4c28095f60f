"""What tracing costs: start-up, slow-down of three loops under forktrace and its rivals, losses and CPU in a storm.

    sudo .venv/bin/python tests/bench/bench_cost.py [--rounds N] [--seconds S] [only...]

Each round runs every variant once, in turn; printed is the median over rounds of the ratio to the untraced run of the
same round, so that a shared machine's moods cancel. bars: DESIGN's. Prints a table, asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = [sys.executable, "-m", "tracer"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
ENV.pop("PYTHONDONTWRITEBYTECODE", None)
NOTHING = subprocess.DEVNULL
OURS_ALONE = "--ours" in sys.argv  # without the rivals more rounds fit into the same quiet quarter of an hour

RIVALS: dict[str, Callable[[list[str]], list[str]]] = {
    "strace -f --seccomp-bpf": lambda c: [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=%process",
        "--",
        *c,
    ],
    "perf record (sched:*)": lambda c: [
        "perf",
        "record",
        "-q",
        "-o",
        "/dev/null",
        "-e",
        "sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit",
        "--",
        *c,
    ],
    "bpftrace (3 tracepoints)": lambda c: [
        "bpftrace",
        "-q",
        "-o",
        "/dev/null",
        "-e",
        "tracepoint:sched:sched_process_fork,tracepoint:sched:sched_process_exec,tracepoint:sched:sched_process_exit"
        '{ printf("%d %s\\n", pid, comm); }',
        "-c",
        " ".join(c),
    ],
}
VARIANTS: dict[str, Callable[[list[str]], list[str]]] = {
    "untraced": lambda c: c,
    "forktrace --cow off": lambda c: [*PYTHON, "-qq", "--cow", "off", "--", *c],
    "forktrace --cow fork": lambda c: [*PYTHON, "-qq", "--cow", "fork", "--", *c],
    "forktrace (full)": lambda c: [*PYTHON, "-qq", "--", *c],
    **RIVALS,
}


def loops() -> Path:
    """The program under test, built afresh."""
    out = Path(tempfile.mkdtemp(prefix="forktrace-bench-")) / "loops"
    subprocess.run(["cc", "-O2", "-o", out, HERE / "loops.c"], check=True)
    return out


def inner_ns(command: list[str]) -> float:
    """What the program itself says it took: the tracer's start is not in it."""
    done = subprocess.run(command, env=ENV, stdout=subprocess.PIPE, stderr=NOTHING, check=True, text=True)
    numbers = [word for line in done.stdout.splitlines() if (word := line.strip()).isdigit()]
    return float(numbers[-1])


def wall_s(command: list[str]) -> float:
    """From start to end, as a user waits for it."""
    begin = time.perf_counter()
    subprocess.run(command, env=ENV, stdout=NOTHING, stderr=NOTHING, check=False)
    return time.perf_counter() - begin


def have(variant: str) -> bool:
    """Whether it is wanted, and the rival installed."""
    if variant in RIVALS:
        return not OURS_ALONE and shutil.which(variant.split(maxsplit=1)[0]) is not None
    return True


def slow_down(title: str, command: list[str], rounds: int) -> None:
    """One table of ratios."""
    ratios: dict[str, list[float]] = {}
    base: list[float] = []
    for _ in range(rounds):
        untraced = 0.0
        for name, wrap in VARIANTS.items():
            if not have(name):
                continue
            ns = inner_ns(wrap(command))
            if name == "untraced":
                untraced = ns
                base.append(ns)
            ratios.setdefault(name, []).append(ns / untraced)
    print(f"\n{title} (untraced {statistics.median(base) / 1e6:.0f} ms; median of {rounds} ratios, lowest, highest)")
    for name, values in ratios.items():
        if name != "untraced":
            print(f"  {name:28} {statistics.median(values):6.2f}  ({min(values):.2f} - {max(values):.2f})")


def start_up(rounds: int) -> None:
    """`true` under everything, and help."""
    commands = {name: wrap(["true"]) for name, wrap in VARIANTS.items() if have(name)}
    commands["forktrace, with report"] = [*PYTHON, "--", "true"]
    commands["forktrace --help"] = [*PYTHON, "--help"]
    commands["python -c pass"] = [sys.executable, "-c", "pass"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(wall_s(command))
    print(f"\nstart-up, ms of wall time for `true` (median of {rounds}, lowest)")
    for name, values in times.items():
        print(f"  {name:28} {statistics.median(values) * 1e3:6.0f}  ({min(values) * 1e3:.0f})")


def storm(program: Path, seconds: int) -> None:
    """Both cores fork as fast as they can while forktrace writes a file: losses, and its CPU as a share of a core."""
    out = Path(tempfile.mkdtemp(prefix="forktrace-bench-")) / "storm.ftrace"
    work = f"taskset 1 {program} storm {seconds} & taskset 2 {program} storm {seconds}; wait"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(
        [*PYTHON, "-qq", "-o", str(out), "--", "sh", "-c", work], env=ENV, stdout=subprocess.PIPE, text=True, check=True
    )
    wall = time.perf_counter() - begin
    made = sum(int(line) for line in done.stdout.split())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.path.insert(0, str(ROOT))
    import tracer
    from tracer.model.schema import Kind

    kinds: dict[str, int] = {}
    lost, own, rows = 0, 0.0, 0
    for batch in tracer.load(str(out)).batches():
        rows += len(batch)
        for kind in set(batch.kinds):
            kinds[Kind(kind).name.lower()] = kinds.get(Kind(kind).name.lower(), 0) + batch.kinds.count(kind)
        for event_kind, values in batch.rows() if batch.parts.keys() & {Kind.END, Kind.LOST} else ():
            if event_kind == Kind.LOST:
                lost += values["count"]
            elif event_kind == Kind.END:
                own = (values.get("utime_ns", 0) + values.get("stime_ns", 0)) / 1e9
    print(f"\nstorm on two cores, {seconds} s, writing a file")
    size = out.stat().st_size
    # The shell forks twice itself, and taskset execs without a fork.
    print(f"  forks {made:,} ({made / seconds:,.0f}/s), in the file {kinds.get('fork', 0) - 2:,} and the shell's two")
    print(f"  rows {rows:,}, lost {lost:,}, file {size / 1e6:.1f} MB ({size / rows:.0f} B a row)")
    print(f"  forktrace's CPU {own:.1f} s of {wall:.1f} s: {own / wall * 100:.1f} % of a core")
    print(f"  peak memory {after.ru_maxrss / 1024:.0f} MiB (before: {before.ru_maxrss / 1024:.0f})")


def main() -> int:
    """Everything, or what is named: start loops storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ours", action="store_true", help="without the rivals")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("only", nargs="*", choices=["start", "loops", "storm", []], default=[])
    args = parser.parse_args()
    with tracefs():
        return run(args)


@contextlib.contextmanager
def tracefs() -> Iterator[None]:
    """perf and bpftrace need it; mounted for as long as this runs where it is not."""
    point = Path("/sys/kernel/tracing")
    if (point / "events").exists():
        yield
        return
    subprocess.run(["mount", "-t", "tracefs", "nodev", point], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", point], check=True)


def run(args: argparse.Namespace) -> int:
    """What was asked for."""
    wanted = set(args.only) or {"start", "loops", "storm"}
    program = loops()
    print(f"{os.uname().release}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if "start" in wanted:
        start_up(args.rounds)
    if "loops" in wanted:
        slow_down("fork + exit + wait, 3000 times", [str(program), "fork", "3000"], args.rounds)
        slow_down("posix_spawn /bin/true, 1000 times", [str(program), "spawn", "1000"], args.rounds)
        script = HERE / "shell_loop.sh"
        slow_down("shell: 300 times /bin/true", ["/bin/sh", str(script)], args.rounds)  # bpftrace -c wants a path
    if "storm" in wanted:
        storm(program, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
