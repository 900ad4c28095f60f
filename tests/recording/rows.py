"""Batches for the tests of recordings: random ones, three-word ones, and a busy build's."""

from __future__ import annotations

from array import array
from typing import Any, Final

import hypothesis.strategies as st

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import EVENT_COLUMNS, NULL, Kind, Part
from tracer.recording.validity import ITEM_RANGES, RANGES

META: Final = Meta("bpf", frozenset({"argv", "flags"}), 1_700_000_000, command=("./a", "\udcff"), options={"s": 1})

FIELD_TYPES: Final = {f.name: f.type for f in EVENT_COLUMNS if f.name != "kind"}

# What bytes from outside become; now and then one that text.py must escape.
strings = st.one_of(
    st.sampled_from(["", "sh", "/usr/bin/cc1", "é", "\U0010fe80", "\U0010feff", "\0", "\x1b[2J", "=1+1"]),
    st.binary(max_size=12).map(lambda b: b.decode("utf-8", "surrogateescape")),
)
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "i": st.integers(NULL + 1, (1 << 63) - 1),
    "b": st.booleans(),
    "s": strings,
    "S": st.lists(strings, max_size=3),
    "I": st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=3),
}


@st.composite
def rows(draw: st.DrawFn, kinds: tuple[Kind, ...] = tuple(k for k in Kind if k != Kind.END)) -> Any:
    """A list of (kind, {field: value}), a pid and a few other fields each."""
    made = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=12)):
        names = draw(st.lists(st.sampled_from(list(FIELD_TYPES)), unique=True, max_size=6))
        made.append((kind, {"pid": draw(_of("pid")), **{name: draw(_of(name)) for name in names}}))
    return made


def _of(name: str) -> st.SearchStrategy[Any]:
    """Values that a reader takes."""
    if name in ITEM_RANGES:
        return st.lists(st.integers(*ITEM_RANGES[name]), max_size=3)
    if name in RANGES:
        least, most = RANGES[name]
        return st.integers(max(least, NULL + 1), most)
    return VALUES[FIELD_TYPES[name]]


batches = rows().map(Batch.from_rows)


def fork(pid: int, **more: Any) -> tuple[Kind, dict[str, Any]]:
    return Kind.FORK, {"ts_ns": pid * 10, "pid": pid, "tid": pid, "born_ns": pid * 10, **more}


def exit_(pid: int, **more: Any) -> tuple[Kind, dict[str, Any]]:
    return Kind.EXIT, {"ts_ns": pid * 10 + 5, "pid": pid, "tid": pid, "born_ns": pid * 10, **more}


def forks(n: int, first: int = 1) -> Batch:
    """`n` forks, quickly."""
    pids = array("q", range(first, first + n))
    return Batch(bytes([Kind.FORK]) * n, {Kind.FORK: {"ts_ns": pids, "pid": pids[:], "comm": ["sh"] * n}})


def changed(wide: Any, **columns: Any) -> Any:
    """A pyarrow RecordBatch with other columns in place of some."""
    import pyarrow as pa

    made = [columns.get(name, wide.column(i)) for i, name in enumerate(wide.schema.names)]
    return pa.RecordBatch.from_arrays(made, schema=wide.schema)


def build(processes: int, seed: int = 0) -> Batch:
    """The fork, exec, exit and reap of that many processes of a build, in order of time."""
    import numpy as np

    rng = np.random.default_rng(seed)
    born = 10**13 + seed * 10**12 + np.cumsum(rng.integers(100_000, 300_000, processes))
    begun = born + rng.integers(200_000, 900_000, processes)
    ended = begun + rng.integers(500_000, 3_000_000, processes)
    reaped = ended + rng.integers(3_000, 90_000, processes)
    order = np.argsort(np.concatenate([born, begun, ended, reaped]), kind="stable")
    kinds = np.repeat([Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.REAP], processes).astype(np.uint8)[order]
    row = np.tile(np.arange(processes), 4)[order]
    pid = (seed * processes + np.arange(processes)) % 4_000_000 + 300
    one, of = np.full(processes, 1234), {kind: row[kinds == kind] for kind in np.unique(kinds).tolist()}
    tools = ["cc1", "as", "collect2", "ld", "sh", "make", "sed", "grep", "true", "git"]
    names = [tools[i % 10] for i in range(processes)]

    def part(kind: int, ts: Any, numbers: dict[str, Any], lists: dict[str, list[Any]]) -> Part:
        columns = {"ts_ns": ts, "pid": pid, "tid": pid, "born_ns": born, **numbers}
        made: Part = {name: array("q", np.asarray(c, np.int64)[of[kind]].tobytes()) for name, c in columns.items()}
        at = of[kind].tolist()
        return made | {name: [values[i] for i in at] for name, values in lists.items()}

    def some(low: int, high: int, unit: int = 1) -> Any:
        return rng.integers(low, high, processes) * unit

    parts = {
        int(Kind.FORK): part(
            Kind.FORK,
            born,
            {
                "creator_pid": one,
                "creator_tid": one,
                "creator_born_ns": one,
                "ppid": one,
                "parent_born_ns": one,
                "clone_flags": one * 0 + 0x1200000,
                "exit_signal": one * 0 + 17,
                "pgid": one,
                "sid": one,
                "uid": one,
                "fork_ns": some(40_000, 120_000),
                "pgtables_bytes": some(10, 14, 4096),
                "rss_bytes": some(8, 9, 4096),
            },
            {
                "how": ["fork"] * processes,
                "syscall": ["clone"] * processes,
                "comm": ["make"] * processes,
                "cgroup": ["/user.slice/user-1000.slice/session-3.scope"] * processes,
                "evidence": ["measured"] * processes,
            },
        ),
        int(Kind.EXEC): part(
            Kind.EXEC,
            begun,
            {},
            {
                "comm": names,
                "exe": ["/usr/bin/" + name for name in names],
                "argv": [[n, "-O2", "-c", f"src/f{i}.c", "-o", f"src/f{i}.o"] for i, n in enumerate(names)],
                "cwd": ["/home/user/project/src"] * processes,
            },
        ),
        int(Kind.EXIT): part(
            Kind.EXIT,
            ended,
            {
                "exit_code": one * 0,
                "last": one * 0 + 1,
                "core_dumped": one * 0,
                "min_flt": some(100, 900),
                "maj_flt": one * 0,
                "utime_ns": some(0, 3, 4_000_000),
                "stime_ns": some(0, 3, 4_000_000),
                "max_rss_bytes": some(300, 3000, 4096),
            },
            {},
        ),
        int(Kind.REAP): part(
            Kind.REAP,
            reaped,
            {
                "reaped_by": one,
                "reap_ns": reaped,
                "zombie_ns": reaped - ended,
                "runtime_ns": some(300_000, 3_000_000),
            },
            {"evidence": ["inferred"] * processes},
        ),
    }
    return Batch(kinds.tobytes(), parts)
