"""Names that an enemy would choose, one for each way out of a format; and trees of them."""

from __future__ import annotations

import io
from typing import Any, Final

from tracer.api.trace import Trace
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import EVENT_COLUMNS, Kind
from tracer.recording import Reader, Writer

NAMES: Final = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    '"onmouseover="alert(1)',
    "'\"`",
    "\\",
    "\\N\\G\\L",
    '"];p0 -> p1;"',
    "a\nb\r\nc",
    "a;b 1",
    "\x1b[2J\x1b]0;x\x07",
    "\udcff\udc80",
    "\u202egnp.exe",
    "\u2028",
    "\0",
    "=1+1",
    "@SUM(A1)",
    "-2+3",
    "\t=1",
    "+cmd|' /C calc'!A0",
    "#35;",
    "end",
    "graph",
    "%%{init: {}}%%",
    "click p0 call alert()",
    "{{x}}",
    "${x}",
    "@DATA@",
    "@SCRIPT@",
    "x" * 100_000,
    "\ud800",
    "é",
    "\U0001f600",
    "",
    " ",
)
META: Final = Meta(
    "bpf", frozenset(Fact), 1_767_268_800 * 10**9, host="</title><b>", command=("</script>", '"'), version="1"
)


def row(pid: int, parent: int | None, at: int, **more: Any) -> tuple[Kind, dict[str, Any]]:
    who: dict[str, Any] = {"ts_ns": at, "pid": pid, "tid": pid, "born_ns": at, "how": "fork" if parent else "root"}
    if parent:
        who |= {"ppid": parent, "parent_born_ns": parent * 10, "creator_pid": parent, "creator_born_ns": parent * 10}
    return Kind.FORK, who | more


def tree_of_names() -> Trace:
    """A root with a child for each name: as its comm, its exe, an argument, and its control group."""
    rows = [row(1, None, 10, comm="root")]
    for i, name in enumerate(NAMES, 2):
        rows.append(row(i, 1, i * 10, comm=name[:15], cgroup="/" + name))
        who = {"ts_ns": i * 10 + 1, "pid": i, "tid": i, "born_ns": i * 10}
        rows.append((Kind.EXEC, who | {"exe": "/bin/" + name, "argv": [name, name], "cwd": name, "env": ["A=" + name]}))
        rows.append((Kind.EXIT, who | {"ts_ns": i * 10 + 5, "last": 1, "exit_code": i % 3, "comm": name[:15]}))
    return Trace(META, lambda: [Batch.from_rows(rows)])


def chain(n: int) -> Trace:
    """Each made the next."""
    rows = [row(i, i - 1 if i > 1 else None, i * 10, comm=f"c{i}") for i in range(1, n + 1)]
    return Trace(META, lambda: [Batch.from_rows(rows)])


def fan(n: int) -> Trace:
    """One made all, each with an argument of its own."""
    rows = [row(1, None, 10, comm="root")]
    for i in range(2, n + 2):
        rows.append(row(i, 1, i * 10, comm="c"))
        rows.append(
            (Kind.EXEC, {"ts_ns": i * 10, "pid": i, "tid": i, "born_ns": i * 10, "exe": "/x", "argv": ["x", str(i)]})
        )
    return Trace(META, lambda: [Batch.from_rows(rows)])


def _exit(pid: int, born: int, at: int, **more: Any) -> tuple[Kind, dict[str, Any]]:
    return Kind.EXIT, {"ts_ns": at, "pid": pid, "tid": pid, "born_ns": born, "last": 1, "exit_code": 0} | more


def _under(pid: int, born: int, parent: int, parent_born: int, **more: Any) -> tuple[Kind, dict[str, Any]]:
    who = {"ts_ns": born, "pid": pid, "tid": pid, "born_ns": born, "how": "fork", "comm": f"c{pid}"}
    above = {"ppid": parent, "parent_born_ns": parent_born, "creator_pid": parent, "creator_born_ns": parent_born}
    return Kind.FORK, who | above | more


