"""/proc as it is now: the processes that are there, and the facts of this boot.

For what lived before a trace began, and for sources that have nothing better. Whatever is read here is a
snapshot and may be late: never a truth about the past. A process is read through one descriptor of its
directory, so all of its parts belong to one life of the pid. What could not be read is None. Refuses to
know: events, cgroup names.

Births: /proc gives start_boottime rounded down to clock ticks (10 ms); `ticks(born_ns)` rounds an exact one
likewise, so that the two can be compared. A time namespace shifts what /proc shows, and not births here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tracer.host import boot_clock

PROC: Final = Path("/proc")
NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PF_KTHREAD: Final = 0x00200000  # include/linux/sched.h
INITIAL_PID_NS: Final = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/uapi/linux/nsfs.h: the same on every host


class Process(NamedTuple):
    """One process. None: could not be read, or there is none (argv of a kernel thread or a zombie)."""

    pid: int
    ppid: int
    pgid: int | None  # None: its leader has no number here (outside of the namespace, or the kernel itself)
    sid: int | None
    state: str  # R S D Z T t X I
    comm: str
    start_ticks: int  # since boot
    threads: int
    kernel_thread: bool
    min_flt: int
    maj_flt: int
    rss_bytes: int
    exe: str | None
    argv: list[str] | None
    cwd: str | None
    uid: int | None  # real
    ns_pids: list[int] | None  # from the namespace of this /proc inwards
    cgroup: str | None

    @property
    def born_ns(self) -> int:
        """Birth, CLOCK_BOOTTIME ns, rounded down to a clock tick."""
        return self.start_ticks * NS_PER_TICK - boot_clock.offset_ns()


def ticks(born_ns: int) -> int:
    """The start time that /proc shows for a process born at `born_ns` (CLOCK_BOOTTIME)."""
    return (born_ns + boot_clock.offset_ns()) // NS_PER_TICK


def pids(proc: Path = PROC) -> list[int]:
    """Pids of the processes that are there, ascending; [] where there is no /proc."""
    try:
        return sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())
    except OSError:
        return []


def snapshot(proc: Path = PROC) -> Iterator[Process]:
    """Every process that is there, by ascending pid, without those that end meanwhile. 0.1 ms each."""
    for pid in pids(proc):
        process = read(pid, proc)
        if process is not None:
            yield process


def read(pid: int, proc: Path = PROC) -> Process | None:
    """One process, or None if it is not there (any more)."""
    try:
        folder = os.open(proc / str(pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        line = _file(folder, "stat")
        stat = None if line is None else parse_stat(line)
        if stat is None:
            return None
        kernel_thread = bool(stat.flags & PF_KTHREAD)
        status = _file(folder, "status") or b""
        command = None if kernel_thread else _file(folder, "cmdline")
        groups = _file(folder, "cgroup")
        return Process(
            pid=pid,
            ppid=stat.ppid,
            pgid=stat.pgid or None,
            sid=stat.sid or None,
            state=stat.state,
            comm=stat.comm,
            start_ticks=stat.start_ticks,
            threads=stat.threads,
            kernel_thread=kernel_thread,
            min_flt=stat.min_flt,
            maj_flt=stat.maj_flt,
            rss_bytes=stat.rss_pages * _PAGE,
            exe=_link(folder, "exe"),
            argv=split_arguments(command) if command else None,
            cwd=_link(folder, "cwd"),
            uid=next(iter(_numbers(status, b"Uid")), None),
            ns_pids=_numbers(status, b"NSpid") or None,
            cgroup=None if groups is None else cgroup_path(groups),
        )
    finally:
        os.close(folder)


_PAGE: Final = os.sysconf("SC_PAGESIZE")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used here (Documentation/filesystems/proc.rst, table 1-4)."""

    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    flags: int
    min_flt: int
    maj_flt: int
    threads: int
    start_ticks: int
    rss_pages: int


_STAT_NUMBERS: Final = (0, 1, 2, 5, 6, 8, 16, 18, 20)  # where they stand, counted from ppid


