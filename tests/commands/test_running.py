"""`forktrace -- PROGRAM` as its user meets it, on the real kernel: whatever happens to us, the program is unharmed."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.backends.bpf.test_backend import programs_of, wait_until_unloaded
from tests.capture.test_privileges import account  # noqa: F401 - a fixture
from tests.conftest import need
from tests.programs.cow import build
from tests.terminals import DEADLINE_S, Shell, state, wait_until
from tracer.api.capture import open_trace
from tracer.errors import BadDataError

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
FORKTRACE = [sys.executable, "-m", "tracer", "--backend", "bpf"]


@pytest.fixture(autouse=True)
def _ready(monkeypatch: pytest.MonkeyPatch) -> None:
    need("bpf", "cc")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def forktrace(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    more = {"stdout": -1, "stderr": -1, "text": True, "timeout": DEADLINE_S, "errors": "surrogateescape", **more}
    return subprocess.run([*FORKTRACE, *words], check=False, **more)


class Running:
    """forktrace while it runs: its pipes, lines of stdout, the program's pid."""

    def __init__(self, *words: str, **more: Any) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        self.process = subprocess.Popen([*FORKTRACE, *words], **pipes)
        self.pid = self.process.pid

    def line(self) -> str:
        """The next line of the program's output."""
        assert self.process.stdout is not None
        return str(self.process.stdout.readline(), "utf-8")

    def said(self) -> str:
        """The next line on stderr."""
        assert self.process.stderr is not None
        return str(self.process.stderr.readline(), "utf-8")

    def program(self) -> int:
        """The child that was started, once it has been released: it has left our image."""
        ours = os.readlink(f"/proc/{self.pid}/exe")
        found: list[int] = []

        def released() -> bool:
            found[:] = map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())
            with suppress(OSError):
                return bool(found) and os.readlink(f"/proc/{found[0]}/exe") != ours
            return False

        wait_until("the program runs", released)
        return found[0]

    def give(self, text: str | None) -> None:
        """To the program's standard input; None ends it."""
        assert self.process.stdin is not None
        if text is None:
            self.process.stdin.close()
        else:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Status, and what was left of stderr."""
        assert self.process.stderr is not None
        status = self.process.wait(DEADLINE_S)
        return status, str(self.process.stderr.read(), "utf-8", "surrogateescape")


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def begin(*words: str, **more: Any) -> Running:
        made.append(Running(*words, **more))
        return made[-1]

    yield begin
    for one in made:
        one.process.kill()
        for pipe in (one.process.stdin, one.process.stdout, one.process.stderr):
            if pipe is not None:
                pipe.close()
        one.process.wait()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    """Who reads it sits there until `let_go`, or until the test is over."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    yield path
    let_go(path)


def let_go(fifo: Path) -> None:
    with suppress(OSError):  # nobody reads
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


# What the program is given, and what it leaves


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_is_the_programs(code: int) -> None:
    done = forktrace("--", "sh", "-c", f"echo out; echo err >&2; exit {code}")

    assert (done.returncode, done.stdout) == (code, "out\n")
    assert done.stderr.startswith("err\n")
    assert "sh -c" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGSEGV"])
def test_a_death_by_signal_is_ours_too(name: str) -> None:
    done = forktrace("--", "sh", "-c", f"ulimit -c 0; kill -{int(signal.Signals[name])} $$")

    assert done.returncode == -signal.Signals[name]
    assert name.removeprefix("SIG") in done.stderr


def test_streams_are_the_programs() -> None:
    done = forktrace("-q", "--", "sh", "-c", "cat; echo err >&2", input="from a pipe\n")

    assert (done.stdout, done.stderr, done.returncode) == ("from a pipe\n", "err\n", 0)


@pytest.mark.parametrize(("close", "left"), [("<&-", "12"), (">&-", "02"), ("2>&-", "01"), ("<&- >&- 2>&-", "")])
def test_closed_streams_are_closed_for_the_program_and_do_no_harm(close: str, left: str, tmp_path: Path) -> None:
    look = 'for n in 0 1 2; do test -e /proc/$$/fd/$n && told=$told$n; done; echo $told >"$1"; exit 9'
    told, trace = tmp_path / "told", tmp_path / "x.ftrace"
    line = f'"$@" {close}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *FORKTRACE, "-o", str(trace), "--", "sh", "-c", look, "x", str(told)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.returncode == 9
    assert told.read_text() == left + "\n"
    assert b"Traceback" not in done.stderr
    assert len(open_trace(str(trace)).tree) == 1


