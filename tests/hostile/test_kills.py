"""Whatever kills forktrace, and whenever: the program ends as it would have, and nothing of ours is left.

Nine signals at random moments, for each backend, of a program that was started and of one that was attached to. The
seed is printed; FORKTRACE_SEED=N repeats a run, FORKTRACE_KILLS=N asks for N rounds of them all.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S, wait_until
from tracer.host import leftovers

FORKTRACE = str(Path(sys.executable).with_name("forktrace"))
SEED = int(os.environ.get("FORKTRACE_SEED", "0")) or random.randrange(1, 1 << 30)
ROUNDS = int(os.environ.get("FORKTRACE_KILLS", "1"))
SIGNALS = [
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGPIPE,
    signal.SIGUSR1,
]
FORWARDED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Requests to end, which the program gets too."""
TURNS = 30
LASTS_S = 0.5
"""A program that forks TURNS times in that time, and then says so and ends with 7."""
PROGRAM = (
    ": >{out}.began; i=0; while [ $i -lt {turns} ]; do /bin/sh -c : ; sleep {each}; i=$((i + 1)); done;"
    ' echo "$i $$" >{out}; exit 7'
)
DELAYACCT = Path("/proc/sys/kernel/task_delayacct")
pytestmark = pytest.mark.programs


def programs() -> set[str]:
    """BPF programs in the kernel, by id."""
    done = subprocess.run(["bpftool", "prog", "list"], capture_output=True, text=True, check=True)
    return {line.split(":")[0] for line in done.stdout.splitlines() if line[:1].isdigit()}


def folders(tmp: Path) -> set[str]:
    return {path.name for path in tmp.iterdir() if path.name.startswith("forktrace")}


def helpers(mark: str) -> list[str]:
    """Processes that have this word in their environment: all that came of one start."""
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit() and mark.encode() in (path / "environ").read_bytes():
                found.append(f"{path.name} {(path / 'comm').read_text().strip()}")
    return found


def command(backend: str, attached: int | None, out: Path) -> list[str]:
    options = ["--backend", backend, "-q", "-o", str(out)]
    options += ["--delayacct"] if backend in ("bpf", "netlink") and DELAYACCT.exists() else []
    options += ["--strace-safe"] if backend == "strace" else []  # without, strace's own death is the program's
    return [FORKTRACE, *options, *(["-p", str(attached)] if attached else ["--"])]


def kills() -> Iterator[tuple[str, bool, int, float]]:
    """(backend, attached, signal, share of the time until it).

    In one round each signal meets each backend once, started or attached as the dice say, SIGKILL in both; and bcc,
    which compiles for a second, only SIGKILL and one more.
    """
    dice = random.Random(SEED)
    for _ in range(ROUNDS):
        for backend in ("bpf", "netlink", "strace", "bcc"):
            signals = SIGNALS if backend != "bcc" or ROUNDS > 1 else [signal.SIGKILL, dice.choice(SIGNALS[1:])]
            for signo in signals:
                ways = (False, True) if signo == signal.SIGKILL else (dice.random() < 0.5,)
                for attached in ways:
                    yield backend, attached, signo, dice.random()


def name_of(case: tuple[str, bool, int, float]) -> str:
    backend, attached, signo, _ = case
    return f"{backend}-{'attached' if attached else 'started'}-{signal.Signals(signo).name}"


CASES = list(kills())


@pytest.fixture(scope="module", autouse=True)
def _seed_is_printed() -> Iterator[None]:
    print(f"FORKTRACE_SEED={SEED}")  # shown where a test fails
    yield


@pytest.mark.parametrize(("backend", "attached", "signo", "when"), CASES, ids=map(name_of, CASES))
def test_a_kill_harms_nobody_and_leaves_nothing(
    backend: str, attached: bool, signo: int, when: float, tmp_path: Path
) -> None:
    need(backend, "root", "bpftool")
    mark = f"FORKTRACE_KILL_TEST={os.getpid()}-{tmp_path.name}"
    env = {**os.environ, "TMPDIR": str(tmp_path), mark.split("=", maxsplit=1)[0]: mark.split("=")[1]}
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    before, switch = programs(), DELAYACCT.read_text() if DELAYACCT.exists() else ""
    done = tmp_path / "done"
    script = PROGRAM.format(turns=TURNS, each=LASTS_S / TURNS / 2, out=done)
    program = subprocess.Popen(["/bin/sh", "-c", script]) if attached else None
    words = command(backend, program.pid if program else None, tmp_path / "x.ftrace")
    tracing = subprocess.Popen(
        words if program else [*words, "/bin/sh", "-c", script], env=env, stderr=subprocess.DEVNULL
    )
    time.sleep(when * (2 * LASTS_S if backend == "bcc" else LASTS_S))  # the moment is what is random here
    tracing.send_signal(signo)
    status = tracing.wait(DEADLINE_S)
    if program is not None:
        assert program.wait(DEADLINE_S) == 7
        assert done.read_text().split()[0] == str(TURNS)
    else:
        wait_until("the program has ended", lambda: not [each for each in helpers(mark) if each.endswith(" sh")])
        if done.with_name("done.began").exists() and signo not in FORWARDED:
            assert done.read_text().split()[0] == str(TURNS)  # it ran to its end
        # SIGPIPE is ignored; what is passed on may come when the program has just ended.
        assert status in {-signo, *([7] if done.exists() else [])}
        assert done.exists() or signo in FORWARDED or not done.with_name("done.began").exists()
    wait_until("no process of ours is left", lambda: not helpers(mark))
    wait_until("no BPF program is left", lambda: not programs() - before)
    if switch:
        wait_until("task_delayacct is as it was", lambda: DELAYACCT.read_text() == switch)
    for name in folders(tmp_path):  # where a name was needed the next start removes it
        os.utime(tmp_path / name, (0, 0))
    leftovers.sweep(str(tmp_path))
    assert folders(tmp_path) == set()
