"""A saved trace asked with pandas: python samples/ask_frames.py FILE.ftrace (forktrace -o FILE.ftrace -- make).

Works in a notebook line by line; there, `trace` alone shows the tree. Null is not measured: pandas leaves it out of
sums and means, and `min_count=1` keeps a sum over nothing from being 0.
"""

from __future__ import annotations

import sys

import tracer


def main(path: str) -> None:
    """Four questions."""
    trace = tracer.load(path)
    processes = trace.processes

    # Which programs were started most often, how long did they live, and what did they use?
    processes["program"] = processes["exe"].str.rsplit("/", n=1).str[-1].fillna(processes["comm"])
    processes["life_ms"] = (processes["exit_ns"] - processes["born_ns"]) / 1e6
    processes["cpu_ms"] = (processes["cpu_user_ns"] + processes["cpu_system_ns"]) / 1e6
    table = processes.groupby("program", dropna=False).agg(
        times=("id", "size"), life_ms=("life_ms", "median"), cpu_ms=("cpu_ms", lambda s: s.sum(min_count=1))
    )
    print(table.sort_values("times", ascending=False).head(10).to_string(), end="\n\n")

    # Which forks were dear, and would posix_spawn have spared them?
    ledger = trace.ledger
    print(
        ledger[["pid", "comm", "parent_comm", "fork_ns", "copies", "share", "wasted"]].head(10).to_string(), end="\n\n"
    )

    # What does a fork take for each MiB of the parent's memory?
    forks = trace.edges.dropna(subset=["fork_ns", "rss_bytes"])
    forks = forks[~forks["shares_memory"]]
    if len(forks):
        per_mib = forks["fork_ns"].sum() / 1e3 / (forks["rss_bytes"].sum() / 2**20)
        print(f"{len(forks)} forks, {per_mib:.1f} us for each MiB of resident memory", end="\n\n")

    # When were processes born? Few columns of the events are enough, and cheap.
    events = trace.events_frame(["ts_ns", "kind", "how"])
    births = events.loc[(events["kind"] == "fork") & (events["how"] != "root"), "ts_ns"]
    if len(births):
        seconds = ((births - births.min()) // 10**9).value_counts().sort_index()
        print("births by second:", ", ".join(f"{second}: {n}" for second, n in seconds.items()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which trace? ask_frames.py FILE.ftrace")
    try:
        main(sys.argv[1])
    except tracer.ForktraceError as e:
        sys.exit(str(e))
