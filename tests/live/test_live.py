"""The screen on a pseudo terminal, in this process and in others: never waits, gives back what it took."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.live.ptys import ENTER, FORKTRACE, LEAVE, Screen
from tests.live.scenes import busy_host
from tests.terminals import Shell, wait_until
from tracer.api.capture import open_trace
from tracer.errors import CannotWriteError, UsageError
from tracer.live import Live
from tracer.live.device import Device

ROOT = Path(__file__).parents[2]

# Something to attach to that forks now and then, until its input ends.
BUSY = "while ! read -t 0.1 line; do /bin/true; done"


class Line:
    """A pseudo terminal whose other end is in our hands."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.path = os.ttyname(self.slave)
        os.set_blocking(self.master, False)

    def read(self) -> bytes:
        data = b""
        with suppress(BlockingIOError):
            while more := os.read(self.master, 65536):
                data += more
        return data


@pytest.fixture
def line() -> Iterator[Line]:
    found = Line()
    yield found
    os.close(found.master)
    os.close(found.slave)


def full(screen: Live) -> bool:
    return screen._device.busy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.2
        return self.now


def live(line: Line, **more: Any) -> Live:
    return Live(busy_host(), what="x", device=Device(line.path), color="never", now=Clock(), **more)


def test_modes_are_put_back_after_an_exception(line: Line) -> None:
    before = termios.tcgetattr(line.slave)
    with pytest.raises(ZeroDivisionError), live(line) as screen:
        screen.tick()
        assert termios.tcgetattr(line.slave) != before
        raise ZeroDivisionError

    assert termios.tcgetattr(line.slave) == before
    assert line.read().endswith(LEAVE)


def test_keys_are_read_and_q_asks_to_stop(line: Line) -> None:
    asked: list[str] = []
    with live(line, stop=lambda: asked.append("stop")) as screen:
        screen.tick()
        os.write(line.master, b"tsq")
        screen.tick()

        assert asked == ["stop"]
        assert (screen.model.view.mode, screen.model.view.sort) == ("tree", "execs")


def test_a_terminal_that_takes_nothing_is_not_waited_for(line: Line) -> None:
    with live(line) as screen:
        screen.tick()
        line.read()
        for n in range(2000):  # nobody reads: the line is full before long, and every frame is another
            screen.message(f"frame {n} {'x' * 60}")
            screen.tick()
        assert full(screen)
        assert len(screen._device._queue) < 100_000
        data = b""
        while full(screen):
            data += line.read()
            screen.tick()
        screen.message("the newest")
        screen.tick()
        assert b"the newest" in data + line.read()


def test_it_ends_though_the_terminal_takes_nothing(line: Line) -> None:
    before = termios.tcgetattr(line.slave)
    with live(line) as screen:
        for n in range(2000):
            screen.message(f"frame {n} {'x' * 60}")
            screen.tick()

    assert termios.tcgetattr(line.slave) == before


def test_a_terminal_that_was_hung_up_asks_to_stop() -> None:
    line = Line()
    asked: list[str] = []
    with live(line, stop=lambda: asked.append("stop")) as screen:
        screen.tick()
        os.close(line.slave)
        os.close(line.master)
        screen.tick()
        screen.tick()

    assert asked


def test_paused_it_stands_still_while_the_window_goes_on(line: Line) -> None:
    with live(line) as screen:
        screen.tick()
        os.write(line.master, b" ")
        screen.tick()
        before = screen._snapshot
        screen.window.advance(screen.window.now_ns + 30 * 10**9)
        screen.tick()
        assert screen._snapshot is before
        os.write(line.master, b" ")
        screen.tick()
        assert screen._snapshot is not before


def test_saving(line: Line) -> None:
    said: list[str] = []

    def save() -> str:
        said.append("saved")
        return "storm.ftrace"

    with live(line, save=save) as screen:
        screen.tick()
        os.write(line.master, b"w")
        screen.tick()
        text = line.read()
    assert said == ["saved"]
    assert b"the seconds before now go into storm.ftrace" in text
    assert b"w save" in text


