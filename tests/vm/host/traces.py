"""Traces taken by the command, as a user does, and their rows."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tracer


class Taken(NamedTuple):
    """Rows of the process table, events, the command's status, and what it said."""

    rows: Sequence[Mapping[str, Any]]
    events: Sequence[Any]
    status: int
    said: str


def take(*words: str, timeout: float = 300) -> Taken:
    """forktrace with these words. No rows where it wrote no file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.ftrace"
        command = ["forktrace", "--color", "never", "-o", str(file), *words]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        said = done.stderr + done.stdout
        if not file.exists():
            return Taken([], [], done.returncode, said)
        trace = tracer.load(str(file))
        return Taken(list(trace.tree.records()), list(trace.events()), done.returncode, said)
