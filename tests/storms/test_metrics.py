from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tracer.errors import CannotWriteError, UsageError
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.storms.metrics import LATE_S, MOST, Metrics, address, owner
from tracer.window.window import Window

SECOND = 10**9
FACTS = frozenset({Fact.FORK_FAILED, Fact.ZOMBIES, Fact.FORK_COST, Fact.REAPS, Fact.STATUS})


def fork(pid: int, at: float, comm: str = "sh", cgroup: str = "/system.slice/a.service") -> tuple[Kind, dict[str, Any]]:
    ns = int(at * SECOND)
    return Kind.FORK, {
        "ts_ns": ns,
        "pid": pid,
        "tid": pid,
        "born_ns": ns,
        "how": "fork",
        "comm": comm,
        "cgroup": cgroup,
        "fork_ns": 1_000_000,
        "ppid": 1,
        "parent_born_ns": 1,
    }


def failed(at: float, cause: str | None) -> tuple[Kind, dict[str, Any]]:
    ns = int(at * SECOND)
    return Kind.FORK_FAILED, {"ts_ns": ns, "pid": 1, "tid": 1, "born_ns": 1, "error": "EAGAIN", "cause": cause}


def measured(rows: list[tuple[Kind, dict[str, Any]]], now: float, facts: frozenset[Fact] = FACTS) -> dict[str, float]:
    """{metric with its labels: value}, some seconds later."""
    window = Window(60, Meta("bpf", facts, version="1"))
    metrics = Metrics(window)
    for row in rows:
        window.feed(Batch.from_rows([row]))
        metrics.tick()
    for second in range(window.now_ns // SECOND, int(now) + 1):
        window.advance(second * SECOND)
        metrics.tick()
    return values(metrics)


def values(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in metrics.collect():
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_totals_by_unit_and_comm() -> None:
    rows = [fork(2, 10), fork(3, 10.5), fork(4, 12, "cron", "/system.slice/cron.service")]

    got = measured([*rows, failed(12, "pids.max"), failed(12, None)], 30)

    assert got["forktrace_forks_total{a.service,sh}"] == 2
    assert got["forktrace_forks_total{cron.service,cron}"] == 1
    assert got["forktrace_page_table_copy_seconds_total{a.service,sh}"] == pytest.approx(0.002)
    assert got["forktrace_fork_failures_by_cause_total{EAGAIN: pids.max}"] == 1
    assert got["forktrace_fork_failures_by_cause_total{EAGAIN}"] == 1
    assert got["forktrace_alive"] >= 3
    assert got["forktrace_info{bpf,1}"] == 1


def test_totals_grow_for_ever_though_the_window_forgets() -> None:
    rows = [fork(100 + i, 10 + i) for i in range(300)]

    assert measured(rows, 400)["forktrace_forks_total{a.service,sh}"] == 300


def test_a_second_is_not_added_up_before_nothing_comes_any_more() -> None:
    got = measured([fork(2, 10), fork(3, 10 + LATE_S), fork(4, 10)], 11 + LATE_S)

    assert got["forktrace_forks_total{a.service,sh}"] == 2  # the late one is among them, the youngest not yet


def test_what_can_not_be_seen_has_no_line() -> None:
    got = measured([fork(2, 10)], 30, frozenset())

    assert not [name for name in got if "failures" in name or "copied" in name or "zombies" in name or "table" in name]


def test_lines_are_bounded() -> None:
    rows = [fork(2 + i, 10 + i / 100, f"c{i}") for i in range(MOST + 50)]

    got = measured(rows, 60)

    lines = {name: value for name, value in got.items() if name.startswith("forktrace_forks_total")}
    assert len(lines) == MOST + 1
    assert lines["forktrace_forks_total{other,other}"] == 50
    assert sum(lines.values()) == MOST + 50


@pytest.fixture
def served() -> Iterator[tuple[Metrics, str]]:
    window = Window(60, Meta("bpf", FACTS, version="1"))
    window.feed(Batch.from_rows([fork(2, 10, '\udcff"\n{'), fork(3, 20)]))
    metrics = Metrics(window)
    metrics.tick()
    try:
        yield metrics, metrics.serve("127.0.0.1:0")
    finally:
        metrics.close()
        metrics.close()


def test_it_is_served_and_can_be_parsed(served: tuple[Metrics, str]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    metrics, url = served
    metrics.lose(7)
    with urllib.request.urlopen(url) as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}

    assert families["forktrace_lost_records"].samples[0].value == 7
    forks = [s for s in families["forktrace_forks"].samples if s.name == "forktrace_forks_total"]
    assert [s.labels for s in forks] == [{"unit": "a.service", "comm": '\\xff"\n{'}]
    assert families["forktrace_own_resident_bytes"].samples[0].value > 1e6


def test_names_that_look_the_same_are_one_line() -> None:
    """A page with a line twice is refused by Prometheus as a whole."""
    long = "/" + "g" * 4000
    rows = [fork(2, 10, "\udcff"), fork(3, 10, "\\xff"), fork(4, 11, "a", long + "1"), fork(5, 11, "a", long + "2")]

    got = measured(rows, 30)

    assert got["forktrace_forks_total{a.service,\\xff}"] == 2
    assert [v for name, v in got.items() if name.startswith("forktrace_forks_total{/ggg")] == [2]
    assert max(map(len, got)) < 300


def test_a_taken_port_is_one_sentence(served: tuple[Metrics, str]) -> None:
    port = served[1].split(":")[2].split("/")[0]

    with pytest.raises(CannotWriteError, match=r"can not be served at .*in use"):
        Metrics(Window()).serve(f"127.0.0.1:{port}")


@pytest.mark.parametrize("where", ["", "host", "host:", "127.0.0.1:x", "1.2.3.4:70000", ":-1"])
def test_addresses_that_are_none(where: str) -> None:
    with pytest.raises(UsageError, match="no address for metrics"):
        address(where)


def test_addresses() -> None:
    assert [address(word) for word in ("9464", ":1", "0.0.0.0:2", "[::1]:3")] == [
        ("127.0.0.1", 9464),
        ("127.0.0.1", 1),
        ("0.0.0.0", 2),
        ("::1", 3),
    ]


def test_owners() -> None:
    container = "/system.slice/docker-" + "ab" * 32 + ".scope"
    assert [owner(c) for c in (None, "/", "/user.slice/x.scope", container)] == ["?", "/", "x.scope", "abababababab"]