def test_what_can_not_be_saved_is_said_on_the_screen_and_after_it(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    def save() -> str:
        raise CannotWriteError("the disk is full", "make room")

    with live(line, save=save) as screen:
        screen.tick()
        os.write(line.master, b"w")
        screen.tick()
        assert b"the disk is full; make room" in line.read()

    assert capsys.readouterr().err == "forktrace: the disk is full; make room\n"


def test_a_storm_is_shown_until_it_is_over(line: Line) -> None:
    with live(line) as screen:
        screen.found("FORK STORM: 900/s", "bad")
        screen.tick()
        assert "▲ FORK STORM: 900/s" in line.read().decode()
        screen.found(None)
        screen.tick()
        assert screen.scene.finding is None


def test_a_paste_of_anything_is_survived(line: Line) -> None:
    tty.setraw(line.slave)  # so that nothing is echoed or eaten
    with live(line) as screen:
        for n in range(0, 256, 8):
            os.write(line.master, bytes(b for b in range(n, n + 8) if b not in b"\x03\x1a\x1c\x13\x04"))
            screen.tick()


def test_no_terminal_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no terminal for a live screen"):
        Device(str(tmp_path / "none"))


# -- the command --------------------------------------------------------------------------------------------------


def test_beside_a_program_that_has_the_terminal_it_is_refused() -> None:
    with Screen([*FORKTRACE, "--live", "--", "true"]) as screen:
        assert screen.ends() == 2
        said = screen.raw.decode().replace("\r\n", "")
        assert "--live and the program would share the terminal, which has its input, output, errors;" in said
        assert "</dev/null >log 2>&1" in said
        assert ENTER not in screen.raw


def test_without_any_terminal_it_is_refused() -> None:
    done = subprocess.run(
        [*FORKTRACE, "--live", "--", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        timeout=60,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )

    assert done.returncode == 2
    assert "there is no terminal for a live screen; leave --live out" in done.stderr


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["bash", "-c", BUSY], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def after(screen: Screen) -> str:
    """What came when the screen was gone, without its colours."""
    return re.sub(rb"\x1b\[[\d;]*m", b"", screen.raw[screen.raw.rfind(LEAVE) :]).decode()


@pytest.mark.kernel
def test_attached_to_a_tree(busy: subprocess.Popen[bytes]) -> None:
    need("bpf", "root")
    with Screen([*FORKTRACE, "--live", "-p", str(busy.pid)]) as screen:
        screen.shows("BUSIEST ANCESTORS", f"pid {busy.pid} and below · bpf", str(busy.pid), "/bin/true")
        screen.press("t")
        screen.shows("BEING BORN", "/bin/true")
        screen.press("q")
        assert screen.ends() == 0
        screen.assert_given_back()
        report = after(screen)
        assert "/bin/true" in report
        assert "processes" in report


@pytest.mark.kernel
@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_watching_and_the_report_comes(busy: subprocess.Popen[bytes], signo: signal.Signals) -> None:
    need("bpf", "root")
    with Screen([*FORKTRACE, "--live", "-p", str(busy.pid)]) as screen:
        screen.shows("/bin/true")
        screen.process.send_signal(signo)
        assert screen.ends() == 0
        screen.assert_given_back()
        assert "/bin/true" in after(screen)


@pytest.mark.kernel
def test_ctrl_z_and_fg_while_attached(busy: subprocess.Popen[bytes]) -> None:
    need("bpf", "root")
    with Shell() as shell:
        shell.run(f"TERM=xterm {' '.join(FORKTRACE)} --live -q -p {busy.pid}")
        shell.expect("BUSIEST")
        shell.keys("\x1a")
        assert LEAVE.decode() in shell.expect("Stopped")
        shell.prompt()
        shell.run("fg")
        shell.expect(ENTER.decode())
        shell.expect("BUSIEST")
        shell.keys("q")
        shell.expect(LEAVE.decode())
        shell.prompt()


@pytest.mark.kernel
def test_a_program_with_its_streams_elsewhere(tmp_path: Path) -> None:
    need("bpf", "root")
    log, gate = tmp_path / "log", tmp_path / "gate"
    os.mkfifo(gate)
    script = f"for n in 1 2 3; do /bin/true; done; echo out; read x <{gate}; exit 7"
    command = f"{' '.join(FORKTRACE)} --live -- sh -c '{script}' </dev/null >{log} 2>&1"
    with Screen(["sh", "-c", command]) as screen:
        screen.shows("/bin/true", "sh -c")
        screen.press("t")
        screen.shows("BEING BORN")
        gate.write_text("go\n")
        assert screen.ends() == 7
        screen.assert_given_back()

    assert log.read_text().startswith("out\n")
    assert log.read_text().count("/bin/true\n") == 3


@pytest.mark.kernel
def test_q_takes_the_screen_away_and_the_program_goes_on(tmp_path: Path) -> None:
    need("bpf", "root")
    log, gate = tmp_path / "log", tmp_path / "gate"
    os.mkfifo(gate)
    command = f"{' '.join(FORKTRACE)} --live -- sh -c 'read x <{gate}; exit 7' </dev/null >{log} 2>&1"
    with Screen(["sh", "-c", command]) as screen:
        screen.shows("COMMANDS")  # the ancestors' heading comes when nothing was born for 10 s
        screen.press("q")
        wait_until("the screen is gone", lambda: not screen._read(0.01) and LEAVE in screen.raw)
        screen.assert_given_back()
        assert screen.process.poll() is None
        gate.write_text("go\n")
        assert screen.ends() == 7


def test_the_library_gives_the_terminal_back_when_its_caller_fails() -> None:
    program = (
        "from tests.live.scenes import busy_host\nfrom tracer.live import Live\n"
        "with Live(busy_host()) as live:\n    live.tick()\n    raise RuntimeError('on purpose')"
    )
    with Screen([sys.executable, "-c", program]) as screen:
        assert screen.ends() == 1
        screen.assert_given_back()
        assert b"on purpose" in screen.raw[screen.raw.rfind(LEAVE) :]


@pytest.mark.kernel
def test_ctrl_z_and_fg_beside_a_program(tmp_path: Path) -> None:
    need("bpf", "root")
    log = tmp_path / "log"
    with Shell() as shell:
        shell.run(f"TERM=xterm {' '.join(FORKTRACE)} --live -q -- sleep 1000 </dev/null >{log} 2>&1")
        shell.expect("COMMANDS")
        shell.keys("\x1a")
        assert LEAVE.decode() in shell.expect("Stopped")
        shell.prompt()
        shell.run("fg")
        shell.expect(ENTER.decode())
        shell.expect("COMMANDS")
        shell.keys("\x03")  # the program's, and its end is ours
        shell.expect(LEAVE.decode())
        shell.prompt()


@pytest.mark.kernel
def test_w_saves_the_seconds_before_now_and_what_follows_is_watched_on(
    busy: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    need("bpf", "root")
    command = f"cd {tmp_path} && exec {' '.join(FORKTRACE)} --live -p {busy.pid}"
    with Screen(["sh", "-c", command], env={"PYTHONPATH": str(ROOT)}) as screen:
        screen.shows("/bin/true", "w save")
        screen.press("w")
        screen.shows("saved: forktrace report forktrace-live-")
        (file,) = tmp_path.glob("*.ftrace")
        saved = open_trace(str(file)).tree
        before = screen.shows("forks/s")
        screen.until("it goes on", lambda text: text != before)
        screen.press("q")
        assert screen.ends() == 0
        screen.assert_given_back()
        assert f"forktrace: saved: forktrace report {file.name}" in after(screen)

    assert saved.end is not None
    assert [saved.value(row, "pid") for row in saved.roots()] == [busy.pid]
    assert sum((exe or "").endswith("true") for exe in map(saved.value, range(len(saved)), ["exe"] * len(saved))) >= 1
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.kernel
def test_what_is_to_be_hidden_is_hidden_in_what_w_saves_too(tmp_path: Path) -> None:
    need("bpf", "root")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"/bin/true --password=hunter22; read x <{gate}"
    command = f"cd {tmp_path}; {' '.join(FORKTRACE)} --live --redact -q -- sh -c '{script}' </dev/null >log 2>&1"
    with Screen(["sh", "-c", command], env={"PYTHONPATH": str(ROOT)}) as screen:
        screen.shows("/bin/true")
        screen.press("w")
        screen.shows("saved: forktrace report")
        gate.write_text("go\n")
        screen.ends()
    (file,) = tmp_path.glob("*.ftrace")
    argvs = [event.argv for event in open_trace(str(file)).events() if event.argv]
    assert any("--password" in word for argv in argvs for word in argv)
    assert not any("hunter22" in word for argv in argvs for word in argv)
