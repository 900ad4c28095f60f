"""Few descriptors and little memory: the program runs with its own limits and its own status, or one sentence says why
it was not started. Never a traceback, and never a reason that is not the true one.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S
from tracer.errors import ForktraceError
from tracer.host import own_limits
from tracer.host.own_limits import check_room, explain, raise_own, restore

FORKTRACE = str(Path(sys.executable).with_name("forktrace"))
FILES = resource.RLIMIT_NOFILE
SPACE = resource.RLIMIT_AS
pytestmark = pytest.mark.programs


def limited(which: int, value: int, *words: str, hard: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(which, (value, value if hard is None else hard))

    return subprocess.run(
        [FORKTRACE, *words], capture_output=True, text=True, timeout=DEADLINE_S, check=False, preexec_fn=limit
    )


def judged(done: subprocess.CompletedProcess[str], words: str) -> None:
    """It ran and ended as the program did, or one sentence with `words` says why it was not started."""
    assert "Traceback" not in done.stderr
    if done.returncode == 7:
        assert done.stdout == "ran\n"
    else:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (70, "", 1), done.stderr
        assert words in done.stderr


@pytest.mark.parametrize("backend", ["auto", "strace"])
@pytest.mark.parametrize("files", [*range(8, 21, 3), 20, 30, 48, 64])
def test_few_descriptors(files: int, backend: str) -> None:
    need("strace")
    judged(limited(FILES, files, "--backend", backend, "-q", "--", "sh", "-c", "echo ran; exit 7"), "raise `ulimit -n`")


@pytest.mark.parametrize("backend", ["bpf", "strace"])
def test_a_soft_limit_is_for_the_program(backend: str) -> None:
    need(backend)
    done = limited(FILES, 20, "--backend", backend, "-q", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn", hard=500)
    assert (done.stdout, done.returncode) == ("20\n500\n", 0)


@pytest.mark.parametrize("output", [False, True])
@pytest.mark.parametrize("mib", [30, 60, 100, 200, 420])
def test_little_address_space(mib: int, output: bool, tmp_path: Path) -> None:
    need("bpf")
    words = ["-o", str(tmp_path / "x.ftrace")] if output else []
    judged(limited(SPACE, mib << 20, *words, "--", "sh", "-c", "echo ran; exit 7"), "raise `ulimit -v`")


FAILS = """
import sys
from tracer.capture import session
def run(self, *sinks, **more):
    backend, target = self._backend, self._target
    self._released = True
    target.release()
    raise {error}
session.Session.run = run
from tracer.commands import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("error", ["MemoryError", "OSError(12, 'x')", "OSError(24, 'x')"])
def test_the_programs_status_survives_a_failure_of_ours(error: str) -> None:
    need("strace")
    done = subprocess.run(
        [sys.executable, "-c", FAILS.format(error=error), "--backend", "strace", "--", "sh", "-c", "sleep 0.3; exit 7"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr.count("\n")) == (7, 1), done.stderr
    assert "out of memory" in done.stderr or "too many files" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "x"), "too many files are open; raise `ulimit -n`"),
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "out of memory"),
        (OSError(2, "x"), None),
        (RuntimeError("x"), None),
        (ImportError("libarrow.so: failed to map segment from shared object"), "out of memory"),
        (ImportError("No module named x"), None),
    ],
    ids=repr,
)
def test_what_a_limit_caused_is_told_from_the_rest(error: BaseException, said: str | None) -> None:
    found = explain(error)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_ours_are_raised_and_given_back() -> None:
    before = resource.getrlimit(FILES)
    resource.setrlimit(FILES, (100, before[1]))
    try:
        given = raise_own()
        during = resource.getrlimit(FILES)
        restore(given)
        after = resource.getrlimit(FILES)
    finally:
        resource.setrlimit(FILES, before)

    assert given[FILES] == (100, before[1])
    assert during[0] > 100
    assert after == (100, before[1])


def test_room_counts_what_is_open_already(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: Callable[[int], tuple[int, int]] = lambda which: (60, 60) if which == FILES else (-1, -1)  # noqa: E731
    monkeypatch.setattr(resource, "getrlimit", limits)
    monkeypatch.setattr(own_limits, "_open_descriptors", lambda: [0, 1, 2, 500])
    check_room(saves=False)
    monkeypatch.setattr(own_limits, "_open_descriptors", lambda: list(range(30)))
    with pytest.raises(ForktraceError, match="limit of 60 open files is too low to trace; raise `ulimit -n` to 78"):
        check_room(saves=False)
