"""The program that is traced: forked first and held, released once attached, accompanied to its end.

    target = Target.hold(["make", "-j2"])    before any heavy import or thread: its figures must not be ours
    backend.attach(target.pid)
    target.release()
    while target.status is None: select(target.signal_fd, ...); action = target.handle_signals()
    target.close(); pass_on(target.status)

One process group with forktrace, no setpgid; never a subreaper (it would falsify getppid and adoption),
no_new_privs or PDEATHSIG (it must outlive us). The only place that starts it.
Knows nothing of how it is traced.
"""

from __future__ import annotations

import enum
import fcntl
import os
import select
import signal
import time
from contextlib import suppress

from tracer.capture.inheritance import environment, put, unset
from tracer.capture.launch import MESSAGE_SIZE, READY, Plan, child, failure
from tracer.capture.privileges import Identity, as_caller, caller_identity, open_output, user_identity
from tracer.capture.terminal import Caught, Signals, foreground, stop_until_continued, take_back_foreground
from tracer.errors import CannotStartError, ForktraceError, UsageError
from tracer.model.status import Status, pass_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Action", "Identity", "Status", "Target", "as_caller", "caller_identity", "open_output", "pass_on"]

_SAME_REQUEST_S = 0.02
"""timeout(1) sends SIGTERM to its child, then to the group: two signals within this time are one request."""


class Action(enum.Enum):
    """What the session has to do after `handle_signals`."""

    NONE = "none"
    ENDED = "ended"  # the program has ended: `status` is set
    DETACH = "detach"  # asked twice, or asked after the program's end: write what there is and leave


