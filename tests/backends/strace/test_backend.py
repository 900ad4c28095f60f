"""The strace backend, live: what the program's user sees, whoever dies, and what strace is asked for."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests import judge, samples
from tests.conftest import need
from tests.samples import Sample
from tests.terminals import DEADLINE_S, Shell, state, wait_until
from tests.test_samples import SAMPLES
from tracer import backends
from tracer.backends import Options
from tracer.backends.strace import attach
from tracer.backends.strace import backend as strace
from tracer.backends.strace.log import Log
from tracer.errors import NoInputError, NoPermissionError, ProbesRefusedError
from tracer.host import features
from tracer.model.schema import Kind

ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / "tests" / "programs"
FORKTRACE = [sys.executable, "-m", "tracer"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
MODES = pytest.mark.parametrize("mode", [[], ["--strace-safe"]], ids=["seccomp", "safe"])
# An unprivileged user that may read files all the same: Python may stand in root's home.
NOBODY = [
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]
pytestmark = pytest.mark.programs


@pytest.fixture(autouse=True)
def _ready(request: pytest.FixtureRequest) -> None:
    need("strace")


def command(*argv: str, options: Sequence[str] = ("-q",)) -> list[str]:
    return [*FORKTRACE, "--backend", "strace", *options, "--", *argv]


def run(*argv: str, options: Sequence[str] = ("-q",), prefix: Sequence[str] = (), **popen: Any) -> Any:
    popen = {"env": ENV, "capture_output": True, "text": True, "timeout": DEADLINE_S, "check": False, **popen}
    return subprocess.run([*prefix, *command(*argv, options=options)], **popen)


def shell(*argv: str) -> str:
    """The line that runs the program under forktrace, for a shell to read."""
    return shlex.join(["env", f"PYTHONPATH={ROOT}", *command(*argv)])


def tracer_of(pid: int) -> int:
    """strace's pid, once it traces `pid`."""
    wait_until(f"somebody traces {pid}", lambda: bool(attach.tracer_of(pid)))
    return attach.tracer_of(pid) or 0


def left_over() -> set[Path]:
    """Folders of strace's output."""
    return set(Path("/tmp").glob("forktrace-[0-9]*-*"))


