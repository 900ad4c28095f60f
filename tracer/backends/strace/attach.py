"""strace -p on a living tree: found, attached to, looked over again until nobody was missed.

strace follows what its processes make from then on, and knows nobody that was there before: all that lives below is
named to it. Who was made meanwhile by one that it had not reached yet is not traced: then strace leaves, and is
started anew with the longer list. Here strace is a child of ours, without seccomp, and ends when we do, however we do.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from tracer.backends.strace.log import Log
from tracer.errors import NoInputError, NoPermissionError, ProbesRefusedError
from tracer.host import procfs

_ATTACHED_S: Final = 10.0
_LEAVES_S: Final = 2.0
_TRIES: Final = 5
_PR_SET_PDEATHSIG: Final = 1


class Helper:
    """strace as a child of ours, in a session of its own; what it says is kept in a file.

    `keep`: a descriptor that its words name as /dev/fd/N.
    """

    def __init__(self, command: Sequence[str], keep: int) -> None:
        self._log = Log()
        self._said: list[str] = []
        errors = self._log.take()
        self.pid = os.fork()
        if self.pid == 0:
            self._exec(command, keep, errors)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # before Linux 5.3
            self._pidfd = -1
        self._ended = False

    def _exec(self, command: Sequence[str], keep: int, errors: int) -> NoReturn:
        try:
            import ctypes

            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for signo in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(signo, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            null = os.open(os.devnull, os.O_RDWR)
            for fd, source in ((0, null), (1, null), (2, errors)):
                os.dup2(source, fd)
            os.set_inheritable(keep, True)
            os.execv(command[0], list(command))  # noqa: S606
        finally:
            os._exit(127)

    def ended(self, seconds: float = 0) -> bool:
        """Whether it has ended, or does within that time."""
        end = time.monotonic() + seconds
        while not self._ended:
            if self._pidfd >= 0:
                select.select([self._pidfd], [], [], max(0, end - time.monotonic()))
            try:
                self._ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:  # somebody else here waits for any child
                self._ended = True
            if time.monotonic() >= end:
                break
            if self._pidfd < 0 and not self._ended:
                time.sleep(0.005)
        return self._ended

    def leave(self) -> bool:
        """End it: the kernel then lets all that it traced go on as they are. Whether it has ended.

        Not by SIGTERM: it would detach in order, and before strace 6.7 wait for ever for a process that is held in
        vfork, whose child it had stopped: both would hang.
        """
        if not self.ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return self.ended(_LEAVES_S)

    def said(self) -> str:
        """What it has said so far, without its notices."""
        lines = (line.decode("utf-8", "replace") for line in self._log.lines())
        self._said += (line for line in lines if "attached" not in line and "detached" not in line)
        return "; ".join(self._said)

    def close(self) -> None:
        """Make it leave, and forget it."""
        self.leave()
        self._log.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def tree(pids: Sequence[int]) -> dict[int, procfs.Process]:
    """The processes of `pids` and all below them, parents first. Without kernel threads, zombies, and ourselves."""
    everyone = {p.pid: p for p in procfs.snapshot() if not p.kernel_thread and p.state not in "ZX"}
    everyone.pop(os.getpid(), None)
    below: dict[int, list[int]] = {}
    for process in everyone.values():
        below.setdefault(process.ppid, []).append(process.pid)
    found: dict[int, procfs.Process] = {}
    todo = [pid for pid in pids if pid in everyone]
    while todo:
        pid = todo.pop(0)
        if pid not in found:
            found[pid] = everyone[pid]
            todo += below.get(pid, ())
    return found


def tasks(pid: int) -> list[int]:
    """Its threads' tids; [] when it has gone."""
    with suppress(OSError):
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    return []


def tracer_of(pid: int, tid: int | None = None) -> int | None:
    """Who traces the task: 0 nobody; None when it has gone, or is a zombie."""
    path = Path(f"/proc/{pid}/status") if tid is None else Path(f"/proc/{pid}/task/{tid}/status")
    try:
        words = dict(line.split(":\t", 1) for line in path.read_text("utf-8", "replace").splitlines() if ":\t" in line)
    except OSError:
        return None
    return None if words.get("State", "Z")[0] in "ZX" else int(words.get("TracerPid", "0"))


class Tree(NamedTuple):
    """Who is traced by `helper`, parents first, and the pids that it could not have."""

    helper: Helper
    processes: dict[int, procfs.Process]
    missed: list[int]


def follow(command: Callable[[list[int]], tuple[list[str], int]], pids: Sequence[int]) -> Tree:
    """Attach to `pids` and all below them. `command` is called for each try: strace's words, what it is to keep.

    Raises NoInputError, NoPermissionError or ProbesRefusedError if one of `pids` can not be had.
    """
    for tries in range(_TRIES):
        wanted = tree(pids)
        helper = Helper(*command(list(wanted)))
        try:
            left = settle(helper, list(wanted))
            for pid in pids:
                if pid in left or pid not in wanted:
                    raise refused(pid, helper.said())
            missed = [pid for pid in tree(pids) if pid not in wanted and not tracer_of(pid)]
        except BaseException:
            helper.close()
            raise
        if not missed or tries == _TRIES - 1:
            break
        helper.close()
    return Tree(helper, {pid: p for pid, p in wanted.items() if pid not in left}, left + missed)


def settle(helper: Helper, wanted: Sequence[int]) -> list[int]:
    """Wait until all tasks of `wanted` are traced by `helper`; those pids that are not, when it can be told."""
    end = time.monotonic() + _ATTACHED_S
    while True:
        over = helper.ended() or time.monotonic() > end
        left = [pid for pid in wanted if any(tracer_of(pid, tid) not in (helper.pid, None) for tid in tasks(pid))]
        said = helper.said()
        if over or all(f", {pid})" in said for pid in left):  # as in: attach: ptrace(PTRACE_SEIZE, 12): Operation ...
            return left
        time.sleep(0.002)


def refused(pid: int, said: str) -> NoInputError | NoPermissionError | ProbesRefusedError:
    """Why strace could not attach to a process that was named."""
    state = procfs.read(pid)
    if state is None or state.state in "ZX":
        return NoInputError(f"there is no process {pid} to attach to", "see `ps -e`")
    leader = _leader(pid)
    if leader != pid:
        return NoInputError(f"{pid} is a thread of process {leader}", f"use -p {leader}")
    if pid == os.getpid():
        return NoInputError("forktrace can not trace itself by strace", "name another process")
    if state.kernel_thread:
        return NoInputError(f"{pid} is a kernel thread: nobody can trace it", "name a program's process")
    other = tracer_of(pid)
    if other:
        return NoPermissionError(f"process {pid} is traced already, by process {other}", "end that tracer first")
    if "not permitted" in said:
        scope = ""
        with suppress(OSError):
            scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text("ascii").strip()
        why = f" (kernel.yama.ptrace_scope = {scope})" if scope not in ("", "0") else ""
        return NoPermissionError(f"process {pid} may not be traced{why}", "run forktrace with sudo")
    return ProbesRefusedError(f"strace could not attach to process {pid}: {said or 'it does not say why'}")


def _leader(tid: int) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{tid}/status").read_text("utf-8", "replace").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Tgid:")))
    return tid
