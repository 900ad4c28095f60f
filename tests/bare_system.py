"""A bare system to try ./run in: a copied checkout, and stand-ins for what would use the network.

The checkout stands in a folder with a blank in its name. On PATH are links to the few tools that every
system has, and stand-ins that write down how they were called: python3 (only its pip), uv, apt-get, id,
chown, flock and strace. Knows nothing of what ./run should do.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BARE = ("sh", "cat", "cksum", "cp", "find", "ln", "mkdir", "readlink", "rm", "sed", "tail", "touch")
SETTING_UP = re.compile(r"uv venv|uv pip|python3 -m pip .*install")

LOG = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>"$CALLS"
"""
PYTHON3 = """
[ "$1 $2" = "-m pip" ] || exec {python} "$@"
case "$*" in
    *--version) [ ! -e "$CALLS.no-pip" ] ;;
    *" --target "*) [ ! -e "$CALLS.no-uv" ] && mkdir -p .tools/bin && cp "$CALLS.uv" .tools/bin/uv ;;
    *" --python "*) [ ! -e "$CALLS.no-network" ] && cp "$CALLS.forktrace" .venv/bin/forktrace ;;
esac
"""
OLD_PYTHON3 = """#!/bin/sh
exec {python} -c 'import sys; code = sys.argv[2]; sys.version_info = (3, 10, 9); exec(code)' "$@"
"""
UV = """
case "$*" in
    venv*) [ ! -e .venv/bin ] && mkdir -p .venv/bin && ln -s {python} .venv/bin/python ;;
    *install*--offline) [ -e "$CALLS.cached" ] && cp "$CALLS.forktrace" .venv/bin/forktrace ;;
    *install*)
        [ ! -p "$CALLS.gate" ] || cat "$CALLS.gate"
        [ ! -e "$CALLS.no-network" ] || {{ echo "error: no route" >&2; exit 2; }}
        cp "$CALLS.forktrace" .venv/bin/forktrace ;;
esac
"""
STAND_INS = {
    "python3": PYTHON3,
    "id": 'cat "$CALLS.uid"\n',
    "apt-get": '[ ! -e "$CALLS.no-apt" ]\n',
    "flock": 'exec {flock} "$@"\n',
    "chown": "",
    "strace": "",
}
FORKTRACE = """#!{python}
import json, os, sys
fds = sorted(os.listdir("/proc/self/fd"))[:-1]
environment = open("/proc/self/environ", "rb").read().decode().split("\\0")[:-1]
seen = {{"words": sys.argv[1:], "cwd": os.getcwd(), "fds": fds, "env": environment, "in": sys.stdin.read()}}
print(json.dumps(seen))
sys.exit(43)
"""


class Checkout:
    """A copy of what ./run needs, and a system for it to run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "check out"
        self.folder.mkdir()
        for name in ("run", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.tools = folder / "bin"
        self.tools.mkdir()
        for name in BARE:
            (self.tools / name).symlink_to(shutil.which(name) or f"/missing/{name}")
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.environment = {"PATH": str(self.tools), "CALLS": str(self.calls_file)}
        where = {"python": shlex.quote(sys.executable), "flock": shutil.which("flock")}
        for name, text in STAND_INS.items():
            self.executable(self.tools / name, LOG + text.format(**where))
        self.executable(Path(f"{self.calls_file}.uv"), LOG + UV.format(**where))
        self.executable(Path(f"{self.calls_file}.forktrace"), FORKTRACE.format(**where))
        self.have("uid", "1000\n")

    @staticmethod
    def executable(path: Path, text: str) -> None:
        path.unlink(missing_ok=True)  # writing through a link would change the real program
        path.write_text(text)
        path.chmod(0o755)

    def python_is_old(self) -> None:
        """Change the system: python3 is 3.10."""
        self.executable(self.tools / "python3", OLD_PYTHON3.format(python=shlex.quote(sys.executable)))

    def have(self, name: str, text: str = "") -> None:
        """Change the system: no-pip, no-uv (to be had), no-network, no-apt, cached, uid."""
        Path(f"{self.calls_file}.{name}").write_text(text)

    @contextmanager
    def start(self, *words: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
        """./run WORDS; whatever still runs at the end of the block is killed, so that a failing test ends."""
        how = {"cwd": self.folder, "env": self.environment, "stdin": subprocess.DEVNULL, **how}
        with subprocess.Popen(
            [self.folder / "run", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **how,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def run(self, *words: str, **how: Any) -> tuple[int, str, str]:
        """(status, standard output, standard error) of ./run WORDS."""
        with self.start(*words, **how) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """The stand-ins' calls since the last time this was asked."""
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return lines

    def set_ups(self) -> list[str]:
        """Of these calls, the ones that set something up."""
        return [call for call in self.calls() if SETTING_UP.match(call)]
