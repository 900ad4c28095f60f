"""Why forks failed and processes were killed on this host, limit by limit; the limits are the guest's own.

pids.max, memory.max, RLIMIT_NPROC and namespaces are test_failures.py's, run here too. Here stand those
that hold for a whole host, which no test may set outside of a guest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.programs import cow
from tests.vm.host.statements import finish, holds, say, sh
from tests.vm.host.traces import take
from tracer.model.schema import Kind

FORKFAIL = str(cow.HERE / "bin/forkfail")
KERNEL = Path("/proc/sys/kernel")
VM = Path("/proc/sys/vm")

# Asks for memory once, so that a fork would ask for as much again; the refusal is over at once.
BIG_FORK = """
import errno, mmap, os, sys
held = mmap.mmap(-1, 300 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try:
    pid = os.fork()
except OSError as e:
    sys.exit(0 if e.errno == errno.ENOMEM else 3)
os._exit(4) if pid == 0 else sys.exit(5)
"""


@contextmanager
def settings(values: Mapping[Path, str]) -> Iterator[None]:
    """These files have these values for a while."""
    before = {path: path.read_text() for path in values}
    try:
        for path, value in values.items():
            path.write_text(value)
        yield
    finally:
        for path in reversed(list(values)):
            path.write_text(before[path])


def tasks() -> int:
    """Threads there are on the host."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def committed() -> int:
    """Committed_AS, KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Committed_AS"))


def causes(*command: str) -> list[str]:
    """Of the forks that failed in this command."""
    taken = take("-e", "fail", "--cow", "off", "--", *command)
    found = [event for event in taken.events if event.kind == Kind.FORK_FAILED]
    if not found:
        say(f"no fork failed; status {taken.status}: {taken.said[-200:]}")
    return [f"{event.cause} ({event.evidence})" for event in found]


def threads_max() -> None:
    """Others on the host make tasks too, so there is some room."""
    with settings({KERNEL / "threads-max": str(tasks() + 40)}):
        found = causes(FORKFAIL, "64", "3")
    holds("kernel.threads-max is named", found and all("kernel.threads-max" in text for text in found), found[:1])


def pid_max() -> None:
    """The lowest 300 numbers are not given out again, so few processes are enough: that has to be said."""
    with settings({KERNEL / "pid_max": "330"}):
        found = causes(FORKFAIL, "64", "3", "burn=330")
    holds("kernel.pid_max is named", found and all("kernel.pid_max" in text for text in found), found[:1])
    holds("the 300 reserved numbers are explained", found and all("300" in text for text in found), found[:1])


def overcommit() -> None:
    """The caller has gone before a second is over, so the figures must be those of the moment."""
    limit = committed() + (450 << 10)
    with settings({VM / "overcommit_kbytes": str(limit), VM / "overcommit_memory": "2"}):
        found = causes(sys.executable, "-c", BIG_FORK)
    holds("vm.overcommit_memory=2 is named", found and all("overcommit_memory=2" in text for text in found), found[:1])


def oom() -> None:
    """A scope with 64 MiB, and a program that wants more."""
    scope = ["systemd-run", "--quiet", "--scope", "-p", "MemoryMax=64M", "-p", "MemorySwapMax=0"]
    taken = take("--", *scope, sys.executable, "-c", "x = bytearray(b'1' * (300 << 20))")
    killed = [row for row in taken.rows if row["signal"] == "SIGKILL"]
    holds(
        "an OOM kill is seen as one", [row["oom_killed"] for row in killed] == [True], [row["comm"] for row in killed]
    )


def tasks_max() -> None:
    """TasksMax= of a scope is its pids.max."""
    scope = ["systemd-run", "--quiet", "--scope", "-p", "TasksMax=7"]
    found = causes(*scope, FORKFAIL, "30", "3")
    holds(
        "TasksMax= of a scope is named",
        found and all("pids.max 7/7 of /system.slice" in text for text in found),
        found[:1],
    )


def main() -> None:
    """All limits."""
    for statement in (threads_max, pid_max, overcommit, oom, tasks_max):
        statement()
    tests = sh([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/backends/bpf/test_failures.py"])
    holds("tests/backends/bpf/test_failures.py passes", tests.returncode == 0, tests.stdout.strip().splitlines()[-1:])
    finish()


if __name__ == "__main__":
    main()
