"""One capture from start to end, over pretended backends: no probes here, but a real program that is held."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.descriptors import open_files
from tests.terminals import state, wait_until
from tracer import backends
from tracer.backends import Options
from tracer.capture import session
from tracer.capture.session import Plan, Session, living
from tracer.errors import CannotStartError, NoPermissionError, ProbesRefusedError
from tracer.model.batch import Batch, Event
from tracer.model.schema import Kind

pytestmark = pytest.mark.programs


class Fake:
    """A backend that does as it is told; class attributes are its script."""

    name = "fake"
    made: list[Fake]
    refusal: Exception | None = None
    on_follow: Callable[[int], None] = staticmethod(lambda pid: None)
    on_read: Callable[[Fake], list[Batch]] = staticmethod(lambda fake: [])
    last: Sequence[Batch] = ()
    living: int | None = 0
    covered: frozenset[str] = frozenset({"argv"})

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        return cls.covered

    def __init__(self, options: Options) -> None:
        self.options = options
        self.calls: list[str] = []
        self.notes: tuple[str, ...] = ()
        self.facts: frozenset[str] = frozenset({"argv"})
        self.reads = 0
        type(self).made.append(self)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def start(self) -> None:
        self.calls.append("start")
        if self.refusal is not None:
            raise self.refusal

    def follow(self, pid: int, pidfd: int) -> None:
        self.calls.append("follow")
        self.on_follow(pid)

    def attach(self, pid: int) -> None:
        self.calls.append(f"attach {pid}")

    def descriptors(self) -> list[int]:
        return []

    def read(self) -> list[Batch]:
        self.reads += 1
        return type(self).on_read(self)

    def alive(self) -> int | None:
        return self.living

    def finish(self) -> list[Batch]:
        self.calls.append("finish")
        self.notes = ("found out late",)
        return list(self.last)

    def close(self) -> None:
        self.calls.append("close")


def rows(*pids: int) -> Batch:
    """Of no births: a session waits for the releases of who was born."""
    return Batch.from_rows((Kind.RENAME, {"ts_ns": pid, "pid": pid, "born_ns": pid, "comm": "x"}) for pid in pids)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[Fake]]:
    """Makes backends with these attributes the ones there are, best first; gives the first one's class."""

    def make(*scripts: dict[str, Any]) -> type[Fake]:
        classes: list[Any] = [type("Fake", (Fake,), {"made": [], **script}) for script in scripts or ({},)]
        monkeypatch.setattr(backends, "candidates", lambda *_: classes)
        monkeypatch.setattr(backends, "BACKENDS", tuple(dict.fromkeys(c.name for c in classes)))
        first: type[Fake] = classes[0]
        return first

    return make


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = {signo: signal.getsignal(signo) for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)}
    files = open_files()
    yield
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert {signo: signal.getsignal(signo) for signo in handlers} == handlers
    assert open_files() == files
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def capture(plan: Plan, said: list[str] | None = None) -> tuple[Session, list[Event]]:
    events: list[Event] = []
    told: list[str] = [] if said is None else said
    with Session(plan, say=told.append) as one:
        one.start()
        one.run(lambda batch: events.extend(batch.events()))
    return one, events


SH = ("sh", "-c")


def test_program_is_held_until_it_is_followed_and_its_status_is_kept(offer: Callable[..., type[Fake]]) -> None:
    seen: list[str] = []
    fake = offer({"on_follow": staticmethod(lambda pid: seen.append(os.readlink(f"/proc/{pid}/exe")))})
    one, events = capture(Plan([*SH, "exit 5"]))

    assert one.status is not None
    assert one.status.exit_code == 5
    assert seen == [os.readlink("/proc/self/exe")]
    assert fake.made[0].calls == ["start", "follow", "finish", "close", "close"]
    assert (one.meta.source, one.meta.command, one.meta.notes) == ("fake", (*SH, "exit 5"), ("found out late",))
    assert [event.kind for event in events] == [Kind.END]


def test_sinks_get_all_batches_in_order_and_the_end_last(offer: Callable[..., type[Fake]]) -> None:
    offer({"on_read": lambda fake: [rows(fake.reads)] if fake.reads < 3 else [], "last": [rows(8), rows(9)]})
    _, events = capture(Plan(["true"]))

    pids = [event.pid for event in events[:-1]]
    assert pids == [*range(1, len(pids) - 1), 8, 9]
    assert (events[-1].kind, events[-1].count) == (Kind.END, len(events) - 1)


def test_a_refusal_falls_to_the_next_backend_with_one_line(offer: Callable[..., type[Fake]]) -> None:
    first = offer({"name": "one", "refusal": ProbesRefusedError("the kernel said no", "mend it")}, {"name": "two"})
    said: list[str] = []
    one, _ = capture(Plan(["true"]), said)

    assert one.meta.source == "two"
    assert said == ["one: the kernel said no; using two instead"]
    assert first.made[0].calls == ["start", "close"]


