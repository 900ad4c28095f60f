"""The traced program as its user sees it: started, stopped, ended as without forktrace. No BPF here."""

from __future__ import annotations

import os
import resource
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.terminals import DEADLINE_S, Shell, Terminal, state, wait_until
from tracer.capture.target import Action, Status, Target
from tracer.errors import CannotStartError, UsageError

DRIVER = [sys.executable, str(Path(__file__).parents[1] / "programs" / "hold_release.py")]
pytestmark = pytest.mark.programs


class Driven:
    """The driver on a program: its lines, its end."""

    def __init__(self, argv: Sequence[str], *options: str, prefix: Sequence[str] = (), **popen: object) -> None:
        self._told, tell = os.pipe()
        self._text = b""
        self.process = subprocess.Popen(
            [*prefix, *DRIVER, "--tell", str(tell), *options, "--", *argv],
            pass_fds=(tell, *popen.pop("pass_fds", ())),  # type: ignore[misc]
            **popen,  # type: ignore[call-overload]
        )
        os.close(tell)

    def expect(self, line: str) -> str:
        """The rest of the next told line that begins with `line`."""
        while True:
            while b"\n" not in self._text:
                assert select.select([self._told], [], [], DEADLINE_S)[0], f"the driver did not say {line!r}"
                data = os.read(self._told, 4096)
                assert data, f"the driver ended and never said {line!r}"
                self._text += data
            told, _, self._text = self._text.partition(b"\n")
            if told.decode().startswith(line):
                return told.decode()[len(line) :].strip()

    def kill(self) -> None:
        with suppress(OSError):
            os.close(self._told)
        self.process.kill()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def drive() -> Iterator[Callable[..., Driven]]:
    started: list[Driven] = []

    def start(argv: Sequence[str], *options: str, **popen: object) -> Driven:
        started.append(Driven(argv, *options, **popen))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.kill()


def run(*argv: str, options: Sequence[str] = (), **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*DRIVER, *options, "--", *argv],
        **{"capture_output": True, "text": True, "timeout": DEADLINE_S, "check": False, **kwargs},
    )


def line(*argv: str) -> str:
    """The driver on a program, for a shell to read."""
    return shlex.join([*DRIVER, "--", *argv])


# How it ends


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_is_passed_on(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGSEGV", "SIGKILL", "SIGINT", "SIGPIPE", "SIGRTMIN"])
def test_death_by_a_signal_is_passed_on(name: str) -> None:
    signo = signal.Signals[name]
    done = run("sh", "-c", f"ulimit -c 0; kill -{int(signo)} $$")

    assert (done.returncode, done.stderr) == (-signo, "")


def test_a_death_makes_no_second_core(tmp_path: Path) -> None:
    """The program may dump; whether the driver did is in its own status."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("RLIMIT_CORE: its hard limit is 0 here")
    dying = f"cd {shlex.quote(str(tmp_path))}; ulimit -c $(ulimit -Hc); exec {{}}"
    dumped = []
    for command in ("sh -c 'kill -SEGV $$'", line("sh", "-c", "ulimit -c 0; kill -SEGV $$")):
        pid = os.posix_spawnp("sh", ["sh", "-c", dying.format(command)], os.environ)
        _, raw = os.waitpid(pid, 0)
        assert os.WTERMSIG(raw) == signal.SIGSEGV
        dumped.append(os.WCOREDUMP(raw))

    assert dumped[1] is False
    if not dumped[0]:
        pytest.skip("kernel.core_pattern: no process dumps core here")


def test_not_found_is_127() -> None:
    done = run("no-such-program-here")

    assert done.returncode == 127
    assert done.stderr.count("\n") == 1
    assert "'no-such-program-here' was not found in PATH" in done.stderr


def test_a_missing_path_is_127() -> None:
    assert run("./no/such").returncode == 127


@pytest.mark.parametrize(
    ("content", "mode", "status", "words"),
    [
        ("#!/bin/sh\n", 0o644, 126, "permission denied"),
        ("#!/no/such/interpreter\n", 0o755, 127, "interpreter"),
        ("\x7fELF\0\0\0", 0o755, 126, "format"),
    ],
)
def test_a_file_that_can_not_run(content: str, mode: int, status: int, words: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(mode)
    done = run(str(program))

    assert (done.returncode, words in done.stderr, done.stderr.count("\n")) == (status, True, 1)


def test_a_folder_is_126(tmp_path: Path) -> None:
    assert run(str(tmp_path)).returncode == 126


def test_a_script_without_a_first_line_is_given_to_the_shell(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("echo $0 $1; exit 5\n")
    program.chmod(0o755)
    done = run(str(program), "word")

    assert (done.stdout, done.returncode) == (f"{program} word\n", 5)


def test_a_file_in_path_that_may_not_be_run_is_126(tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("#!/bin/sh\n")
    assert run("locked", options=["-E", f"PATH={tmp_path}"]).returncode == 126


# What it inherits


def test_streams_are_untouched() -> None:
    done = run("sh", "-c", "cat; echo err >&2", input="from a pipe\n")
    assert (done.stdout, done.stderr) == ("from a pipe\n", "err\n")


def test_dispositions_and_mask_are_those_of_the_caller() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, we ignore and block more: none of it may reach the program."""
    grep = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]
    plain = subprocess.run(grep, capture_output=True, text=True, check=True).stdout
    assert run(*grep).stdout == plain


