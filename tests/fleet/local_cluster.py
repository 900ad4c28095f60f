"""A Dask cluster of two workers in processes of their own, for a test: prints its address and the workers' pids as a
line of JSON, and ends with its standard input. Run as a program, since it leaves threads behind where it runs."""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Until the standard input ends."""
    import distributed

    start: Any = distributed.LocalCluster
    with start(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50, host="127.0.0.1"
    ) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]
        sys.stdout.write(json.dumps({"address": cluster.scheduler_address, "pids": pids}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
