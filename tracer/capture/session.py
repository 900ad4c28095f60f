"""One capture, from the held program to the last of its descendants: target, backend and sinks in one loop.

    hold the program -> choose and attach a backend -> release -> read until over -> finish -> close

A backend that is refused falls to the next with one line, before the program starts. Batches go to sinks as they
come; no sink may stop the capture. Knows no tree beyond naming who is still alive, and prints nothing: `say` does.
"""

from __future__ import annotations

import importlib
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from tracer import backends
from tracer.backends import BackendProtocol, Options
from tracer.capture.target import Action, Status, Target
from tracer.capture.terminal import Signals
from tracer.errors import NoInputError, NoPermissionError, ProbesRefusedError
from tracer.host import boot_clock, own_limits, procfs
from tracer.host.delayacct import Switch, put_back
from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.model.schema import NULL, Kind

VERSION: Final = "0.1.0"

_BUSY_S: Final = 0.1
_IDLE_S: Final = 0.2
_STORM_ROWS: Final = 2000  # in one read: then each read's own cost counts for more than how soon it comes
_LAST_REAPS_S: Final = 0.1
_SAY_WHO_S: Final = 1.0
_SAY_WHO_ROWS: Final = 100_000  # to find their names in more would keep us from reading for too long

Sink = Callable[[Batch], None]


class Plan(NamedTuple):
    """What to capture and how. `argv` empty with `pids`, `options.everyone` or `options.match`: attach, not start."""

    argv: Sequence[str] = ()
    pids: Sequence[int] = ()
    backend: str = "auto"
    need: frozenset[str] = frozenset()  # Fact values that must be seen
    options: Options = Options()
    wait: bool = True  # for descendants that outlive the program
    duration: float | None = None
    env: Mapping[str, str] | None = None
    set_env: Sequence[str] = ()
    cwd: str | None = None
    as_root: bool = False
    user: str | None = None
    pass_fds: Sequence[int] = ()


