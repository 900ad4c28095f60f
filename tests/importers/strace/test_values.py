"""Values inside a line: what they say, and that what says nothing is None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.strace.histories import quote
from tracer.importers.strace import values
from tracer.importers.strace.values import End, ForkArgs
from tracer.model.flags import CloneFlags


@given(st.text(st.characters(codec="utf-8")))
def test_a_quoted_string_comes_back(word: str) -> None:
    assert values.first_string(f"x, {quote(word)}, y".encode())[0] == word


@given(st.binary(max_size=40))
def test_bytes_written_as_hex_come_back(data: bytes) -> None:
    raw = "".join(f"\\x{byte:02x}" for byte in data).encode()

    assert values.unescape(raw) == data


@given(st.lists(st.text("ab\"\\, ]['.=", max_size=6), max_size=5))
def test_an_argument_list_comes_back(argv: list[str]) -> None:
    raw = f"[{', '.join(map(quote, argv))}]".encode()

    assert values.string_list(b"x, " + raw + b", 0x7", 3) == (argv, 3 + len(raw))


@pytest.mark.parametrize(
    ("raw", "argv"),
    [
        (b"[]", []),
        (b'["a", ...]', ["a", "..."]),
        (b'["abc"..., "d"]', ["abc...", "d"]),
        (b'["a", 0x7f12]', ["a", "..."]),
        ('["дом"..., "x"]'.encode()[:5] + b'"...]', ["д..."]),
        (b"[0x7f, 0x80]", ["...", "..."]),
        (b"[/* 6 vars */]", None),
        (b"0x7ffd", None),
        (b'["a", "b', None),
    ],
)
def test_lists_that_strace_cut(raw: bytes, argv: list[str] | None) -> None:
    assert values.string_list(raw, 0)[0] == argv


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"12", 12),
        (b"-1", -1),
        (b"0x65", 101),
        (b"0xfffffffffffffff5", -11),
        (b"0xfffffff5", -11),
        (b"", None),
        (b"x", None),
        (b"9" * 5000, None),
        (b"0x7" + b"f" * 15, (1 << 63) - 1),
        (b"0xf000000000000000", None),
        (b"0x", None),
    ],
)
def test_numbers(raw: bytes, value: int | None) -> None:
    assert values.number(raw) == value


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"SIGKILL", 9),
        (b"SIGCHLD", 17),
        (b"SIGRT_5", 37),
        (b"SIGRTMIN", 32),
        (b"9", 9),
        (b"0x9", 9),
        (b"SIGNOT", None),
        (b"0", None),
        (b"4000", None),
    ],
)
def test_signals(raw: bytes, number: int | None) -> None:
    assert values.signal_number(raw) == number


def test_errors() -> None:
    assert values.error_number("EAGAIN") == 11
    assert values.error_number("errno 524") == 524
    assert values.error_number("EWHAT") is None


_VM_VFORK = int(CloneFlags.CLONE_VM | CloneFlags.CLONE_VFORK)
_TIDS = int(CloneFlags.CLONE_CHILD_CLEARTID | CloneFlags.CLONE_CHILD_SETTID)


@pytest.mark.parametrize(
    ("name", "args", "found"),
    [
        (b"fork", b") = 5", ForkArgs(0, 17, False)),
        (b"vfork", b") = 5", ForkArgs(_VM_VFORK, 17, False)),
        (
            b"clone",
            b"child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD) = 5",
            ForkArgs(_TIDS, 17, False),
        ),
        (b"clone", b"child_stack=0x7f00, flags=CLONE_VM) = 5", ForkArgs(0x100, 0, True)),
        (b"clone", b"child_stack=NULL, flags=0x1200000|SIGUSR1) = 5", ForkArgs(0x1200000, 10, False)),
        (
            b"clone",
            b"child_stack=NULL, flags=0x1200011 /* CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|0x11 */) = 5",
            ForkArgs(_TIDS, 17, False),
        ),
        (b"clone", b"child_stack=NULL, flags=CLONE_VM|SIGCHLDout) = 5", ForkArgs(0x100, 17, False)),
        (b"clone", b"0x1200011, 0, 0, 0x7f, 0) = 5", ForkArgs(_TIDS, 17, False)),
        (b"clone", b"0x4111, 0x7f00, 0, 0) = 5", ForkArgs(_VM_VFORK, 17, True)),
        (
            b"clone3",
            b"{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f, stack_size=0x9000}, 88) = 5",
            ForkArgs(_VM_VFORK, 17, True),
        ),
        (
            b"clone3",
            b"{flags=CLONE_VM|CLONE_THREAD, exit_signal=0, stack=NULL, stack_size=0}, 88) = 5",
            ForkArgs(0x10100, 0, False),
        ),
        (b"clone3", b"{flags=0, exit_signal=17}, 88) = 5", ForkArgs(0, 17, None)),
        (b"clone3", b"0x7ffe7fc0a320, 88) = 5", ForkArgs(None, None, None)),
    ],
)
def test_the_arguments_of_forks(name: bytes, args: bytes, found: ForkArgs) -> None:
    assert values.fork_args(name, args) == found


@pytest.mark.parametrize(
    ("args", "end"),
    [
        (b"-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL", End(code=3, core=False)),
        (b"-1, [WIFEXITED(s) && WEXITSTATUS(s) == 3], 0, NULL", End(code=3, core=False)),
        (b"-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}], 0", End(signal=11, core=True)),
        (b"-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGRT_3}], 0", End(signal=35, core=False)),
        (b"-1, [{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WUNTRACED", None),
        (b"-1, [{WIFCONTINUED(s)}], WCONTINUED", None),
        (b"-1, NULL, 0, NULL", End()),
        (b"0xffff, 0x7ffd, 0, 0", End()),
    ],
)
def test_the_status_of_a_wait(args: bytes, end: End | None) -> None:
    assert values.wait_status(args) == end


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (
            b"{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=259}",
            (17, 7, End(code=3, core=False)),
        ),
        (
            b"{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=7, si_uid=0, si_status=SIGKILL}",
            (17, 7, End(signal=9, core=False)),
        ),
        (b"{si_signo=SIGCHLD, si_code=CLD_DUMPED, si_pid=7, si_status=11}", (17, 7, End(signal=11, core=True))),
        (b"{si_signo=0x11, si_code=0x1, si_pid=7, si_status=3}", (17, 7, End(code=3, core=False))),
        (b"{si_signo=SIGCHLD, si_code=CLD_STOPPED, si_pid=7, si_status=SIGSTOP}", (17, 7, None)),
        (b"{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}", (11, None, None)),
        (b"{}", (None, None, None)),
    ],
)
def test_siginfo(raw: bytes, found: tuple[int | None, int | None, End | None]) -> None:
    info = values.siginfo(raw)

    assert (info.signo, info.pid, info.end) == found


def test_rusage_with_and_without_v() -> None:
    short = b"{ru_utime={tv_sec=1, tv_usec=20}, ru_stime={0, 3}, ...}"
    long = short[:-4] + b"ru_maxrss=100, ru_ixrss=0, ru_minflt=71, ru_majflt=2, ru_nswap=0}"

    assert values.rusage(short) == {"utime_ns": 1_000_020_000, "stime_ns": 3000}
    assert values.rusage(long) == {
        "utime_ns": 1_000_020_000,
        "stime_ns": 3000,
        "max_rss_bytes": 102_400,
        "min_flt": 71,
        "maj_flt": 2,
    }


@pytest.mark.parametrize(
    ("name", "args", "image"),
    [
        (b"execve", b'"/bin/x", ["x", "y"], 0x7 /* 3 vars */) = 0', ("/bin/x", ["x", "y"], None)),
        (b"execve", b'pathname="/bin/x", argv=["x"], envp=0x7) = 0', ("/bin/x", ["x"], None)),
        (b"execve", b'"/bin/x", 0x7ffd, 0x7) = 0', ("/bin/x", None, None)),
        (b"execve", b"0x7ffc, 0x7ffd, 0x7) = 0", (None, None, None)),
        (b"execveat", b'AT_FDCWD</tmp/a>, "x", ["x"], 0x7, 0) = 0', ("x", ["x"], "/tmp/a")),
        (b"execveat", b'3</tmp/a>, "x", ["x"], 0x7, 0) = 0', ("/dev/fd/3/x", ["x"], None)),
        (b"execveat", b'3, "", ["x"], 0x7, AT_EMPTY_PATH) = 0', ("/dev/fd/3", ["x"], None)),
        (b"execveat", b'dirfd=3, pathname="/abs", argv=["x"], envp=0x7, flags=0) = 0', ("/abs", ["x"], None)),
        (b"execveat", b"0x7, 0x8) = 0", (None, None, None)),
    ],
)
def test_the_image_of_an_exec(name: bytes, args: bytes, image: values.Image) -> None:
    assert values.exec_args(name, args) == image


@given(st.binary(max_size=80))
def test_nothing_raises(data: bytes) -> None:
    values.number(data)
    values.signal_number(data)
    values.first_string(data)
    values.string_list(data, 0)
    values.wait_status(data)
    values.siginfo(data)
    values.rusage(data)
    values.exec_args(b"execve", data)
    values.exec_args(b"execveat", data)
    values.fork_args(b"clone", data)
    values.fork_args(b"clone3", data)
