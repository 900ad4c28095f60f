"""What the netlink backend asks /proc: the words of an exec just made, who lives, and which task is no thread.

Every answer is a snapshot: true of the moment it was read, None when the moment had passed. A process is read through
one descriptor of its directory, so its parts belong to one life of the pid. Knows no events.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tracer.backends import wire
from tracer.errors import NoInputError
from tracer.host import boot_clock, procfs

_PF_IO_WORKER, _PF_USER_WORKER = 0x10, 0x4000  # include/linux/sched.h
_PATH_MAX: Final = 4096
_CHUNK: Final = 65536
TICK_NS: Final = procfs.NS_PER_TICK
TICKS_APART: Final = 2
"""The fork is told a moment after the child's start time was taken, so the two may lie in neighbouring ticks."""


class Image(NamedTuple):
    """What a process runs, in the order of an EXEC row's columns. None: could not be read."""

    exe: str | None  # as it was given to execve
    argv: list[str] | None
    interpreter: str | None
    cwd: str | None
    env: list[str] | None
    comm: str | None


class Living(NamedTuple):
    """A process that is there, as its stat line has it."""

    ppid: int
    start_ticks: int
    zombie: bool
    threads: int
    kernel_thread: bool

    @property
    def ended(self) -> bool:
        """A zombie of which no thread lives."""
        return self.zombie and self.threads <= 1

    @property
    def born_ns(self) -> int:
        """Birth, CLOCK_BOOTTIME ns, rounded down to a clock tick."""
        return self.start_ticks * TICK_NS - boot_clock.offset_ns()


class Looks:
    """What the family asks (its Ask). `argv_max`: bytes to keep; `env_names`: variables to keep."""

    def __init__(self, argv_max: int, env_names: Collection[str]) -> None:
        self._argv_max = argv_max
        self._env_names = env_names

    def image(self, pid: int, born_ns: int) -> Image | None:
        """What the process runs now."""
        return image(pid, born_ns, self._argv_max, self._env_names)

    def is_worker(self, tgid: int, tid: int) -> bool | None:
        """Whether a task is a helper of the kernel's; None when it is gone."""
        return is_worker(tgid, tid)

    def now(self) -> int:
        """On the connector's clock."""
        return boot_clock.monotonic_ns()


def living(pid: int) -> Living | None:
    """One process, None if it is not there."""
    line = _read(f"/proc/{pid}/stat")
    stat = None if line is None else procfs.parse_stat(line)
    if stat is None:
        return None
    kernel_thread = bool(stat.flags & procfs.PF_KTHREAD)
    return Living(stat.ppid, stat.start_ticks, stat.state in "ZXx", stat.threads, kernel_thread)


def everyone() -> dict[int, Living]:
    """All processes that are there, by pid; 15 us each."""
    return {pid: found for pid in procfs.pids() if (found := living(pid)) is not None}


def below(roots: Collection[int], seen: Mapping[int, Living]) -> list[int]:
    """Pids of `seen` that descend from one of `roots`, parents first, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for pid, found in seen.items():
        children.setdefault(found.ppid, []).append(pid)
    result: list[int] = []
    todo = list(roots)
    for pid in todo:
        more = [child for child in children.get(pid, ()) if child not in roots]
        result += more
        todo += more
    return result


def tids(pid: int) -> set[int]:
    """Its tasks; empty if it is not there."""
    try:
        return {int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()}
    except OSError:
        return set()


def is_worker(tgid: int, tid: int) -> bool | None:
    """Whether a task is the kernel's own helper (io_uring, vhost) and no thread of the program; None if it is gone."""
    line = _read(f"/proc/{tgid}/task/{tid}/stat")
    stat = None if line is None else procfs.parse_stat(line)
    return None if stat is None else bool(stat.flags & (_PF_IO_WORKER | _PF_USER_WORKER))


def same_life(start_ticks: int, born_ns: int) -> bool:
    """Whether a start time of /proc and a birth told by an event are of one process."""
    return abs(start_ticks - procfs.ticks(born_ns)) <= TICKS_APART


