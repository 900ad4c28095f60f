"""Records the logs of this folder anew: python samples/strace/record.py [NAME...]

Each case is a program of samples/ under strace with some options. The program tells its own truth, which is kept beside
the log; no text of strace's goes into it. Needs strace, the built samples (make -C samples), and root for some. The
programs are copied to /srv/samples and run with a small environment, so that a log says nothing of who recorded it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
HOME: Final = Path("/srv/samples")


class Case(NamedTuple):
    """A program, strace's options, and where the log goes: file (-o), family (-ff -o), terminal (stderr)."""

    program: str
    options: str
    to: str = "file"


CASES: Final = {
    "chain-o": Case("chain", "-f -ttt -e trace=process"),
    "fan-r": Case("fan", "-f -r -e trace=process"),
    "prefork-tt-T": Case("prefork", "-f -tt -T -e trace=process"),
    "daemon-terminal": Case("daemon", "-f -e trace=process", "terminal"),
    "demo-terminal-full": Case("demo", "-f -tt -T -y", "terminal"),
    "spawn-terminal": Case("spawn", "-f -e trace=process", "terminal"),
    "vfork-quiet-terminal": Case("vfork_exec", "-f -q -e trace=process", "terminal"),
    "every_way-yy": Case("every_way", "-f -ttt -yy -e trace=process"),
    "clone_parent-family": Case("clone_parent", "-ff -ttt -e trace=process", "family"),
    "threads-family-no-times": Case("threads", "-ff -e trace=process", "family"),
    "exec_thread-terminal": Case("exec_thread", "-f -e trace=process", "terminal"),
    "exec_thread-family": Case("exec_thread", "-ff -tt -e trace=process", "family"),
    "exec_fails-X-verbose": Case("exec_fails", "-f -X verbose -e trace=process"),
    "leader_first-Y": Case("leader_first", "-f -Y -n -i -tt -e trace=process"),
    "leader_codes-ns": Case("leader_codes", "-f --absolute-timestamps=unix,ns --syscall-times=ns -e trace=process"),
    "waiters-X-raw": Case("waiters", "-f -X raw -ttt -e trace=process"),
    "deaths-no-signals": Case("deaths", "-f -ttt -e trace=process -e signal=none"),
    "killed-qqq": Case("killed", "-f -qqq -ttt -e trace=process"),
    "odd_bytes-xx": Case("odd_bytes", "-f -xx -s 200 -tt -e trace=process,prctl"),
    "burn-v": Case("burn", "-f -v -ttt -T -e trace=process"),
    "script-k": Case("script", "-f -k -C -ttt -e trace=process"),
    "pidns-translated": Case("pidns", "-f --decode-pids=pidns -ttt -e trace=process"),
    "pidns-terminal": Case("pidns", "-f -tt -e trace=process", "terminal"),
    "pid_reuse-o": Case("pid_reuse", "-f -ttt -e trace=process"),
    "orphan-z": Case("orphan", "-f -z -ttt -e trace=process"),
    "demo-both-times": Case("demo", "-f -r -tt -e trace=process"),
    # all system calls
    "autoreap-full": Case("autoreap", "-f -ttt -T"),
    "adopted-full-tt": Case("adopted", "-f -tt"),
    "big_argv-full-Y": Case("big_argv", "-f -ttt -Y"),
    "chdir_exec-full-terminal": Case("chdir_exec", "-f -ttt -T", "terminal"),
    "execs-full-terminal-no-times": Case("execs", "-f", "terminal"),
    "sessions-full-Y-tt": Case("sessions", "-f -tt -Y"),
    "zombie-full": Case("zombie", "-f -ttt -T"),
    "chain-full-tt": Case("chain", "-f -tt"),
    "fan-full-Y": Case("fan", "-f -ttt -Y"),
    "prefork-full-terminal": Case("prefork", "-f -ttt -T", "terminal"),
    "daemon-full-terminal-no-times": Case("daemon", "-f", "terminal"),
    "demo-full-Y-tt": Case("demo", "-f -tt -Y"),
    "spawn-full": Case("spawn", "-f -ttt -T"),
    "vfork_exec-full-tt": Case("vfork_exec", "-f -tt"),
    "every_way-full-Y": Case("every_way", "-f -ttt -Y"),
    "clone_parent-full-terminal": Case("clone_parent", "-f -ttt -T", "terminal"),
    "threads-full-terminal-no-times": Case("threads", "-f", "terminal"),
    "exec_thread-full-Y-tt": Case("exec_thread", "-f -tt -Y"),
    "exec_fails-full": Case("exec_fails", "-f -ttt -T"),
    "leader_first-full-tt": Case("leader_first", "-f -tt"),
    "leader_codes-full-Y": Case("leader_codes", "-f -ttt -Y"),
    "waiters-full-terminal": Case("waiters", "-f -ttt -T", "terminal"),
    "deaths-full-terminal-no-times": Case("deaths", "-f", "terminal"),
    "killed-full-Y-tt": Case("killed", "-f -tt -Y"),
    "odd_bytes-full": Case("odd_bytes", "-f -ttt -T"),
    "burn-full-tt": Case("burn", "-f -tt"),
    "script-full-Y": Case("script", "-f -ttt -Y"),
    "pid_reuse-full-terminal": Case("pid_reuse", "-f -ttt -T", "terminal"),
    "orphan-full-terminal-no-times": Case("orphan", "-f", "terminal"),
    "pidns-full-Y-tt": Case("pidns", "-f -tt -Y"),
}


def record(name: str, case: Case) -> None:
    """Run one case, and keep its log and its truth."""
    for old in HERE.glob(f"{name}.*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder, "truth")
        fd = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        env = {"PATH": "/usr/bin:/bin", "FORKTRACE_TRUTH_FD": str(fd), "TMPDIR": "/tmp", "LC_ALL": "C"}
        log = Path(folder, "log")
        command = ["strace", *case.options.split()]
        if case.to != "terminal":
            command += ["-o", str(log)]
        command.append(str(HOME / "bin" / case.program))
        with (log if case.to == "terminal" else Path(os.devnull)).open("wb") as err:
            subprocess.run(
                command, env=env, pass_fds=(fd,), cwd=HOME, stdout=subprocess.DEVNULL, stderr=err, check=False
            )
        os.close(fd)
        for file in sorted(Path(folder).glob("log*")):
            shutil.copyfile(file, HERE / f"{name}.log{file.name.removeprefix('log')}")
        shutil.copyfile(truth, HERE / f"{name}.truth")


def main(names: list[str]) -> None:
    """Record all cases, or those named."""
    (HOME / "bin").mkdir(parents=True, exist_ok=True)
    for program in (HERE.parent / "bin").iterdir():
        shutil.copy(program, HOME / "bin")
    for name in names or CASES:
        record(name, CASES[name])
        size = sum(file.stat().st_size for file in HERE.glob(f"{name}.log*"))
        print(f"{name}: {size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
