"""Which file is run, and what is said when none can be; the rest of the held child is in test_target.py."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tracer.capture.launch import Plan, failure, find, rehearse
from tracer.capture.privileges import Identity
from tracer.errors import CannotStartError, NoPermissionError

ANNA = Identity("anna", 1000, 1000, (1000,), "/home/anna", "/bin/sh")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """one/: `tool` a folder, `locked` not executable; two/: `tool` and `locked` as they should be."""
    (tmp_path / "one" / "tool").mkdir(parents=True)
    (tmp_path / "one" / "locked").touch(0o644)
    (tmp_path / "two").mkdir()
    for name in ("tool", "locked"):
        (tmp_path / "two" / name).touch(0o755)
    return tmp_path


@pytest.mark.parametrize("name", ["tool", "locked"])
def test_the_first_that_can_run(folders: Path, name: str) -> None:
    assert find(name, f"{folders}/none:{folders}/one:{folders}/two") == f"{folders}/two/{name}"


def test_an_empty_folder_in_path_is_here(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders / "two")
    assert find("tool", "/none:") == "./tool"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("locked", errno.EACCES),
        ("tool", errno.ENOENT),
        ("", errno.ENOENT),
        ("/none/tool", errno.ENOENT),
        ("/", errno.EISDIR),
    ],
)
def test_none_can_run(folders: Path, name: str, code: int) -> None:
    with pytest.raises(OSError) as e:
        find(name, f"{folders}/one")
    assert e.value.errno == code


def said(stage: int, code: int, *, identity: Identity | None = None, under_sudo: bool = False) -> str:
    plan = Plan(["tool"], (), "/folder", identity, ())
    error = failure(plan, bytes([stage]) + code.to_bytes(4, "big"), under_sudo)
    assert error.exit_status == {1: 77, 2: 126}.get(stage, 127 if code == errno.ENOENT else 126)
    return str(error)


def test_what_is_said() -> None:
    assert "could not become user anna" in said(1, errno.EPERM, identity=ANNA)
    assert "/folder" in said(2, errno.EACCES)
    assert "not found in PATH" in said(3, errno.ENOENT)
    assert 'forktrace -E PATH="$PATH" -- tool' in said(3, errno.ENOENT, under_sudo=True)
    assert "for anna" in said(4, errno.EACCES, identity=ANNA)
    assert os.strerror(errno.ENOMEM).lower() in said(4, errno.ENOMEM)
    assert {NoPermissionError.exit_status, CannotStartError("", not_found=True).exit_status} == {77, 127}


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        ("#!/bin/sh\ntouch {}/ran\n", 0o755, 0),
        ("touch {}/ran\n", 0o755, errno.ENOEXEC),
        ("#!/no/such/interpreter\n", 0o755, errno.ENOENT),
        ("\x7fELF\0\0\0", 0o755, errno.ENOEXEC),
        ("#!/bin/sh\n", 0o644, errno.EACCES),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_rehearsed_exec_tells_its_error_and_runs_nothing(
    content: str, mode: int, code: int, ignored: bool, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(content.format(tmp_path))
    program.chmod(mode)
    was = signal.signal(signal.SIGCHLD, signal.SIG_IGN if ignored else signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        told = rehearse(str(program), (str(program),), [b"PATH=/bin"])
        after = signal.getsignal(signal.SIGCHLD), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGCHLD, was)

    assert told == code
    assert after == (signal.SIG_IGN if ignored else signal.SIG_DFL, mask)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_rehearsed_exec_may_have_too_many_words(tmp_path: Path) -> None:
    assert rehearse("/bin/true", ("true", *["x" * 100_000] * 100), ()) == errno.E2BIG