def test_a_reader_of_the_report_that_has_left_does_not_change_the_status() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = forktrace("--", "sh", "-c", "exit 6", stderr=writer)
    os.close(writer)

    assert done.returncode == 6


def test_a_report_that_finds_no_room_does_not_change_the_status() -> None:
    with open("/dev/full", "w") as full:
        done = forktrace("--", "sh", "-c", "exit 6", stderr=full)

    assert done.returncode == 6


def test_a_thousand_open_files_are_no_hindrance() -> None:
    """select() knows no descriptor above 1023."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 2000:
        pytest.skip(f"RLIMIT_NOFILE: its hard limit is {most} here")
    code = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000));"
        "[os.dup2(0, n, inheritable=True) for n in range(3, 1100)]; os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *FORKTRACE, "--", "sh", "-c", "exit 7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert done.returncode == 7
    assert "exit 7" in done.stderr


@pytest.mark.parametrize(("name", "status"), [("no-such-program", 127), ("./no/such", 127), ("/", 126), ("", 127)])
def test_what_can_not_be_run_is_one_sentence(name: str, status: int, tmp_path: Path) -> None:
    done = forktrace("-o", str(tmp_path / "x.ftrace"), "--", name)

    assert done.returncode == status
    assert done.stderr.startswith("forktrace: ")
    assert done.stderr.count("\n") == 1


def test_an_output_that_can_not_be_made_keeps_the_program_from_running(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    done = forktrace("-o", str(tmp_path / "no" / "x.ftrace"), "--", "touch", str(flag))

    assert done.returncode == 73
    assert "there is no folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not flag.exists()


def exported(tmp_path: Path, *words: str, program: Sequence[str], table: str = "events") -> list[dict[str, Any]]:
    """What `export` says of a run with these options."""
    path = str(tmp_path / "x.ftrace")
    forktrace("-q", "-o", path, *words, "--", *program)
    done = subprocess.run(
        [sys.executable, "-m", "tracer", "export", path, "--as", "jsonl", "--table", table],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_asked_for_is_recorded(tmp_path: Path) -> None:
    words = ["-E", "FT_ONE=x=y", "-E", "HOME", "--env", "FT_ONE,HOME,NOT_THERE", "-s", "13", "-e", "fail"]
    events = exported(tmp_path, *words, program=["sh", "-c", "/no/such; /bin/echo a bcdef; exit 0"])
    execs = [event for event in events if event["kind"] == "exec"]
    failed = [(event["exe"], event["error"]) for event in events if event["kind"] == "exec_failed"]

    assert [event["env"] for event in execs] == [["FT_ONE=x=y"]] * 2
    assert execs[1]["argv"] == ["/bin/echo", "a", "b...", "..."]
    assert failed == [("/no/such", "ENOENT")]


def test_secrets_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    program = ["sh", "-c", "exit 0", "sh", "--password=hunter2"]
    path = tmp_path / "x.ftrace"
    forktrace("-q", "-o", str(path), "--", *program)
    shown = open_trace(str(path)).tree.value(0, "argv")
    forktrace("-q", "--redact", "-o", str(path), "--", *program)
    hidden = open_trace(str(path)).tree.value(0, "argv")

    assert "hunter2" in str(shown)
    assert "hunter2" not in str(hidden)


def test_quiet_is_quiet() -> None:
    assert forktrace("-q", "--", "true").stderr == ""
    assert forktrace("-qq", "--", "true").stderr == ""


# Names from outside


def harmless(text: str) -> bool:
    return all(c == "\n" or c.isprintable() for c in text)


def test_names_and_paths_can_not_reach_the_screen_raw(tmp_path: Path) -> None:
    evil = tmp_path / "\x1b[2J\x1b]0;owned\x07[bold]\r\u202e\udcff\x9b"
    evil.symlink_to("/bin/true")
    script = '"./$0"; "./$0" "$1"; exit 0'
    done = forktrace("--width", "200", "--", "sh", "-c", script, evil.name, "\x1b[31m\n[/red]", cwd=tmp_path)

    assert harmless(done.stderr)
    assert "\\x1b[2J" in done.stderr
    assert "[bold]" in done.stderr


def test_the_sample_of_odd_bytes_is_harmless_on_the_screen(tmp_path: Path) -> None:
    samples.build()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = forktrace("--full", "--threads", "--", str(samples.BIN / "odd_bytes"), env=environment)

    assert done.returncode == 0
    assert harmless(done.stderr)


def test_who_is_waited_for_can_not_reach_the_screen_raw(
    start: Callable[..., Running], tmp_path: Path, fifo: Path
) -> None:
    evil = tmp_path / "\x1b[31mevil"
    evil.symlink_to("/bin/cat")
    one = start("--", "sh", "-c", '"$0" "$1" >/dev/null & exit 4', str(evil), str(fifo))
    line = one.said()
    let_go(fifo)

    assert "waiting for \\x1b[31mevil (" in line
    assert harmless(line)
    assert one.end()[0] == 4


# Who outlives

OUTLIVED = ("sh", "-c", 'cat "$0" >/dev/null 2>&1 & exit 4')


def test_descendants_are_waited_for_and_named(start: Callable[..., Running], fifo: Path) -> None:
    one = start("--", *OUTLIVED, str(fifo))
    line = one.said()
    let_go(fifo)
    status, report = one.end()

    assert line.startswith("forktrace: the program has ended; waiting for cat (")
    assert status == 4
    assert "running" not in report


def test_a_request_while_waiting_leaves_them_running(start: Callable[..., Running], tmp_path: Path, fifo: Path) -> None:
    path = tmp_path / "x.ftrace"
    one = start("-o", str(path), "--", *OUTLIVED, str(fifo))
    pid = int(one.said().partition("cat (")[2].partition(")")[0])
    one.process.send_signal(signal.SIGINT)
    status, report = one.end()

    assert status == 4
    assert "running" in report
    assert state(pid) == "S"
    assert not open_trace(str(path)).torn


def test_no_wait_ends_with_the_program(fifo: Path) -> None:
    done = forktrace("--no-wait", "--", *OUTLIVED, str(fifo))

    assert done.returncode == 4
    assert "waiting for" not in done.stderr
    assert "1 still running" in done.stderr


def test_duration_ends_the_watch_alone(start: Callable[..., Running]) -> None:
    one = start("--duration", "0.1", "--", "cat")
    pid = one.program()
    assert one.process.wait(DEADLINE_S) == 0
    assert state(pid) == "S"
    one.give(None)
    wait_until("cat has ended", lambda: state(pid) in ("", "Z"))

    assert "still running" in one.end()[1]


# Attached


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A shell that runs /bin/true for each line it is given."""
    script = "while read x; do /bin/true; echo; done"
    made = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    yield made
    for pipe in (made.stdin, made.stdout):
        assert pipe is not None
        pipe.close()
    made.wait()


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_an_attached_capture_ends_on_request_with_its_report_and_its_file(
    start: Callable[..., Running], victim: subprocess.Popen[bytes], signo: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "x.ftrace"
    one = start("-o", str(path), "-p", str(victim.pid))
    wait_until("the file is begun", path.exists)  # made when all is attached
    for _ in range(5):
        assert victim.stdin is not None
        assert victim.stdout is not None
        victim.stdin.write(b"x\n")
        victim.stdout.readline()
    one.process.send_signal(signo)
    status, report = one.end()
    trace = open_trace(str(path))

    assert status == 0
    assert "×5" in report
    assert len(trace.tree) == 6
    assert not trace.torn
    assert state(victim.pid) == "S"


def test_an_attached_capture_ends_with_who_it_watched(
    start: Callable[..., Running], victim: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "x.ftrace"
    one = start("-o", str(path), "-p", str(victim.pid))
    wait_until("the file is begun", path.exists)
    assert victim.stdin is not None
    victim.stdin.close()
    status, report = one.end()

    assert status == 0
    assert "sh" in report


def test_the_whole_host_for_a_while() -> None:
    done = forktrace("-a", "--duration", "0.2", "--full")

    assert done.returncode == 0
    assert "existing" in done.stderr
    assert harmless(done.stderr)


@pytest.mark.parametrize("word", ["4194304", "2"])
def test_who_is_not_there_is_one_sentence(word: str) -> None:
    done = forktrace("-p", word)

    assert done.returncode == 66
    assert done.stderr.count("\n") == 1


# Ctrl-C, from a terminal


def line(*words: str) -> str:
    return shlex.join([*FORKTRACE, *words])


def test_ctrl_c_is_the_programs_and_we_report_after_it() -> None:
    script = "trap 'echo got; exit 4' INT; echo ready; while :; do sleep 0.01; done"
    with Shell() as shell:
        shell.run(line("--", "sh", "-c", script))
        shell.expect("ready")
        shell.keys("\x03")
        shell.expect("got")
        shell.expect("forktrace itself")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=4")


def test_ctrl_c_ends_a_program_and_the_shell_sees_it() -> None:
    with Shell() as shell:
        shell.run(line("--", "sh", "-c", "echo ready; exec cat"))
        shell.expect("ready")
        shell.keys("\x03")
        shell.expect("INT")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=130")


def test_ctrl_c_while_waiting_leaves_the_descendants(fifo: Path) -> None:
    with Shell() as shell:
        shell.run(line("--", *OUTLIVED, str(fifo)))
        shell.expect("waiting for cat (")
        shell.keys("\x03")
        shell.expect("still running")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=4")


# We are killed, stopped, out of room


def processes_in(path: Path) -> int:
    with suppress(BadDataError):
        return len(open_trace(str(path)).tree)
    return 0


def test_kill_9_leaves_the_program_and_takes_the_probes_and_the_file_can_be_read(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "x.ftrace"
    samples.build()
    script = f"{samples.BIN}/storm 2003; echo ready; read x; /bin/true; echo $x"
    one = start("-o", str(path), "--cow", "off", "--", "sh", "-c", script)
    program = one.program()
    assert one.line() == "ready\n"
    wait_until("a batch is in the file", lambda: processes_in(path) > 1000)  # a flush at 4096 rows
    probes = programs_of(one.pid)
    one.process.kill()
    one.process.wait()
    wait_until_unloaded(probes)

    assert probes
    assert state(program) in ("S", "R")
    one.give("still here\n")
    assert one.line() == "still here\n"
    wait_until("the program has ended", lambda: state(program) in ("", "Z"))
    trace = open_trace(str(path))
    assert len(trace.tree) > 1000
    assert trace.torn
    assert not [row for row in range(len(trace.tree)) if trace.tree.is_gap(row)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """64 KiB."""
    need("root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "forktrace-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_no_row_less_in_the_report(small_disk: Path) -> None:
    samples.build()
    path = small_disk / "x.ftrace"
    n = 3001
    done = forktrace("-o", str(path), "--cow", "off", "--", str(samples.BIN / "storm"), str(n))
    ours = [said for said in done.stderr.splitlines() if said.startswith("forktrace: ")]

    assert done.returncode == 73  # the program gave 0, and the trace that was asked for is not there
    assert len(ours) == 1
    assert "no space left" in ours[0]
    assert f"{n:,} by fork" in done.stderr
    assert processes_in(path) < n  # not even the first batch may have found room


def test_stopped_with_a_small_ring_we_lose_and_say_so_and_the_program_does_not_wait(
    start: Callable[..., Running],
) -> None:
    one = start("--buffer", "4096", "--cow", "off", "--", str(build("burst")), "211")
    assert one.line() == "ready\n"
    one.process.send_signal(signal.SIGSTOP)
    wait_until("we are stopped", lambda: state(one.pid) == "T")
    one.give(None)
    assert one.line() == "done\n"  # it does not wait for us
    one.process.send_signal(signal.SIGCONT)
    status, report = one.end()

    assert status == 7
    assert "LOST" in report
    assert "Traceback" not in report


# sudo


def test_under_sudo_the_file_is_the_callers(account: Any) -> None:  # noqa: F811
    path = Path(account.pw_dir) / "x.ftrace"
    script = Path(sys.executable).with_name("forktrace")
    done = subprocess.run(
        ["sudo", "-n", script, "--backend", "bpf", "-o", str(path), "--", "id", "-u"],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd=account.pw_dir,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert (done.stdout, done.returncode) == (f"{account.pw_uid}\n", 0)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (account.pw_uid, 0o600)
    assert len(open_trace(str(path)).tree) == 1