def test_what_the_caller_ignores_stays_ignored() -> None:
    """As under nohup, and for `cmd &` of a script: SIGHUP and SIGINT ignored by the caller."""
    caller = (
        "import os, signal as s, sys; s.signal(s.SIGPIPE, s.SIG_DFL); s.signal(s.SIGXFSZ, s.SIG_DFL);"
        "[s.signal(n, s.SIG_IGN) for n in (s.SIGHUP, s.SIGINT, s.SIGCHLD)];"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", caller, *DRIVER, "--", "grep", "SigIgn", "/proc/self/status"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    ignored = int(done.stdout.split()[1], 16)

    assert {s for s in signal.valid_signals() if ignored >> (s - 1) & 1} == {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGCHLD,
    }


def test_no_descriptor_of_ours_reaches_it() -> None:
    names = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True).stdout
    assert run("ls", "/proc/self/fd").stdout == names


def test_closed_standard_streams_stay_closed() -> None:
    look = "for n in 0 1 2; do test -e /proc/$$/fd/$n && exit 1$n; done; exit 9"
    command = f"exec {line('sh', '-c', look)} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=DEADLINE_S, check=False).returncode == 9


def test_our_pipes_stay_clear_of_closed_standard_streams(drive: Callable[..., Driven]) -> None:
    """Were the gate descriptor 2, a warning of a library would release the program."""
    gate, release = os.pipe()
    close = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    one = drive(["true"], "--gate", str(gate), prefix=close, pass_fds=(gate,))
    os.close(gate)
    one.expect("held")
    folder = Path(f"/proc/{one.process.pid}/fd")
    low = [os.readlink(fd) for fd in folder.iterdir() if int(fd.name) < 3]

    assert [name for name in low if name.startswith("pipe:")] == []
    os.close(release)
    assert one.process.wait(DEADLINE_S) == 0


def test_environment_words() -> None:
    done = run("sh", "-c", 'echo "$A.${HOME-unset}"', options=["-E", "A=x=y", "-E", "HOME"])
    assert done.stdout == "x=y.unset\n"


def test_folder(tmp_path: Path) -> None:
    assert run("pwd", options=["--cwd", str(tmp_path)]).stdout == f"{tmp_path.resolve()}\n"
    assert run("pwd", options=["--cwd", str(tmp_path / "none")]).returncode == 126