def image(pid: int, born_ns: int, argv_max: int, env_names: Collection[str] = ()) -> Image | None:
    """What the process born at `born_ns` runs now; None if it is gone. Some 30 us.

    The path given to execve and the words lie side by side at the top of the stack: the kernel says where
    (arg_start to env_end in /proc/PID/stat), and the path begins at env_end. Where it may not say, /proc/PID/cmdline
    has argv, and /proc/PID/exe the file.
    """
    try:
        folder = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        line = _read("stat", folder)
        stat = None if line is None else procfs.parse_stat(line)
        if line is None or stat is None or not same_life(stat.start_ticks, born_ns) or stat.state in "ZXx":
            return None
        numbers = line[line.rindex(b")") + 2 :].split()
        arg_start, arg_end, env_start, env_end = (int(n) for n in numbers[45:49]) if len(numbers) > 48 else (0,) * 4
        exe = argv = env = None
        memory = _open("mem", folder) if env_end else None
        if memory is not None:
            try:
                exe = _string(_at(memory, env_end, _PATH_MAX))
                raw = _at(memory, arg_start, min(arg_end - arg_start, argv_max))
                argv = None if raw is None else wire.split_words(raw, arg_end - arg_start)
                if env_names:
                    env = _environment(_at(memory, env_start, env_end - env_start), env_names)
            finally:
                os.close(memory)
        link = _link("exe", folder)
        if argv is None:
            command = _read("cmdline", folder)  # empty once the address space is gone
            argv = wire.split_words(command[:argv_max], len(command)) if command else None
        if exe is None:
            exe = link
        interpreter = None
        if argv and exe in argv[1:3] and exe != link:  # a script: #!, perhaps one argument, and its own path
            interpreter = _interpreter(folder, exe, argv[0])
        return Image(exe, argv, interpreter, _link("cwd", folder), env, stat.comm)
    finally:
        os.close(folder)


def _interpreter(folder: int, exe: str, first: str) -> str | None:
    """What a #! line named: the kernel puts it in the place of argv[0], and it is what runs, not `exe`."""
    running = _identity("exe", folder)
    if running is None or _identity(_inside(exe), folder) in (running, None):
        return None
    return first if _identity(_inside(first), folder) == running else None


def _inside(path: str) -> str:
    """A path as the process sees it, below its directory in /proc."""
    return f"root{path}" if path.startswith("/") else f"cwd/{path}"


def _identity(name: str, folder: int) -> tuple[int, int] | None:
    try:
        found = os.stat(name, dir_fd=folder)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _environment(raw: bytes | None, names: Collection[str]) -> list[str] | None:
    if raw is None:
        return None
    return [word for word in wire.split_words(raw, len(raw)) if word.partition("=")[0] in names]


def _string(raw: bytes | None) -> str | None:
    text = (raw or b"").split(b"\0", 1)[0]
    return text.decode("utf-8", "surrogateescape") or None


def _at(memory: int, address: int, size: int) -> bytes | None:
    """`size` bytes of a process' memory, fewer where it ends; None if it may not be read, or is gone."""
    if size <= 0:
        return b""
    try:
        return os.pread(memory, size, address) or None  # nothing, without an error, when the address space is gone
    except (OSError, OverflowError):
        return None


def _open(name: str, folder: int | None = None) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None


def _read(name: str, folder: int | None = None) -> bytes | None:
    fd = _open(name, folder)
    if fd is None:
        return None
    try:
        raw = part = os.read(fd, _CHUNK)
        while len(part) == _CHUNK:
            part = os.read(fd, _CHUNK)
            raw += part
        return raw
    except OSError:  # it has ended meanwhile
        return None
    finally:
        os.close(fd)


def _link(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def no_process(pid: int) -> NoInputError:
    """Why `-p pid` can not be."""
    status = _read(f"/proc/{pid}/status") or b""
    leader = next((line.split()[1].decode() for line in status.splitlines() if line.startswith(b"Tgid:")), None)
    if leader is not None and leader != str(pid):
        return NoInputError(f"{pid} is a thread of process {leader}", f"use -p {leader}")
    return NoInputError(f"there is no process {pid} to attach to", "see `ps -e`")
