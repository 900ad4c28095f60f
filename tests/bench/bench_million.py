"""A saved trace of a million processes: how long the report and the exports of it take, and how much memory.

    .venv/bin/python tests/bench/bench_million.py [N]

Makes the file in a temporary folder: a root that starts shells, each of which forks and execs nine short programs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from array import array
from pathlib import Path

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind, Part
from tracer.recording import Writer

ROOT = Path(__file__).parents[2]
CHUNK = 50_000
FACTS = frozenset(
    {"flags", "argv", "status", "reaps", "zombies", "cpu", "faults", "fork_cost", "sizes", "threads", "cow"}
)


def batches(n: int) -> list[tuple[range, Batch]]:
    """N processes, four rows each; process k is born at k us, and lives for 5 ms."""
    made = []
    for first in range(0, n, CHUNK):
        rows = range(first, min(first + CHUNK, n))
        parents = [0 if k % 10 == 0 else k - k % 10 for k in rows]
        common: Part = {
            "pid": array("q", [1000 + k for k in rows]),
            "tid": array("q", [1000 + k for k in rows]),
            "born_ns": array("q", [k * 1000 for k in rows]),
        }

        def at(ns: int, rows: range = rows) -> array[int]:
            return array("q", [k * 1000 + ns for k in rows])

        def same(value: int, n: int = len(rows)) -> array[int]:
            return array("q", [value]) * n

        fork: Part = {
            **common,
            "ts_ns": at(500),
            "ppid": array("q", [1000 + p for p in parents]),
            "parent_born_ns": array("q", [p * 1000 for p in parents]),
            "how": ["root" if k == 0 else "fork" for k in rows],
            "syscall": ["clone"] * len(rows),
            "clone_flags": same(0x1200000),
            "exit_signal": same(17),
            "uid": same(0),
            "fork_ns": same(45_000),
            "pgtables_bytes": same(45056),
            "rss_bytes": same(1_500_000),
            "comm": ["sh"] * len(rows),
        }
        exec_: Part = {
            **common,
            "ts_ns": at(800_000),
            "exe": ["/bin/sh" if k % 10 == 0 else "/bin/true" for k in rows],
            "argv": [["sh", "-c", f"job {k}"] if k % 10 == 0 else ["/bin/true", str(k % 7)] for k in rows],
            "comm": ["sh" if k % 10 == 0 else "true" for k in rows],
        }
        exit_: Part = {
            **common,
            "ts_ns": at(5_000_000),
            "last": same(1),
            "exit_code": array("q", [k % 97 == 0 for k in rows]),
            "signal": same(NULL),
            "min_flt": same(90),
            "maj_flt": same(0),
            "utime_ns": same(1),
            "stime_ns": same(1),
            "runtime_ns": same(700_000),
            "max_rss_bytes": same(1_600_000),
        }
        reap: Part = {
            **common,
            "ts_ns": at(5_020_000),
            "reaped_by": array("q", [1000 + p for p in parents]),
            "reap_ns": at(5_001_000),
            "zombie_ns": same(1000),
        }
        parts = {Kind.FORK: fork, Kind.EXEC: exec_, Kind.EXIT: exit_, Kind.REAP: reap}
        kinds = b"".join(bytes([kind]) * len(rows) for kind in parts)
        made.append((rows, Batch(kinds, {int(k): p for k, p in parts.items()})))
    return made


def measure(words: list[str], out: str) -> None:
    """Wall time, CPU time and peak memory of one command."""
    begin = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-m", "tracer", *words], env)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    print(
        f"  {' '.join(words[:1] + words[2:]):44} {wall:6.1f} s wall {usage.ru_utime + usage.ru_stime:6.1f} s CPU "
        f"{usage.ru_maxrss / 1024:6.0f} MiB  {Path(out).stat().st_size / 1e6:8.1f} MB out  status {status}"
    )


def main() -> int:
    """Make, measure, remove."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="forktrace-bench-") as folder:
        file = f"{folder}/million.ftrace"
        pid = os.fork()  # what making it takes must not count as ours
        if pid == 0:
            with Writer(file, Meta(source="bpf", facts=FACTS, version="0.1.0")) as writer:
                for _, batch in batches(n):
                    writer.write(batch)
            os._exit(0)
        os.waitpid(pid, 0)
        print(
            f"{n:,} processes, {4 * n:,} rows, {Path(file).stat().st_size / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}"
        )
        out = f"{folder}/out"
        measure(["report", file], out)
        measure(["export", file, "--as", "jsonl"], out)
        measure(["export", file, "--as", "parquet"], out)
        measure(["export", file, "--as", "csv", "--table", "events"], out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
