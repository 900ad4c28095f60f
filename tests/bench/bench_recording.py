"""What a saved trace costs: rows/s and bytes a row, written, read, exported. Prints; asserts nothing.

    python tests/bench/bench_recording.py [PROCESSES]      default: 250000, that is a million rows

The rows are those of a busy build: fork, exec, exit and reap of each process, times and sizes random, argv distinct.
CPU time stands beside wall time, as the machine may be shared. One process, so memory is the peak of all so far.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.recording.rows import META, build
from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.recording import Reader, Writer
from tracer.recording.columns import narrow, widen
from tracer.reports import Options, by_name


class Sink(io.RawIOBase):
    """Takes what is exported and counts it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.size += len(data)
        return len(data)


def timed(what: str, rows: int, action: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:38} {rows / wall / 1e6:6.2f} M rows/s {wall / rows * 1e6:7.2f} us/row"
        f" {cpu / rows * 1e6:7.2f} us CPU/row   peak {peak:.0f} MiB"
    )
    return result


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """As a ring gives them."""
    while len(batch) > rows:
        piece, batch = batch.cut(0, rows), batch.cut(rows)
        yield piece
    yield batch


def exports(path: Path, rows: int, processes: int) -> None:
    trace = Trace(META, lambda: Reader(path))
    timed("tree, reading included", rows, lambda: trace.tree)
    for table, n in (("events", rows), ("processes", processes)):
        for name in ("jsonl", "csv", "parquet"):
            sink: Any = Sink()
            timed(f"export {table} as {name}", n, partial(by_name(name).write, trace, sink, Options(table)))
            print(f"{'':38} {sink.size / n:6.1f} bytes/row")
    timed("processes as a pandas frame", processes, lambda: trace.processes)


def main(processes: int) -> None:
    chunk = min(processes, 25_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.ftrace")
        sample = build(1024)
        widen(sample)
        wide = timed("widen, 4096 rows", len(sample), lambda: widen(sample))
        timed("narrow, 4096 rows", len(sample), lambda: narrow(wide))

        batches = [list(pieces(build(chunk, seed=i), 1000)) for i in range(processes // chunk)]
        rows = sum(len(batch) for group in batches for batch in group)

        def write() -> None:
            out = Writer(path, META)
            while batches:
                for batch in batches.pop():
                    out.write(batch)
            out.close()

        timed(f"write, {rows} rows", rows, write)
        print(f"{'':38} {path.stat().st_size / rows:6.1f} bytes/row, {os.path.getsize(path) / 1e6:.1f} MB")
        timed("read into batches", rows, lambda: sum(len(batch) for batch in Reader(path)))
        timed("read ts_ns and pid", rows, lambda: sum(len(b) for b in Reader(path, columns=("ts_ns", "pid"))))

        exports(path, rows, processes)

        small = Writer(path, META)
        for i in range(360):
            small.write(build(25, seed=i))
            small.flush()
        before = path.stat().st_size
        rows = small.rows
        timed("close an hour of 10 rows/s", rows, small.close)
        print(f"{'':38} {before / rows:6.1f} bytes/row before, {path.stat().st_size / rows:.1f} after")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250_000)
