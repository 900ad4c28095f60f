"""Whether memory stays flat: a churn of several thousand forks a second for as long as is asked, into a running
`forktrace -o`. Prints what forktrace holds every tenth of the time, its CPU as a share of a core, and losses.

    sudo .venv/bin/python tests/bench/bench_soak.py [--seconds 600] [--cow full]

The churn is loops.c's storm, on one core each of two; resident memory is /proc/PID/status's, split as the kernel does
(anonymous: what forktrace keeps; file: libraries, and the rings, which are mapped like files).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.bench_cost import ENV, PYTHON, loops

TICKS = os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float] | None:
    """VmRSS, RssAnon, RssFile and RssShmem of a process; None when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "Rss"))}
    return {name: int(kib) / 1024 for name, kib in found.items()} or None


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def soak(seconds: int, cow: str) -> int:
    """Run it; the exit status is forktrace's."""
    program = loops()
    out = Path(tempfile.mkdtemp(prefix="forktrace-bench-")) / "soak.ftrace"
    work = f"taskset 1 {program} storm {seconds} & taskset 2 {program} storm {seconds}; wait"
    command = [*PYTHON, "-qq", "--cow", cow, "-o", str(out), "--", "sh", "-c", work]
    begin = time.monotonic()
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True) as traced:
        assert traced.stdout is not None
        before = (begin, 0.0)
        for step in range(1, 11):
            while traced.poll() is None and time.monotonic() < begin + step * seconds / 10:
                time.sleep(0.05)
            held = memory_mib(traced.pid)
            if held is None:
                break
            now = (time.monotonic(), cpu_s(traced.pid))
            share = (now[1] - before[1]) / (now[0] - before[0]) * 100
            before = now
            print(
                f"{now[0] - begin:6.0f} s   RSS {held['VmRSS']:6.1f} MiB   anonymous {held['RssAnon']:6.1f}"
                f"   file {held['RssFile']:6.1f}   shared {held['RssShmem']:6.1f}   CPU {share:5.1f} % of a core"
                f"   trace {out.stat().st_size / 1e6:8.1f} MB",
                flush=True,
            )
        said = [int(line) for line in traced.stdout.read().split()]
    verdict(out, said, time.monotonic() - begin)
    if traced.returncode or len(said) != 2:
        print(f"the churn ended early: status {traced.returncode}, {len(said)} of 2 loops came to their end")
    return traced.returncode


def verdict(out: Path, said: list[int], seconds: float) -> None:
    """What the file says against what the churn says of itself."""
    import tracer
    from tracer.model.schema import Kind

    forks = lost = 0
    for batch in tracer.load(str(out)).batches():
        forks += batch.kinds.count(Kind.FORK)
        lost += sum(batch.parts.get(Kind.LOST, {}).get("count", ()))
    made = f"{sum(said):,}" if len(said) == 2 else "-"
    print(f"forks {made}, in the file {forks - 2:,} ({forks / seconds:,.0f}/s) and the shell's two; lost {lost:,}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--cow", choices=("full", "fork", "light", "off"), default="full")
    args = parser.parse_args()
    print(f"{os.uname().release}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return soak(args.seconds, args.cow)


if __name__ == "__main__":
    sys.exit(main())