def test_same_process_group_and_parent(drive: Callable[..., Driven]) -> None:
    one = drive(["sleep", "100"])
    pid = int(one.expect("held"))
    one.expect("released")

    assert os.getpgid(pid) == os.getpgid(one.process.pid)
    assert os.getsid(pid) == os.getsid(one.process.pid)
    os.kill(pid, signal.SIGKILL)


# Held


def test_held_until_released_and_gone_when_abandoned(drive: Callable[..., Driven], tmp_path: Path) -> None:
    gate, release = os.pipe()
    flag = tmp_path / "ran"
    one = drive(["touch", str(flag)], "--gate", str(gate), pass_fds=(gate,))
    os.close(gate)
    pid = int(one.expect("held"))

    assert os.readlink(f"/proc/{pid}/exe") == os.readlink(f"/proc/{one.process.pid}/exe")
    os.close(release)
    one.expect("abandoned")
    assert one.process.wait(DEADLINE_S) == 0
    assert (flag.exists(), state(pid)) == (False, "")


def test_kill_9_before_the_release_ends_the_child(drive: Callable[..., Driven], tmp_path: Path) -> None:
    gate, release = os.pipe()
    flag = tmp_path / "ran"
    one = drive(["touch", str(flag)], "--gate", str(gate), pass_fds=(gate,))
    os.close(gate)
    pid = int(one.expect("held"))
    one.process.kill()
    wait_until("the held child has ended", lambda: state(pid) in ("", "Z"))
    os.close(release)

    assert not flag.exists()


def test_kill_9_after_the_release_leaves_the_program_running(drive: Callable[..., Driven]) -> None:
    theirs, ours = os.pipe()
    back, answer = os.pipe()
    one = drive(["cat"], stdin=theirs, stdout=answer)
    os.close(theirs)
    os.close(answer)
    pid = int(one.expect("held"))
    one.expect("released")
    one.process.kill()
    one.process.wait(DEADLINE_S)
    os.write(ours, b"still here")

    assert os.read(back, 100) == b"still here"
    os.close(ours)
    assert os.read(back, 100) == b""  # it saw the end of its input and ended on its own
    os.close(back)
    wait_until("cat has ended", lambda: state(pid) in ("", "Z"))


def test_a_signal_while_held_is_the_programs_end(drive: Callable[..., Driven]) -> None:
    gate, release = os.pipe()
    one = drive(["sleep", "100"], "--gate", str(gate), pass_fds=(gate,))
    os.close(gate)
    os.kill(int(one.expect("held")), signal.SIGINT)
    os.write(release, b"x")
    os.close(release)

    assert one.process.wait(DEADLINE_S) == -signal.SIGINT


# Signals to us

GRACEFUL = "trap 'echo term; exit 9' TERM HUP INT; echo ready; while :; do sleep 0.01; done"
STUBBORN = "trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done"


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("apart", [False, True], ids=["same-group", "own-group"])
def test_a_request_to_end_is_passed_on(drive: Callable[..., Driven], signo: int, apart: bool) -> None:
    """From its parent in the same group too: `kill $!` of a script and Popen.terminate() come like that."""
    one = drive(["sh", "-c", GRACEFUL], stdout=subprocess.PIPE, start_new_session=apart)
    assert one.process.stdout is not None
    assert one.process.stdout.readline() == b"ready\n"
    one.expect("released")
    one.process.send_signal(signo)

    assert one.process.wait(DEADLINE_S) == 9
    assert one.process.stdout.read() == b"term\n"
    one.process.stdout.close()


def test_a_second_request_detaches(drive: Callable[..., Driven]) -> None:
    one = drive(["sh", "-c", STUBBORN], stdout=subprocess.PIPE)
    pid = int(one.expect("held"))
    assert one.process.stdout is not None
    assert one.process.stdout.readline() == b"ready\n"
    one.process.terminate()
    assert one.process.stdout.readline() == b"term\n"
    end = time.monotonic() + 0.05  # two signals at once are one request
    wait_until("the second request is one of its own", lambda: time.monotonic() > end)
    one.process.terminate()
    one.expect("detached")

    assert one.process.wait(DEADLINE_S) == -signal.SIGTERM
    assert state(pid) in ("S", "R", "D")
    os.kill(pid, signal.SIGKILL)
    one.process.stdout.close()


