"""Signals and the terminal, as forktrace must handle them while a program of the user's runs.

    Signals       blocks what concerns us, ignores what the terminal sends to all, and makes the rest readable
    Caught        one signal, and who sent it
    foreground()  the terminal's foreground process group
    stop_until_continued()   stop with the program, so that the shell sees one job

forktrace and the program share one process group: own groups make Ctrl-Z hang, and so does ignoring SIGTSTP
without looking at the program's stops. Knows nothing of how the program is started, or of what is traced.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from contextlib import suppress

from tracer.capture.inheritance import IGNORED_BY_PYTHON, ignored
from tracer.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Disposition = Callable[[int, object], None] | signal.Handlers

WATCHED = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
"""Blocked, and read from the descriptor. SIGINT and SIGQUIT too: a Ctrl-C never ends us while the program
lives, but a `kill -INT` of us alone is a request."""

IGNORED = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""A stop of ours always goes through the program's stop (drain first), never straight from the terminal."""

_SI_KERNEL = 0x80
_SIGINFO = struct.Struct("=IiiI112x")  # struct signalfd_siginfo: ssi_signo ssi_errno ssi_code ssi_pid

# Runs while we are stopped, given our pid, the program's, and SIGCONT; it ends with the pipe on its stdin. A
# program that someone else continues (its own child, say) must not run on with its tracer asleep.
_WATCHER = """
import os, select, sys
us, program, sigcont = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
while not select.select([0], [], [], 0.05)[0]:
    try:
        state = open(f"/proc/{program}/stat", "rb").read().rpartition(b")")[2].split()[0]
    except OSError:
        state = b"X"
    if state not in (b"T", b"t"):
        os.kill(us, sigcont)
"""


class Caught:
    """A signal that came: `signo`, `code` (SI_USER 0, SI_KERNEL 0x80...), and `sender`, a pid or 0."""

    __slots__ = ("code", "sender", "signo")

    def __init__(self, signo: int, code: int, sender: int) -> None:
        self.signo = signo
        self.code = code
        self.sender = sender

    def reached_group(self, root: int) -> bool:
        """Whether the whole process group was meant, so that process `root` has the signal already.

        The kernel sends Ctrl-C and the like to the foreground group; a hang-up goes to the session's leader
        alone. A process of `root`'s own tree, in our group, means `kill 0`. siginfo does not tell `kill PID`
        from `kill -PGID`, so any other sender (the script that started us, say) is taken to mean us alone: a
        request that comes twice is better than one that is lost.
        """
        if self.code == _SI_KERNEL:
            return self.signo != signal.SIGHUP or os.getsid(0) != os.getpid()
        try:
            if self.sender == 0 or os.getpgid(self.sender) != os.getpgrp():
                return False
        except OSError:  # it has ended
            return False
        return any(pid == root for pid in _ancestry(self.sender))


