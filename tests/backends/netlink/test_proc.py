"""What the netlink backend reads in /proc, of processes that hold still."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.terminals import wait_until
from tracer.backends.netlink import proc
from tracer.errors import NoInputError
from tracer.host import procfs

pytestmark = pytest.mark.programs


@contextmanager
def running(argv: Sequence[str | bytes], **how: object) -> Iterator[int]:
    """A program that reads its standard input until it is left alone."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, **how)  # type: ignore[call-overload]
    try:
        wait_until("its exec is over", lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() != b"")
        yield process.pid
    finally:
        process.stdin.close()
        process.wait(timeout=20)


def look(pid: int, argv_max: int = 32768, env: Sequence[str] = ()) -> proc.Image | None:
    found = procfs.read(pid)
    return None if found is None else proc.image(pid, found.born_ns, argv_max, env)


def test_the_words_of_an_exec_byte_for_byte(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/a \xff\n"
    os.symlink(os.fsencode(shutil.which("cat") or "/bin/cat"), name)
    argv = [name, b"-u", b"--", b"-"]
    with running(argv, cwd=tmp_path) as pid:
        image = look(pid)

    assert image is not None
    assert image.exe == os.fsdecode(name)  # as it was given, not where the link leads
    assert image.argv == [os.fsdecode(word) for word in argv]
    assert (image.interpreter, image.cwd, image.env) == (None, str(tmp_path), None)
    assert image.comm == os.fsdecode(b"a \xff\n")


def test_what_ends_while_it_is_read_has_no_words_and_not_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = proc._open

    def gone_meanwhile(name: str, folder: int | None = None) -> int | None:
        memory = opened(name, folder)
        if name == "mem":
            process.kill()
            process.wait(timeout=20)
        return memory

    process = subprocess.Popen(["sleep", "100"], env={"COLOUR": "teal"})
    monkeypatch.setattr(proc, "_open", gone_meanwhile)
    image = look(process.pid, env=["COLOUR"])

    assert image is not None
    assert (image.exe, image.argv, image.env, image.cwd) == (None, None, None, None)


def test_a_script_and_what_reads_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nread x\n")
    script.chmod(0o755)
    with running([str(script), "one"]) as pid:
        image = look(pid)

    assert image is not None
    assert (image.exe, image.interpreter) == (str(script), "/bin/sh")
    assert image.argv == ["/bin/sh", str(script), "one"]


def test_argv_is_cut_and_says_so() -> None:
    with running(["sh", "-c", "read x", "a" * 100, "b" * 100]) as pid:
        image = look(pid, argv_max=30)

    assert image is not None
    assert image.argv == ["sh", "-c", "read x", "a" * 17 + "...", "..."]


def test_the_environment_that_was_asked_for() -> None:
    env: Mapping[str, str] = {**os.environ, "COLOUR": "red", "COLOURS": "all"}
    with running(["sh", "-c", "read x"], env=env) as pid:
        image = look(pid, env=["COLOUR"])

    assert image is not None
    assert image.env == ["COLOUR=red"]


def test_another_life_of_the_pid_is_not_asked() -> None:
    with running(["cat"]) as pid:
        found = procfs.read(pid)
        assert found is not None

        assert proc.image(pid, found.born_ns - 3 * proc.TICK_NS, 100) is None
        assert proc.image(pid, found.born_ns + proc.TICK_NS, 100) is not None


def test_who_is_gone_or_a_zombie_runs_nothing() -> None:
    process = subprocess.Popen(["true"])
    found = procfs.read(process.pid)
    wait_until("it is a zombie", lambda: (state := proc.living(process.pid)) is not None and state.zombie)
    zombie = found and proc.image(process.pid, found.born_ns, 100)
    ended = proc.living(process.pid)
    process.wait()

    assert zombie is None
    assert ended is not None and ended.ended
    assert proc.living(process.pid) is None
    assert look(process.pid) is None


def test_everyone_and_who_is_below_whom() -> None:
    with running(["sh", "-c", "cat; true"]) as pid:
        wait_until("the shell has a child", lambda: bool(proc.below([pid], proc.everyone())))
        seen = proc.everyone()

        (child,) = proc.below([pid], seen)

        assert seen[child].ppid == pid
        assert seen[pid].ppid == os.getpid()
        assert child in proc.below([os.getpid()], seen)
        assert not seen[pid].kernel_thread and not seen[pid].zombie


def test_threads_are_no_workers() -> None:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    try:
        tid = thread.native_id or 0

        assert {os.getpid(), tid} <= proc.tids(os.getpid())
        assert proc.is_worker(os.getpid(), tid) is False
    finally:
        gate.set()
        thread.join()
    wait_until("the thread is gone", lambda: tid not in proc.tids(os.getpid()))
    assert proc.is_worker(os.getpid(), tid) is None


def test_why_a_pid_can_not_be_attached_to() -> None:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    try:
        of_a_thread = proc.no_process(thread.native_id or 0)
    finally:
        gate.set()
        thread.join()

    assert isinstance(of_a_thread, NoInputError)
    assert f"a thread of process {os.getpid()}" in of_a_thread.message
    assert "there is no process" in proc.no_process(4194305).message
