"""What forktrace itself may still do while it watches and while it reports; the program is untouched by that."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rich

import tracer
from tests.capture.test_privileges import account, fields  # noqa: F401 - a fixture
from tests.conftest import need
from tests.terminals import DEADLINE_S, wait_until
from tracer.capture.capabilities import BPF, DAC_READ_SEARCH, NET_ADMIN, SYS_ADMIN, needed

ROOT = Path(__file__).parents[2]
FORKTRACE = str(Path(sys.executable).with_name("forktrace"))
MOST = {"bpf": 6, "netlink": 5, "strace": 4}
pytestmark = pytest.mark.programs


def status(pid: int) -> dict[str, str]:
    return fields(Path(f"/proc/{pid}/status").read_text())


def program_below(pid: int, name: str) -> int:
    """The child of `pid` that has become that program."""
    found: list[int] = []

    def there() -> bool:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found[:] = [int(each) for each in listed if Path(f"/proc/{each}/comm").read_text().strip() == name]
        return bool(found)

    wait_until(f"{name} runs", there)
    return found[0]


@pytest.mark.parametrize("backend", ["bpf", "netlink", "strace"])
def test_while_it_watches_few_capabilities_are_left(backend: str) -> None:
    need(backend, "root")
    alone = fields(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout)
    with subprocess.Popen([FORKTRACE, "--backend", backend, "-q", "--strace-safe", "--", "sleep", "60"]) as tracing:
        try:
            program = program_below(tracing.pid, "sleep")
            own, theirs = status(tracing.pid), status(program)
            tracing.send_signal(signal.SIGTERM)
            assert tracing.wait(DEADLINE_S) == -signal.SIGTERM  # passed on: CAP_KILL
        finally:
            tracing.kill()

    assert own["NoNewPrivs"] == "1"
    assert int(own["CapEff"], 16).bit_count() <= MOST[backend]
    assert own["CapEff"] == own["CapPrm"]
    assert {name: theirs[name] for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")} == {
        name: alone[name] for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")
    }


def test_a_program_of_another_user_gets_the_signal_that_is_passed_on() -> None:
    need("bpf", "root")
    with subprocess.Popen([FORKTRACE, "--backend", "bpf", "-q", "-u", "daemon", "--", "sleep", "60"]) as tracing:
        try:
            program_below(tracing.pid, "sleep")
            tracing.send_signal(signal.SIGTERM)
            assert tracing.wait(DEADLINE_S) == -signal.SIGTERM
        finally:
            tracing.kill()


def test_by_sudo_the_report_is_drawn_as_the_caller(account: pwd.struct_passwd) -> None:  # noqa: F811
    """stderr is a full pipe: forktrace stands in the middle of its report, and can be looked at.

    Where the caller may not read the Python that runs it, it stays root that may read, and no more.
    """
    need("bpf", "root", "sudo")
    files = [os.__file__, tracer.__file__, rich.__file__]
    asked = subprocess.run(
        ["cat", *files],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    uid, held = (account.pw_uid, "0" * 16) if asked.returncode == 0 else (0, f"{1 << DAC_READ_SEARCH:016x}")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    by = ["sudo", "-n", FORKTRACE, "--backend", "bpf", "--", "true"]
    with subprocess.Popen(
        by, user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/", stderr=writing
    ) as sudo:
        os.close(writing)
        try:
            tracing = program_below(sudo.pid, "forktrace")
            wait_until(
                f"it is user {uid} with {held}",
                lambda: (status(tracing)["Uid"].split(), status(tracing)["CapEff"]) == ([str(uid)] * 4, held),
            )
            own = status(tracing)
        finally:
            with open(reading, "rb") as rest:
                rest.read()
        assert sudo.wait(DEADLINE_S) == 0

    assert {own[f"Cap{name}"] for name in ("Prm", "Eff")} == {held}
    assert {own[f"Cap{name}"] for name in ("Inh", "Amb")} == {"0" * 16}


def test_each_backend_keeps_its_own() -> None:
    need("root")
    assert NET_ADMIN in needed("netlink", nice=False)
    assert NET_ADMIN not in needed("bpf", nice=False)
    assert BPF in needed("bpf", nice=False)
    assert SYS_ADMIN not in needed("bpf", nice=True)


def test_an_installation_that_the_caller_may_not_read_still_reports(
    account: pwd.struct_passwd,  # noqa: F811
    tmp_path: Path,
) -> None:
    """As below /root: modules are imported after the program has run."""
    need("bpf", "root", "sudo")
    tmp_path.chmod(0o700)
    shutil.copytree(ROOT / "tracer", tmp_path / "tracer", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "probes").symlink_to(ROOT / "probes")
    script = tmp_path / "start.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True\n"
        "from tracer.commands import program; program()"
    )
    done = subprocess.run(
        ["sudo", "-n", sys.executable, str(script), "--backend", "bpf", "--", "sh", "-c", "id -u; exit 7"],
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (7, f"{account.pw_uid}\n"), done.stderr
    assert "processes" in done.stderr
    assert "Traceback" not in done.stderr


def test_called_inside_another_program_the_command_gives_nothing_up() -> None:
    """`main` of a test or a notebook: what it dropped would be gone for whoever called it."""
    need("bpf", "root")
    code = (
        "from tracer.commands import main; before = open('/proc/self/status').read(); main(['-q', '--', 'true']); "
        "names = ('CapEff', 'CapPrm', 'NoNewPrivs'); after = open('/proc/self/status').read(); "
        "pick = lambda text: [line for line in text.splitlines() if line.startswith(names)]; "
        "print(pick(before) == pick(after))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.stdout == "True\n", done.stderr
