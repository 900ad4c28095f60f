"""Judges a trace by what a sample told: `differences` gives one sentence for each thing that is not so.

A trace is given as the rows of its process table, its events, and the facts its source can see. What a source
can not see must be null in every row: unknown is never 0. A source that sees no adoption looks from outside of the
kernel: it stamps a thing when it gets to it, and does not see what the kernel does without a call. Knows nothing of
backends, and runs nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from tests.samples import Life, Line
from tracer.model.batch import Event
from tracer.model.meta import Fact
from tracer.model.schema import Kind

Row = Mapping[str, Any]

TOLERANCE_CPU_NS: Final = 1_000_000
TICK_NS: Final = 4_000_000  # CONFIG_HZ=250
CLOCK_SLACK_NS: Final = int(os.environ.get("FORKTRACE_CLOCK_SLACK_NS", "0"))
"""How far the program's clock and the kernel's may be apart. 0 on a real processor; emulated ones differ by some us."""
TOLERANCE_OUTSIDE_NS: Final = 20_000_000
NS_PIDS: Final = 4  # a record has room for so many namespaces; processes deeper down show the outer ones
STEPS: Final = (Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.REAP)

# The columns that a fact decides about, among those that samples tell of.
COLUMNS: Final[Mapping[Fact, tuple[str, ...]]] = {
    Fact.THREADS: ("threads",),
    Fact.FLAGS: ("flags",),
    Fact.SYSCALL: ("syscall",),
    Fact.NS_PIDS: ("ns_pids",),
    Fact.ARGV: ("argv",),
    Fact.CWD: ("cwd",),
    Fact.STATUS: ("exit_code", "signal", "core_dumped"),
    Fact.KILLER: ("killed_by",),
    Fact.REAPS: ("reaped_by", "reap_ns"),
    Fact.ZOMBIES: ("zombie_ns",),
    Fact.ADOPTION: ("adopted_by",),
    Fact.CPU: ("cpu_user_ns", "cpu_system_ns"),
    Fact.MAX_RSS: ("max_rss_bytes",),
    Fact.FAULTS: ("min_flt", "maj_flt"),
    Fact.UID: ("uid",),
    Fact.SESSIONS: ("pgid", "sid"),
}
SNAPSHOT: Final = frozenset({"exe", "argv", "interpreter", "cwd", "comm"})  # what is looked up after an exec
FACT_OF: Final = {column: fact for fact, columns in COLUMNS.items() for column in columns}


def pair(lives: Sequence[Life], rows: Iterable[Row]) -> tuple[dict[int, Row], list[str]]:
    """Index of a life -> its row: the n-th life of a pid is its n-th birth. And what found no partner."""
    by_pid: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["born_ns"], row["id"])):
        by_pid[row["pid"]].append(row)
    found: dict[int, Row] = {}
    wrong: list[str] = []
    for i, life in enumerate(lives):
        if by_pid[life.pid]:
            found[i] = by_pid[life.pid].pop(0)
        else:
            wrong.append(f"pid {life.pid}: lived, and is not in the tree")
    for row in (row for rest in by_pid.values() for row in rest):
        wrong.append(f"pid {row['pid']}: in the tree ({row['comm']!r}), and never lived")
    return found, wrong


def end(life: Life) -> Iterator[tuple[str, Any]]:
    """Columns that say how it ended and who took notice."""
    for line in life.all("exit"):
        yield from (("exit_code", line["code"]), ("signal", line["signal"]), ("core_dumped", line["core"]))
    for line in life.all("killed"):
        yield "killed_by", line["by"]
    for line in life.all("reap"):
        yield "reaped_by", line["by"]
    for _ in life.all("autoreap"):
        yield from (("reaped_by", None), ("zombie_ns", 0))
    for line in life.all("adopted"):
        yield "adopted_by", line["by"]
    if not life.all("adopted"):
        yield "adopted_by", None


def image(life: Life) -> Iterator[tuple[str, Any]]:
    """Columns that come from exec."""
    execs = life.all("exec")
    yield "execs", len(execs)
    if not execs:
        yield from (("exe", None), ("argv", None), ("interpreter", None))
        return
    last = execs[-1]
    yield from (("exe", last["exe"]), ("interpreter", last.get("interpreter")))
    yield "comm", os.fsdecode(os.fsencode(last["exe"]).rpartition(b"/")[2][:15])


def facts(life: Life) -> Iterator[tuple[str, Any]]:
    """Columns told as they are."""
    counted = life.one("threads")
    yield "threads", counted["count"] if counted else 0
    for name in ("comm", "uid", "cwd"):
        if life.fact(name) is not None:
            yield name, life.fact(name)
    for name in ("sid", "pgid"):
        if life.fact(name) is not None:
            # getsid() and getpgrp() give 0 for a leader that has no number: it is outside of this pid namespace,
            # or the session is the one that the kernel began with
            yield name, life.fact(name) or None
    if life.fact("ns_pids"):
        pids = [int(word) for word in life.fact("ns_pids").split()]
        yield "ns_pids", pids if len(pids) <= NS_PIDS else [*pids[:NS_PIDS], 0]  # 0: there are more


def birth(line: Line) -> Iterator[tuple[str, Any]]:
    """Columns that come from the fork."""
    yield from (("ppid", line["parent"]), ("how", line["how"]))
    yield "creator_pid", line.get("creator", line["parent"])
    if "syscall" in line:
        yield "syscall", line["syscall"]
    if "flags" in line:
        yield "flags", line["flags"]


def arguments(line: Line, *, seen: bool) -> list[str]:
    """argv of an exec line: as given to execve, or as the new image sees it."""
    argv: list[str] = line["argv_seen" if seen and "argv_seen" in line else "argv"]
    more = line.get("more")
    return argv + [more["letter"] * more["length"]] * more["count"] if more else argv


def cut(whole: Sequence[str], got: Iterable[str] | None) -> bool:
    """Whether `got` is `whole`, or honestly cut: each list or string that is cut ends in '...'."""
    full = [] if got is None else list(got)
    if full and full[-1] == "..." and len(full) <= len(whole):
        del full[-1]
    elif len(full) != len(whole):
        return False
    pairs = zip(full, whole, strict=False)
    return all(g == w or (g.endswith("...") and w.startswith(g[:-3])) for g, w in pairs)


def of_row(life: Life, row: Row, seen: Collection[str], *, late: bool = False) -> Iterator[str]:
    """What is wrong with one process. `late`: its execs were looked up in /proc, which may have been too late."""
    pid = life.pid
    expected = [*end(life), *image(life), *facts(life)]
    fork = life.one("fork")
    expected += birth(fork) if fork else [("how", "root"), ("parent_id", None)]
    for column, value in expected:
        if column in FACT_OF and FACT_OF[column] not in seen:
            continue
        if column in {"how", "interpreter"} and Fact.FLAGS not in seen:
            continue
        if row[column] is None and column in {"interpreter", "zombie_ns"} and Fact.ADOPTION not in seen:
            continue  # who reads a script, and a reap without a wait
        if row[column] is None and column == "creator_pid" and Fact.FLAGS not in seen:
            continue  # CLONE_PARENT is a flag: without it nobody knows who called clone
        if row[column] is None and late and column in SNAPSHOT:
            continue
        if late and column == "cwd" and row[column] == life.fact("cwd_later"):
            continue
        if row[column] != value:
            yield f"pid {pid}: {column} is {row[column]!r}, and was {value!r}"
    for column, fact in FACT_OF.items():
        if fact not in seen and row[column] is not None:
            yield f"pid {pid}: {column} is {row[column]!r}, and the source can not see that: null"
    if life.all("exec") and Fact.ARGV in seen and not (late and row["argv"] is None):
        last = life.all("exec")[-1]
        if not any(cut(arguments(last, seen=s), row["argv"]) for s in (True, False)):
            yield f"pid {pid}: argv is {row['argv']!r:.300}, and was {arguments(last, seen=True)!r:.300}"
    yield from measures(life, row, seen, fork)


def measures(life: Life, row: Row, seen: Collection[str], fork: Line | None) -> Iterator[str]:
    """What is wrong with the figures that the sample measured too."""
    bounds: list[tuple[str, int, int]] = []
    late = CLOCK_SLACK_NS if Fact.ADOPTION in seen else TOLERANCE_OUTSIDE_NS
    for line in (*life.all("reap"), *life.all("fork")):
        if "zombie_ns_min" in line and Fact.ZOMBIES in seen:
            bounds.append(("zombie_ns", line["zombie_ns_min"] - late, line["zombie_ns_max"] + late))
    for line in life.all("rusage"):
        for column, key in (("cpu_user_ns", "utime_us"), ("cpu_system_ns", "stime_us")):
            if Fact.CPU in seen:
                told = line[key] * 1000
                # Without the release the last tick may be missing, and ticks divide the run time into user and system.
                slack = TOLERANCE_CPU_NS if Fact.REAPS in seen else TICK_NS + TOLERANCE_CPU_NS
                bounds.append((column, told - slack, told + slack))
        if Fact.FAULTS in seen:
            bounds += [(c, line[k], line[k]) for c, k in (("min_flt", "minflt"), ("maj_flt", "majflt"))]
        if Fact.MAX_RSS in seen:
            bounds.append(("max_rss_bytes", line["maxrss_kb"] * 1024, line["maxrss_kb"] * 1024))
    # Who times forks in the kernel times this too; others may.
    if fork and "vfork_ns_min" in fork and (Fact.FORK_COST in seen or row["vfork_blocked_ns"] is not None):
        bounds.append(("vfork_blocked_ns", fork["vfork_ns_min"] - late, fork["vfork_ns_max"] + late))
    for column, low, high in bounds:
        if row[column] is None or not low <= row[column] <= high:
            yield f"pid {life.pid}: {column} is {row[column]}, and was {low} to {high}"
    # A child that sends no signal at its end is a zombie that nobody hears of: when it was reaped may be unknown.
    silent = fork is not None and fork.get("exit_signal") == 0
    if life.all("reap") and Fact.REAPS in seen and not row["reap_ns"] and not silent:
        yield f"pid {life.pid}: reaped, and without a time of that"


def of_order(lives: Sequence[Life], found: Mapping[int, Row], seen: Collection[str]) -> Iterator[str]:
    """What is wrong with the shape: parents, and the order of what each process did (births, reaps)."""
    ids = {row["id"]: row for row in found.values()}
    row_of = {id(life): found[i] for i, life in enumerate(lives) if i in found}
    for life in lives:
        times = [
            (row_of[id(whom)]["born_ns" if what == "made" else "reap_ns"], what, whom.pid)
            for what, whom in life.did
            if id(whom) in row_of and (what == "made" or Fact.REAPS in seen)
        ]
        for before, after in pairwise(t for t in times if t[0] is not None):
            if before[0] > after[0]:
                late = before[0] - after[0]
                yield f"pid {life.pid}: {before[1:]} is {late} ns later than {after[1:]}, and came before it"
    for life, row in ((lives[i], row) for i, row in found.items()):
        fork = life.one("fork")
        parent = ids.get(row["parent_id"])
        if fork and parent is not None and parent["pid"] != fork["parent"]:
            yield f"pid {life.pid}: hangs below {parent['pid']}, and was a child of {fork['parent']}"
        if fork and parent is None and any(other.pid == fork["parent"] for other in lives):
            yield f"pid {life.pid}: hangs below nobody, and was a child of {fork['parent']}"
        born = row["born_ns"]
        if parent is not None and not parent["born_ns"] <= born <= (parent["exit_ns"] or born):
            yield f"pid {life.pid}: born when its parent {parent['pid']} did not live"


def of_stream(
    lives: Sequence[Life], found: Mapping[int, Row], events: Iterable[Event], seen: Collection[str]
) -> Iterator[str]:
    """What is wrong with the events: birth first, end last, each exec in order, each failure, and no loss."""
    of_process: dict[tuple[int, int | None], list[Event]] = defaultdict(list)
    for event in events:
        if event.kind == Kind.LOST:
            yield f"lost {event.count} at {event.where}"
        if event.pid is not None:
            of_process[event.pid, event.born_ns].append(event)
    for (pid, _), own in of_process.items():
        steps = [e.kind for e in own if e.kind in STEPS and (e.kind != Kind.EXIT or e.last) and e.tid == pid]
        if steps != sorted(steps, key=STEPS.index) or steps.count(Kind.FORK) > 1:
            yield f"pid {pid}: order of events {[kind.name for kind in steps]}"
    for life, row in ((lives[i], row) for i, row in found.items()):
        execs, failed, fork = life.all("exec"), life.all("exec_failed"), life.one("fork")
        wanted: list[tuple[Kind, str, list[Any]]] = [(Kind.EXEC, "exe", [line["exe"] for line in execs])]
        if fork and "exit_signal" in fork and Fact.FLAGS in seen:
            wanted.append((Kind.FORK, "exit_signal", [fork["exit_signal"]]))
        if any("env" in line for line in execs):
            wanted.append((Kind.EXEC, "env", [line.get("env") for line in execs]))
        if Fact.EXEC_FAILED in seen:
            wanted += [(Kind.EXEC_FAILED, name, [line[name] for line in failed]) for name in ("exe", "errno")]
        if Fact.FORK_FAILED in seen:
            wanted.append((Kind.FORK_FAILED, "error", [line["error"] for line in life.all("fork_failed")]))
        for kind, name, values in wanted:
            own = [e for e in of_process[row["pid"], row["born_ns"]] if e.kind == kind]
            got = [getattr(e, name) for e in own]
            late = [v is None and e.evidence == "snapshot" for v, e in zip(got, own, strict=True)]
            if len(got) != len(values) or any(g != v and not x for g, v, x in zip(got, values, late, strict=True)):
                yield f"pid {life.pid}: {kind.name} {name} {got!r:.300}, and was {values!r:.300}"


def differences(
    lives: Sequence[Life], rows: Iterable[Row], events: Iterable[Event], seen: Collection[str]
) -> list[str]:
    """Everything in which the trace is not what the sample told; empty when it is true."""
    found, wrong = pair(lives, rows)
    events = list(events)
    looked_up = {(e.pid, e.born_ns) for e in events if e.kind == Kind.EXEC and e.evidence == "snapshot"}
    for i, row in found.items():
        wrong += of_row(lives[i], row, seen, late=(row["pid"], row["born_ns"]) in looked_up)
    return [*wrong, *of_order(lives, found, seen), *of_stream(lives, found, events, seen)]