def test_a_refusal_that_costs_facts_is_a_warning_and_a_note(offer: Callable[..., type[Fake]]) -> None:
    seen = frozenset({"argv", "reaps", "cow"})
    offer({"name": "one", "refusal": ProbesRefusedError("no"), "covered": seen}, {"name": "two"})
    said: list[str] = []
    one, _ = capture(Plan(["true"]), said)

    assert said == ["WARNING: one: no; using two instead, which does not measure cow, reaps"]
    assert "one: no; using two instead, which does not measure cow, reaps" in one.meta.notes


@pytest.mark.parametrize("error", [NoPermissionError("not root", "use sudo"), ProbesRefusedError("no"), OSError("eh")])
def test_the_last_refusal_is_told_and_the_program_never_ran(
    offer: Callable[..., type[Fake]], error: Exception, tmp_path: Any
) -> None:
    fake = offer({"refusal": error})
    one = Session(Plan(["touch", str(tmp_path / "ran")]))
    with pytest.raises(type(error)):
        one.start()

    assert not (tmp_path / "ran").exists()
    assert fake.made[0].calls[-1] == "close"


def test_a_session_that_is_closed_unrun_never_lets_its_program_go(
    offer: Callable[..., type[Fake]], tmp_path: Any
) -> None:
    fake = offer()
    with Session(Plan(["touch", str(tmp_path / "ran")])) as one:
        one.start()

    assert not (tmp_path / "ran").exists()
    assert fake.made[0].calls == ["start", "follow", "close"]


@pytest.mark.parametrize(("name", "status"), [("./no/such", 127), ("", 127), ("/", 126)])
def test_a_program_that_can_not_start(offer: Callable[..., type[Fake]], name: str, status: int) -> None:
    offer()
    with Session(Plan([name])) as one, pytest.raises(CannotStartError) as failed:
        one.start()
        one.run()

    assert failed.value.exit_status == status


@pytest.mark.parametrize("alive", [1, None])
def test_a_program_killed_while_it_is_held_leaves_nobody_waiting(
    offer: Callable[..., type[Fake]], alive: int | None
) -> None:
    """Ctrl-C during the load: its end came before its mark, so the count of the living never falls."""
    offer({"on_follow": staticmethod(lambda pid: os.kill(pid, signal.SIGINT)), "living": alive})
    one, _ = capture(Plan(["sleep", "100"]))

    assert one.status is not None
    assert one.status.signal == signal.SIGINT


def after(n: int, act: Callable[[], None]) -> dict[str, Any]:
    """A backend that has rows to give, and does something at its n-th look."""

    def read(fake: Fake) -> list[Batch]:
        if fake.reads == n:
            act()
        return [rows(fake.reads)]

    return {"on_read": read, "living": 1}


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_ends_a_capture_that_was_attached_and_all_is_kept(
    offer: Callable[..., type[Fake]], signo: signal.Signals
) -> None:
    fake = offer(after(2, lambda: os.kill(os.getpid(), signo)))
    one, events = capture(Plan(pids=[os.getppid()]))

    assert [event.pid for event in events[:2]] == [1, 2]
    assert (events[-1].kind, one.detached, one.status) == (Kind.END, True, None)
    assert fake.made[0].calls == ["start", f"attach {os.getppid()}", "finish", "close", "close"]


def test_a_request_during_the_load_of_a_capture_that_attaches_is_not_lost(offer: Callable[..., type[Fake]]) -> None:
    offer({"attach": lambda fake, pid: os.kill(os.getpid(), signal.SIGINT), "living": 1})
    one, events = capture(Plan(pids=[1]))

    assert one.detached
    assert [event.kind for event in events] == [Kind.END]


