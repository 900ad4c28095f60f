"""The public API: a run, a saved trace, and errors that are told before anything is started."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests.conftest import need
from tests.descriptors import open_files
from tracer.errors import CannotStartError, CannotWriteError, NoInputError, UsageError
from tracer.model.schema import Kind


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("kernel"):
        need("bpf")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = {signo: signal.getsignal(signo) for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)}
    files = open_files()
    yield
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert {signo: signal.getsignal(signo) for signo in handlers} == handlers
    assert open_files() == files
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.kernel
def test_a_run_gives_tree_events_frame_and_status() -> None:
    trace = tracer.run(["sh", "-c", "/bin/true; exit 3"], backend="bpf")
    kinds = [event.kind for event in trace.events()]

    assert trace.status is not None
    assert trace.status.exit_code == 3
    assert [record["exit_code"] for record in trace.tree.records()] == [3, 0]
    assert (kinds[0], kinds[-1], kinds.count(Kind.EXEC)) == (Kind.EXISTING, Kind.END, 2)
    assert list(trace.processes["comm"]) == ["sh", "true"]
    assert trace.meta.command == ("sh", "-c", "/bin/true; exit 3")
    assert not trace.torn


@pytest.mark.kernel
def test_what_a_run_is_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    out = tmp_path / "x.ftrace"
    trace = tracer.run(
        ["/bin/sh", "-c", f'echo "$A.$PWD" >/dev/fd/{writer}'],
        backend="bpf",
        cow="off",
        env={"A": "b"},
        cwd="/usr",
        pass_fds=[writer],
        output=str(out),
        record_env="A",
    )
    os.close(writer)
    told = os.read(reader, 100)
    os.close(reader)
    saved = tracer.load(str(out))

    assert told == b"b./usr\n"
    assert [event.env for event in trace.events() if event.kind == Kind.EXEC] == [["A=b"]]
    assert list(saved.tree.records()) == list(trace.tree.records())
    assert saved.meta == trace.meta
    assert capfd.readouterr() == ("", "")


@pytest.mark.kernel
def test_a_run_need_not_wait_for_all() -> None:
    trace = tracer.run(["sh", "-c", "sleep 100 & exit 0"], backend="bpf", cow="off", wait=False)
    pid = trace.tree.value(1, "pid")
    os.kill(pid, signal.SIGKILL)

    assert not trace.tree.ended(1)
    assert trace.tree.value(1, "min_flt") > 0  # asked at the end


@pytest.mark.kernel
def test_two_runs_in_a_row_know_nothing_of_each_other() -> None:
    first = tracer.run(["sh", "-c", "/bin/true; /bin/true; exit 0"], backend="bpf", cow="off")
    second = tracer.run(["true"], backend="bpf", cow="off")

    assert (len(first.tree), len(second.tree)) == (3, 1)


@pytest.mark.kernel
def test_an_output_that_can_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError):
        tracer.run(["touch", str(tmp_path / "ran")], backend="bpf", output=str(tmp_path / "no" / "x"))

    assert not (tmp_path / "ran").exists()


@pytest.mark.kernel
def test_a_program_that_can_not_be_run() -> None:
    with pytest.raises(CannotStartError) as failed:
        tracer.run(["/no/such/program"], backend="bpf")

    assert failed.value.exit_status == 127


@pytest.mark.parametrize(
    ("argv", "options", "words"),
    [
        ("ls -l", {}, "'ls -l' is no command; give a list of words"),
        (b"ls", {}, "is no command"),
        ([], {}, "is no command"),
        (["ls"], {"cow": "some"}, "there is no cow level 'some'; choose one of: full, fork, light, off"),
        (["ls"], {"argv_max": -1}, "-1 bytes of argv can not be kept"),
        (["ls"], {"buffer_bytes": 100}, "a buffer of 100 bytes can not be had"),
        (["ls"], {"colour": "red"}, "unexpected keyword argument 'colour'"),
        (["ls"], {"backend": "sysdig"}, "there is no backend 'sysdig'; choose one of: auto, bpf"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(argv: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as failed:
        tracer.run(argv, **options)

    assert words in str(failed.value)
    assert failed.value.mend


def test_a_run_is_for_the_main_thread() -> None:
    caught: list[BaseException] = []

    def other() -> None:
        try:
            tracer.run(["true"])
        except BaseException as e:
            caught.append(e)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()

    assert isinstance(caught[0], UsageError)
    assert "main thread" in str(caught[0])


def test_loading_what_is_not_there() -> None:
    with pytest.raises(NoInputError):
        tracer.load("/no/such/trace.ftrace")
