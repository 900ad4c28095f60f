"""Small saved traces of known content, for the tests of fleets.

trace(path, host="web1", at=..., lives=[...])     at: seconds of Unix time of its beginning; a life is a dict
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.recording import Writer

NOON: Final = 1_767_268_800  # 2026-01-01T12:00:00Z
SECOND: Final = 10**9
FACTS: Final = frozenset(Fact)

Row = tuple[Kind, dict[str, Any]]


def rows(lives: Sequence[dict[str, Any]]) -> list[Row]:
    """A root that forks each of `lives`: born (s), lasts (s), argv, and whatever else is a field of its events."""
    made: list[tuple[float, Row]] = []
    root = {"pid": 100, "tid": 100, "born_ns": 1}
    made.append(
        (-1, (Kind.FORK, root | {"ts_ns": 1, "how": "root", "comm": "sh", "cgroup": "/system.slice/app.service"}))
    )
    for i, life in enumerate(lives):
        born = int(life["born"] * SECOND) + 1000
        end = born + int(life.get("lasts", 0.001) * SECOND)
        who = {"pid": 200 + i, "tid": 200 + i, "born_ns": born}
        fork = who | {
            "ts_ns": born,
            "how": "fork",
            "ppid": 100,
            "parent_born_ns": 1,
            "creator_pid": 100,
            "comm": "sh",
            "cgroup": life.get("cgroup", "/system.slice/app.service"),
            "uid": 33,
            "fork_ns": 50_000,
        }
        made.append((born, (Kind.FORK, fork)))
        argv = life.get("argv", ["/bin/true"])
        made.append(
            (
                born,
                (Kind.EXEC, who | {"ts_ns": born, "exe": argv[0], "argv": argv, "comm": argv[0].split("/")[-1][:15]}),
            )
        )
        ended = {"exit_code": life.get("code", 0)} if "signal" not in life else {"signal": life["signal"]}
        if life.get("copies") is not None:
            made.append((end, (Kind.FAULTS, who | {"ts_ns": end, "cow_copies": life["copies"]})))
        made.append((end, (Kind.EXIT, who | {"ts_ns": end, "last": 1, **ended})))
    return [row for _, row in sorted(made, key=lambda m: m[0])]


def trace(
    path: Path,
    lives: Sequence[dict[str, Any]],
    *,
    host: str = "web1",
    at: int = NOON,
    more: Sequence[Row] = (),
    facts: frozenset[Fact] = FACTS,
    whole: bool = True,
    page: int = 4096,
) -> Path:
    """Write it. Its clock says `at` when its boot time is 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"page_size": page}
    writer = Writer(str(path), Meta("bpf", facts, at * SECOND, host=host, kernel="6.18", options=options))
    writer.write(Batch.from_rows([*rows(lives), *more]))
    if whole:
        writer.close({})
    else:
        writer.flush()
        writer.abandon()
    return path
