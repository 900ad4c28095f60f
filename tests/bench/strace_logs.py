"""Record real strace logs for the import benchmark, and replicate them to any size: nothing large is kept in the tree.

    python tests/bench/strace_logs.py FOLDER [--project DIR] [--only NAME...]

    make       eight `make -j4` at once of a C project (default: a copy of samples/), all system calls
    storm      ten shells at once: pipelines, subshells, PATH searches, xargs -P, waits until ECHILD, all system calls
    process    both of these, recorded with `-e trace=process`
    -Y, stderr both of these, recorded with `-Y`, and as strace writes to a terminal (`[pid N]`)

A copy of a log is the log with its pids and its times moved on, so a replicated log is what `strace -A` appends of one
run after another. Needs strace, make and a C compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parents[2] / "samples"
PIDS: Final = 1 << 15  # pid_max of most machines
MOST_PIDS: Final = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
OPTIONS: Final = {
    "": ["-f", "-ttt", "-T"],
    "-process": ["-f", "-ttt", "-T", "-e", "trace=process"],
    "-Y": ["-f", "-ttt", "-T", "-Y"],
    "-stderr": ["-f", "-ttt", "-T"],
}
NAMES: Final = tuple(program + options for program in ("make", "storm") for options in OPTIONS)

_STORM: Final = r"""
one() {
    i=0
    while [ $i -lt 12 ]; do
        i=$((i + 1))
        true | cat | wc -c
        (exit 3)
        x=$(basename /a/b/c)
        env true
        ls / | grep -q usr && sed -n 1p /etc/passwd
        printf '%s\n' a b c | xargs -P 2 -n 1 echo
        sh -c 'sleep 0.01 & true & wait; exit 2'
        bash -c 'for x in 1 2; do (true); done; /nowhere/at/all; exit 0'
        kill -0 $$
    done
}
for n in 1 2 3 4 5 6 7 8 9 10; do one & done
wait
"""
_STAMP: Final = re.compile(rb"^((?:\[pid +\d+(?:<[^>]*>)?\]|\d+(?:<[^>]*>)?) +)?(\d{9,10})\.(\d{6}) ", re.MULTILINE)
# Where a pid stands: the prefix, an argument, a signal; the result of a call that makes, waits for or names a task.
_PID: Final = re.compile(
    rb"^(\[pid +)?(\d+)(?=[ <\]])|(?<=si_pid=)(\d+)|(?<=wait4\()(\d+)|(?<=kill\()(\d+)", re.MULTILINE
)
_RESULT: Final = re.compile(
    rb"((?:\b(?:v?fork|clone3?|wait4|set_tid_address|get[tp]?p?id|getpgrp)\(|<\.\.\. (?:v?fork|clone3?|wait4) resumed>)"
    rb"[^\n]*\) += )(\d{3,})"
)
_NOTICE: Final = re.compile(rb"(Process )(\d+)(?= (?:attached|detached))")


def record(name: str, target: Path, project: Path = SAMPLES) -> None:
    """Record the log `name` (of NAMES) into the file `target`."""
    program, _, options = name.partition("-")
    options = f"-{options}" if options else ""
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": "/nowhere/bin:/nowhere/sbin:/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": folder}
        if program == "make":
            for n in range(8):
                shutil.copytree(project, Path(folder, str(n)), ignore=shutil.ignore_patterns("bin", "*.o", "*.a"))
            script = f"cd {folder}; for n in 0 1 2 3 4 5 6 7; do make -C $n -j4 & done; wait"
        else:
            script = _STORM
        command = ["strace", *OPTIONS[options]]
        if options != "-stderr":
            command += ["-o", str(target)]
        quiet = f"exec >/dev/null 2>&1; {script}"
        with (target if options == "-stderr" else Path(os.devnull)).open("wb") as err:
            subprocess.run([*command, "bash", "-c", quiet], env=env, stderr=err, check=False)


def replicate(source: Path, target: Path, megabytes: float) -> int:
    """Write copies of a log until they have that size, each later and with other pids; the number of copies."""
    text = source.read_bytes()
    stamps = _STAMP.findall(text)
    span = int(stamps[-1][1]) - int(stamps[0][1]) + 2
    copies = 0
    with target.open("wb") as out:
        while out.tell() < megabytes * 1e6 and (copies + 1) * PIDS < MOST_PIDS:
            out.write(moved(text, copies * PIDS, copies * span) if copies else text)
            copies += 1
    return copies


def moved(text: bytes, pids: int, seconds: int) -> bytes:
    """A log with `pids` added to each pid and `seconds` to each time."""

    def pid(m: re.Match[bytes]) -> bytes:
        value = int(m[2] or m[3] or m[4] or m[5])
        return (m[1] or b"") + b"%d" % (value + pids if value > 99 else value)

    def result(m: re.Match[bytes]) -> bytes:
        return m[1] + b"%d" % (int(m[2]) + pids)

    def stamp(m: re.Match[bytes]) -> bytes:
        return b"%s%d.%s " % (m[1] or b"", int(m[2]) + seconds, m[3])

    text = _STAMP.sub(stamp, text)
    text = _NOTICE.sub(result, _RESULT.sub(result, _PID.sub(pid, text)))
    # %-5u: a longer number has one blank behind it.
    return re.sub(rb"^(\d{5,8}) +(?=\d{9,10}\.)", rb"\1 ", text, flags=re.MULTILINE)


def main() -> None:
    """Record all logs, or those named, into a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--project", type=Path, default=SAMPLES)
    parser.add_argument("--only", nargs="*", default=NAMES)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        record(name, args.folder / f"{name}.log", args.project)
        print(f"{name}: {(args.folder / f'{name}.log').stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
