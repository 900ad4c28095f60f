"""A program sees the same world with and without forktrace, whatever its caller has made of it.

world.c prints what a program can see of the circumstances it was started in. Each row of starts.py is started
directly and through each backend, as root and by sudo, and the outputs are compared.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.capture.test_privileges import account  # noqa: F401 - a fixture
from tests.conftest import need
from tests.hostile.starts import Row, count, rows, start

ROOT = Path(__file__).parents[2]
FORKTRACE = str(Path(sys.executable).with_name("forktrace"))
# What a tracer by ptrace cannot hide. ShdPnd: strace is the program's own process until its exec, and its helper's end
# leaves a SIGCHLD behind where that is blocked.
BY_STRACE = tuple(f"status {name}:" for name in ("TracerPid", "NoNewPrivs", "Seccomp", "Seccomp_filters", "ShdPnd"))
pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program, where every user can run it."""
    need("cc")
    folder = Path(shutil.copytree(tmp_path_factory.mktemp("world"), f"/tmp/forktrace-test-{os.getpid()}"))
    folder.chmod(0o1777)
    try:
        source = Path(__file__).with_name("world.c")
        flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static"]
        subprocess.run(["cc", *flags, "-o", folder / "world", source], check=True)
        yield folder / "world"
    finally:
        shutil.rmtree(folder)


def seen(world: Path, row: Row, prefix: Sequence[str], env: Sequence[bytes] = (), user: int | None = None) -> list[str]:
    """The lines of the program, started by `prefix`."""
    out = world.with_name("out")
    out.unlink(missing_ok=True)
    pid, status, said = start([*prefix, str(world), str(out)], row, env, user=user)
    assert status == 0, f"{status}: {said.decode(errors='replace')}"
    lines = [comparable(line, pid) for line in out.read_text().splitlines()]
    out.unlink()
    return lines


def comparable(line: str, started: int) -> str:
    """Without numbers that are new for each start. A session or group of its own is that of the process started."""
    if line.startswith("in session "):
        return line.replace(str(started), "OWN")
    name, _, value = line.partition(" ")
    if re.fullmatch(rf"{name}:\[\d+\]", value):
        return f"{name} {'ours' if value == os.readlink(f'/proc/self/ns/{name}') else 'another'}"
    return re.sub(r"/tmp/[#\w]+\\x20\(deleted\)", "/tmp/DELETED", line)


def differences(one: Sequence[str], other: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
    """Lines that stand in one of them, and the order of those that stand in both."""
    a, b = ([line for line in lines if not line.startswith(tuple(besides))] for lines in (one, other))
    if a == b:
        return []
    lost = [f"- {line[:200]}" for line in a if line not in b]
    added = [f"+ {line[:200]}" for line in b if line not in a]
    return lost + added or ["the same lines in another order, or another number of times"]


def test_there_are_enough_circumstances() -> None:
    assert count() >= 76


# bcc starts the program as bpf and netlink do, and takes a second to compile: every fifth row.
STARTS = [
    pytest.param(row, backend, id=f"{i}-{backend}")
    for i, row in enumerate(rows())
    for backend in ("bpf", "netlink", "strace", *(["bcc"] if i % 5 == 0 else []))
]


@pytest.mark.parametrize(("row", "backend"), STARTS)
def test_the_world_is_the_same_as_root(world: Path, row: Row, backend: str) -> None:
    need(backend, "root")
    alone = seen(world, row, [])
    traced = seen(world, row, [FORKTRACE, "--backend", backend, "-q", "--"])

    names = ", ".join(each.name for each in row)
    assert not differences(alone, traced, BY_STRACE if backend == "strace" else ()), names


# By sudo a start has sudo's own limits, umask and descriptors: what is compared is `sudo -u CALLER`.
BY_SUDO = [pytest.param(row, id=str(i)) for i, row in enumerate(rows()) if i % 4 == 1]


@pytest.mark.parametrize("backend", ["bpf", "strace"])
@pytest.mark.parametrize("row", BY_SUDO)
def test_the_world_is_the_same_by_sudo(
    world: Path,
    row: Row,
    backend: str,
    account: pwd.struct_passwd,  # noqa: F811
) -> None:
    need(backend, "root", "sudo")
    # What sudo refuses, or makes anew: the folder, the environment, and streams that a user may not open again.
    row = tuple(each for each in row if not each.by or each.by[0] == "/bin/sh")
    who = account.pw_name
    become = ["/sbin/runuser", "-u", who, "--", "/usr/bin/sudo", "-n"]
    alone = seen(world, row, [*become, "-u", who])
    traced = seen(world, row, [*become, FORKTRACE, "--backend", backend, "-q", "--"])

    besides = ("env SUDO_", "environment ", *(BY_STRACE if backend == "strace" else ()))
    assert not differences(alone, traced, besides), ", ".join(each.name for each in row)