def test_kill_0_of_the_program_is_not_doubled(drive: Callable[..., Driven]) -> None:
    count = "n=0; trap 'n=$((n+1))' TERM; kill -TERM 0"
    script = f"{count}; i=0; while [ $i -lt 20 ]; do sleep 0.01; i=$((i+1)); done; exit $n"
    one = drive(["sh", "-c", script], start_new_session=True)
    assert one.process.wait(DEADLINE_S) == 1


def test_ctrl_c_does_not_end_us_before_the_program() -> None:
    script = "trap 'echo got; exit 4' INT; echo ready; while :; do sleep 0.01; done"
    with Shell() as shell:
        shell.run(line("sh", "-c", script))
        shell.expect("ready")
        shell.keys("\x03")
        shell.expect("got")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=4")


def test_ctrl_c_ends_a_loop_of_the_shell() -> None:
    """The shell sees a death by SIGINT, not an exit with 130."""
    with Shell() as shell:
        shell.run(f"while :; do {line('cat')}; done")
        shell.run("ready")  # one process: a shell loses a Ctrl-C that comes while it forks
        shell.expect("ready")
        shell.keys("\x03")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=130")


# Job control


def test_ctrl_z_and_fg() -> None:
    with Shell() as shell:
        shell.run(line("cat"))
        shell.keys("one\n")
        shell.expect("one")
        shell.keys("\x1a")
        shell.expect("Stopped")
        shell.prompt()
        shell.run("fg")
        shell.expect("hold_release.py")
        shell.keys("two\n")
        shell.expect("two")
        shell.keys("\x04")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=0")


def test_a_program_that_stops_itself_and_bg() -> None:
    script = "kill -STOP $$; echo onward; exit 6"
    with Shell() as shell:
        shell.run(line("sh", "-c", script))
        shell.expect("Stopped")
        shell.prompt()
        shell.run("bg; wait %1; echo code=$?")
        shell.expect("onward")
        shell.expect("code=6")


def test_reading_in_the_background_stops_the_job() -> None:
    with Shell() as shell:
        shell.run(line("cat") + " &")
        shell.prompt()
        shell.run("until jobs | grep -q Stopped; do :; done; echo st''opped")
        shell.expect("stopped")
        shell.prompt()
        shell.run("fg")
        shell.keys("line\n")
        shell.expect("line")
        shell.keys("\x04")
        shell.prompt()


def test_continued_when_only_we_are(drive: Callable[..., Driven]) -> None:
    one = drive(["sh", "-c", "kill -STOP $$; exit 7"])
    one.expect("stopping")
    wait_until("we stop with the program", lambda: state(one.process.pid) == "T")
    one.process.send_signal(signal.SIGCONT)
    assert one.process.wait(DEADLINE_S) == 7


def test_we_wake_when_another_continues_the_program(drive: Callable[..., Driven]) -> None:
    one = drive(["sh", "-c", "kill -STOP $$; exit 7"])
    pid = int(one.expect("held"))
    one.expect("stopping")
    wait_until("we stop with the program", lambda: state(one.process.pid) == "T")
    os.kill(pid, signal.SIGCONT)
    assert one.process.wait(DEADLINE_S) == 7


def test_a_program_in_raw_mode_reads_keys() -> None:
    script = (
        "import os,tty,termios; was=termios.tcgetattr(0); tty.setraw(0); os.write(1,b'ra'+b'w');"
        "k=os.read(0,1); termios.tcsetattr(0,termios.TCSANOW,was); os.write(1,b'key=%d.'%k[0])"
    )
    with Shell() as shell:
        shell.run(line(sys.executable, "-c", script))
        shell.expect("raw")
        shell.keys("\x03")  # a key like any other there
        shell.expect("key=3.")
        shell.prompt()