def test_a_request_that_another_thread_takes_is_not_our_death(offer: Callable[..., type[Fake]]) -> None:
    """Only the main thread blocks it, and numpy, for one, starts others."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    offer(after(2, lambda: signal.pthread_kill(thread.ident or 0, signal.SIGINT)))
    one, events = capture(Plan(pids=[os.getppid()]))
    over.set()
    thread.join()

    assert (one.detached, events[-1].kind) == (True, Kind.END)


def test_attached_capture_ends_when_all_have_ended(offer: Callable[..., type[Fake]]) -> None:
    offer({"living": 0})
    one, _ = capture(Plan(pids=[1]))

    assert not one.detached


def test_duration_ends_the_watch_and_not_the_program(offer: Callable[..., type[Fake]]) -> None:
    pids: list[int] = []
    offer({"on_follow": staticmethod(pids.append), "living": 1})
    one, _ = capture(Plan(["sleep", "100"], duration=0.01))

    assert (one.detached, one.status) == (True, None)
    assert state(pids[0]) in ("S", "R", "D")
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_no_wait_ends_with_the_program(offer: Callable[..., type[Fake]]) -> None:
    offer({"on_read": lambda fake: [rows(1)], "living": 1})
    one, _ = capture(Plan(["true"], wait=False))

    assert one.status is not None
    assert one.status.exit_code == 0


def test_who_is_waited_for_is_told_once(offer: Callable[..., type[Fake]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_SAY_WHO_S", 0.0)

    def read(fake: Fake) -> list[Batch]:
        if len(said) == 1:
            fake.rounds = getattr(fake, "rounds", 0) + 1  # type: ignore[attr-defined]
            if fake.rounds > 2:  # type: ignore[attr-defined]
                fake.living = 0
        return [rows(1)]

    offer({"on_read": read, "living": 1})
    said: list[str] = []
    with Session(Plan(["true"]), say=said.append) as one:
        one.living = lambda: [f"child ({n})" for n in range(7)]
        one.start()
        one.run()

    [line] = said
    assert "waiting for child (0), child (1), child (2), child (3), child (4) and 2 more" in line


def test_descendants_of_a_huge_trace_are_not_looked_for_by_name(
    offer: Callable[..., type[Fake]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feeding a million rows to a tree would keep the ring from being read."""
    monkeypatch.setattr(session, "_SAY_WHO_S", 0.0)
    monkeypatch.setattr(session, "_SAY_WHO_ROWS", 1)

    def read(fake: Fake) -> list[Batch]:
        fake.living = 0 if said else 1
        return [rows(1)]

    offer({"on_read": read, "living": 1})
    said: list[str] = []
    with Session(Plan(["true"]), say=said.append) as one:
        one.living = lambda: pytest.fail("looked")
        one.start()
        one.run()

    assert "waiting for its descendants" in said[0]


def test_a_second_request_leaves_the_program(offer: Callable[..., type[Fake]]) -> None:
    pids: list[int] = []
    asked: list[float] = []

    def read(fake: Fake) -> list[Batch]:
        with open(f"/proc/{pids[0]}/comm") as comm:
            ready = comm.read() == "sleep\n"  # it ignores the signal by now
        # One that is handled late is no request of its own (_SAME_REQUEST_S), so it is asked until we are let go.
        if not ready or (asked and time.monotonic() < asked[-1] + 0.1):
            return []
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)
        return [rows(1)]

    offer({"on_follow": staticmethod(pids.append), "on_read": read, "living": 1})
    one, events = capture(Plan([*SH, "trap '' TERM; exec sleep 100"]))

    assert (one.detached, one.status, events[-1].kind) == (True, None, Kind.END)
    assert len(asked) >= 2
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_what_goes_wrong_in_a_sink_leaves_the_program_running(offer: Callable[..., type[Fake]], tmp_path: Any) -> None:
    pids: list[int] = []
    fake = offer({"on_follow": staticmethod(pids.append), "on_read": lambda fake: [rows(1)], "living": 1})

    def sink(batch: Batch) -> None:
        raise ValueError

    with Session(Plan(["sleep", "100"])) as one, pytest.raises(ValueError):
        one.start()
        one.run(sink)

    assert fake.made[0].calls[-1] == "close"
    assert state(pids[0]) in ("S", "R", "D")
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_all_children_of_ours_are_reaped_before_we_leave(offer: Callable[..., type[Fake]]) -> None:
    """As children that CLONE_PARENT gives to us. The fixture looks for zombies."""
    pids: list[int] = []

    def read(fake: Fake) -> list[Batch]:
        if not pids:
            pids.append(os.spawnlp(os.P_NOWAIT, "true", "true"))
            wait_until("the child has ended", lambda: state(pids[0]) == "Z")
        return [rows(1)]

    offer({"on_read": read, "last": []})
    capture(Plan([*SH, "exit 0"]))

    assert state(pids[0]) == ""


def test_the_living_are_those_whose_end_was_not_seen() -> None:
    events: list[tuple[Kind, dict[str, Any]]] = [
        (Kind.FORK, {"ts_ns": 1, "pid": 5, "tid": 5, "born_ns": 1, "comm": "make"}),
        (Kind.FORK, {"ts_ns": 2, "pid": 6, "tid": 6, "born_ns": 2, "comm": "cc1"}),
        (Kind.EXIT, {"ts_ns": 3, "pid": 6, "tid": 6, "born_ns": 2, "last": True}),
        (Kind.FORK, {"ts_ns": 4, "pid": 7, "tid": 7, "born_ns": 4}),
    ]

    assert living([Batch.from_rows(events[:2]), Batch.from_rows(events[2:])]) == ["make (5)", "? (7)"]
