"""Where kernels and root file systems are kept, the lock around making them, and how failures are said."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
INSIDE: Final = Path(__file__).resolve().parent / "inside"


class GuestError(Exception):
    """One sentence: what failed, why, and what to do."""


def home() -> Path:
    """The directory of all that is kept between runs, about 3 GB when every kernel has been fetched."""
    given = os.environ.get("FORKTRACE_VM_HOME")
    path = Path(given) if given else Path("/var/tmp/forktrace-vm")
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    """A remark, to stderr."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One at a time among all runs with this home: of two that need a kernel, the second finds it made."""
    with open(home() / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def call(
    command: Sequence[str | Path],
    what: str,
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run a tool and return its output. Raises GuestError with the last line of what it said."""
    try:
        done = subprocess.run(
            command, env=env, cwd=cwd, input=stdin or "", capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise GuestError(f"{what} failed: {command[0]} is not installed. Try: ./run guest, as root") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "error"))] or lines
        raise GuestError(f"{what} failed: {errors[-1] if errors else f'status {done.returncode}'}")
    return done.stdout


def need(*programs: str) -> None:
    """Raise GuestError for the first tool that is not installed."""
    for program in programs:
        if not any((Path(folder) / program).exists() for folder in [*os.get_exec_path(), "/usr/sbin", "/sbin"]):
            raise GuestError(f"{program} is not installed. Try: sudo ./run guest, which installs what guests need")