def test_an_interactive_shell_inside() -> None:
    with Shell() as shell:
        shell.run(line("bash", "--norc", "--noprofile", "--noediting", "-i"))
        shell.run("PS1=in''ner; set -m; cat")
        shell.keys("text\n")
        shell.expect("text")
        shell.keys("\x1a")
        shell.expect("Stopped")
        shell.run("fg")
        shell.keys("more\n")
        shell.expect("more")
        shell.keys("\x04")
        shell.expect("inner")
        shell.run("exit 8")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=8")


def test_the_terminal_is_taken_back() -> None:
    """A script has no job control to repair what a killed interactive shell left behind."""
    script = (
        "import os, signal; signal.signal(signal.SIGTTOU, signal.SIG_IGN);"
        "os.setpgid(0, 0); os.tcsetpgrp(0, os.getpid()); os.kill(os.getpid(), 9)"
    )
    then = "echo after; read line; echo got=$line"
    with Terminal(["sh", "-c", f"{line(sys.executable, '-c', script)}; {then}"]) as terminal:
        terminal.expect("after")
        terminal.keys("word\n")
        terminal.expect("got=word")


# Children


def test_a_child_made_with_clone_parent_is_reaped(drive: Callable[..., Driven]) -> None:
    machine = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
    if machine is None:
        pytest.skip(f"the number of clone on {os.uname().machine} is not known to this test")
    script = (
        "import ctypes,os,sys\n"
        f"pid = ctypes.CDLL(None).syscall({machine}, 0x8000 | 17, 0, 0, 0, 0)\n"
        "if pid == 0: os._exit(0)\n"
        "print(pid, flush=True); sys.stdin.read()\n"
    )
    one = drive([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert one.process.stdout is not None and one.process.stdin is not None
    pid = int(one.process.stdout.readline())

    assert int(one.expect("child")) == pid
    assert state(pid) == ""
    one.process.stdin.close()
    one.process.stdout.close()
    assert one.process.wait(DEADLINE_S) == 0


# In this process


def accompany(target: Target) -> Status:
    """As a session does: woken by the descriptor, and by the clock too, since in a process with threads (pyarrow's,
    once other tests have run) one of them may take the SIGCHLD. That the descriptor wakes is tested through the driver.
    """
    deadline = time.monotonic() + DEADLINE_S
    while target.status is None:
        assert time.monotonic() < deadline, "the program's end was not noticed"
        select.select([target.signal_fd], [], [], 0.05)
        target.handle_signals()
    return target.status


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(s) for s in sorted(signal.valid_signals())]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    files = os.listdir("/proc/self/fd")
    target = Target.hold(["true"])
    target.release()
    accompany(target)
    target.close()

    assert [signal.getsignal(s) for s in sorted(signal.valid_signals())] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert os.listdir("/proc/self/fd") == files


def test_signals_are_given_back_after_a_failure() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    files = os.listdir("/proc/self/fd")
    with pytest.raises(CannotStartError):
        Target.hold(["no-such-program-here"])

    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert os.listdir("/proc/self/fd") == files


def test_ended_is_said_once_and_the_reaping_can_wait() -> None:
    target = Target.hold(["sh", "-c", "exit 11"])
    target.defer_reap = True
    target.release()
    wait_until("it is a zombie", lambda: state(target.pid) == "Z")
    actions = [target.handle_signals(), target.handle_signals()]

    assert actions == [Action.ENDED, Action.NONE]
    assert target.status == Status(11)
    assert state(target.pid) == "Z"
    assert target.reap().rusage is not None
    assert state(target.pid) == ""
    target.close()


def test_only_the_main_thread_may_start_a_program() -> None:
    caught: list[BaseException] = []

    def hold() -> None:
        try:
            Target.hold(["true"])
        except UsageError as e:
            caught.append(e)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_words_that_make_no_command(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        Target.hold(argv)