class Signals:
    """Our dispositions and mask from the moment it is made until `close`. Make it before the fork.

    Raises UsageError outside the main thread: only there does Python let dispositions be set.
    """

    def __init__(self) -> None:
        # All blocked until the fork is over: no handler of the host program may run in the child.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._ignored = ignored()
        self._was: dict[signal.Signals, object] = {}
        self._fd = -1
        self._strays: list[Caught] = []
        try:
            self._set({**dict.fromkeys(WATCHED, self._stray), **dict.fromkeys(IGNORED, signal.SIG_IGN)})
            # It may have been ignored by whoever started us; then every child would be reaped unseen.
            self._set({signal.SIGCHLD: signal.SIG_DFL})
        except ValueError:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            raise UsageError(
                "a program can be started from the main thread only", "call it there, or trace by pid"
            ) from None

    def _set(self, wanted: Mapping[signal.Signals, Disposition]) -> None:
        for signo, disposition in wanted.items():
            was = signal.signal(signo, disposition)
            self._was.setdefault(signo, was)

    def _stray(self, signo: int, frame: object) -> None:
        """A thread of the host program took what only the main thread blocks (numpy starts some): by default we died.

        Who sent it is not told. From the terminal the program has it already.
        """
        typed = signo in (signal.SIGINT, signal.SIGQUIT) and foreground() == os.getpgrp()
        self._strays.append(Caught(signo, _SI_KERNEL if typed else 0, 0))

    def restore_in_child(self) -> None:
        """Between fork and exec: dispositions and mask as our own caller gave them to us."""
        for signo in signal.valid_signals():
            # A Python handler would run Python code in the held child; the exec resets it anyway.
            if callable(signal.getsignal(signo)) or (signo in IGNORED_BY_PYTHON and signo not in self._ignored):
                with suppress(OSError, ValueError):
                    signal.signal(signo, signal.SIG_DFL)
        for signo, was in self._was.items():
            signal.signal(signo, signal.SIG_IGN if was == signal.SIG_IGN else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def open(self) -> int:
        """In the parent, after the fork: let all others through and return the readable descriptor."""
        import ctypes

        bits = sum(1 << (signo - 1) for signo in WATCHED)
        sigset = bits.to_bytes(8, sys.byteorder) + bytes(120)  # sigset_t is 128 bytes in glibc and in musl
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.signalfd(-1, sigset, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "signalfd")
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask | WATCHED)
        return self._fd

    def read(self) -> list[Caught]:
        """What came since the last time; never waits."""
        caught, self._strays = self._strays, []
        while True:
            try:
                data = os.read(self._fd, 16 * _SIGINFO.size)
            except BlockingIOError:
                return caught
            caught += [Caught(signo, code, pid) for signo, _, code, pid in _SIGINFO.iter_unpack(data)]

    def allow_stop(self) -> None:
        """The program has ended: Ctrl-Z is ours again."""
        self._put_back(IGNORED - {signal.SIGTTOU})

    def close(self) -> None:
        """Everything as before. What came meanwhile and was not read is dropped."""
        if self._fd >= 0:
            self.read()
            os.close(self._fd)
            self._fd = -1
        self._put_back(WATCHED | IGNORED)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _put_back(self, which: frozenset[signal.Signals]) -> None:
        for signo in which:
            was = self._was.get(signo)
            if callable(was) or isinstance(was, signal.Handlers):  # None: set by C code that we can not name
                signal.signal(signo, was)


def foreground() -> int | None:
    """The foreground process group of our terminal; None without one, 0 for one in another pid namespace."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return os.tcgetpgrp(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def take_back_foreground(root: int) -> bool:
    """Make our group the foreground one if process `root` took the terminal and left it behind.

    Not when another living group has it: after Ctrl-Z and `bg` that is the shell, and the terminal is not
    ours. SIGTTOU must be ignored.
    """
    group = foreground()
    if not group or group == os.getpgrp() or (group != root and _group_lives(group)):
        return False
    with suppress(OSError):
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            os.tcsetpgrp(fd, os.getpgrp())
        finally:
            os.close(fd)
        return True
    return False


def stop_until_continued(root: int) -> None:
    """Stop ourselves, as process `root` has; when somebody continues us, continue it too.

    Returns when we run again. `root` is left alone if the shell has continued the whole group.
    """
    watcher, pipe = _start_watcher(root)
    # Not kill(getpid()): directed at this thread, the stop is complete before the next line runs.
    signal.raise_signal(signal.SIGSTOP)
    if watcher:
        os.close(pipe)
        with suppress(ProcessLookupError):
            os.kill(watcher, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(watcher, 0)
    if is_stopped(root):
        os.kill(root, signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped now (a tracer's stop included)."""
    return _stat(pid)[:1] in ([b"T"], [b"t"])


def _start_watcher(root: int) -> tuple[int, int]:
    """(its pid or 0, our end of its stdin). Spawned, not forked: by now there may be threads."""
    if not sys.executable:
        return 0, -1
    theirs, ours = os.pipe()
    numbers = (os.getpid(), root, int(signal.SIGCONT))
    command = [sys.executable, "-I", "-S", "-c", _WATCHER, *map(str, numbers)]
    try:
        stdin = [(os.POSIX_SPAWN_DUP2, theirs, 0)]
        return os.posix_spawn(sys.executable, command, {}, file_actions=stdin), ours
    except OSError:
        os.close(ours)
        return 0, -1
    finally:
        os.close(theirs)


def _ancestry(pid: int) -> Iterator[int]:
    """`pid`, its parent, and so on; ends at pid 1, or where /proc can not tell."""
    for _ in range(1000):
        yield pid
        fields = _stat(pid)
        if len(fields) < 2 or int(fields[1]) <= 1:
            return
        pid = int(fields[1])


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the name: state, ppid, ...; empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as f:  # noqa: PTH123
            return f.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