class Session:
    """`start`, `run` with sinks, `close`; `meta` and `status` afterwards. `say` gets lines for the user's eye.

    A context manager that closes. Until then a Ctrl-C is the program's, or, where we attached, the sign to end:
    finish the file inside.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda line: None) -> None:
        self.plan = plan
        self.meta = Meta(source="")
        self.status: Status | None = None
        self.detached = False
        self.living: Callable[[], list[str]] = list
        self.wakes: tuple[int, ...] = ()
        """Descriptors of a sink's own: when one is readable there is a `tick` at once."""
        self.before_stop: Callable[[], None] = lambda: None
        """Called when the program was stopped from the terminal, before we stop with it."""
        self.preload: tuple[str, ...] = ()
        """Modules needed once the program has ended: imported on a thread while the kernel loads the probes."""
        self._preloading: threading.Thread | None = None
        self._stop = False
        self._say = say
        self._target: Target | None = None
        self._signals: Signals | None = None
        self._signal_fd = -1
        self._released = False
        self._backend: BackendProtocol | None = None
        self._switch: Switch | None = None
        self._limits: own_limits.Given = {}
        self._sinks: list[Sink] = []
        self._notes: list[str] = []
        self._tasks = 0  # born and not yet let go of by the kernel
        self._rows = 0
        self._cpu0 = time.process_time()

    def start(self) -> None:
        """Hold the program, attach. Raises the last backend's refusal, or CannotStartError. Nothing is left behind."""
        plan = self.plan
        self._limits = own_limits.raise_own()
        try:
            own_limits.check_room(saves=False)
            if plan.options.delayacct:
                self._switch = Switch.on()  # a program that is older has no record of delays for life
            elif put_back():
                self._say("kernel.task_delayacct was still on, from a forktrace that was killed: it is off again")
            if plan.argv:
                self._target = self._hold()
                self._signal_fd = self._target.signal_fd
            else:
                self._signals = Signals()
                self._signal_fd = self._signals.open()
                self._signals.allow_stop()
            if self.preload:  # after the fork of the held child, and with the signals blocked that are read here
                self._preloading = threading.Thread(target=_import, args=(self.preload,), daemon=True)
                self._preloading.start()
            self._attach()
        except BaseException:
            self.close()
            raise
        backend = self._backend
        assert backend is not None
        self.meta = Meta(
            source=backend.name,
            facts=backend.facts,
            wall_offset_ns=procfs.wall_offset_ns(),
            version=VERSION,
            host=os.uname().nodename,
            kernel=os.uname().release,
            machine=os.uname().machine,
            boot_id=procfs.boot_id(),
            command=tuple(plan.argv),
            options={
                "cow": plan.options.cow,
                "wait": plan.wait,
                "page_size": mmap.PAGESIZE,
                "pids": list(plan.pids),
                **plan.options.match.as_dict(),
            },
            notes=(*backend.notes, *self._notes),
        )

    def _hold(self, through: Sequence[str] = ()) -> Target:
        plan = self.plan
        return Target.hold(
            plan.argv,
            env=plan.env,
            set_env=plan.set_env,
            cwd=plan.cwd,
            as_root=plan.as_root,
            user=plan.user,
            pass_fds=plan.pass_fds,
            through=through,
            limits=self._limits,
        )

    def _attach(self) -> None:
        plan = self.plan
        passed: list[str] = []
        classes = iter(backends.candidates(plan.backend, plan.need, plan.options, passed))
        first = next(classes)
        cls: type[BackendProtocol] | None = first
        through: list[str] = []
        while cls is not None:
            backend = cls(plan.options)  # type: ignore[call-arg]
            try:
                backend.start()
                lacks = sorted(plan.need - backend.facts)
                if lacks:
                    why = "; ".join(backend.notes) or "the kernel refused it"
                    raise ProbesRefusedError(f"{', '.join(lacks)} can not be seen: {why}")
                if self._target is not None:
                    wanted = backend.wrap(plan.argv)
                    wanted = wanted[: len(wanted) - len(plan.argv)]
                    if wanted != through:
                        through = wanted
                        if self._preloading is not None:
                            self._preloading.join()  # a fork now would leave its locks taken in the child
                        self._target.abandon()
                        self._target = None  # should the next line fail
                        self._target = self._hold(through)
                        self._signal_fd = self._target.signal_fd
                    backend.follow(self._target.pid, self._target.pidfd)
                for pid in plan.pids:
                    backend.attach(pid)
                if plan.options.match and backend.name != "bpf":
                    self._attach_members(backend)
            except (ProbesRefusedError, NoPermissionError) as e:
                backend.close()
                cls = next(classes, None)
                if cls is None:
                    raise
                self._fall_back(type(backend), cls, e.message)
                continue
            except BaseException:
                backend.close()
                raise
            self._backend = backend
            if passed and cls is first:
                self._say(f"{passed[0]}; using {backend.name} instead")
            return

    def _fall_back(self, refused: type[BackendProtocol], taken: type[BackendProtocol], why: str) -> None:
        """Say it on the terminal, and in every report."""
        options = self.plan.options
        missing = sorted(refused.cover(options) - taken.cover(options))
        words = f"{refused.name}: {why}; using {taken.name} instead"
        if missing:
            words = f"WARNING: {words}, which does not measure {', '.join(missing)}"
            self._notes.append(words.removeprefix("WARNING: "))
        self._say(words)

    def _attach_members(self, backend: BackendProtocol) -> None:
        """A group's members, for a backend that can not tell who comes into it later."""
        from tracer.host import cgroup_lookup

        match = self.plan.options.match
        if match.filters:
            raise ProbesRefusedError(
                f"{backend.name} can not follow {match.words}: only the bpf backend matches in the kernel",
                "`forktrace doctor` says what it needs; or name processes with -p",
            )
        found = sorted({pid for group in match.groups for pid in cgroup_lookup.members(group)} - {os.getpid()})
        if not found:
            raise NoInputError(f"nobody is in {match.words.removeprefix('--cgroup ')}", "name a group with processes")
        for pid in found:
            try:
                backend.attach(pid)
            except NoInputError:  # it has ended meanwhile
                continue
        words = f"{backend.name} follows who was in {match.words.removeprefix('--cgroup ')}, not who came in later"
        self._notes.append(words)
        self._say(words)

    def run(self, *sinks: Sink, tick: Callable[[], None] = lambda: None) -> None:
        """Release the program and read to the end. Raises CannotStartError; the sinks' errors are theirs to keep.

        `tick` is called after every look at the source, five times a second at least.
        """
        backend, target = self._backend, self._target
        assert backend is not None
        self._sinks = list(sinks)
        try:
            if target is not None:
                target.on_stop = self._drain
                self._released = True  # or failed, and closed itself
                target.release()
            self._loop(backend, target, tick)
            self._last_reaps(backend, target)
            if target is not None:
                target.handle_signals()  # CLONE_PARENT makes children of ours: none may stay a zombie
            for batch in backend.finish():
                self._give(batch)
            self._give(self._end())
            self.meta = self.meta._replace(notes=(*backend.notes, *self._notes), facts=backend.facts)
        finally:
            backend.close()
            self.status = target.status if target is not None else None

    def _loop(self, backend: BackendProtocol, target: Target | None, tick: Callable[[], None]) -> None:
        with select.epoll() as poll:
            poll.register(self._signal_fd, select.EPOLLIN)
            for fd in backend.descriptors():
                # Edge-triggered: a BPF ring is readable as long as one record is in it, and we come by the clock;
                # only its wake-ups count.
                poll.register(fd, select.EPOLLIN | select.EPOLLET)
            for fd in self.wakes:
                poll.register(fd, select.EPOLLIN | select.EPOLLET)
            self._turn(poll, backend, target, tick)

    def _turn(
        self, poll: select.epoll, backend: BackendProtocol, target: Target | None, tick: Callable[[], None]
    ) -> None:
        began = time.monotonic()
        waiting_since: float | None = None
        said = False
        pause = _BUSY_S
        while True:
            poll.poll(pause)
            if target is not None:
                action = target.handle_signals()
                if action is Action.DETACH:
                    self.detached = True
                    return
            elif self._asked_to_end():
                self.detached = True
                return
            rows = self._read()
            pause = _BUSY_S if 0 < rows < _STORM_ROWS else min(pause * 2, _IDLE_S)
            tick()
            if self._stop:
                self.detached = True
                return
            now = time.monotonic()
            if self.plan.duration is not None and now - began >= self.plan.duration:
                self.detached = True
                return
            ended = target is None or target.status is not None
            if not ended:
                continue
            if backend.alive() == 0:
                return
            if target is None:
                continue
            if not self.plan.wait or not self._rows:
                return  # without a row, it was killed before it had a mark, and nothing will ever come
            waiting_since = waiting_since or now
            if not said and now - waiting_since >= _SAY_WHO_S:
                said = True
                who = self.living() if self._rows < _SAY_WHO_ROWS else []
                names = ", ".join(who[:5]) + (f" and {len(who) - 5} more" if len(who) > 5 else "")
                self._say(
                    f"the program has ended; waiting for {names or 'its descendants'} (Ctrl-C leaves them running)"
                )

    def accompany(self) -> None:
        """After `run` has failed: stay until the program ends, signals passed on, so that its status is still known."""
        target = self._target
        if target is None or not self._released:
            return
        poll = select.poll()
        poll.register(self._signal_fd, select.POLLIN)
        while target.status is None and target.handle_signals() is not Action.DETACH:
            poll.poll(_IDLE_S * 1000)
        self.status = target.status

    def stop(self) -> None:
        """End `run` after this look at the source, as a Ctrl-C does where we attached. For a sink or a tick."""
        self._stop = True

    def _asked_to_end(self) -> bool:
        """Ctrl-C, or a request to end, where we attached."""
        assert self._signals is not None
        return any(caught.signo != signal.SIGCHLD for caught in self._signals.read())

    def _last_reaps(self, backend: BackendProtocol, target: Target | None) -> None:
        """The kernel lets go of a task some 20 ms after its reap: CPU time is whole only then."""
        if not getattr(backend, "late", True):
            return
        now = time.monotonic()
        deadline, latest = now + _LAST_REAPS_S, now + 10 * _LAST_REAPS_S
        while self._tasks > 0 and not self.detached and now < min(deadline, latest):
            time.sleep(0.004)
            if target is not None and target.handle_signals() is Action.DETACH:
                return
            now = time.monotonic()
            if self._read():  # they are coming: after a storm, RCU has many to let go of
                deadline = now + _LAST_REAPS_S
            if backend.alive() not in (0, None):
                return

    def arm_failures(self, on: bool = True) -> bool:
        """Have failed forks told from now on, or not any more; whether the source can. `meta` says what it sees."""
        arm = getattr(self._backend, "arm_failures", None)
        if self._backend is None or arm is None or not arm(on):
            return False
        notes = (*self._backend.notes, *self._notes)
        self.meta = self.meta._replace(notes=notes, facts=self._backend.facts)
        return True

    def close(self) -> None:
        """Give everything back: probes, signals, a program that was not released. May be called twice."""
        if self._backend is not None:
            self._backend.close()
        if self._target is not None:
            if self._released:
                self._target.close()
            else:
                self._target.abandon()
            self._target = None
        if self._signals is not None:
            self._signals.close()
            self._signals = None
        if self._switch is not None:
            self._switch.off()
            self._switch = None
        own_limits.restore(self._limits)
        self._limits = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> int:
        """Give what has come to the sinks; how many rows."""
        assert self._backend is not None
        got = self._backend.read()
        for batch in got:
            self._give(batch)
        news: list[str] = getattr(self._backend, "news", [])
        while news:
            self._say(news.pop(0))
        return sum(map(len, got))

    def _drain(self) -> None:
        self._read()
        self.before_stop()

    def _give(self, batch: Batch) -> None:
        kinds = batch.kinds
        self._tasks += kinds.count(Kind.FORK) + kinds.count(Kind.EXISTING) - kinds.count(Kind.REAP)
        self._rows += len(kinds)
        for sink in self._sinks:
            sink(batch)

    def _end(self) -> Batch:
        cpu = os.times()
        return Batch.from_rows(
            [
                (
                    Kind.END,
                    {
                        "ts_ns": boot_clock.now_ns(),
                        "count": self._rows,
                        "utime_ns": int(cpu.user * 1e9),
                        "stime_ns": int(cpu.system * 1e9),
                    },
                )
            ]
        )


def _import(names: Sequence[str]) -> None:
    # numpy's linear algebra starts a thread for each processor when imported, and complains on stderr if it cannot.
    single = "OPENBLAS_NUM_THREADS" not in os.environ
    if single:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        for name in names:
            with suppress(Exception):  # whoever needs it will say so
                importlib.import_module(name)
    finally:
        if single:
            os.environ.pop("OPENBLAS_NUM_THREADS", None)


def living(batches: Any) -> list[str]:
    """Names of processes whose end has not been seen, as `comm (pid)`; for the line that says who is waited for."""
    from tracer.tree.tree import ProcessTree

    tree = ProcessTree()
    for batch in batches:
        tree.feed(batch)
    return [
        f"{tree.value(row, 'comm') or '?'} ({tree.value(row, 'pid')})"
        for row in range(len(tree))
        if not tree.ended(row) and tree.column("pid")[row] != NULL
    ]
