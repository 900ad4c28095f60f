"""The judge of the samples, judged: it is content with a true trace, and names whatever is changed in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judge import differences
from tests.samples import read_truth
from tracer.model.batch import Event
from tracer.model.meta import Fact
from tracer.model.schema import Kind

# A root (10) whose child 11 execs, is killed and reaped; then the pid lives again, is adopted and exits.
TRUTH = b"""
{"ev":"exec","pid":10,"exe":"/bin/root","argv":["root"]}
{"ev":"threads","pid":10,"count":3}
{"ev":"fork","parent":10,"child":11,"how":"vfork","syscall":"vfork","flags":["CLONE_VM","CLONE_VFORK"],\
"vfork_ns_min":5,"vfork_ns_max":9}
{"ev":"exec_failed","pid":11,"exe":"./odd","errno":2}
{"ev":"exec","pid":11,"exe":"/x/odd","argv":["odd","\xff"],"interpreter":"/bin/sh","argv_seen":["/bin/sh","/x/odd"]}
{"ev":"fact","pid":11,"name":"cwd","value":"/x"}
{"ev":"fact","pid":11,"name":"uid","value":65534}
{"ev":"fact","pid":11,"name":"sid","value":10}
{"ev":"fact","pid":11,"name":"pgid","value":10}
{"ev":"fact","pid":11,"name":"ns_pids","value":"11\\t1"}
{"ev":"exit","pid":11,"code":null,"signal":"SIGTERM","core":true}
{"ev":"killed","pid":11,"by":10}
{"ev":"reap","pid":11,"by":10,"zombie_ns_min":20,"zombie_ns_max":30}
{"ev":"rusage","pid":11,"utime_us":2000,"stime_us":1000,"minflt":7,"majflt":1,"maxrss_kb":3}
{"ev":"fork","parent":10,"child":11,"how":"fork"}
{"ev":"adopted","pid":11,"by":1}
{"ev":"exit","pid":11,"code":4,"signal":null,"core":false}
{"ev":"exit","pid":10,"code":0,"signal":null,"core":false}
"""
ALL = frozenset(Fact)


def truth_rows() -> list[dict[str, Any]]:
    none = dict.fromkeys(
        (
            "parent_id",
            "ns_pids",
            "pgid",
            "sid",
            "syscall",
            "flags",
            "exe",
            "argv",
            "interpreter",
            "cwd",
            "signal",
            "killed_by",
            "zombie_ns",
            "reap_ns",
            "adopted_by",
            "reaped_by",
            "uid",
            "vfork_blocked_ns",
            "cpu_user_ns",
            "cpu_system_ns",
            "max_rss_bytes",
            "min_flt",
            "maj_flt",
        )
    )
    root = none | {
        "id": 1,
        "pid": 10,
        "ppid": 2,
        "creator_pid": 2,
        "how": "root",
        "born_ns": 100,
        "exit_ns": 900,
        "execs": 1,
        "comm": "root",
        "exe": "/bin/root",
        "argv": ["root"],
        "threads": 3,
        "exit_code": 0,
        "core_dumped": False,
    }
    first = none | {
        "id": 2,
        "parent_id": 1,
        "pid": 11,
        "ppid": 10,
        "creator_pid": 10,
        "how": "vfork",
        "syscall": "vfork",
        "flags": ["CLONE_VM", "CLONE_VFORK"],
        "born_ns": 200,
        "exit_ns": 220,
        "execs": 1,
        "comm": "odd",
        "exe": "/x/odd",
        "argv": ["/bin/sh", "/x/odd"],
        "interpreter": "/bin/sh",
        "cwd": "/x",
        "uid": 65534,
        "sid": 10,
        "pgid": 10,
        "ns_pids": [11, 1],
        "threads": 0,
        "exit_code": None,
        "signal": "SIGTERM",
        "core_dumped": True,
        "killed_by": 10,
        "reaped_by": 10,
        "reap_ns": 250,
        "zombie_ns": 25,
        "vfork_blocked_ns": 7,
        "cpu_user_ns": 2_900_000,
        "cpu_system_ns": 100_000,
        "min_flt": 7,
        "maj_flt": 1,
        "max_rss_bytes": 3072,
    }
    second = none | {
        "id": 3,
        "parent_id": 1,
        "pid": 11,
        "ppid": 10,
        "creator_pid": 10,
        "how": "fork",
        "born_ns": 300,
        "exit_ns": 400,
        "execs": 0,
        "comm": "root",
        "threads": 0,
        "exit_code": 4,
        "core_dumped": False,
        "adopted_by": 1,
    }
    return [root, first, second]


def truth_events() -> list[Event]:
    of_root = {"pid": 10, "tid": 10, "born_ns": 100}
    first = {"pid": 11, "tid": 11, "born_ns": 200}
    second = first | {"born_ns": 300}
    return [
        Event(Kind.EXEC, of_root | {"exe": "/bin/root"}),
        Event(Kind.FORK, first),
        Event(Kind.EXEC_FAILED, first | {"exe": "./odd", "errno": 2}),
        Event(Kind.EXEC, first | {"exe": "/x/odd"}),
        Event(Kind.EXIT, first | {"last": True}),
        Event(Kind.REAP, first),
        Event(Kind.FORK, second),
        Event(Kind.EXIT, second | {"last": True}),
        Event(Kind.EXIT, of_root | {"last": True}),
    ]


def judged(rows: list[dict[str, Any]], events: list[Event], facts: frozenset[Fact] = ALL) -> list[str]:
    return differences(read_truth(TRUTH), rows, events, facts)


def test_a_true_trace_is_true() -> None:
    assert judged(truth_rows(), truth_events()) == []


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "threads", 2),
        (0, "how", "fork"),
        (0, "argv", ["rooot"]),
        (0, "argv", None),
        (0, "exit_code", None),
        (1, "how", "fork"),
        (1, "syscall", "clone"),
        (1, "flags", ["CLONE_VM"]),
        (1, "ppid", 1),
        (1, "creator_pid", 1),
        (1, "parent_id", None),
        (1, "exe", "/bin/sh"),
        (1, "execs", 0),
        (1, "comm", "sh"),
        (1, "argv", ["/bin/sh"]),
        (1, "argv", ["/bin/sh", "/y..."]),
        (1, "interpreter", None),
        (1, "cwd", "/"),
        (1, "uid", 0),
        (1, "sid", 11),
        (1, "pgid", 11),
        (1, "ns_pids", [11]),
        (1, "exit_code", 0),
        (1, "signal", "SIGKILL"),
        (1, "core_dumped", False),
        (1, "killed_by", None),
        (1, "reaped_by", 1),
        (1, "reap_ns", None),
        (1, "reap_ns", 310),
        (1, "zombie_ns", 19),
        (1, "zombie_ns", None),
        (1, "vfork_blocked_ns", 10),
        (1, "vfork_blocked_ns", None),
        (1, "cpu_user_ns", 3_000_001),
        (1, "cpu_system_ns", None),
        (1, "min_flt", 8),
        (1, "maj_flt", 0),
        (1, "max_rss_bytes", 4096),
        (1, "adopted_by", 1),
        (1, "born_ns", 350),
        (1, "pid", 12),
        (2, "adopted_by", None),
        (2, "exit_code", 0),
        (2, "execs", 1),
        (2, "parent_id", 2),
        (2, "born_ns", 901),
    ],
)
def test_whatever_is_changed_is_named(row: int, column: str, value: object) -> None:
    rows = truth_rows()
    rows[row][column] = value

    assert judged(rows, truth_events())


@pytest.mark.parametrize("gone", range(3))
def test_a_missing_process_is_named(gone: int) -> None:
    rows = truth_rows()
    del rows[gone]

    assert judged(rows, truth_events())


def test_a_process_too_many_is_named() -> None:
    rows = truth_rows()

    assert judged([*rows, rows[2] | {"id": 4, "born_ns": 500}], truth_events())


@pytest.mark.parametrize("gone", [0, 2, 3])
def test_a_missing_exec_is_named(gone: int) -> None:
    events = truth_events()
    del events[gone]

    assert judged(truth_rows(), events)


@pytest.mark.parametrize(("one", "other"), [(1, 3), (3, 4), (4, 5), (6, 7)])
def test_a_false_order_is_named(one: int, other: int) -> None:
    events = truth_events()
    events[one], events[other] = events[other], events[one]

    assert judged(truth_rows(), events)


def test_a_loss_is_named() -> None:
    assert judged(truth_rows(), [*truth_events(), Event(Kind.LOST, {"count": 1, "where": "ring"})])


def test_a_cut_is_accepted_where_it_says_so() -> None:
    rows = truth_rows()
    rows[1]["argv"] = ["/bin/s...", "..."]

    assert judged(rows, truth_events()) == []


def test_what_a_source_can_not_see_is_null_and_not_zero() -> None:
    rows = truth_rows()
    blind = ALL - {Fact.THREADS}
    zero = judged(rows, truth_events(), blind)
    for row in rows:
        row["threads"] = None

    assert len(zero) == 3
    assert judged(rows, truth_events(), blind) == []
