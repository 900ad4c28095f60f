"""kernel.task_delayacct on for a while and back again, whoever dies. Mostly with a file in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S, state, wait_until
from tracer.errors import NoPermissionError, ProbesRefusedError
from tracer.host import delayacct, features
from tracer.host.delayacct import Switch, left_behind, put_back
from tracer.host.features import Host

pytestmark = pytest.mark.programs
ROOT = Path(__file__).parents[2]


class Place:
    """A switch and its state, in files of our own."""

    def __init__(self, root: Path, value: str = "0") -> None:
        self.root = root
        self.sysctl = root / "proc/sys/kernel/task_delayacct"
        self.run = root / "run/forktrace"
        self.sysctl.parent.mkdir(parents=True)
        self.run.parent.mkdir()
        self.sysctl.write_text(f"{value}\n")

    @property
    def value(self) -> str:
        return self.sysctl.read_text().strip()

    @property
    def state(self) -> set[str]:
        return {path.name for path in self.run.iterdir() if path.suffix == ".before"}

    def on(self) -> Switch:
        return Switch.on(self.sysctl, self.run)

    def user(self) -> subprocess.Popen[str]:
        """A process that has it on until it reads a line, and says the watchdog's pid."""
        code = (
            "import sys; from pathlib import Path; from tracer.host.delayacct import Switch\n"
            "s = Switch.on(Path(sys.argv[1]), Path(sys.argv[2])); print(s._pid, flush=True)\n"
            "sys.stdin.readline(); s.off()"
        )
        command = [sys.executable, "-c", code, str(self.sysctl), str(self.run)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def waits_for(self, value: str) -> None:
        wait_until(f"the switch is {value}", lambda: self.value == value)


def watchdog(user: subprocess.Popen[str]) -> int:
    assert user.stdout is not None
    return int(user.stdout.readline())


def kill(user: subprocess.Popen[str]) -> None:
    user.kill()
    user.communicate(timeout=DEADLINE_S)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    wait_until("nothing is left", lambda: not place.run.exists() or not place.state)


def test_on_and_off(place: Place) -> None:
    switch = place.on()
    during, state = place.value, place.state
    switch.off()
    switch.off()

    assert (during, state) == ("1", {"delayacct.before"})
    assert place.value == "0"
    assert left_behind(place.sysctl, place.run) is None
    with pytest.raises(ChildProcessError):  # the watchdog was waited for
        os.waitpid(-1, os.WNOHANG)


def test_the_last_of_several_users_puts_it_back(place: Place) -> None:
    first, second = place.on(), place.on()
    first.off()
    between, left = place.value, left_behind(place.sysctl, place.run)
    third = place.on()
    second.off()
    still = place.value
    third.off()

    assert (between, left, still) == ("1", None, "1")
    assert place.value == "0"


def test_killed_users_do_not_count(place: Place) -> None:
    with place.user() as first, place.user() as second:
        watchdog(first), watchdog(second)
        kill(first)
        kill(second)
        place.waits_for("0")


def test_one_of_two_is_killed(place: Place) -> None:
    with place.user() as other:
        watchdog(other)
        switch = place.on()
        kill(other)
        still = place.value
        switch.off()
        place.waits_for("0")  # the dead one's watchdog may be the last

        assert still == "1"


def test_the_watchdog_is_apart(place: Place) -> None:
    """Neither Ctrl-C nor the end of our group reaches it, and it holds no descriptor of ours open."""
    with place.user() as user:
        pid = watchdog(user)
        wait_until("it waits", lambda: len(os.listdir(f"/proc/{pid}/fd")) == 3 and ignores(pid))
        group, session = os.getpgid(pid), os.getsid(pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        kill(user)
        place.waits_for("0")

    assert (group, session) == (pid, pid)


def ignores(pid: int) -> bool:
    """Whether it ignores SIGTERM already."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return bool(ignored >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("mend", ["put_back", "next user"])
def test_when_the_watchdog_is_killed_too(place: Place, mend: str) -> None:
    with place.user() as user:
        pid = watchdog(user)
        os.kill(pid, signal.SIGKILL)
        kill(user)
    wait_until("the watchdog is dead", lambda: state(pid) in ("", "Z"))
    left, value = left_behind(place.sysctl, place.run), place.value
    check = features.feature("task_delayacct", Host(place.root))
    if mend == "put_back":
        assert put_back(place.sysctl, place.run)
    else:
        place.on().off()

    assert (left, value) == ("0", "1")
    assert check.ok is None
    assert "left on" in check.detail
    assert check.mend is not None
    assert check.mend.endswith("sysctl kernel.task_delayacct=0")
    assert place.value == "0"
    assert not put_back(place.sysctl, place.run)


def test_it_was_on_before_us(tmp_path: Path) -> None:
    place = Place(tmp_path, "1")
    switch = place.on()
    switch.off()

    assert place.value == "1"
    assert not place.state
    assert features.feature("task_delayacct", Host(place.root)).ok


def test_whoever_switches_it_meanwhile_has_the_last_word(place: Place) -> None:
    switch = place.on()
    place.sysctl.write_text("0\n")
    left = left_behind(place.sysctl, place.run)
    switch.off()

    assert (left, place.value) == (None, "0")
    assert not place.state


def test_a_kernel_without_it(tmp_path: Path) -> None:
    with pytest.raises(ProbesRefusedError, match="no switch"):
        Switch.on(tmp_path / "none", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_refusal_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    real = Path.write_text

    def refuse(self: Path, data: str, encoding: str | None = None) -> int:
        if self == place.sysctl:
            raise PermissionError(1, "Operation not permitted", str(self))
        return real(self, data, encoding)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(NoPermissionError, match="root's to switch"):
        place.on()

    assert not place.state
    assert left_behind(place.sysctl, place.run) is None


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises((ProbesRefusedError, NoPermissionError)):
        Switch.on(place.sysctl, Path("/proc/forktrace"))
    assert place.value == "0"


def test_the_command_switches_the_real_one_and_kill_9_puts_it_back() -> None:
    need("netlink", "root")
    before = delayacct.SYSCTL.read_text()
    if before != "0\n":
        pytest.skip("kernel.task_delayacct is on already, or somebody else traces")
    command = [sys.executable, "-m", "tracer", "-qq", "--backend", "netlink", "--delayacct", "--"]
    program = ["sh", "-c", "cat /proc/sys/kernel/task_delayacct; read x"]
    with subprocess.Popen(
        [*command, *program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as traced:
        assert traced.stdout is not None
        during = traced.stdout.readline()
        traced.kill()
        traced.communicate(timeout=DEADLINE_S)
    wait_until("it is off again", lambda: delayacct.SYSCTL.read_text() == before)

    assert during == "1\n"
    wait_until("nothing is left", lambda: left_behind() is None and not (delayacct.RUN / "delayacct.before").exists())


def test_the_api_switches_it_for_a_run() -> None:
    need("netlink", "root")
    before = delayacct.SYSCTL.read_text()
    import tracer

    trace = tracer.run(["sh", "-c", "(:); exit 3"], backend="netlink", delayacct=True)

    counts = [row["wpcopy_count"] for row in trace.tree.records()]
    assert all(count is not None and count > 0 for count in counts[1:])
    assert len(counts) == 2
    assert delayacct.SYSCTL.read_text() == before