def parse_stat(line: bytes) -> Stat | None:
    """Fields of a stat line; None if it is not one. A comm may hold anything, so the last ")" ends it."""
    opened, closed = line.find(b"("), line.rfind(b")")
    rest = line[closed + 1 :].split()
    if opened < 0 or closed < opened or len(rest) < 22:
        return None
    try:
        numbers = [int(word) for word in rest[1:22]]
    except ValueError:
        return None
    return Stat(_text(line[opened + 1 : closed]), _text(rest[0]), *(numbers[i] for i in _STAT_NUMBERS))


def split_arguments(command: bytes) -> list[str]:
    """Arguments from /proc/PID/cmdline. The last zero byte is an end, no separator; a title may lack it."""
    return _text(command.removesuffix(b"\0")).split("\0")


def cgroup_path(groups: bytes, controller: str = "pids") -> str | None:
    """The path that places the process, from /proc/PID/cgroup: of v1's `controller`, else of v2's tree."""
    path = None
    for line in groups.splitlines():
        number, _, rest = line.partition(b":")
        controllers, _, name = rest.partition(b":")
        if controller.encode() in controllers.split(b",") or (number == b"0" and not controllers and path is None):
            path = _text(name.removesuffix(b" (deleted)"))
    return path


def forks_total(proc: Path = PROC) -> int | None:
    """Tasks made since boot on the whole host (`processes` of /proc/stat): it counts threads too."""
    try:
        match = re.search(rb"^processes (\d+)$", (proc / "stat").read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) if match else None


def boot_id(proc: Path = PROC) -> str:
    """A name for this boot of this host; "" where it can not be read."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text("ascii", "replace").strip()
    except OSError:
        return ""


def wall_offset_ns() -> int:
    """What to add to the host's CLOCK_BOOTTIME to get Unix time, ns. Right to a microsecond, until the clock is set."""
    best, offset = None, 0
    for _ in range(5):  # the pair with the least time between its readings
        before = boot_clock.now_ns()
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = boot_clock.now_ns()
        if best is None or after - before < best:
            best, offset = after - before, wall - (before + after) // 2
    return offset


class PidNamespace(NamedTuple):
    """The pid namespace we are in. `level` 0 is the host's own; None where nothing in sight tells."""

    inum: int | None
    level: int | None
    proc_is_ours: bool  # whether the mounted /proc shows this namespace's pids

    @property
    def initial(self) -> bool | None:
        """Whether it is the host's own; None if unknown."""
        return None if self.inum is None else self.inum == INITIAL_PID_NS


def pid_namespace(proc: Path = PROC) -> PidNamespace:
    """Our own. /proc may be another namespace's (a container with the host's /proc mounted): that is told."""
    try:
        shown = int((proc / "self").readlink().name)
        link = (proc / "self/ns/pid").readlink().name
        status = (proc / "self/status").read_bytes()
    except (OSError, ValueError):
        return PidNamespace(None, None, proc_is_ours=False)
    match = re.fullmatch(r"pid:\[(\d+)\]", link)
    inum = int(match[1]) if match else None
    depth = len(_numbers(status, b"NSpid")) - 1  # below the namespace of this /proc
    level = 0 if inum == INITIAL_PID_NS else None
    if level is None and depth >= 0:
        # Kernel threads live in the initial namespace alone, and kthreadd is always its pid 2.
        kthreadd = read(2, proc)
        level = depth if kthreadd is not None and kthreadd.kernel_thread else None
    return PidNamespace(inum, level, proc_is_ours=depth == 0 and shown == os.getpid())


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _numbers(status: bytes, key: bytes) -> list[int]:
    """Numbers of the line `key` of a status file. Newlines in Name are escaped: no comm can forge one."""
    start = (b"\n" + status).find(b"\n" + key + b":")
    if start < 0:
        return []
    words = status[start + len(key) + 1 :].split(b"\n", 1)[0].split()
    return [int(word) for word in words if word.isdigit()]


def _file(folder: int, name: str) -> bytes | None:
    """All of a file in a /proc/PID directory. Once the process is gone this fails, whoever has its pid."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


def _link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None
