"""Names that an enemy would choose, one for each way out of a format; and trees of them."""

from __future__ import annotations

from typing import Any, Final

from tracer.events import Batch, Fact, Kind, Meta
from tracer.trace import Trace

NAMES: Final = (
    "</script><script>alert(1)</script>", "<!--<script>", "]]>", "<img src=x onerror=alert(1)>", "&lt;b&gt;",
    '"onmouseover="alert(1)', "'\"`", "\\", "\\N\\G\\L", '"];p0 -> p1;"', "a\nb\r\nc", "a;b 1", "\x1b[2J\x1b]0;x\x07",
    "\udcff\udc80", "\u202egnp.exe", "\u2028", "\0", "=1+1", "@SUM(A1)", "-2+3", "\t=1", "+cmd|' /C calc'!A0", "#35;",
    "end", "graph", "%%{init: {}}%%", "click p0 call alert()", "{{x}}", "${x}", "@DATA@", "@SCRIPT@", "x" * 100_000,
    "\ud800", "é", "\U0001f600", "", " ",
)  # fmt: skip
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