_HUGE: Final = (1 << 63) - 1
_LATE: Final = (1 << 62) - 1  # the last time that a file may tell
_FORGED: Final[dict[str, list[tuple[Kind, dict[str, Any]]]]] = {
    "circle": [_under(1, 10, 2, 20), _under(2, 20, 1, 10), _exit(1, 10, 30), _exit(2, 20, 40)],
    "own parent": [_under(1, 10, 1, 10), _exit(1, 10, 30), _under(2, 20, 1, 10)],
    "long circle": [_under(i, i * 10, i % 50 + 1, (i % 50 + 1) * 10) for i in range(1, 51)],
    "child first": [_under(2, 20, 1, 10), _under(1, 10, 3, 5), _exit(2, 20, 30)],
    "before time": [_under(1, -50, 0, 0), _under(2, -40, 1, -50), _exit(2, -40, -60), _exit(1, -50, 10)],
    "backwards": [_under(1, 1000, 0, 0), _under(2, 900, 1, 1000), _exit(2, 900, 100), _exit(1, 1000, 50)],
    "end of time": [_under(1, _LATE - 9, 0, 0), _under(2, _LATE - 5, 1, _LATE - 9), _exit(2, _LATE - 5, _LATE)],
    "all of time": [_under(1, -_LATE, 0, 0), _under(2, 5, 1, -_LATE), _exit(2, 5, _LATE), _exit(1, -_LATE, _LATE)],
    "no stamps": [
        (kind, {k: v for k, v in row.items() if k != "ts_ns"})
        for kind, row in (_under(1, 10, 0, 0), _under(2, 20, 1, 10), _exit(2, 20, 30))
    ],
    "no pids": [(Kind.FORK, {"ts_ns": 5, "how": "fork"}), (Kind.EXIT, {"ts_ns": 6, "last": 1, "exit_code": 3})],
    "odd pids": [_under(-1, 10, 0, 0), _under(0, 20, -1, 10), _under(_HUGE, 30, 0, 20), _exit(_HUGE, 30, 40)],
    "twice": [_under(1, 10, 0, 0), _under(1, 10, 0, 0), _exit(1, 10, 20), _exit(1, 10, 30), _under(1, 10, 0, 0)],
    "odd words": [
        _under(1, 10, 0, 0, how="\x1b[2J</script>", syscall="=1", clone_flags=_HUGE, cgroup="\u2028"),
        _exit(1, 10, 20, exit_code=-5, signal=None),
        _under(2, 20, 1, 10, how="", exit_signal=99999),
        _exit(2, 20, 30, exit_code=None, signal=-7, killed_by=-3),
        _under(3, 25, 1, 10, how="posix_spawn", uid=-1),
        _exit(3, 25, 30, exit_code=_HUGE, signal=_HUGE),
    ],
    "odd figures": [
        _under(1, 10, 0, 0, fork_ns=-5, rss_bytes=-1, pgtables_bytes=_HUGE),
        _under(2, 20, 1, 10, fork_ns=_LATE, rss_bytes=0, pgtables_bytes=-_HUGE),
        (
            Kind.FAULTS,
            {
                "ts_ns": 25,
                "pid": 2,
                "tid": 2,
                "born_ns": 20,
                "cow_copies": -5,
                "wp_faults": _HUGE,
                "parent_cow_birth": _HUGE,
                "parent_cow_end": -_HUGE,
                "cow_total": -1,
            },
        ),
        _exit(2, 20, 30, utime_ns=-1, stime_ns=_LATE, runtime_ns=_LATE, max_rss_bytes=-1, min_flt=-1),
        (Kind.REAP, {"ts_ns": 31, "pid": 2, "tid": 2, "born_ns": 20, "reaped_by": 1, "reap_ns": -5, "zombie_ns": -9}),
        (
            Kind.REAP,
            {"ts_ns": 32, "pid": 1, "tid": 1, "born_ns": 10, "reaped_by": 1, "reap_ns": _LATE, "zombie_ns": _LATE},
        ),
        (Kind.DECAY, {"ts_ns": 33, "pid": 2, "born_ns": 20, "decay": [-1, 0, _HUGE >> 40] * 200}),
        (Kind.STACKS, {"ts_ns": 34, "pid": 2, "born_ns": 20, "frames": [], "count": -1, "samples": 0}),
        (Kind.STACKS, {"ts_ns": 34, "pid": 2, "born_ns": 20, "frames": ["\u202e;\n", "x" * 9999], "count": 5}),
        (Kind.LOST, {"ts_ns": 35, "count": -1, "where": "\x1b]0;x\x07"}),
        (Kind.END, {"ts_ns": 36, "count": -1}),
    ],
    "one argv": [
        _under(1, 10, 0, 0),
        (
            Kind.EXEC,
            {
                "ts_ns": 11,
                "pid": 1,
                "tid": 1,
                "born_ns": 10,
                "exe": "",
                "argv": ["\0\u2028\u202e=1+1" * 100_000],
                "cwd": "\udcff" * 9999,
                "env": ["", "=", "A"],
            },
        ),
    ],
    "many execs": [
        _under(1, 10, 0, 0),
        *(
            (Kind.EXEC, {"ts_ns": 311 - i, "pid": 1, "tid": 1, "born_ns": 10, "exe": None, "argv": []})
            for i in range(300)
        ),
    ],
    "only ends": [
        _exit(5, 5, 50),
        _exit(6, 6, 40, signal=9, exit_code=None),
        (Kind.REAP, {"ts_ns": 60, "pid": 7, "tid": 7, "born_ns": 1, "reaped_by": 7, "reap_ns": 1}),
    ],
}


def saved(rows: list[tuple[Kind, dict[str, Any]]], meta: Meta = META) -> bytes:
    """A file of them."""
    file = io.BytesIO()
    with Writer(file, meta) as writer:
        writer.write(Batch.from_rows(rows))
        writer.close({})
    return file.getvalue()


FILES: Final[dict[str, bytes]] = {name: saved(rows) for name, rows in _FORGED.items()}
"""Histories that no kernel tells: circles, times that go back, figures that can not be, words where none belong."""

FORGED: Final[dict[str, Trace]] = {
    name: Trace(META, lambda data=data: iter(Reader(io.BytesIO(data))))  # type: ignore[misc]
    for name, data in FILES.items()
}
"""The same, as they come back from a file."""


def every_column(word: str = "\x1b[2J", number: int = 7) -> list[tuple[Kind, dict[str, Any]]]:
    """A process, and about it one row of every kind with a value in every column; `word` in all that are strings."""
    values: dict[str, Any] = {"i": number, "b": 1, "s": word, "S": [word, word], "I": [number]}
    told = {field.name: values[field.type] for field in EVENT_COLUMNS if field.name != "kind"}
    who = {"pid": 2, "tid": 2, "born_ns": 20, "ppid": 1, "parent_born_ns": 10, "creator_pid": 1, "creator_tid": 1}
    rows = [row(1, None, 10, comm=word[:15])]
    for at, kind in enumerate((Kind.FORK, *(k for k in Kind if k not in (Kind.FORK, Kind.END)))):
        rows.append((kind, told | who | {"ts_ns": 20 + at, "creator_born_ns": 10, "signal": None, "clone_flags": 17}))
    return rows
