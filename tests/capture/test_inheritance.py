"""What forktrace was given is what the program gets: bytes of the environment, and signals that were ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminals import DEADLINE_S
from tracer.capture.inheritance import put, unset, value_of
from tracer.capture.launch import execute

ROOT = Path(__file__).parents[2]
ASK = (
    "from tracer.capture.inheritance import environment; import os, sys; {change}; "
    "os.write(1, b'\\0'.join(environment()))"
)
IGNORED = "from tracer.capture.inheritance import ignored; print(sorted(map(int, ignored())))"


def told(env: list[bytes], change: str = "pass") -> list[bytes]:
    """What a Python that was started with `env` says it was."""
    words = [sys.executable, "-c", ASK.format(change=change)]

    def become() -> None:
        os.chdir(ROOT)
        execute(words[0], words, env)

    done = subprocess.run(["false"], preexec_fn=become, capture_output=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(b"\0") if done.stdout else []


@pytest.mark.parametrize(
    "env",
    [
        [],
        [b"A=1"],
        [b"A=1", b"A=2", b"B", b"=x", b"A=1"],
        [b"Z=\xff\xfe", b"A="],
        [b"LC_ALL=C"],
        [b"LC_CTYPE=C.UTF-8"],
        [b"", b"A=1", b""],
    ],
    ids=repr,
)
def test_it_is_byte_for_byte_what_was_given(env: list[bytes]) -> None:
    assert told(env) == env


def test_what_was_changed_since_counts() -> None:
    env = [b"A=1", b"ODD", b"B=2", b"A=3", b"C=4"]
    change = "os.environ['A'] = 'new'; del os.environ['B']; os.environ['D'] = '5'"
    assert told(env, change) == [b"A=new", b"ODD", b"C=4", b"D=5"]


def test_one_entry_at_a_time() -> None:
    entries = [b"A=1", b"AB=2", b"A=3", b"A"]
    assert (value_of(entries, b"A"), value_of(entries, b"X")) == (b"1", None)
    put(entries, b"A", b"4")
    assert entries == [b"A=4", b"AB=2", b"A"]
    unset(entries, b"A")
    assert entries == [b"AB=2", b"A"]


def ask(*by: str, options: tuple[str, ...] = ()) -> str:
    command = [*by, sys.executable, *options, "-c", IGNORED]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout


def shell(traps: str) -> tuple[str, ...]:
    return ("sh", "-c", f'trap "" {traps}; "$@"; exit $?', "sh")


PIPE, XFSZ = int(signal.SIGPIPE), int(signal.SIGXFSZ)


def test_a_shell_that_ignores_hands_it_on() -> None:
    assert ask(*shell("PIPE")) == f"[{PIPE}]\n"
    assert ask(*shell("XFSZ PIPE HUP")) == f"[{PIPE}, {XFSZ}]\n"
    assert ask("sh", "-c", '"$@"; exit $?', "sh") == "[]\n"


def test_a_python_that_ignores_them_itself_does_not() -> None:
    """It ignores both, and subprocess gives its children the defaults."""
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert ask() == "[]\n"


@pytest.mark.parametrize(("mask", "said"), [("0", "[]"), (str(1 << PIPE - 1), f"[{PIPE}]"), ("odd", "[]")])
def test_the_shell_that_starts_a_checkout_knows(mask: str, said: str) -> None:
    assert ask(options=("-X", f"forktrace_ignored={mask}")) == f"{said}\n"


def test_run_passes_on_what_was_ignored_before_it() -> None:
    if not (ROOT / ".venv/.stamp").exists():
        pytest.skip("this checkout was not set up by ./run")
    asking = ["./run", "--backend", "strace", "-q", "--", "grep", "SigIgn", "/proc/self/status"]
    trap = ["sh", "-c", 'trap "" PIPE XFSZ; exec "$@"', "sh"]  # in its place: nobody above ignores it
    said = [
        subprocess.run([*by, *asking], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout
        for by in ([], trap)
    ]
    assert [int(each.split()[1], 16) for each in said] == [0, 1 << PIPE - 1 | 1 << XFSZ - 1]
