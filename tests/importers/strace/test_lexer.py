"""The grammar of a line: prefixes of all options, results of all decorations, notices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.importers.strace import lexer
from tracer.importers.strace.lexer import TIME_EPOCH, TIME_NONE, TIME_OF_DAY, TIME_RELATIVE

_S = 1_000_000_000
_PREFIXES = {
    "brk(": (None, TIME_NONE, 0, None),
    "100 brk(": (100, TIME_NONE, 0, None),
    "100   brk(": (100, TIME_NONE, 0, None),
    "[pid   100] brk(": (100, TIME_NONE, 0, None),
    "[pid 4194304<a b>] brk(": (4194304, TIME_NONE, 0, None),
    "100<a<b> brk(": (None, TIME_NONE, 0, None),
    "100<a\\<b> brk(": (100, TIME_NONE, 0, None),
    "12:00:01 brk(": (None, TIME_OF_DAY, 43_201 * _S, None),
    "100   12:00:01.000020 brk(": (100, TIME_OF_DAY, 43_201 * _S + 20_000, None),
    "100 12:00:01.000000020 brk(": (100, TIME_OF_DAY, 43_201 * _S + 20, None),
    "1700000000.000001 brk(": (None, TIME_EPOCH, 1_700_000_000 * _S + 1000, None),
    "1700000000 brk(": (None, TIME_EPOCH, 1_700_000_000 * _S, None),
    "100 1700000000.000001 brk(": (100, TIME_EPOCH, 1_700_000_000 * _S + 1000, None),
    "100 1.5 brk(": (100, TIME_EPOCH, 1_500_000_000, None),
    "     0.000123 brk(": (None, TIME_RELATIVE, 123_000, 123_000),
    "100        0.000123 brk(": (100, TIME_RELATIVE, 123_000, 123_000),
    "[pid   100]      1.000123 brk(": (100, TIME_RELATIVE, 1_000_123_000, 1_000_123_000),
    "     3 brk(": (None, TIME_RELATIVE, 3 * _S, 3 * _S),
    "100 12:00:01 (+     0.000100) brk(": (100, TIME_OF_DAY, 43_201 * _S, 100_000),
    "100 [  59] brk(": (100, TIME_NONE, 0, None),
    "100 [00007f1234567890] brk(": (100, TIME_NONE, 0, None),
    "100 12:00:01.000020 [ 12] [00007f1234567890] brk(": (100, TIME_OF_DAY, 43_201 * _S + 20_000, None),
    "100 [unconfined_u:system_r:x_t:s0-s0:c0.c1023] brk(": (100, TIME_NONE, 0, None),
    "[???????????????\x3f] brk(": (None, TIME_NONE, 0, None),
}


@pytest.mark.parametrize("text", _PREFIXES)
def test_prefixes(text: str) -> None:
    found = lexer.prefix(text.encode())

    pid, clock, ns, delta = _PREFIXES[text]
    assert (found.pid, found.clock, found.ns if clock else 0, found.delta_ns) == (pid, clock, ns, delta)
    if pid is not None or clock or text.startswith("["):
        assert text[found.end :] == "brk("


@pytest.mark.parametrize(
    ("body", "value", "error", "real", "ns"),
    [
        ("fork() = 5", 5, None, None, None),
        ("fork()                           = 5 <0.000123>", 5, None, None, 123_000),
        ("fork() = -1 EAGAIN (Resource temporarily unavailable) <0.000001>", -1, "EAGAIN", None, 1000),
        ("fork() = -1 EAGAIN (Resource temporarily unavailable) (INJECTED)", -1, "EAGAIN", None, None),
        ("fork() = ?", None, None, None, None),
        ("fork() = ? ERESTARTNOINTR (To be restarted)", None, "ERESTARTNOINTR", None, None),
        ("fork() = 0x65", 101, None, None, None),
        ("fork() = 0xfffffffffffffff5", -11, None, None, None),
        ("fork() = -2 (errno 2)", -2, "errno 2", None, None),
        ("fork() = 2 /* 102 in strace's PID NS */", 2, None, 102, None),
        ("fork() = 5<a) = 6> <0.000001>", 5, None, None, 1000),
        ('write(1, ") = 7", 5) = 5', 5, None, None, None),
        ("exit(0) = ? <unavailable>", None, None, None, None),
    ],
)
def test_results(body: str, value: int | None, error: str | None, real: int | None, ns: int | None) -> None:
    found = lexer.result(body.encode())

    assert found is not None
    assert (found.value, found.error, found.real_pid, found.duration_ns) == (value, error, real, ns)
    assert found.injected is ("INJECTED" in body)


@pytest.mark.parametrize("body", ["fork(", "fork() =", "fork() = x", "fork() = 5 and more", ""])
def test_no_result(body: str) -> None:
    assert lexer.result(body.encode()) is None


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        ("+++ exited with 3 +++", True),
        ("+++ exited with 3", False),
        ("--- SIGCHLD {} ---", True),
        ("--- SIGCHLD {si", False),
        ("fork( <unfinished ...>", True),
        ("execve(x <detached ...>", True),
        ("execve(x <pid changed to 5 ...>", True),
        ("exit_group(7 <unfinished ... exit status 7>", True),
        ("poll([{fd=4}], 1, 100) = 1 ([{fd=4, revents=POLLIN}])", True),
        ('write(1, ") = ", 5', False),
        ('read(3, "a"..., 10) = 10', True),
        ('getcwd() = 0, ") "', True),
        ("fork(", False),
        ("", False),
    ],
)
def test_whether_a_line_is_whole(body: str, whole: bool) -> None:
    assert lexer.complete(body.encode()) is whole


@pytest.mark.parametrize(
    ("line", "at", "groups"),
    [
        ("strace: Process 5 attached", 0, ("5", "attached", None, None, None)),
        ("Process 5 attached", 0, ("5", "attached", None, None, None)),
        ("strace: Process 5 attached with 3 threads", 0, ("5", "attached", None, "3", None)),
        ("fork(strace: Process 5 attached", 5, ("5", "attached", None, None, None)),
        ("SIGCHLD/usr/bin/strace: Process 5 attached", 7, ("5", "attached", None, None, None)),
        ("SIGCHLD./strace: Process 5 attached", 7, ("5", "attached", None, None, None)),
        ("vfork(Process 5 attached (waiting for parent)", 6, ("5", "attached", None, None, None)),
        ("Process 6 resumed (parent 5 ready)", 0, ("6", "resumed", "5", None, None)),
        ("^Cstrace: Process 5 detached", 2, ("5", "detached", None, None, None)),
        ("[ Process PID=7 runs in 32 bit mode. ]", 0, (None, None, None, None, "7")),
    ],
)
def test_notices(line: str, at: int, groups: tuple[str | None, ...]) -> None:
    found = lexer.notice(line.encode())

    assert found is not None
    assert found[0] == at
    assert tuple(g.decode() if g is not None else None for g in found[1].groups()) == groups


@pytest.mark.parametrize("line", ["Process of thought", "Process 5 attached?", "attached", "Process five attached"])
def test_no_notices(line: str) -> None:
    assert lexer.notice(line.encode()) is None


@given(st.binary(max_size=60))
def test_nothing_raises(data: bytes) -> None:
    found = lexer.prefix(data)
    assert 0 <= found.end <= len(data)
    lexer.result(data)
    lexer.complete(data)
    lexer.notice(data)
