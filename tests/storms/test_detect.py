"""Storms: named when they are, with who, what and which shape; and silence about everything else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import pytest

from tests.stories import ALL, S, Story
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.storms.detect import MOST, Detector, Finding, storms
from tracer.window.window import Window

INIT, BASH, CRON = 1, 50, 60


class Host(Story):
    """A host with a little life of its own; pids count up."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = 1000
        self.existing(INIT, comm="init")
        self.existing(BASH, INIT, comm="bash")
        self.existing(CRON, INIT, comm="cron", cgroup="/system.slice/cron.service")

    def next(self) -> int:
        self.pid += 1
        return self.pid

    def noise(self, second: int, n: int = 5) -> None:
        """Different programs from different parents, which end well."""
        for k in range(n):
            self.run(second + k / n, self.next(), (INIT, CRON)[k % 2], f"/bin/tool{k}", "x", lasts=0.004)

    def found(self, until: int, meta: Meta = ALL, **options: float) -> list[Finding]:
        """Everything that a detector says, fed as it happens: a tenth of a second at a time."""
        window = Window(60, meta)
        detector = Detector(window, **options)  # type: ignore[arg-type]
        said = []
        rows = sorted(self.rows, key=lambda row: row[1]["ts_ns"])
        at = 0
        for tick in range(1, until * 10 + 1):
            start = at
            while at < len(rows) and rows[at][1]["ts_ns"] < tick * S // 10:
                at += 1
            window.feed(Batch.from_rows(rows[start:at]))
            window.advance(tick * S // 10)
            said += detector.look()
        return said


def fan_out(host: Host, second: int, who: int) -> None:
    for k in range(300):
        host.run(second + k / 300, host.next(), who, "/usr/bin/curl", "-s", f"http://a/{second}/{k}", lasts=0.05)


def no_exec(host: Host, second: int, who: int) -> None:
    for k in range(300):
        host.run(second + k / 300, host.next(), who, lasts=0.002)


def respawn(host: Host, second: int, who: int) -> None:
    for k in range(200):
        host.run(second + k / 200, host.next(), who, "/srv/app", "--port=80", lasts=0.004, code=127)


def relay(host: Host, second: int, who: int) -> None:
    """Each makes the next and ends; `who` has started the first."""
    for k in range(200):
        at = second + k / 200
        above = host.pid
        pid = host.next()
        host.fork(at, pid, above)
        host.exit(at + 0.001, above)
        host.reap(at + 0.002, above)


def bomb(host: Host, second: int, who: int) -> None:
    """Everyone makes another."""
    for k in range(400):
        pid = host.next()
        host.fork(second + k / 400, pid, max(who, pid - 1 - k % 97))


SHAPES: dict[str, Callable[[Host, int, int], None]] = {
    "fan-out": fan_out,
    "fork without exec": no_exec,
    "respawn": respawn,
    "chain": relay,
    "fork bomb": bomb,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_storm_is_explained(shape: str) -> None:
    host = Host()
    for second in range(40):
        host.noise(second)
    who = host.next()
    host.fork(19.9, who, BASH, uid=1000, cgroup="/user.slice/a.scope")
    host.exec(19.95, who, f"./{shape[:4]}", "9", cgroup="/user.slice/a.scope", uid=1000)
    for second in range(20, 28):
        SHAPES[shape](host, second, who)

    begun, *rest = host.found(40)

    assert begun.who is not None
    assert (begun.who.pid, begun.shape) == (who, shape)
    assert begun.who.argv == (f"./{shape[:4]}", "9")
    assert begun.who.above[0] == (BASH, "bash")
    assert begun.who.share > 0.9
    assert begun.began_ns == 20 * S
    assert begun.ended_ns is None
    assert begun.usual is not None
    assert begun.usual < 10 < begun.limit < begun.rate <= begun.peak
    assert begun.signs
    assert begun.advice
    assert json.loads(json.dumps(begun.as_dict()))["who"]["above"][0]["pid"] == BASH
    if shape != "fork bomb":  # they never end
        (ended,) = rest
        assert ended.ended_ns == 28 * S
        assert ended.began_ns == begun.began_ns
        assert ended.forks >= 8 * 200


def test_what_a_storm_is_made_of() -> None:
    host = Host()
    for second in range(30):
        host.noise(second)
        if second >= 18:
            respawn(host, second, CRON)

    (begun,) = host.found(25)

    assert begun.commands[0].template == "/srv/app --port=80"
    assert begun.commands[0].share > 0.97
    assert begun.statuses[0][0] == "exit 127 (command not found)"
    assert begun.life_ns is not None
    assert 2_000_000 < begun.life_ns < 8_000_000
    assert begun.who is not None
    assert begun.who.unit == "cron.service" or begun.who.cgroup == "/"
    assert begun.failures == 0
    assert begun.fork_ns is None  # nobody has measured it


def test_nothing_is_said_of_a_quiet_host_or_of_one_that_is_always_busy() -> None:
    quiet, busy = Host(), Host()
    for second in range(60):
        quiet.noise(second, 3)
        busy.noise(second, 80)

    assert quiet.found(60) == []
    assert busy.found(60) == []


def test_nothing_is_said_of_a_build() -> None:
    host = Host()
    for second in range(20):
        host.noise(second)
    make = host.next()
    host.fork(20, make, BASH)
    host.exec(20, make, "make", "-j8")
    for second in range(20, 50):
        for k in range(40):
            at = second + k / 40
            sh, cc, cc1, as_ = (host.next() for _ in range(4))
            host.fork(at, sh, make)
            host.exec(at + 0.001, sh, "/bin/sh", "-c", f"gcc -c {second}-{k}.c")
            host.fork(at + 0.002, cc, sh)
            host.exec(at + 0.003, cc, "gcc", "-c", f"{second}-{k}.c")
            for n, (pid, name) in enumerate(((cc1, "cc1"), (as_, "as"))):
                host.fork(at + 0.004 + n / 20, pid, cc)
                host.exec(at + 0.005 + n / 20, pid, name, f"{second}-{k}")
                host.exit(at + 0.04 + n / 20, pid)
                host.reap(at + 0.041 + n / 20, pid, runtime_ns=30_000_000)
            for pid in (cc, sh):
                host.exit(at + 0.1, pid)
                host.reap(at + 0.11, pid, runtime_ns=1_000_000)

    assert host.found(60) == []


def test_nothing_is_said_of_a_short_burst_or_at_the_start() -> None:
    host = Host()
    for pid in range(5000, 7000):
        host.existing(pid, BASH)
    for second in range(60):
        host.noise(second)
        if second in (0, 1, 30, 31):
            fan_out(host, second, BASH)

    assert host.found(60) == []


def test_a_storm_that_is_there_when_we_come_is_named_all_the_same() -> None:
    host = Host()
    for second in range(20):
        host.noise(second)
        respawn(host, second, BASH)

    begun = host.found(15)[0]

    assert begun.who is not None
    assert (begun.who.pid, begun.shape, begun.usual) == (BASH, "respawn", None)


def test_a_rate_that_was_asked_for_needs_no_sign() -> None:
    host = Host()
    for second in range(30):
        host.noise(second, 20 if second < 20 else 60)

    assert host.found(30) == []
    begun = host.found(30, rate=30)[0]
    assert (begun.reason, begun.limit, begun.signs) == ("rate", 30, ())


def test_failed_forks_make_a_storm_of_few_births() -> None:
    host = Host()
    for second in range(30):
        host.noise(second)
        for k in range(200 if second >= 18 else 0):
            host.row(Kind.FORK_FAILED, second + k / 200, BASH, error="EAGAIN", cause="pids.max 10/10 of /a/b")

    (begun,) = host.found(30)

    assert begun.who is not None
    assert begun.who.pid == BASH
    assert begun.failures is not None
    assert begun.failures > 500
    assert begun.causes[0][0] == "EAGAIN: pids.max 10/10 of /a/b"
    assert any("/a/b" in advice.words for advice in begun.advice)


def test_beside_a_big_build_the_small_storm_is_who_is_named() -> None:
    host = Host()
    for second in range(34):
        host.noise(second)
        if second < 20:
            continue
        for k in range(300):  # a healthy one, and bigger
            pid = host.next()
            host.fork(second + k / 300, pid, CRON, cgroup="/system.slice/cron.service")
            host.exec(second + k / 300, pid, f"/bin/step{k}", str(k))
            host.exit(second + k / 300 + 0.5, pid)
            host.reap(second + k / 300 + 0.5, pid, runtime_ns=20_000_000)
        respawn(host, second, BASH)

    (begun,) = host.found(34)
    assert begun.who is not None
    assert begun.who.pid == BASH
    assert 0.3 < begun.who.share < 0.5


def test_what_was_not_measured_is_null_in_a_finding() -> None:
    host = Host()
    for second in range(30):
        host.noise(second)
        if second >= 18:
            respawn(host, second, BASH)

    begun = host.found(25, Meta("netlink", frozenset({Fact.STATUS})))[0]

    assert (begun.failures, begun.zombies, begun.copies, begun.cpu_ns, begun.fork_ns) == (None,) * 5


def test_a_saved_trace_tells_the_same() -> None:
    host = Host()
    for second in range(40):
        host.noise(second)
        if 20 <= second < 30:
            respawn(host, second, BASH)
    rows = sorted(host.rows, key=lambda row: row[1]["ts_ns"])

    whole = list(storms([Batch.from_rows(rows)], ALL))
    pieces = list(storms([Batch.from_rows(rows[i : i + 100]) for i in range(0, len(rows), 100)], ALL))

    assert len(whole) == 1
    (one,), (other,) = whole, pieces
    assert (one.began_ns, one.ended_ns, one.forks) == (20 * S, 30 * S, 2000)
    assert (one.who, one.shape, one.commands) == (other.who, other.shape, other.commands)


def test_the_last_second_of_a_storm_counts_though_its_maker_ended_in_it_and_nothing_came_for_long() -> None:
    host = Host()
    for second in range(20):
        host.noise(second)
    who = host.next()
    host.fork(20, who, BASH)
    host.exec(20, who, "./once")
    for second in range(20, 30):
        respawn(host, second, who)
    host.exit(29.999, who)
    host.reap(29.9995, who)
    host.noise(40)
    rows = sorted(host.rows, key=lambda row: row[1]["ts_ns"])

    (finding,) = storms([Batch.from_rows(rows)], ALL)

    assert finding.who is not None
    assert (finding.who.pid, finding.ended_ns, finding.forks) == (who, 30 * S, 2000)


def test_two_storms_at_once_are_both_told_each_with_its_own_figures() -> None:
    host = Host()
    for second in range(50):
        host.noise(second)
    one, other = host.next(), host.next()
    for at, who, name in ((19.9, one, "./loop"), (23.5, other, "./fan")):
        host.fork(at, who, BASH)
        host.exec(at + 0.01, who, name)
    for second in range(20, 36):
        respawn(host, second, one)
        if 24 <= second < 31:
            fan_out(host, second, other)

    found = host.found(50)

    assert [(f.who and f.who.pid, f.shape, f.ended_ns and f.ended_ns // S, f.beside) for f in found] == [
        (one, "respawn", None, 0),
        (other, "fan-out", None, 1),
        (other, "fan-out", 31, 1),
        (one, "respawn", 36, 0),
    ]
    begun, beside, beside_over, over = found
    assert (begun.began_ns, beside.began_ns) == (20 * S, 24 * S)
    assert (over.forks, beside_over.forks) == (16 * 200, 7 * 300)
    assert beside.who is not None
    assert 0.5 < beside.who.share < 0.7


def test_storms_that_begin_together_are_told_together_and_those_beyond_four_by_name_alone() -> None:
    host = Host()
    for second in range(40):
        host.noise(second)
    makers = [host.next() for _ in range(6)]
    for k, who in enumerate(makers):
        host.fork(19.9, who, BASH)
        host.exec(19.95, who, f"./maker{k}")
    for second in range(20, 30):
        for k, who in enumerate(makers):
            for n in range(200 - 10 * k):
                host.run(second + n / 200, host.next(), who, "/srv/app", lasts=0.004, code=3)
    window = Window(60, ALL)
    detector = Detector(window)
    found: list[Finding] = []
    for batch in by_tenths(host):
        window.feed(batch)
        found += detector.look()

    begun = [f.who.pid for f in found if f.ended_ns is None and f.who is not None]
    assert begun[:MOST] == makers[:MOST]
    assert detector.storming <= MOST
    assert {who.pid for who in detector.passed_over} == set(makers[MOST:])
    assert [who.comm for who in detector.passed_over] == ["maker4", "maker5"]


def by_tenths(host: Host) -> Iterator[Batch]:
    rows = sorted(host.rows, key=lambda row: row[1]["ts_ns"])
    for _, some in itertools.groupby(rows, key=lambda row: row[1]["ts_ns"] * 10 // S):
        yield Batch.from_rows(list(some))


def test_what_a_storm_makes_is_no_second_storm_and_neither_is_who_stands_above_it() -> None:
    """A shell's loop below a script below another, all of them storming on."""
    host = Host()
    for second in range(60):
        host.noise(second)
    outer, inner = host.next(), host.next()
    host.fork(19.8, outer, BASH)
    host.exec(19.81, outer, "./outer")
    host.fork(19.9, inner, outer)
    host.exec(19.91, inner, "./inner")
    for second in range(20, 40):
        respawn(host, second, inner)
        if second >= 30:  # and outer too, a little: far below what is unusual
            for k in range(10):
                host.run(second + k / 10, host.next(), outer, "/bin/date", lasts=0.002)

    found = host.found(60)

    assert [(f.who and f.who.pid, f.ended_ns is None) for f in found] == [(inner, True), (inner, False)]


def test_with_a_rate_that_was_asked_for_the_rest_must_be_above_it_too() -> None:
    host = Host()
    for second in range(40):
        host.noise(second, 30)
        if second >= 20:
            respawn(host, second, BASH)

    begun = [f for f in host.found(40, rate=100) if f.ended_ns is None]

    assert [f.who and f.who.pid for f in begun] == [BASH]


def test_a_loop_that_always_turns_is_not_to_blame_for_what_a_build_adds() -> None:
    host = Host()
    make = host.next()
    for second in range(40):
        for k in range(20):  # each does next to nothing
            host.run(second + k / 20, host.next(), BASH, ("/bin/true", "sleep")[k % 2], lasts=0.002)
        if second == 19:
            host.fork(19.9, make, CRON)
            host.exec(19.95, make, "make", "-j2")
        for k in range(35 if second >= 20 else 0):
            pid = host.next()
            host.fork(second + k / 35, pid, make)
            host.exec(second + k / 35, pid, f"/bin/step{k}", str(k))
            host.exit(second + k / 35 + 0.5, pid)
            host.reap(second + k / 35 + 0.5, pid, runtime_ns=20_000_000)

    assert host.found(40, usual=20) == []
