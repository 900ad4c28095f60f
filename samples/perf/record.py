"""Records the texts of this folder anew: python samples/perf/record.py [NAME...]

Each case is a program of samples/ under `perf record`, shown by `perf script`. The program tells its own truth, which
is kept beside the text; no text of perf's goes into it. Needs perf, root, and the built samples (make -C samples). The
programs are copied to /srv/samples and run with a small environment, so that a text says nothing of who recorded it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
HOME: Final = Path("/srv/samples")
SCHED: Final = "sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit"
TASK: Final = f"{SCHED},task:task_newtask,task:task_rename"
FAULTS: Final = f"{TASK},exceptions:page_fault_user,minor-faults,major-faults"


class Case(NamedTuple):
    """A program, the events recorded, and options of perf script."""

    program: str
    events: str
    shown: str = ""


CASES: Final = {
    "chain-task": Case("chain", TASK),
    "fan-sched": Case("fan", SCHED),
    "threads-task": Case("threads", TASK),
    "threads-pids": Case("threads", SCHED, "-F comm,pid,tid,cpu,time,event,trace"),
    "threads-records": Case("threads", SCHED, "-F +pid --show-task-events"),
    "exec_thread-task": Case("exec_thread", TASK),
    "clone_parent-ns": Case("clone_parent", TASK, "--ns"),
    "leader_first-task": Case("leader_first", TASK),
    "odd_bytes-task": Case("odd_bytes", TASK),
    "spawn-no-times": Case("spawn", TASK, "-F comm,tid,event,trace"),
    "burn-faults": Case("burn", FAULTS),
}


def record(name: str, case: Case) -> None:
    """Run one case, and keep its text, packed if it is long, and its truth."""
    for old in HERE.glob(f"{name}.*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        truth, data = Path(folder, "truth"), Path(folder, "data")
        fd = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        env = {"PATH": "/usr/bin:/bin", "FORKTRACE_TRUTH_FD": str(fd), "TMPDIR": "/tmp", "LC_ALL": "C"}
        command = ["perf", "record", "-q", "-c", "1", "-e", case.events, "-o", str(data)]
        command.append(str(HOME / "bin" / case.program))
        subprocess.run(command, env=env, pass_fds=(fd,), cwd=HOME, stdout=subprocess.DEVNULL, check=False)
        os.close(fd)
        text = subprocess.run(
            ["perf", "script", "-i", str(data), *case.shown.split()], cwd=HOME, stdout=subprocess.PIPE, check=True
        ).stdout
        if len(text) > 50_000:
            (HERE / f"{name}.txt.gz").write_bytes(gzip.compress(text, mtime=0))
        else:
            (HERE / f"{name}.txt").write_bytes(text)
        shutil.copyfile(truth, HERE / f"{name}.truth")


def main(names: list[str]) -> None:
    """Record all cases, or those named."""
    (HOME / "bin").mkdir(parents=True, exist_ok=True)
    for program in (HERE.parent / "bin").iterdir():
        shutil.copy(program, HOME / "bin")
    for name in names or CASES:
        record(name, CASES[name])
        print(f"{name}: {sum(file.stat().st_size for file in HERE.glob(f'{name}.txt*'))} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