class Target:
    """A command, forked and held before its exec until `release`. One at a time; from the main thread.

    `status` is None until it ends. `on_stop` is called before we stop with it: drain there. `on_child` is
    called, with a pid and wait4's status word, for every other child of ours that was reaped: CLONE_PARENT
    children of the program, orphans given to us as pid 1, and helpers, so do not wait for those elsewhere.
    With `defer_reap` the program stays a zombie until `reap`. `last_request` is the last signal that asked us
    to end.
    """

    def __init__(self, plan: Plan, signals: Signals, pid: int, gate: int, report: int) -> None:
        self.pid = pid
        self.status: Status | None = None
        self.on_stop: Callable[[], None] | None = None
        self.on_child: Callable[[int, int], None] | None = None
        self.defer_reap = False
        self.last_request: int | None = None
        self._plan = plan
        self._signals = signals
        self._gate = gate
        self._report = report
        self._requests = 0
        self._requested_at = 0.0
        self._reaped = False
        self._announced = False
        self._detach = False
        self._had_terminal = foreground() == os.getpgrp()
        self.signal_fd = signals.open()
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:  # before Linux 5.3
            self.pidfd = -1

    @classmethod
    def hold(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        set_env: Sequence[str] = (),
        cwd: str | os.PathLike[str] | None = None,
        as_root: bool = False,
        user: str | None = None,
        pass_fds: Sequence[int] = (),
        through: Sequence[str] = (),
        limits: Mapping[int, tuple[int, int]] | None = None,
    ) -> Target:
        """Fork, and return when the child waits at the gate, with its privileges dropped and its file found.

        Under sudo it becomes the caller's unless `as_root`, or `user`'s if named. `env` replaces the
        environment as a whole; `set_env` has strace's -E words (NAME=value, or NAME to unset). The program is
        looked up in the PATH it will see. `through` is a tracer's command that argv is appended to; the tracer
        must exec the program in the process it was started as. `limits` are the program's, where ours were
        raised. Raises UsageError, NoPermissionError,
        CannotStartError (127 not found, else 126).
        """
        if not argv:
            raise UsageError("there is no program to run", "put it after `--`")
        if any("\0" in word for word in (*argv, *set_env)):
            raise UsageError("a word of the command has a NUL byte in it", "no program can be given one")
        if user is not None and as_root:
            raise UsageError("-u and --as-root exclude each other", "give one of them")
        identity = user_identity(user) if user is not None else None if as_root else caller_identity()
        plan = Plan(argv, _environment(env, set_env, identity), cwd, identity, pass_fds, through, limits)
        signals = Signals()
        # Above 0..2: were stderr closed, the gate would be descriptor 2, and a library's warning the release.
        gate_read, gate = map(_high, os.pipe())
        report, report_write = map(_high, os.pipe())
        try:
            pid = os.fork()
        except OSError as e:
            signals.close()
            for fd in (gate_read, gate, report, report_write):
                os.close(fd)
            raise CannotStartError(
                f"fork failed: {os.strerror(e.errno or 0).lower()}",
                "see `ulimit -u` and the cgroup's pids.max",
                not_found=False,
            ) from None
        if pid == 0:
            os.close(gate)  # else it would hold its own gate open after our death
            os.close(report)
            child(plan, gate_read, report_write, signals.restore_in_child)
        os.close(gate_read)
        os.close(report_write)
        target = cls(plan, signals, pid, gate, report)
        message = target._read_report(1)
        if message not in (READY, b""):
            target._fail(message + target._read_report(MESSAGE_SIZE - 1))
        return target

    def release(self) -> None:
        """Let it exec. Raises CannotStartError with the exec's error.

        Nothing is raised if it was killed while it was held (Ctrl-C): `handle_signals` will say that it ended.
        """
        with suppress(BrokenPipeError):
            os.write(self._gate, b"\x01")
        message = self._read_report(MESSAGE_SIZE)
        if message:
            self._fail(message)
        self._close_pipes()

    def abandon(self) -> None:
        """Never release it: it ends without exec and is reaped; signals are as before `hold`."""
        if not self._reaped:
            self.send(signal.SIGKILL)  # not by end of file: it may be stopped
            self.reap(wait=True)
        self.close()

    def handle_signals(self) -> Action:
        """When `signal_fd` is readable: job control, forwarding, reaping. May stop us for a while."""
        for caught in self._signals.read():
            if caught.signo != signal.SIGCHLD and self._detach_on(caught):
                self._detach = True
        self._wait_for_children()
        if self._detach:
            self._detach = False
            return Action.DETACH
        if self.status is not None and not self._announced:
            self._announced = True
            return Action.ENDED
        return Action.NONE

    def reap(self, *, wait: bool = False) -> Status:
        """Reap it, once it has ended (or, with `wait`, when it does). `status` then has its rusage."""
        if not self._reaped:
            pid, raw, rusage = os.wait4(self.pid, 0 if wait or self.status is not None else os.WNOHANG)
            if pid == 0:
                raise RuntimeError("the program is still running")
            self._ended(Status.from_wait(raw, rusage), reaped=True)
            self._wait_for_children()
        assert self.status is not None
        return self.status

    def send(self, signo: int) -> None:
        """Send it a signal; nothing happens if it has ended or is not ours to signal (a set-uid program)."""
        if not self._reaped:  # until then the pid can not be another's
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signo)

    def restore_signals(self) -> None:
        """For the preexec of helpers (strace): they would inherit our blocked and ignored signals."""
        self._signals.restore_in_child()

    def close(self) -> None:
        """Give the signals back and close our descriptors. A program that still runs goes on."""
        self._close_pipes()
        self._signals.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _read_report(self, size: int) -> bytes:
        """Up to `size` bytes of the child's report, minding its stops meanwhile; fewer at the end of file."""
        message = b""
        either, report = select.poll(), select.poll()  # not select(): whoever starts us may have 1024 files open
        either.register(self._report, select.POLLIN)
        either.register(self.signal_fd, select.POLLIN)
        report.register(self._report, select.POLLIN)
        while len(message) < size:
            either.poll()
            # An end closes the pipe before it sends SIGCHLD: look at the pipe first, then what is left is a stop or
            # a request, and the end stays in signal_fd for the session to see.
            if not report.poll(0):
                self._detach |= self.handle_signals() is Action.DETACH
                continue
            data = os.read(self._report, size - len(message))
            if not data:
                break
            message += data
        return message

    def _fail(self, message: bytes) -> None:
        error: ForktraceError = failure(self._plan, message, under_sudo="SUDO_UID" in os.environ)
        self.reap(wait=True)
        self.close()
        raise error

    def _detach_on(self, caught: Caught) -> bool:
        """Pass a request to end on to the program; True if it is for us to leave instead."""
        if self.status is not None:
            self.last_request = caught.signo
            return True
        if caught.reached_group(self.pid):
            return False
        self.last_request = caught.signo
        now = time.monotonic()
        if self._requests and now - self._requested_at < _SAME_REQUEST_S:
            return False
        self._requests, self._requested_at = self._requests + 1, now
        if self._requests > 1:
            return True
        self.send(caught.signo)
        return False

    def _wait_for_children(self) -> None:
        """Reap whoever has ended: ANY child, not one pid. Stop when the program has stopped."""
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if seen is None:
                return
            ended = seen.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)
            if seen.si_pid == self.pid and ended and self.defer_reap:
                code = seen.si_status if seen.si_code == os.CLD_EXITED else None
                number = seen.si_status if code is None else None
                self._ended(Status(code, number, seen.si_code == os.CLD_DUMPED), reaped=False)
                return  # it stays first in line, so the others wait for `reap`
            pid, raw, rusage = os.wait4(seen.si_pid, os.WNOHANG | os.WUNTRACED)
            if pid == self.pid and ended:
                self._ended(Status.from_wait(raw, rusage), reaped=True)
            elif pid == self.pid and os.WIFSTOPPED(raw):
                if self.on_stop is not None:
                    self.on_stop()
                stop_until_continued(self.pid)
            elif pid and ended and self.on_child is not None:
                self.on_child(pid, raw)

    def _ended(self, status: Status, *, reaped: bool) -> None:
        if self.status is None and self._had_terminal:
            take_back_foreground(self.pid)
        self.status = status
        self._reaped = reaped
        self._signals.allow_stop()

    def _close_pipes(self) -> None:
        for fd in (self._gate, self._report):
            if fd >= 0:
                os.close(fd)
        self._gate = self._report = -1


def _environment(env: Mapping[str, str] | None, set_env: Sequence[str], identity: Identity | None) -> list[bytes]:
    if env is not None:
        result = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()]
    else:
        result = environment() if identity is None else identity.environment(environment())
    for word in set_env:
        name, equals, value = os.fsencode(word).partition(b"=")
        if not name:
            raise UsageError(f"-E {word!r} names no variable", "write NAME=value, or NAME to unset it")
        if equals:
            put(result, name, value)
        else:
            unset(result, name)
    return result


def _high(fd: int) -> int:
    """The same descriptor above the standard streams, closed on exec."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)
