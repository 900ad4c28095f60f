"""The command that gets the findings: no shell, not too often, and nobody waits for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tracer.errors import UsageError
from tracer.storms.hook import Hook


def done(hook: Hook) -> None:
    until = time.monotonic() + 20
    while hook._running and time.monotonic() < until:
        hook.tick()
        os.sched_yield()
    assert not hook._running


def script(folder: Path, body: str) -> Path:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_it_gets_the_text_on_its_standard_input_and_its_words_unread_by_a_shell(tmp_path: Path) -> None:
    path = script(tmp_path, f'printf "%s|" "$@" > {tmp_path}/words; cat > {tmp_path}/text')
    hook = Hook(f"{path} 'two words' $HOME;id")
    hook.run('{"kind": "storm"}')
    done(hook)

    assert (tmp_path / "words").read_text() == "two words|$HOME;id|"
    assert (tmp_path / "text").read_text() == '{"kind": "storm"}\n'


@pytest.mark.parametrize("silent", [False, True])
def test_what_it_writes_never_gets_into_the_findings(
    silent: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = Hook(str(script(tmp_path, "echo to stdout; echo to stderr >&2")))
    hook.silent = silent
    hook.run("x")
    done(hook)
    out, err = capfd.readouterr()

    assert (out, err) == ("", "" if silent else "to stdout\nto stderr\n")


def test_it_can_be_ended_as_any_program(tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        hook = Hook("sleep 60")
        hook.run("x")
        (pid,) = hook._running
        os.kill(pid, signal.SIGTERM)
        done(hook)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_not_too_often_and_the_newest_counts(tmp_path: Path) -> None:
    now = [100.0]
    path = script(tmp_path, f"cat >> {tmp_path}/text")
    hook = Hook(str(path), every_s=10, clock=lambda: now[0])
    for text in ("a", "b", "c"):
        hook.run(text)
        done(hook)
    assert (tmp_path / "text").read_text() == "a\n"
    now[0] += 11
    hook.tick()
    done(hook)

    assert (tmp_path / "text").read_text() == "a\nc\n"
    assert hook.skipped == 1


def test_a_text_larger_than_a_pipe_holds_nobody_up() -> None:
    hook = Hook("true")
    hook.run("x" * 1_000_000)
    done(hook)


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    hook = Hook(str(script(tmp_path, "exit 3")), say=said.append)
    hook.run("x")
    done(hook)
    assert said == [f"--exec: {tmp_path}/hook ended with 3"]


@pytest.mark.parametrize("command", ["", "'open", "/no/such/program"])
def test_a_command_that_can_not_be_is_refused_at_once(command: str) -> None:
    with pytest.raises(UsageError):
        Hook(command)
