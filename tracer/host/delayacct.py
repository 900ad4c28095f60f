"""kernel.task_delayacct: on for as long as somebody traces, and back to what it was, whatever becomes of us.

    switch = Switch.on()      before the program is forked: a task that is older has no record of delays for life
    ...
    switch.off()              the last of all users puts the old value back

No handler survives kill -9, so a watchdog, a process in a session of its own, waits for the end of a pipe and does it.
Several users share the switch: each watchdog holds a shared lock on one file, so that dead users do not count. What
to put back stands in a file as well; where the watchdog is killed too, that file stays, and `left_behind` tells.

    /run/forktrace/delayacct.before    the old value, while the switch is ours
    /run/forktrace/delayacct.users     locked, shared, by each watchdog
    /run/forktrace/delayacct.lock      locked, alone, by whoever changes any of this

Knows nothing of what is counted.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tracer.errors import ForktraceError, NoPermissionError, ProbesRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SYSCTL = Path("/proc/sys/kernel/task_delayacct")
RUN = Path("/run/forktrace")
# -I: root's interpreter takes nothing from the current folder, PYTHONPATH or a home. Our folder comes last, so that no
# file beside the package stands for a module of Python's own. -B: what root compiles must not lie among a user's files.
_WATCH = "import sys; sys.path.append(sys.argv[1]); from tracer.host.delayacct import watch; watch(*sys.argv[2:])"
_OFF_S = 2.0


class Switch:
    """One user of the switch. `off` may be called twice; dying does as well."""

    def __init__(self, pid: int | None = None, pipe: int = -1) -> None:
        self._pid = pid
        self._pipe = pipe

    @classmethod
    def on(cls, sysctl: Path = SYSCTL, run: Path = RUN) -> Switch:
        """Switch it on, or join those who have. Where it was on before all of us, nothing is to be done.

        Raises NoPermissionError, and ProbesRefusedError for a kernel without the switch.
        """
        now = _read(sysctl)
        if now is None:
            raise ProbesRefusedError(
                "this kernel has no switch kernel.task_delayacct, so it can not count copies for us",
                "use a kernel of Linux 5.14 or newer built with CONFIG_TASK_DELAY_ACCT=y",
            )
        try:
            run.mkdir(mode=0o700, exist_ok=True)
            with _alone(run):
                if now == "1" and _read(_before(run)) is None:
                    return cls()
                users = _open(run, "users")
                try:
                    if _read(_before(run)) is None:
                        _before(run).write_text(now + "\n", "ascii")
                    sysctl.write_text("1\n", "ascii")
                    fcntl.flock(users, fcntl.LOCK_SH)
                    return cls._watched(users, sysctl, run)
                except BaseException:
                    os.close(users)
                    _restore_if_last(sysctl, run)
                    raise
        except OSError as e:
            raise _refused(e) from None

    @classmethod
    def _watched(cls, users: int, sysctl: Path, run: Path) -> Switch:
        """Start the watchdog; the lock goes over to it, and our end of the pipe is ours alone."""
        reading, writing = map(_high, os.pipe())
        moves = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, users, 1)]
        nothing = (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)
        command = [sys.executable, "-I", "-S", "-B", "-c", _WATCH, str(Path(__file__).resolve().parents[2])]
        try:
            pid = os.posix_spawn(
                command[0],
                [*command, str(sysctl), str(run)],
                {},
                file_actions=[*moves, nothing],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGQUIT],
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        os.close(users)
        return cls(pid, writing)

    def off(self) -> None:
        """Leave, and wait until the watchdog has seen it."""
        if self._pid is None:
            return
        os.close(self._pipe)
        pid, self._pid = self._pid, None
        end = time.monotonic() + _OFF_S
        with suppress(ChildProcessError):  # somebody has waited for all our children
            while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < end:
                time.sleep(0.002)


def watch(sysctl: str, run: str) -> None:
    """The watchdog's life. 0 is the pipe to its end, 1 the file of users, locked."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    while os.read(0, 1):
        pass
    with _alone(Path(run)):
        os.close(1)  # no user any more
        _restore_if_last(Path(sysctl), Path(run))


def left_behind(sysctl: Path = SYSCTL, run: Path = RUN) -> str | None:
    """The value to put back, where the switch was left on and nobody is there to do it; else None."""
    before = _read(_before(run))
    if before is None or _read(sysctl) == before:
        return None
    try:
        users = _open(run, "users")
    except OSError:
        return None  # not ours to know
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    finally:
        os.close(users)
    return before


def put_back(sysctl: Path = SYSCTL, run: Path = RUN) -> bool:
    """Put back what was left behind. False if nothing was. Raises NoPermissionError."""
    if left_behind(sysctl, run) is None:
        return False
    try:
        with _alone(run):
            _restore_if_last(sysctl, run)
    except OSError as e:
        raise _refused(e) from None
    return True


def _restore_if_last(sysctl: Path, run: Path) -> None:
    """With the lock held: the old value, unless somebody uses the switch."""
    users = _open(run, "users")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = _read(_before(run))
        if before is not None:
            if _read(sysctl) == "1":  # else somebody has decided otherwise meanwhile
                sysctl.write_text(before + "\n", "ascii")
            _before(run).unlink()
    except BlockingIOError:
        pass
    finally:
        os.close(users)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    lock = _open(run, "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _before(run: Path) -> Path:
    return run / "delayacct.before"


def _open(run: Path, what: str) -> int:
    return _high(os.open(run / f"delayacct.{what}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def _high(fd: int) -> int:
    """The same descriptor above the standard streams, which may be closed: they are what the watchdog gets."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _refused(error: OSError) -> ForktraceError:
    if isinstance(error, PermissionError) or os.geteuid():
        return NoPermissionError("kernel.task_delayacct is root's to switch", "run forktrace as root")
    why = f"{error.filename or 'fork'}: {os.strerror(error.errno or 0).lower()}"
    return ProbesRefusedError(f"kernel.task_delayacct could not be switched: {why}", "trace without --delayacct")
