"""What is read of a process' memory, and whose it is taken to be. Real processes, no BPF."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracer.backends.bpf import images as _images
from tracer.backends.bpf.images import Images, Seen
from tracer.host import procfs
from tracer.symbols import Mapped

GONE = 1 << 22
"""Beyond any pid_max."""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of its own file, that waits for its standard input."""
    binary = tmp_path / "waits"
    shutil.copy(shutil.which("cat") or "", binary)
    child = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"x")
    child.stdin.flush()
    assert child.stdout.read(1) == b"x"
    yield child
    child.communicate()


def born(pid: int) -> int:
    process = procfs.read(pid)
    assert process is not None
    return process.born_ns


def images(now: int | None = 1) -> Images:
    return Images(lambda pidfd: now)


def seen(pid: int, born_ns: int, image: int = 1, *, parent: tuple[int, int, int] = (0, 0, 0), samples: int = 1) -> Seen:
    """parent: its pid, birth, image."""
    return Seen(born_ns, parent[1], pid, image, parent[0], parent[2], samples, os.geteuid(), pid)


def paths(found: Images, pid: int, born_ns: int, image: int = 1) -> set[str]:
    return {m.path.rpartition("/")[2] for maps in found.space(pid, born_ns, image).code.maps for m in maps.mappings}


def test_a_process_is_known_after_it_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    found, at = images(), born(sleeper.pid)
    found.seen(seen(sleeper.pid, at))
    sleeper.communicate()

    assert "waits" in paths(found, sleeper.pid, at)
    found.close()
    found.close()


def test_nothing_is_known_of_who_was_gone(sleeper: subprocess.Popen[bytes]) -> None:
    found, at = images(), born(sleeper.pid)
    sleeper.communicate()
    found.seen(seen(sleeper.pid, at))
    found.seen(seen(GONE, 5))

    assert found.space(sleeper.pid, at, 1).code.maps == ()
    assert found.space(GONE, 5, 1).code.maps == ()


@pytest.mark.parametrize("now", [2, None])
def test_a_process_that_is_another_program_by_now_is_not_read(
    sleeper: subprocess.Popen[bytes], now: int | None
) -> None:
    found, at = images(now), born(sleeper.pid)
    found.seen(seen(sleeper.pid, at))

    assert found.space(sleeper.pid, at, 1).code.maps == ()


def test_of_who_was_gone_the_kernels_own_word_is_taken() -> None:
    found, mine = images(), Mapped(0x1000, 0x2000, 0, 5, 6, "/bin/x", False)
    found.mapped((7, 1), mine)
    found.mapped((7, 2), mine._replace(path="/bin/y"))
    found.seen(seen(GONE, 7))
    found.seen(seen(GONE + 1, 8, 0, parent=(0, 7, 1)))
    space = found.space(GONE, 7, 1)

    assert space.code.find(0x1800) == mine
    assert space.perf[0].pid == GONE
    assert found.space(GONE + 1, 8, 0).code is space.code


def test_a_pid_that_was_used_again_is_not_read(sleeper: subprocess.Popen[bytes]) -> None:
    found, at = images(), born(sleeper.pid) - procfs.NS_PER_TICK
    found.seen(seen(sleeper.pid, at))

    assert found.space(sleeper.pid, at, 1).code.maps == ()


def test_a_fork_that_is_gone_has_its_parents_memory(sleeper: subprocess.Popen[bytes]) -> None:
    found, at = images(), born(sleeper.pid)
    for n in range(3):
        found.seen(seen(GONE + n, at + n + 1, 0, parent=(sleeper.pid, at, 1)))
    spaces = [found.space(GONE + n, at + n + 1, 0) for n in range(3)]

    assert "waits" in paths(found, GONE, at + 1, 0)
    assert len({id(space.code) for space in spaces}) == 1
    assert found.space(sleeper.pid, at, 1).code is spaces[0].code


def test_a_forks_fork_when_both_parents_are_gone(sleeper: subprocess.Popen[bytes]) -> None:
    found, at = images(), born(sleeper.pid)
    found.seen(seen(GONE, at + 1, 0, parent=(sleeper.pid, at, 1)))
    found.seen(seen(GONE + 1, at + 2, 0, parent=(0, at + 1, 0)))

    assert "waits" in paths(found, GONE + 1, at + 2, 0)


def test_libraries_that_came_later_are_found_in_a_long_life(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, at = images(), born(sleeper.pid)
    found.seen(seen(sleeper.pid, at))
    before = found.space(sleeper.pid, at, 1).code
    found.seen(seen(sleeper.pid, at, samples=64))
    assert found.space(sleeper.pid, at, 1).code is before  # nothing has changed

    real = _images.maps_text
    line = b"7f0000000000-7f0000001000 r-xp 00000000 00:00 9 /opt/late.so\n"
    monkeypatch.setattr(_images, "maps_text", lambda folder: real(folder) + line)
    found.seen(seen(sleeper.pid, at, samples=63))
    assert found.space(sleeper.pid, at, 1).code is before
    found.seen(seen(sleeper.pid, at, samples=64))
    assert {"late.so", "waits"} <= paths(found, sleeper.pid, at)


def test_a_program_that_was_deleted_is_held(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("not root: /proc/PID/map_files is for root")
    found, at = images(), born(sleeper.pid)
    inode = (tmp_path / "waits").stat().st_ino
    (tmp_path / "waits").unlink()
    found.seen(seen(sleeper.pid, at))
    sleeper.communicate()
    held = found.space(sleeper.pid, at, 1).code.held

    assert [os.fstat(fd).st_ino for (_, number), fd in held.items() if number == inode] == [inode]
    found.close()


def test_names_of_compilers_are_looked_for_by_the_pid_that_the_process_has_itself(
    sleeper: subprocess.Popen[bytes],
) -> None:
    found, at = images(), born(sleeper.pid)
    (source,) = found.space(sleeper.pid, at, 1).perf

    assert (source.root, source.pid) == ("", sleeper.pid)
    assert {0, os.geteuid()} <= source.owners
