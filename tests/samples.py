"""Runs the programs of samples/ under a backend, and reads the truth they tell.

`run(sample, backend, folder)` gives an `Outcome`: the trace, the truth, the exit status; `once` runs each pair but once
a session, as one run can be judged by its own truth and against the other backends. `read_truth` turns
the lines (samples/README.md describes them) into one `Life` a process, whose pid another life may bear too.
Knows nothing of columns and of right and wrong: that is tests/judge.py.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

ROOT: Final = Path(__file__).parents[1]
_PLACE: Final = "bin" if os.uname().machine == "x86_64" else f"bin/{os.uname().machine}"
BIN: Final = ROOT / "samples" / _PLACE
"""A guest of another machine has the checkout of its host."""

Line = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """A program with its words, the options to trace it with, the exit status, and whether it needs root."""

    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    status: int = 0
    root: bool = False
    id: str = ""

    def __str__(self) -> str:
        return self.id or self.command.replace(" ", "-")

    def argv(self) -> list[str]:
        """The command, with the program's full path."""
        name, *words = self.command.split()
        return [str(BIN / name), *words]


@dataclass
class Life:
    """One process as the sample tells it: `lines[ev]` are its truth lines of that sort, in order."""

    pid: int
    lines: dict[str, list[Line]] = field(default_factory=dict)
    did: list[tuple[str, Life]] = field(default_factory=list)  # ("made" or "reaped", whom), in its own order

    def all(self, ev: str) -> list[Line]:
        """Its lines of one sort."""
        return self.lines.get(ev, [])

    def one(self, ev: str) -> Line | None:
        """Its only line of one sort, None if there is none."""
        lines = self.all(ev)
        assert len(lines) <= 1, f"the sample contradicts itself: {lines}"
        return lines[0] if lines else None

    def children(self) -> list[Life]:
        """The processes it created, in order of birth."""
        return [whom for what, whom in self.did if what == "made"]

    def fact(self, name: str) -> Any:
        """A fact it told, the last one of that name; None if it told none."""
        return next((line["value"] for line in reversed(self.all("fact")) if line["name"] == name), None)


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    trace: Any
    lives: list[Life]
    status: int | None
    folder: Path
    left: object = None  # a child of ours that had ended then, and that nobody had waited for


@functools.cache
def build() -> None:
    """Compile the samples, once a session. Raises with make's own words."""
    done = subprocess.run(
        ["make", "-s", "-j2", "-C", str(ROOT / "samples"), f"BIN={_PLACE}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def read_truth(text: bytes) -> list[Life]:
    """The lives told, in order of their first line; the first is the root's."""
    lives: list[Life] = []
    living: dict[int, Life] = {}

    def life_of(pid: int, *, born: bool = False) -> Life:
        life = living.get(pid)
        if life is None or (born and "fork" in life.lines):
            life = living[pid] = Life(pid)
            lives.append(life)
        return life

    for raw in filter(None, text.split(b"\n")):
        line = json.loads(raw.decode(errors="surrogateescape"))
        if line["ev"] == "fork":
            # The creator may not have been told of yet: its own parent may be slower than it is.
            creator = life_of(line.get("creator", line["parent"]))
            life = life_of(line["child"], born=True)
            creator.did.append(("made", life))
        else:
            life = life_of(line["pid"])
        if line["ev"] == "reap":
            life_of(line["by"]).did.append(("reaped", life))
        life.lines.setdefault(line["ev"], []).append(line)
    return lives


def unreaped() -> object:
    """A child of ours that has ended and that nobody has waited for; None if there is none."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None


def run(sample: Sample, backend: str | None, folder: Path) -> Outcome:
    """Run a sample under `backend`, or untraced when that is None (then the trace is None)."""
    build()
    told = folder / "truth"
    fd = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    env = os.environ | {"FORKTRACE_TRUTH_FD": str(fd), "TMPDIR": str(folder)}
    try:
        if backend is None:
            done = subprocess.run(sample.argv(), pass_fds=(fd,), env=env, check=False, timeout=60)
            return Outcome(None, read_truth(told.read_bytes()), done.returncode, folder)
        import tracer

        trace = tracer.run(sample.argv(), backend=backend, pass_fds=(fd,), env=env, **sample.options)
        ended = trace.status.exit_code if trace.status else None
        return Outcome(trace, read_truth(told.read_bytes()), ended, folder, unreaped())
    finally:
        os.close(fd)


_OUTCOMES: Final[dict[tuple[str, str], Outcome]] = {}


def once(sample: Sample, backend: str, folders: pytest.TempPathFactory) -> Outcome:
    """What came of the run of this sample under `backend` in this session: the first caller runs it."""
    key = (str(sample), backend)
    if key not in _OUTCOMES:
        folder = folders.mktemp(backend)
        folder.chmod(0o777)
        _OUTCOMES[key] = run(sample, backend, folder)
    return _OUTCOMES[key]