class Run:
    """forktrace on a shell script, which may wait for files in `folder`. `pid` is the script's."""

    def __init__(self, folder: Path, body: str, options: Sequence[str]) -> None:
        self.folder = folder
        script = f"cd {shlex.quote(str(folder))}; echo $$ >pid.new; mv pid.new pid; {body}"
        # Files, as whoever lives on after the script would hold a pipe open.
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            words = command("sh", "-c", script, options=options)
            self.process = subprocess.Popen(words, env=ENV, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        wait_until("the program runs", (folder / "pid").exists)
        self.pid = int((folder / "pid").read_text())

    def go(self) -> None:
        """Let it go on."""
        (self.folder / "go").touch()

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start one: program(body, *options)."""
    started: list[Run] = []

    def start(body: str, *options: str) -> Run:
        started.append(Run(tmp_path, body, options))
        return started[-1]

    yield start
    (tmp_path / "go").touch()
    for one in started:
        one.process.kill()
        one.wait()


Program = Callable[..., Run]
HOLD = "until [ -e go ] || [ $((n += 1)) -gt 20000 ]; do /bin/true; done"
"""Goes on, forking all the time, until the test lets it; or for a minute."""
SPIN = "until [ -e go ] || [ $((n += 1)) -gt 10000000 ]; do :; done"
"""The same without a fork."""


# How it ends


@MODES
@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_is_passed_on(code: int, mode: list[str]) -> None:
    done = run("sh", "-c", f"exit {code}", options=["-q", *mode])

    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGSEGV", "SIGKILL", "SIGINT", "SIGPIPE", "SIGRTMIN"])
def test_death_by_a_signal_is_passed_on(name: str) -> None:
    signo = signal.Signals[name]
    done = run("sh", "-c", f"ulimit -c 0; kill -{int(signo)} $$")

    assert (done.returncode, done.stderr) == (-signo, "")


def test_a_core_is_dumped_as_without(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("RLIMIT_CORE: its hard limit is 0 here")
    body = "ulimit -c $(ulimit -Hc); kill -SEGV $$"
    plain = os.posix_spawnp("sh", ["sh", "-c", f"cd {tmp_path}; {body}"], os.environ)
    dumps = os.WCOREDUMP(os.waitpid(plain, 0)[1])
    trace = tracer.run(["sh", "-c", body], backend="strace", cwd=str(tmp_path))
    row = next(trace.tree.records())

    assert trace.status is not None
    assert trace.status.core_dumped is dumps
    assert (row["signal"], row["core_dumped"]) == ("SIGSEGV", dumps)


@pytest.mark.parametrize(
    ("content", "mode", "status", "words"),
    [
        ("#!/bin/sh\n", 0o644, 126, "permission denied"),
        ("#!/no/such/interpreter\n", 0o755, 127, "interpreter"),
        ("\x7fELF\0\0\0", 0o755, 126, "format"),
    ],
)
def test_what_can_not_run_is_refused_by_us_not_by_strace(
    content: str, mode: int, status: int, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    path.write_text(content)
    path.chmod(mode)
    done = run(str(path))

    assert (done.returncode, words in done.stderr, done.stderr.count("\n")) == (status, True, 1)
    assert "strace" not in done.stderr


def test_not_found_is_127() -> None:
    done = run("no-such-program-here")

    assert (done.returncode, "was not found in PATH" in done.stderr) == (127, True)


def test_a_script_without_a_first_line_is_given_to_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("echo $0 $1; exit 5\n")
    path.chmod(0o755)
    done = run(str(path), "word")

    assert (done.stdout, done.stderr, done.returncode) == (f"{path} word\n", "", 5)


# What it inherits


def test_environment_descriptors_group_and_dispositions_are_as_without() -> None:
    """All that it sees of itself, but for strace's filter and its tracer."""
    look = (
        "import os; s = open('/proc/self/status').read().split(chr(10));"
        "print(sorted(os.environ.items()), sorted(os.listdir('/proc/self/fd')), os.getpgrp(), os.getsid(0),"
        "os.getcwd(), os.umask(0),"
        "[l for l in s if l.startswith(('SigB', 'SigI', 'SigC', 'Uid', 'Gid', 'Cap', 'Groups'))])"
    )
    plain = subprocess.run(
        [sys.executable, "-c", look], env=ENV, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    done = run(sys.executable, "-c", look, stdin=subprocess.DEVNULL)

    assert done.stdout == plain.stdout
    assert done.stderr == ""


def test_it_is_our_child() -> None:
    process = subprocess.Popen(command("sh", "-c", "echo $PPID"), env=ENV, stdout=subprocess.PIPE, text=True)

    assert process.communicate(timeout=DEADLINE_S)[0] == f"{process.pid}\n"


def test_streams_are_untouched() -> None:
    done = run("sh", "-c", "cat; echo err >&2", input="from a pipe\n")

    assert (done.stdout, done.stderr) == ("from a pipe\n", "err\n")


def test_strace_holds_no_stream_of_the_program(program: Program) -> None:
    """Else a reader would not see the end of the program's output, nor a writer that nobody reads its input."""
    one = program(HOLD)
    ours, its = Path(f"/proc/{one.pid}/fd"), Path(f"/proc/{tracer_of(one.pid)}/fd")
    streams = {(ours / name).readlink() for name in ("0", "1")}
    held = {fd.readlink() for fd in its.iterdir() if fd.name != "2"}

    assert not streams & held


def test_a_hundred_megabytes_pass() -> None:
    done = run("head", "-c", "100000000", "/dev/zero", stdout=subprocess.DEVNULL, capture_output=False)

    assert done.returncode == 0
    done = run("sh", "-c", "head -c 100000000 /dev/zero | wc -c; exit 5")
    assert (done.stdout, done.returncode) == ("100000000\n", 5)


# Who dies, and who waits


def test_strace_killed_under_seccomp_is_said_in_a_sentence(program: Program) -> None:
    one = program(f"{SPIN}; /bin/true; echo alive")
    os.kill(tracer_of(one.pid), signal.SIGKILL)
    one.go()
    status = one.wait()
    said = [line for line in one.err.splitlines() if line.startswith("forktrace: ")]

    assert len(said) == 1
    assert "strace was killed" in said[0]
    assert status != 0  # it could not even exit as it wished
    assert "LOST" in one.err


def test_strace_killed_without_seccomp_harms_nobody(program: Program) -> None:
    one = program(f"{SPIN}; /bin/true; echo alive; exit 9", "--strace-safe")
    os.kill(tracer_of(one.pid), signal.SIGKILL)
    one.go()

    assert (one.wait(), one.out) == (9, "alive\n")
    assert "forktrace: strace was killed: the program goes on" in one.err


@MODES
def test_forktrace_killed_is_not_noticed_by_the_program(mode: list[str], program: Program) -> None:
    before = left_over()
    one = program(f"{HOLD}; echo $? >end", *mode)
    strace_pid = tracer_of(one.pid)
    wait_until("the file's name has gone", lambda: left_over() <= before)
    one.process.kill()
    one.wait()
    one.go()
    wait_until("the program's end", lambda: state(one.pid) in ("", "Z"))
    wait_until("strace's end", lambda: state(strace_pid) in ("", "Z"))

    assert (one.folder / "end").read_text() == "0\n"


def test_a_limit_that_ends_strace_does_not_end_the_program() -> None:
    """Its file may not grow either; without seccomp that harms nobody."""
    body = "i=0; while [ $i -lt 199 ]; do /bin/true; i=$((i+1)); done; exit 3"
    done = run("sh", "-c", body, options=[], prefix=["sh", "-c", 'ulimit -f 4; exec "$@"', "sh"])

    said = " ".join(done.stderr.split())

    assert done.returncode == 3
    assert "--seccomp-bpf is not used" in said
    assert "strace was killed: the program goes on" in said


def test_a_full_tmpdir_is_passed_over(tmp_path: Path) -> None:
    need("root", "unshare")
    mount = f'mount -t tmpfs -o size=16k,mode=1777 tmpfs {shlex.quote(str(tmp_path))} && exec "$@"'
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    body = "i=0; while [ $i -lt 199 ]; do /bin/true; i=$((i+1)); done; exit 3"
    words = ["unshare", "-m", "sh", "-c", mount, "sh", *command("sh", "-c", body, options=[])]
    env = {**ENV, "TMPDIR": str(tmp_path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert done.returncode == 3
    assert "199 by" in done.stderr
    assert "LOST" not in done.stderr


def test_a_reader_that_sleeps_holds_nobody_up(program: Program) -> None:
    one = program(f"{SPIN}; for i in 1 2 3 4 5 6 7 8 9 10 11; do /bin/false; done; :>end")
    tracer_of(one.pid)
    one.process.send_signal(signal.SIGSTOP)
    one.go()
    wait_until("the program's end", (one.folder / "end").exists)
    one.process.send_signal(signal.SIGCONT)

    assert one.wait() == 0
    assert "12 by vfork" in one.err or "12 by fork" in one.err  # 11, and mv


@MODES
def test_without_waiting_the_rest_goes_on(mode: list[str], program: Program) -> None:
    one = program(f"({HOLD}; /bin/true && echo went >end) & echo $! >child; exit 4", "--no-wait", *mode)
    status = one.wait()
    followed = attach.tracer_of(int((one.folder / "child").read_text()))

    assert status == 4
    assert ("strace stays with what still runs" in one.err) is not bool(mode)
    assert bool(followed) is not bool(mode)
    one.go()
    wait_until("the descendant's end", lambda: (one.folder / "end").exists() and (one.folder / "end").read_text() != "")
    assert (one.folder / "end").read_text() == "went\n"


def test_the_last_descendant_is_waited_for(program: Program) -> None:
    one = program(f"setsid sh -c '{HOLD}; exit 7' & exit 4")
    wait_until("the program's end", lambda: state(one.pid) in ("", "Z"))
    one.go()

    assert one.wait() == 4
    assert "exit 7" in one.err


# The terminal


def test_ctrl_c_ends_the_program_and_the_line(tmp_path: Path) -> None:
    with Shell() as terminal:
        terminal.run(shell("sh", "-c", f"echo began; {HOLD}"))
        terminal.expect("began")
        terminal.keys("\x03")
        terminal.prompt()
        terminal.run("echo status=$?=")

        assert terminal.expect("status=130=")


def test_ctrl_c_that_the_program_handles(tmp_path: Path) -> None:
    with Shell() as terminal:
        body = f"trap 'echo caught; exit 5' INT; echo began; {HOLD}"
        terminal.run(shell("sh", "-c", body))
        terminal.expect("began")
        terminal.keys("\x03")
        terminal.expect("caught")
        terminal.prompt()
        terminal.run("echo status=$?=")

        assert terminal.expect("status=5=")


def test_ctrl_z_and_back(tmp_path: Path) -> None:
    """A program that forks no one: a shell stopped in its vfork hangs, traced or not."""
    with Shell() as terminal:
        body = f"cd {shlex.quote(str(tmp_path))}; echo began; {SPIN}; /bin/true; echo over; exit 6"
        for _ in range(2):
            terminal.run(shell("sh", "-c", body))
            terminal.expect("began")
            terminal.keys("\x1a")
            terminal.expect("Stopped")
            terminal.prompt()
            (tmp_path / "go").touch()
            terminal.run("fg")
            terminal.expect("over")
            terminal.prompt()
            terminal.run("echo status=$?=")
            terminal.expect("status=6=")
            (tmp_path / "go").unlink()


def test_it_reads_from_the_terminal() -> None:
    with Shell() as terminal:
        terminal.run(shell("sh", "-c", "echo ask; read word; echo got=$word="))
        terminal.expect("ask")
        terminal.keys("yes\n")
        terminal.expect("got=yes=")
        terminal.prompt()


# As whom


@pytest.mark.parametrize("namespace", [(), ("unshare", "-n")], ids=["", "no_connector"])
def test_without_privilege_strace_is_taken_and_named(namespace: tuple[str, ...]) -> None:
    """Also where the kernel gives its proc connector to anyone: that alone sees neither how nor what was used."""
    need("root", "setpriv", "unshare")
    done = subprocess.run(
        [*namespace, *NOBODY, *FORKTRACE, "--", "sh", "-c", "/bin/true; id -u; exit 3"],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("forktrace: ")]

    assert (done.returncode, done.stdout) == (3, f"{pwd.getpwnam('nobody').pw_uid}\n")
    assert len(said) == 1
    assert re.fullmatch(r"forktrace: bpf: .*CAP_BPF.*; using strace instead", said[0])
    assert "Set-uid programs" in done.stderr


@MODES
def test_set_uid_programs_are_as_the_notes_say(mode: list[str], tmp_path: Path) -> None:
    """As root: under seccomp the bit is lost, without it is kept."""
    need("root", "setpriv")
    tmp_path.chmod(0o755)
    copy = tmp_path / "id"
    copy.write_bytes(Path("/usr/bin/id").read_bytes())
    copy.chmod(0o4755)
    nobody = ["setpriv", "--reuid=nobody", "--clear-groups"]
    if os.statvfs(copy).f_flag & os.ST_NOSUID:
        pytest.skip("nosuid: the temporary folder's file system knows no set-uid")
    done = run("sh", "-c", 'cd /; exec "$@"', "sh", *nobody, str(copy), "-u", options=mode)
    lost = done.stdout.strip() != "0"

    assert lost is not bool(mode)
    assert ("Set-uid programs run without their bit" in done.stderr) is lost


def test_under_sudo_strace_is_the_callers(tmp_path: Path) -> None:
    need("root", "sudo", "setpriv", "useradd")
    name = f"fs{os.getpid()}"
    rule = Path(f"/etc/sudoers.d/{name}")
    try:
        subprocess.run(["useradd", "-M", "-s", "/bin/sh", name], check=True)
        rule.write_text(f"{name} ALL=(ALL) NOPASSWD: ALL\n")
        body = "id -un; ps -o user= -p $(sed -n 's/TracerPid:.//p' /proc/$$/status)"
        done = subprocess.run(
            [
                "setpriv",
                f"--reuid={name}",
                f"--regid={name}",
                "--init-groups",
                "sudo",
                "-n",
                "env",
                f"PYTHONPATH={ROOT}",
                *command("sh", "-c", body),
            ],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    finally:
        rule.unlink(missing_ok=True)
        subprocess.run(["userdel", name], check=True)

    assert (done.stdout.split(), done.stderr) == ([name, name], "")


def test_files_are_not_for_other_eyes(program: Program) -> None:
    """strace's file has no name any more, and while it had one only its owner could read it."""
    fds = Path(f"/proc/{tracer_of(program(HOLD).pid)}/fd")
    wait_until("its name has gone", lambda: any(str(fd.readlink()).endswith("(deleted)") for fd in fds.iterdir()))
    files = [fd for fd in fds.iterdir() if "strace.log" in str(fd.readlink())]

    assert [fd.stat().st_mode & 0o777 for fd in files] == [0o600]


# A living tree


def test_attach_sees_who_was_there_and_what_they_make(tmp_path: Path) -> None:
    body = f"cd {shlex.quote(str(tmp_path))}; echo $$ >pid; sh -c '{HOLD}; exit 6'; exit 5"
    tree = subprocess.Popen(["sh", "-c", body])
    wait_until("the program forks", lambda: len(attach.tree([tree.pid])) > 1)
    out = tmp_path / "o.ftrace"
    watcher = subprocess.Popen(
        [*FORKTRACE, "--backend", "strace", "-q", "-o", str(out), "-p", str(tree.pid)], env=ENV, stderr=subprocess.PIPE
    )
    shell_pid = next(pid for pid, process in attach.tree([tree.pid]).items() if process.ppid == tree.pid)
    tracer_of(shell_pid)
    (tmp_path / "go").touch()
    _, err = watcher.communicate(timeout=DEADLINE_S)
    trace = tracer.load(str(out))
    rows = {row["pid"]: row for row in trace.tree.records()}
    root = rows[tree.pid]
    child = next(row for row in rows.values() if row["how"] == "existing" and row["parent_id"] == root["id"])

    assert (tree.wait(DEADLINE_S), watcher.returncode, err) == (5, 0, b"")
    assert (root["how"], root["exit_code"], child["pid"], child["exit_code"]) == ("root", 5, shell_pid, 6)
    assert not [row for row in rows.values() if row["born_ns"] is None]


def test_an_attached_one_is_let_go_of(tmp_path: Path) -> None:
    before = left_over()
    tree = subprocess.Popen(["sh", "-c", f"cd {shlex.quote(str(tmp_path))}; {HOLD}; exit 5"])
    try:
        for how in (signal.SIGINT, signal.SIGKILL):
            watcher = subprocess.Popen(
                [*FORKTRACE, "--backend", "strace", "-qq", "-p", str(tree.pid)], env=ENV, stderr=subprocess.PIPE
            )
            tracer_of(tree.pid)
            watcher.send_signal(how)
            watcher.communicate(timeout=DEADLINE_S)
            wait_until("nobody traces it", lambda: attach.tracer_of(tree.pid) == 0)
    finally:
        (tmp_path / "go").touch()

    assert tree.wait(DEADLINE_S) == 5
    assert left_over() <= before


def test_threads_and_the_named_twice() -> None:
    code = "import threading; [threading.Thread(target=input).start() for _ in range(3)]; print('up', flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    backend = strace.Backend(Options())
    try:
        backend.start()
        backend.attach(child.pid)
        backend.attach(child.pid)
        traced = {attach.tracer_of(child.pid, tid) for tid in attach.tasks(child.pid)}
        child.communicate(b"1\n2\n3\n", timeout=DEADLINE_S)
        batches = []
        wait_until("strace's end", lambda: batches.extend(backend.read()) or backend.alive() == 0)  # type: ignore[func-returns-value]
        batches += backend.finish()
    finally:
        backend.close()
        child.kill()
        child.wait()
    ends = [values["tid"] for batch in batches for kind, values in batch.rows() if kind == Kind.EXIT]

    assert len(traced) == 1
    assert len(ends) == 4
    assert ends[-1] == child.pid


@pytest.mark.parametrize(
    ("pid", "error", "words"),
    [
        (4194304 - 7, NoInputError, "no process"),
        (2, NoInputError, "kernel thread"),
        (os.getpid(), NoInputError, "itself"),
    ],
)
def test_who_can_not_be_attached_to(pid: int, error: type[Exception], words: str) -> None:
    if pid == 2 and Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip("no kernel threads in sight: another pid namespace")
    backend = strace.Backend(Options())
    backend.start()
    with pytest.raises(error, match=words):
        backend.attach(pid)
    backend.close()


def test_one_that_is_traced_already(program: Program) -> None:
    one = program(HOLD)
    other = tracer_of(one.pid)
    backend = strace.Backend(Options())
    with pytest.raises(NoPermissionError, match=f"traced already, by process {other}"):
        backend.attach(one.pid)
    backend.close()


# Where there is none, or it may not


def test_missing_strace_says_what_installs_it(tmp_path: Path) -> None:
    done = run("true", env={**ENV, "PATH": str(tmp_path)})

    assert done.returncode in (70, 127)
    done = run("/bin/true", env={**ENV, "PATH": str(tmp_path)})
    assert (done.returncode, done.stderr.count("\n")) == (70, 1)
    assert re.search(r"strace is not in PATH; .*(install|add|-S).* strace", done.stderr)


def test_forbidden_ptrace_is_said_in_a_sentence() -> None:
    need("cc")
    done = run("true", prefix=[sys.executable, str(PROGRAMS / "no_ptrace.py")])

    assert (done.returncode, done.stderr.count("\n")) == (77, 1)
    assert "ptrace is forbidden here" in done.stderr


def test_the_whole_host_is_refused() -> None:
    with pytest.raises(ProbesRefusedError, match="whole host"):
        strace.Backend(Options(everyone=True)).start()


def test_yama_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    forbids = features.Check("ptrace", ok=False, detail="nobody may", why="", mend="reboot")
    there = features.Check("strace", ok=True, detail="", why="")
    monkeypatch.setattr(features, "feature", {"ptrace": forbids, "strace": there}.get)

    assert backends.readiness("strace") == backends.Readiness(False, "nobody may", "reboot")


# What it tells


def test_a_thread_that_execs_loses_no_process() -> None:
    """strace 6.1 under seccomp takes the program's next call for the exec's result."""
    code = (
        "import os, threading as t; e = lambda: os.execv('/bin/sh', ['sh', '-c', '/bin/true; (exit 3); exit 17']);"
        "t.Thread(target=e).start(); input()"
    )
    stdin = os.pipe()
    try:
        env = {**os.environ}
        trace = tracer.run(
            [sys.executable, "-c", f"import os; os.dup2({stdin[0]}, 0); {code}"],
            backend="strace",
            env=env,
            pass_fds=[stdin[0]],
        )
    finally:
        os.close(stdin[0])
        os.close(stdin[1])
    root, *children = trace.tree.records()

    assert (root["execs"], root["comm"], root["exit_code"]) == (2, "sh", 17)
    assert [(row["parent_id"], row["exit_code"]) for row in children] == [(0, 0), (0, 3)]
    assert not trace.tree.failed_execs


def test_without_inotify_the_end_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Log

    def blind() -> Log:
        log = real()
        if log.watched >= 0:
            os.close(log.watched)
            log.watched = -1
        return log

    monkeypatch.setattr(strace, "Log", blind)
    before = left_over()
    trace = tracer.run(["sh", "-c", "(sleep 0.3; exit 7) & exit 4"], backend="strace")

    assert trace.status is not None
    assert trace.status.exit_code == 4
    assert sorted(row["exit_code"] for row in trace.tree.records()) == [0, 4, 7]
    assert left_over() <= before
    assert not trace.tree.losses


def test_the_clock_is_that_of_all_traces() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    trace = tracer.run(["sh", "-c", "/bin/true; exit 0"], backend="strace")
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    stamps = [event.ts_ns for event in trace.events() if event.ts_ns is not None]

    assert len(stamps) > 5
    assert before <= min(stamps) <= max(stamps) <= after


@pytest.mark.parametrize("sample", [s for s in SAMPLES if not s.root and s.command != "storm 5003"], ids=str)
def test_samples_without_privilege(sample: Sample, tmp_path: Path) -> None:
    """As test_samples.py has them for root, by the command."""
    need("root", "setpriv", "cc")
    samples.build()
    told, out = tmp_path / "truth", tmp_path / "o.ftrace"
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    options = [
        f"--env={','.join(value)}" if name == "record_env" else f"-s{value}"
        for name, value in sample.options.items()
        if name in ("record_env", "argv_max")
    ]
    with told.open("ab") as truth:
        env = {**ENV, "FORKTRACE_TRUTH_FD": str(truth.fileno()), "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [*NOBODY, *command(*sample.argv(), options=["-q", "-o", str(out), *options])],
            env=env,
            pass_fds=[truth.fileno()],
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    trace = tracer.load(str(out))
    lives = samples.read_truth(told.read_bytes())
    wrong = judge.differences(lives, trace.tree.records(), trace.events(), trace.meta.facts)

    assert done.returncode == sample.status, done.stderr
    assert not wrong, "\n".join(wrong)
    assert not [path for path in tmp_path.iterdir() if "strace" in path.name or path.name.startswith("forktrace-")]


def test_inside_of_strace_the_tracer_is_named(tmp_path: Path) -> None:
    done = run("true", prefix=["strace", "-f", "-o", str(tmp_path / "log")])

    assert (done.returncode, done.stderr.count("\n")) == (77, 1)
    assert re.search(r"traced itself, by strace \(\d+\), and a process has one tracer only", done.stderr)


@pytest.mark.parametrize("backend", ["strace", "auto"])
def test_without_proc_strace_is_not_tried(backend: str) -> None:
    need("root", "unshare")
    without = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"]
    done = run("sh", "-c", "echo ran; exit 7", options=["--backend", backend, "-q"], prefix=without)

    if backend == "auto" and done.returncode == 7:  # netlink needs none
        assert done.stdout == "ran\n"
        return
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (70, "", 1)
    assert "/proc" in done.stderr
