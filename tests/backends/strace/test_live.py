"""What a live run adds to strace's lines: the clock of all traces, our own child, what was asked for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any

import pytest

from tracer.backends.strace.live import BootClock, Live, cut
from tracer.host import procfs
from tracer.importers.strace import lexer
from tracer.model.schema import Kind

SECOND = 1_000_000_000
OFFSET = procfs.wall_offset_ns()


def stamp(boot_ns: int) -> str:
    """Unix time of a moment, as strace writes it."""
    ns = boot_ns + OFFSET  # measured once: each measurement errs by a microsecond
    return f"{ns // SECOND}.{ns % SECOND:09}"


def line(pid: int, boot_ns: int, text: str) -> bytes:
    return f"{pid:<5} {stamp(boot_ns)} {text}".encode()


def rows(live: Live, *raw: bytes) -> list[tuple[Kind, dict[str, Any]]]:
    live.feed(raw)
    return [row for batch in live.take() for row in batch.rows()]


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def prefix(ns: int) -> lexer.Prefix:
    return lexer.prefix(f"7 {ns // SECOND}.{ns % SECOND:09} x".encode())


# The clock


def test_stamps_are_boottime() -> None:
    at = now()

    assert abs((BootClock().at(prefix(at + procfs.wall_offset_ns()), None) or 0) - at) < 2_000_000


def test_no_task_goes_back_in_time() -> None:
    clock = BootClock()
    wall = now() + procfs.wall_offset_ns()
    first = clock.at(prefix(wall), None)

    assert clock.at(prefix(wall - SECOND), first) == first
    assert clock.at(prefix(wall - SECOND), None) != first  # another task's: late lines are no step


def test_a_clock_that_is_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = procfs.wall_offset_ns()
    offset = [before]
    monkeypatch.setattr(procfs, "wall_offset_ns", lambda: offset[0])
    clock = BootClock()
    clock.look()
    early = now()
    offset[0] += 3600 * SECOND
    clock.look()

    assert clock.times_set == 1
    assert clock.at(prefix(early + before), None) == early  # written before it was set, read after
    assert clock.at(prefix(early + offset[0]), None) == early
    clock.look()
    assert clock.times_set == 1


def test_the_kernel_disciplining_its_clock_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = [procfs.wall_offset_ns()]
    monkeypatch.setattr(procfs, "wall_offset_ns", lambda: offset[0])
    clock = BootClock()
    offset[0] += 500_000
    clock.look()

    assert clock.times_set == 0


# The program


def test_the_root_is_our_child_and_a_brother_too() -> None:
    at = now()
    live = Live(argv_max=100, root=4000)
    got = rows(
        live,
        line(4000, at, 'execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0 <0.1>'),
        line(4000, at + 5, "clone(child_stack=NULL, flags=CLONE_PARENT|SIGCHLD) = 4001 <0.1>"),
        line(4000, at + 9, "clone(child_stack=NULL, flags=SIGCHLD) = 4002 <0.1>"),
    )
    births = [(kind.name, v["pid"], v.get("how"), v.get("ppid")) for kind, v in got if kind != Kind.EXEC]

    assert births == [
        ("EXISTING", 4000, "root", os.getpid()),
        ("FORK", 4001, "fork", os.getpid()),
        ("FORK", 4002, "fork", 4000),
    ]


def test_our_own_reaping_is_told_when_it_is_done() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    live = Live(argv_max=100, root=pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    at = now()
    told = [line(pid, at, 'execve("/bin/true", ["true"], 0x1) = 0 <0.1>'), line(pid, at + 9, "+++ exited with 0 +++")]
    before = rows(live, *told)
    os.waitpid(pid, 0)
    after = rows(live)

    assert Kind.REAP not in dict(before)
    assert [(kind, v["pid"], v["reaped_by"], v["evidence"]) for kind, v in after] == [
        (Kind.REAP, pid, os.getpid(), "inferred")
    ]
    assert rows(live) == []


def test_who_is_known_by_its_end_alone_has_no_time_of_birth() -> None:
    at = now()
    live = Live(argv_max=100, root=4000)
    got = rows(
        live,
        line(4000, at, 'execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0 <0.1>'),
        line(4000, at + 9, "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 4001 <0.1>"),
    )
    birth = next(v for kind, v in got if kind == Kind.FORK)

    assert "ts_ns" not in birth
    assert abs(birth["born_ns"] - at) < 60 * SECOND


def test_names_come_down_through_a_fork_that_returns_late() -> None:
    at = now()
    live = Live(argv_max=100, root=4000)
    got = rows(
        live,
        line(4000, at, 'execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0 <0.1>'),
        line(4000, at + 5, "clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>"),
        line(4001, at + 7, "clone(child_stack=NULL, flags=SIGCHLD) = 4002 <0.1>"),
        line(4000, at + 9, "<... clone resumed>) = 4001 <0.1>"),
    )

    assert [(v["pid"], v["comm"]) for kind, v in got if kind == Kind.FORK] == [(4001, "x"), (4002, "x")]


def test_a_brother_is_told_once_though_its_end_comes_first() -> None:
    at = now()
    live = Live(argv_max=100, root=4000)
    got = rows(
        live,
        line(4000, at, 'execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0 <0.1>'),
        line(4000, at + 2, "clone(child_stack=NULL, flags=SIGCHLD) = 4001 <0.1>"),
        line(4001, at + 3, "clone(child_stack=NULL, flags=CLONE_PARENT|SIGCHLD <unfinished ...>"),
        line(4002, at + 4, "exit_group(7) = ?"),
        line(4002, at + 5, "+++ exited with 7 +++"),
        line(4000, at + 6, "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=4002, si_status=7} ---"),
        line(4000, at + 7, "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 7}], WNOHANG, NULL) = 4002 <0.1>"),
        line(4001, at + 8, "<... clone resumed>) = 4002 <0.1>"),
    )
    births = [(v["pid"], v["how"], v["creator_pid"], v["ppid"]) for kind, v in got if kind == Kind.FORK]

    assert births == [(4001, "fork", 4000, 4000), (4002, "fork", 4001, 4000)]
    assert [kind for kind, v in got if v["pid"] == 4002] == [Kind.FORK, Kind.EXIT, Kind.REAP]


def test_living_are_those_without_an_end() -> None:
    at = now()
    live = Live(argv_max=100, root=4000)
    live.feed(
        [
            line(4000, at, 'execve("/bin/x", ["x"], 0x1 /* 1 var */) = 0 <0.1>'),
            line(4000, at + 5, "clone(child_stack=NULL, flags=SIGCHLD) = 4001 <0.1>"),
            line(4001, at + 6, "exit_group(0) = ?"),
        ]
    )
    assert live.living() == [4000, 4001] or live.living() == [4001, 4000]
    live.feed([line(4001, at + 7, "+++ exited with 0 +++")])
    assert live.living() == [4000]
    live.feed([line(4000, at + 8, f"+++ killed by {signal.SIGKILL.name} +++")])
    assert live.living() == []


# What was asked for


def execs(names: tuple[str, ...], *raw: bytes) -> list[list[str] | None]:
    live = Live(argv_max=1000, env=names, root=4000)
    return [v.get("env") for kind, v in rows(live, *raw) if kind == Kind.EXEC]


def test_variables_by_name() -> None:
    at = now()
    got = execs(
        ("A", "B"),
        line(4000, at, 'execve("/x", ["x", "A=1"], ["AA=0", "A=2", "SECRET=s", "B="]) = 0 <0.1>'),
        line(4000, at + 2, 'execve("/no", ["x"], ["A=no"]) = -1 ENOENT (No such file or directory) <0.1>'),
        line(4000, at + 4, 'execve("/y", ["y"], ["C=3"] <unfinished ...>'),
        line(4000, at + 6, "<... execve resumed>) = 0 <0.1>"),
        line(4000, at + 8, 'execveat(AT_FDCWD, "/z", ["z"], ["A=a \\"b\\"\\n"], 0) = 0 <0.1>'),
    )

    assert got == [["A=2", "B="], [], ['A=a "b"\n']]


def test_none_are_kept_unasked() -> None:
    assert execs((), line(4000, now(), 'execve("/x", ["x"], ["A=2"]) = 0 <0.1>')) == [None]


@pytest.mark.parametrize(
    ("argv", "most", "wanted"),
    [
        (["ab", "cd"], 6, ["ab", "cd"]),
        (["ab", "cd"], 5, ["ab", "cd...", "..."]),
        (["ab", "cd"], 4, ["ab", "c...", "..."]),
        (["ab", "cd"], 3, ["ab", "..."]),
        (["ab"], 0, ["..."]),
        (["é" * 3, "x"], 9, ["é" * 3, "x"]),
        (["é" * 3, "x"], 8, ["é" * 3, "x...", "..."]),
        (["a" * 7 + "..."], 7, ["a" * 7 + "...", "..."]),  # strace has cut it
        (["ab", "..."], 100, ["ab", "..."]),
        ([], 0, []),
    ],
)
def test_argv_is_cut_by_bytes(argv: list[str], most: int, wanted: list[str]) -> None:
    assert cut(argv, most) == wanted


def fed(raw: Iterable[bytes]) -> list[tuple[Kind, dict[str, Any]]]:
    return rows(Live(argv_max=100, root=4000), *raw)


def test_the_result_of_a_superseding_exec_is_no_error() -> None:
    at = now()
    got = fed(
        [
            line(4000, at, 'execve("/x", ["x"], 0x1) = 0 <0.1>'),
            line(4000, at + 1, "clone(child_stack=0x7f, flags=CLONE_VM|CLONE_SIGHAND|CLONE_THREAD) = 4001 <0.1>"),
            line(4001, at + 2, 'execve("/y", ["y"], 0x1 <pid changed to 4000 ...>'),
            line(4000, at + 3, "+++ superseded by execve in pid 4001 +++"),
            line(4000, at + 4, "<... execve resumed>) = -1 (errno 18446744073709551558) <0.1>"),
        ]
    )
    assert [v["exe"] for kind, v in got if kind == Kind.EXEC] == ["/x", "/y"]
    assert Kind.EXEC_FAILED not in dict(got)
