"""Logs of all sorts of strace, line by line: what the tasks did. Each case of rules.txt is a rule of its printing."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.importers.strace.seen import lives, lost, read, story
from tracer.importers.strace import births, ends
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.line_attribution import Skipped
from tracer.importers.strace.line_reader import LineReader
from tracer.importers.strace.task import Task
from tracer.model.schema import Kind

EXEC = '100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'


class Rule(NamedTuple):
    """A log, what it means, and how many of its lines mean nothing."""

    log: str
    means: list[str]
    skipped: int


def rules() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    name = log = ""
    for part in ("\n" + Path(__file__).with_name("rules.txt").read_text()).split("\n### ")[1:]:
        head, _, rest = part.partition("\n")
        if head == "means":
            found[name] = Rule(log + "\n", [line for line in rest.split("\n") if line], 0)
        elif head.startswith("skipped "):
            found[name] = found[name]._replace(skipped=int(head[8:]))
        else:
            name, log = head, rest
    return found


RULES = rules()


@pytest.mark.parametrize("name", RULES)
def test_a_log_is_read_as_it_was_meant(name: str) -> None:
    batches, left = read(RULES[name].log)

    assert [line.encode("unicode_escape").decode() for line in story(batches)] == RULES[name].means
    assert left.lines == RULES[name].skipped
    assert lost(batches) == []


@pytest.mark.parametrize("hold", [1, 2, 5])
@pytest.mark.parametrize("name", ["-X raw", "CLONE_PARENT", "a thread ends all", "superseded"])
def test_a_short_queue_tells_the_same_where_births_are_told_in_time(name: str, hold: int) -> None:
    batches, _ = read(RULES[name].log, hold=hold)

    assert story(batches) == RULES[name].means


# -- how lines come ---------------------------------------------------------------------------------------------

_DRESSED = {
    "carriage returns": lambda line: line + "\r",
    "nul bytes": lambda line: "\0" + line,
    "quoted": lambda line: "> > " + line,
    "colour": lambda line: "\x1b[36m" + line[:4] + "\x1b[0m" + line[4:] + "\x1b[K",
    "instruction pointers": lambda line: line[:4] + "[00007f1234567890] " + line[4:] if line[:3].isdigit() else line,
    "numbers of calls": lambda line: line[:4] + "[  59] " + line[4:] if line[:3].isdigit() else line,
    "times": lambda line: line[:4] + "23:59:59.000001 " + line[4:] if line[:3].isdigit() else line,
    "security contexts": lambda line: line[:4] + "[u:r:t:s0-s0:c0.c1] " + line[4:] if line[:3].isdigit() else line,
    "durations": lambda line: line + " <0.000123>" if ") = " in line and "= ?" not in line else line,
}


@pytest.mark.parametrize("dress", _DRESSED)
@pytest.mark.parametrize("name", ["superseded", "CLONE_PARENT", "a thread ends all", "forks that failed", "waitid"])
def test_what_else_stands_in_a_line_changes_nothing(name: str, dress: str) -> None:
    log = "".join(_DRESSED[dress](line) + "\n" for line in RULES[name].log.splitlines())

    batches, left = read("\ufeff" + log)

    assert story(batches) == RULES[name].means
    assert left.lines == 0


def test_a_number_cut_at_the_end_of_the_log_is_not_believed() -> None:
    batches, left = read(EXEC + "100 clone(child_stack=NULL, flags=SIGCHLD) = 1234")

    assert story(batches) == ["100 root; /bin/sh [sh]"]
    assert lost(batches) == ["the log is cut in its last line (line 2)"]
    assert (left.lines, left.cut) == (1, 1)


def test_numbers_of_five_thousand_digits_are_text() -> None:
    many = "9" * 5000
    log = f"{EXEC}100 fork() = {many}\n{many} fork() = 3\n100 exit_group({many}) = ?\n100 +++ exited with {many} +++\n"

    batches, left = read(log + "100 +++ exited with 3 +++\n")

    assert story(batches) == ["100 root; /bin/sh [sh]; exit 3"]
    assert left.lines == 2


def test_lines_that_mean_nothing_are_kept_with_their_number() -> None:
    _, left = read(EXEC + "what is this\n" + "x" * 500 + "\n100 +++ exited with 0 +++ he said\n")

    assert [(number, text[:12]) for _, number, text in left.samples] == [
        (2, b"what is this"),
        (3, b"x" * 12),
        (4, b"100 +++ exit"),
    ]
    assert max(len(text) for _, _, text in left.samples) <= 200


# -- times ------------------------------------------------------------------------------------------------------


def test_how_long_a_zombie_waited() -> None:
    batches, _ = read(
        '100 10.000000 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        "100 10.100000 fork() = 101\n"
        "101 10.200000 exit_group(1) = ?\n"
        "101 10.300000 +++ exited with 1 +++\n"
        "100 10.350000 wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 1}], 0, NULL) = 101 <0.050000>\n"
        "100 10.500000 fork() = 102\n"
        "100 10.600000 wait4(-1,  <unfinished ...>\n"
        "102 10.700000 +++ exited with 2 +++\n"
        "100 10.750000 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 2}], 0, NULL) = 102\n"
    )

    reaps = [event for batch in batches for event in batch.events() if event.kind == Kind.REAP]
    assert [(e.pid, e.reap_ns, e.zombie_ns) for e in reaps] == [
        (101, 10_400_000_000, 100_000_000),
        (102, 10_750_000_000, 50_000_000),
    ]


def test_a_life_is_named_by_when_its_fork_was_called() -> None:
    batches, _ = read(
        '100 10.000000 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        "100 10.100000 fork( <unfinished ...>\n"
        "101 10.200000 exit_group(1) = ?\n"
        "101 10.200000 +++ exited with 1 +++\n"
        "100 10.300000 <... fork resumed>) = 101\n"
    )

    assert [(e.pid, e.born_ns) for b in batches for e in b.events() if e.kind in (Kind.FORK, Kind.EXIT)] == [
        (101, 10_100_000_000),
        (101, 10_100_000_000),
    ]


def test_usage_of_a_child_is_its_own_not_that_of_its_children() -> None:
    def wait(pid: int, faults: int) -> str:
        usage = f"{{ru_utime={{tv_sec=0, tv_usec={faults}}}, ru_stime={{tv_sec=1, tv_usec=0}}, ru_maxrss=2000, "
        return f"[{{WIFEXITED(s) && WEXITSTATUS(s) == 0}}], 0, {usage}ru_minflt={faults}, ru_majflt=0, ...}}) = {pid}\n"

    batches, _ = read(
        EXEC
        + "100 fork() = 101\n101 fork() = 102\n102 +++ exited with 0 +++\n101 wait4(-1, "
        + wait(102, 30)
        + "101 +++ exited with 0 +++\n100 wait4(-1, "
        + wait(101, 100)
    )

    reaps = [event for batch in batches for event in batch.events() if event.kind == Kind.REAP]
    assert [(e.pid, e.min_flt, e.utime_ns, e.max_rss_bytes) for e in reaps] == [
        (102, 30, 30_000, 2_048_000),
        (101, 70, 70_000, None),
    ]


# -- hostile text -----------------------------------------------------------------------------------------------

_LIMIT_S = 8.0  # of CPU; what is quadratic in a third of a megabyte takes minutes
_BIG = 1 << 18

_LINES = {
    "quotes": b'"' * _BIG,
    "open strings": b'100 execve("' + b"\\" * _BIG,
    "open lists": b'100 execve("a", [' + b'"b", ' * (_BIG // 5),
    "brackets": b"100 execve(" + b"[" * _BIG,
    "results": b"100 write(" + b") = 1 " * (_BIG // 6) + b"x",
    "comments": b"100 fork() = 5 " + b"(" * _BIG,
    "more comments": b"100 fork() = 5" + b" (x)" * (_BIG // 4) + b"!",
    "flags": b"100 clone(" + b"flags=" * (_BIG // 6) + b") = 5",
    "many flags": b"100 clone(flags=" + b"CLONE_VM|" * (_BIG // 9) + b"SIGCHLD) = 5",
    "names": b"100<" * (_BIG // 4),
    "notices": b"Process 1 attached" * (_BIG // 18),
    "notices that are none": b"Process 1 " * (_BIG // 10) + b"attached",
    "prefixes": b"[pid " * (_BIG // 5),
    "contexts": b"100 [" + b"a:" * (_BIG // 2),
    "calls": b"execve(" * (_BIG // 7),
    "ends": b"+++ exited with 1 " * (_BIG // 18),
    "signals": b"100 --- SIGCHLD {" + b"si_pid=1, " * (_BIG // 10),
    "debug": b"100 fork(" + b" [wait(0x1) = 1" * (_BIG // 15),
    "escapes": b"\x1b[0" * (_BIG // 3),
    "blanks": b"100 fork()" + b" " * _BIG + b"=",
    "angles": b"100 fork() = 5<" + b"\\<" * (_BIG // 2),
    "statuses": b"100 wait4(-1, " + b"WIFEXITED(s) && " * (_BIG // 16) + b") = 5",
    "unfinished": b"100 fork(" + b" <unfinished ..." * (_BIG // 16),
    "zeros": b"\0" * _BIG,
    "arrows": b"> " * (_BIG // 2),
}


@pytest.mark.parametrize("name", _LINES)
def test_no_line_takes_longer_than_it_is_long(name: str) -> None:
    start = time.process_time()

    read(EXEC.encode() + _LINES[name] + b"\n" + _LINES[name][: _BIG // 2] + b"\n")

    assert time.process_time() - start < _LIMIT_S


def _many(line: str) -> bytes:
    return EXEC.encode() + b"".join((line.replace("N", str(n)) + "\n").encode() for n in range(1000, 13000))


_LOGS = {
    "tasks that nobody made": _many("N brk(NULL) = 0"),
    "open forks": _many("N fork( <unfinished ...>"),
    "forks of foreign numbers": _many("100 fork() = 7"),
    "children that never come": _many("100 fork() = N"),
    "waits for strangers": _many("100 wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 1}], 0, NULL) = N"),
    "signals of strangers": _many("100 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=N, si_status=1} ---"),
    "ends": _many("N +++ exited with 1 +++"),
    "threads": _many("100 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = N"),
    "threads of strangers": _many("N clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = N1"),
    "notices": _many("strace: Process N attached"),
    "lines without a task": _many("fork() = 1N").replace(b"100 exec", b"exec"),
    "lines begun": _many("N execve("),
    "one child, again and again": _many("100 fork() = 5000"),
    "text": _many("N"),
}


@pytest.mark.parametrize("name", _LOGS)
def test_no_log_takes_longer_than_it_is_long(name: str) -> None:
    start = time.process_time()

    read(_LOGS[name])

    assert time.process_time() - start < _LIMIT_S


@pytest.mark.parametrize("late", [False, True])
def test_a_chain_of_ten_thousand_generations(late: bool) -> None:
    text = [EXEC]
    for pid in range(100, 10_100):
        # Either the fork's result comes at once, or only when all that it led to is over.
        text.append(f"{pid} fork( <unfinished ...>\n" if late else f"{pid} fork() = {pid + 1}\n")
    text += [f"{pid} <... fork resumed>) = {pid + 1}\n" for pid in range(10_099, 99, -1) if late]
    start = time.process_time()

    batches, _ = read("".join(text))

    found = {one.tid: one.parent for one in lives(batches)}
    assert found == {100: None, **{pid + 1: pid for pid in range(100, 10_100)}}
    assert time.process_time() - start < _LIMIT_S


def _inside(count: int, *, wait: bool = True, signal: bool = False) -> str:
    """A container: 1001 is the first process of a pid namespace, and told of its children by numbers of its own."""
    made = "child_stack=NULL, flags={}SIGCHLD"
    text = [EXEC.replace("100 ", "1000 "), f"1000 clone({made.format('CLONE_NEWPID|')}) = 1001\n"]
    for i in range(count):
        outer, inner = 1002 + i, 2 + i
        text += [
            f"1001 clone({made.format('')}) = {inner}\n",
            f"{outer} exit_group({i % 7}) = ?\n",
            f"{outer} +++ exited with {i % 7} +++\n",
        ]
        if signal:
            text.append(
                f"1001 --- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={inner}, si_uid=0, "
                f"si_status={i % 7}, si_utime=0, si_stime=0}} ---\n"
            )
        if wait:
            text.append(f"1001 wait4(-1, [{{WIFEXITED(s) && WEXITSTATUS(s) == {i % 7}}}], 0, NULL) = {inner}\n")
    return "".join(text)


def test_numbers_of_an_inner_namespace_that_reach_those_of_the_outer_one() -> None:
    """1,001 forks in, the inner number is that of the namespace's own first child outside."""
    batches, left = read(_inside(2500))

    found = {one.tid or 0: one for one in lives(batches)}
    assert sorted(found) == list(range(1000, 1002 + 2500))
    assert {one.parent for tid, one in found.items() if tid > 1001} == {1001}
    assert [found[1002 + i].end for i in range(2500)] == [f"exit {i % 7}" for i in range(2500)]
    assert {one.reaped_by for tid, one in found.items() if tid > 1001} == {1001}
    assert left.lines == 0


