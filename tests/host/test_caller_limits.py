"""What bounds a process, read from files a moment after its fork failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracer.host.caller_limits import look
from tracer.host.cgroups import Hierarchy
from tracer.host.fork_errors import Bound, Limit, Limits


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_max", ".max").replace("_current", ".current")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    status = "Name:\tx\nUid:\t7\t7\t7\t7\nThreads:\t3\nVmData:\t100 kB\nCapEff:\t0\nSeccomp:\t0\n"
    write(proc, **{"12__status": status, "12__limits": "Max processes  5  9  processes\n"})
    (proc / "12/ns").mkdir()
    (proc / "12/ns/user").symlink_to("user:[4026531837]")
    return proc


def test_the_group_with_the_least_room_of_each_controller(proc: Path, tmp_path: Path) -> None:
    tree = tmp_path / "cg"
    write(proc, **{"12__cgroup": "0::/a/b\n"})
    write(tree / "a", pids_max="9\n", pids_current="9\n", memory_max="max\n", memory_current="5000\n")
    write(tree / "a/b", pids_max="50\n", pids_current="9\n", memory_max="8192\n", memory_current="8000\n")
    groups = Hierarchy(2, tree, "/")

    assert look(12, proc, groups, groups) == Limits(
        pids=Bound(9, 9, "/a"),
        nproc=Bound(3, 5, "uid 7"),
        memory=Bound(8000, 8192, "/a/b"),
        memory_limit=Limit.MEMORY_MAX,
        data_bytes=100 << 10,
        measured=False,
    )


def test_of_version_1_each_controller_has_a_tree_of_its_own(proc: Path, tmp_path: Path) -> None:
    pids, memory = tmp_path / "pids", tmp_path / "memory"
    write(proc, **{"12__cgroup": "9:memory:/m\n4:pids:/p\n0::/unused\n"})
    write(pids / "p", pids_max="9\n", pids_current="2\n")
    (memory / "m").mkdir(parents=True)
    (memory / "m/memory.limit_in_bytes").write_text("4096\n")
    (memory / "m/memory.usage_in_bytes").write_text("4000\n")
    found = look(12, proc, Hierarchy(1, pids, "/", ("pids",)), Hierarchy(1, memory, "/", ("memory",)))

    assert found is not None
    assert found.pids == Bound(2, 9, "/p")
    assert (found.memory, found.memory_limit) == (Bound(4000, 4096, "/m"), Limit.MEMORY_LIMIT)

    (memory / "m/memory.limit_in_bytes").write_text(f"{(1 << 63) - 4096}\n")
    again = look(12, proc, Hierarchy(1, pids, "/", ("pids",)), Hierarchy(1, memory, "/", ("memory",)))
    assert again is not None
    assert again.memory is None


def test_one_that_has_gone(proc: Path) -> None:
    assert look(13, proc) is None
