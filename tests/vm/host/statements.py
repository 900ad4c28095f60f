"""Statements about a host, printed one a line; the script fails where one does not hold."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_failed: list[str] = []


def say(text: str) -> None:
    """A figure, for whoever reads."""
    print(f"       {text}", flush=True)


def holds(statement: str, true: object, seen: object = "") -> bool:
    """Print it with its answer."""
    print(f"{'ok    ' if true else 'FAILED'} {statement}" + (f": {seen}" if seen != "" else ""), flush=True)
    if not true:
        _failed.append(statement)
    return bool(true)


def sh(command: str | Sequence[str], *, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run it, by the shell if it is a text."""
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it became true within so long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def finish() -> None:
    """Exit with 1 where something did not hold."""
    if _failed:
        print(f"\n{len(_failed)} do not hold:", *_failed, sep="\n  ")
    sys.exit(bool(_failed))