@pytest.mark.parametrize("shape", [{}, {"wait": False}, {"signal": True}, {"wait": False, "signal": True}])
def test_who_is_over_is_not_kept(shape: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept grows with the log, and the collector walks all of it: of either only so much."""
    monkeypatch.setattr(ends, "_REMEMBERED", 20)
    if not shape.get("wait", True):
        monkeypatch.setattr(births, "_KIDS", 100)

    def kept(count: int) -> int:
        rows = Rows()
        stream = LineReader(rows, Skipped())
        for raw in _inside(count, **shape).encode().split(b"\n")[:-1]:
            stream.feed(raw)
        gc.collect()
        return sum(isinstance(one, Task) for one in gc.get_objects()) - before

    gc.collect()  # of earlier tests
    before = sum(isinstance(one, Task) for one in gc.get_objects())
    few = kept(400)
    assert 0 < few < 300
    assert kept(1600) <= few + 5


# -- numbers and times that are none ----------------------------------------------------------------------------

NINES = "9" * 20


@pytest.mark.parametrize(
    "line",
    [
        f"100 {NINES[:10]}.000001 exit_group(0) = ?",
        f"100 {NINES[:12]} exit_group(0) = ?",
        f"100 exit_group(0) = ? <{NINES[:12]}.0>",
        f"100 wait4(-1, [{{WIFEXITED(s) && WEXITSTATUS(s) == 0}}], 0, NULL) = {NINES}",
        f"100 wait4(-1, [{{WIFEXITED(s) && WEXITSTATUS(s) == 0}}], 0, {{ru_utime={{tv_sec={NINES[:12]}, tv_usec=0}}, "
        f"ru_maxrss={NINES[:18]}, ru_minflt={NINES[:18]}}}) = 101",
        f"100 --- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={NINES}, si_uid=0, si_status={NINES}}} ---",
        f"100 fork() = {NINES}",
        f"100 fork() = -1 (errno {NINES})",
        f"100 clone(child_stack=0, flags={NINES}) = 101",
    ],
)
def test_numbers_beyond_64_bits_and_times_beyond_centuries_are_unknown(line: str) -> None:
    log = EXEC + "100 fork() = 101\n101 +++ exited with 0 +++\n" + line + "\n"

    seen = [event for batch in read(log)[0] for event in batch.events()]

    assert all(event.ts_ns is None or event.ts_ns < 1 << 63 for event in seen)
    assert {event.pid for event in seen} == {100, 101}


def test_steps_that_add_up_to_more_than_64_bits_stop_there() -> None:
    log = EXEC.replace("100 ", "100 (+ 7999999999.0) ") + 3 * "100 (+ 7999999999.0) fork() = -1 EAGAIN (x)\n"

    assert lives(read(log)[0])[0].failed == ["EAGAIN fork"] * 3


def test_who_has_no_birth_in_the_log_has_no_time_of_it() -> None:
    log = (
        '100 1700000000.000000 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        "101 1700000001.000000 +++ exited with 1 +++\n"
        "100 1700000002.000000 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=101, si_uid=0, si_status=1} "
        "---\n"
        "102 1700000003.000000 +++ exited with 1 +++\n"
    )

    seen = [event for batch in read(log)[0] for event in batch.events()]

    births = {event.pid: event.ts_ns for event in seen if event.kind in (Kind.FORK, Kind.EXISTING)}
    assert births == {100: 1_700_000_000_000_000_000, 101: None, 102: None}
