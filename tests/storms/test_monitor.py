"""Storms for real: made by a sample with a bridle, started by a known ancestor, with other life around it.

Watched is what is below this process, so that a stranger's storm disturbs nothing; once it is the whole host.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.storming import DEADLINE_S, ROOT, over, sample, watched
from tests.terminals import wait_until
from tracer.api.capture import open_trace
from tracer.model.schema import Kind
from tracer.recording import Reader
from tracer.storms.detect import Finding

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def shapes() -> str:
    return sample()


@pytest.mark.parametrize(
    ("word", "rate", "shape", "command"),
    [
        ("fanout", "200", "fan-out", "/bin/true"),
        ("noexec", "300", "fork without exec", "storm_shapes noexec"),
        ("respawn", "200", "respawn", "/bin/sh -c 'exit 3'"),
        ("chain", "200", "chain", "storm_shapes chain"),
        ("bomb", "80", "fork bomb", "storm_shapes bomb"),
    ],
)
def test_each_shape_is_found_and_named(  # noqa: PLR0917
    shapes: str, tmp_path: Path, word: str, rate: str, shape: str, command: str
) -> None:
    found, pid = watched(tmp_path, [shapes, word, rate, "7"], over)

    begun, ended = found
    assert begun.ended_ns is None
    assert begun.who is not None
    assert begun.who.pid == pid
    assert begun.who.argv == (shapes, word, rate, "7")
    assert begun.who.comm == "storm_shapes"
    assert begun.who.above[0][0] == os.getpid()
    assert begun.who.share > 0.5
    assert begun.shape == shape
    assert command in begun.commands[0].template
    assert begun.peak <= 1.2 * int(rate)
    assert begun.who.alive
    assert begun.who.pids
    assert begun.lost == 0
    assert ended.ended_ns is not None
    assert ended.forks >= 3 * int(rate)
    if word == "respawn":
        assert begun.statuses[0][0] == "exit 3"
    if word in ("fanout", "respawn"):
        assert begun.cpu_ns is not None
        assert begun.cpu_ns > 0
        assert begun.life_ns is not None


def test_a_loop_of_a_shell_is_one(shapes: str, tmp_path: Path) -> None:
    script = "end=$(($(date +%s) + 8)); while [ $(date +%s) -lt $end ]; do /bin/true; sleep 0.005; done"

    found, pid = watched(tmp_path, ["bash", "-c", script], lambda found, ended: bool(found))

    assert found[0].who is not None
    assert (found[0].who.pid, found[0].shape) == (pid, "shell loop")
    assert found[0].who.argv == ("bash", "-c", script)


def test_forks_that_fail_are_a_storm_too(shapes: str, tmp_path: Path) -> None:
    found, pid = watched(tmp_path, [shapes, "full", "200", "7"], lambda found, ended: bool(found), failures=True)

    assert found[0].who is not None
    assert (found[0].who.pid, found[0].who.uid, found[0].shape) == (pid, 65534, None)
    assert found[0].failures is not None
    assert found[0].failures >= 300
    assert found[0].causes[0][0].startswith("EAGAIN")
    assert found[0].forks == 0


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group for three processes."""
    from tracer.host.cgroups import hierarchy

    place = hierarchy()
    if place is None:
        pytest.skip("no control groups with a pids controller here")
    group = place.mount / f"forktrace-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("3")
    except OSError as e:
        pytest.skip(f"no control group can be made: {e}")
    yield group
    wait_until("the group is empty", lambda: not (group / "cgroup.procs").read_text(), DEADLINE_S)
    group.rmdir()


def test_a_limit_that_is_hit_is_noticed_without_being_asked_for(shapes: str, tmp_path: Path, small_group: Path) -> None:
    script = f"echo $$ > {small_group}/cgroup.procs; sleep 9 & sleep 9 & exec {shapes} noexec 200 9"

    def named(found: list[Finding], ended: bool) -> bool:
        return any(each.who is not None and each.who.comm == "storm_shapes" for each in found)

    found, _ = watched(tmp_path, ["sh", "-c", script], named)

    begun = found[-1]
    assert begun.who is not None
    assert begun.who.comm == "storm_shapes"
    assert begun.who.cgroup == f"/{small_group.name}"
    assert begun.failures is not None
    assert begun.failures >= 300
    assert begun.causes[0][0] == f"EAGAIN: pids.max 3/3 of /{small_group.name}"
    assert f"forks fail at pids.max = 3 of /{small_group.name}" in begun.advice[-1].words


def test_two_storms_at_once_are_both_told_and_both_in_the_file(shapes: str, tmp_path: Path) -> None:
    script = f"{shapes} respawn 150 9 & {shapes} noexec 300 12 & wait"

    def both_over(found: list[Finding], ended: bool) -> bool:
        return sum(finding.ended_ns is not None for finding in found) == 2

    found, pid = watched(tmp_path, ["sh", "-c", script], both_over)

    told = {(f.who.pid, f.who.argv[1:3], f.shape) for f in found if f.who is not None and f.who.argv is not None}
    assert {(words, shape) for _, words, shape in told} == {
        (("respawn", "150"), "respawn"),
        (("noexec", "300"), "fork without exec"),
    }
    assert {f.who.above[0][0] for f in found if f.who is not None} == {pid}
    assert [f.ended_ns is None for f in found] == [True, True, False, False]
    assert found[1].beside == 1
    (file,) = tmp_path.glob("*.ftrace")
    makers = [
        values["creator_pid"]
        for batch in Reader(file)
        for kind, values in batch.rows()
        if kind == Kind.FORK and values["tid"] == values["pid"]
    ]
    for finding in found[2:]:
        assert finding.who is not None
        assert makers.count(finding.who.pid) >= 0.99 * finding.forks


def test_a_healthy_build_is_no_storm(shapes: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for k in range(240):
        (project / f"f{k}.c").write_text(f"int f{k}(int x) {{ return x * {k}; }}\n")
    (project / "Makefile").write_text("all: $(patsubst %.c,%.o,$(wildcard *.c))\n")

    found, _ = watched(tmp_path, ["make", "-s", "-j2", "-C", str(project)], lambda found, ended: bool(found) or ended)

    assert found == []
    assert len(list(project.glob("*.o"))) == 240


def test_the_file_holds_what_was_before_and_is_an_ordinary_trace(shapes: str, tmp_path: Path) -> None:
    found, pid = watched(tmp_path, [shapes, "respawn", "200", "7"], over, everyone=True)

    (file,) = tmp_path.glob("forktrace-storm-*.ftrace")
    begun, ended = found
    births = [
        (values["ts_ns"], values["ppid"], values["comm"])
        for batch in Reader(file)
        for kind, values in batch.rows()
        if kind == Kind.FORK and values["tid"] == values["pid"]
    ]
    stamps = [ts for ts, _, _ in births]
    assert sum(a > b for a, b in itertools.pairwise(stamps)) <= len(stamps) // 100  # two CPUs' clocks
    assert all(b - a > -1_000_000 for a, b in itertools.pairwise(stamps))
    assert [comm for ts, _, comm in births if ts < begun.began_ns].count("sh") >= 5  # the noise of the seconds before
    assert sum(parent == pid for _, parent, _ in births) >= ended.forks * 0.99
    assert file.stat().st_mode & 0o777 == 0o600

    trace = open_trace(str(file))
    tree = trace.tree
    assert tree.end is not None
    storm = next(row for row in range(len(tree)) if tree.value(row, "pid") == pid)
    assert tree.value(storm, "how") != "existing"
    assert len(tree.children(storm)) >= ended.forks * 0.99
    old = next(row for row in range(len(tree)) if tree.value(row, "pid") == os.getpid())
    assert tree.value(old, "how") == "existing"
    assert tree.parent(storm) == old
    assert not tree.losses


# -- as a command ------------------------------------------------------------------------------------------------


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tracer", "storm", "--rate", "100", "-p", str(os.getpid()), *words]


def programs() -> set[str]:
    """Ids of the BPF programs that the kernel holds."""
    listed = subprocess.run(["bpftool", "prog", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split(":")[0] for line in listed.splitlines() if line[:1].isdigit()}


def eventually(done: Callable[[], Any]) -> Any:
    result: Any = None

    def has_come() -> bool:
        nonlocal result
        result = done()
        return bool(result)

    wait_until("it comes to that", has_come, DEADLINE_S)
    return result


def start(folder: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(*words), cwd=folder, env=env, text=True, **more)


def test_killed_in_a_storm_it_leaves_a_file_that_reads_and_nothing_in_the_kernel(shapes: str, tmp_path: Path) -> None:
    need("bpftool")
    before = programs()
    with start(tmp_path, "-q", stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        try:
            eventually(lambda: len(programs()) > len(before))
            with subprocess.Popen([shapes, "noexec", "300", "12"]) as storm:
                assert "FORK STORM" in watching.stdout.readline()
                (file,) = tmp_path.glob("*.ftrace")
                size = file.stat().st_size
                eventually(lambda: file.stat().st_size > size)  # the storm follows
                watching.kill()
                storm.kill()
        finally:
            watching.kill()
    eventually(lambda: programs() <= before)
    reader = Reader(file)
    assert sum(len(batch) for batch in reader) > 500
    assert reader.torn


def test_a_full_disk_costs_the_file_and_not_the_watch(shapes: str, tmp_path: Path) -> None:
    need("mount")
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(full)], check=True)
    try:
        out, err = tmp_path / "out", tmp_path / "err"
        with (
            out.open("w") as said,
            err.open("w") as told,
            start(tmp_path, "-q", "--save", str(full), stdout=said, stderr=told) as watching,
        ):
            try:
                with subprocess.Popen([shapes, "fanout", "300", "9"]):
                    eventually(lambda: "FORK STORM" in out.read_text())
                eventually(lambda: "storm over" in out.read_text())
                watching.terminate()
                assert watching.wait(timeout=20) == 0
            finally:
                watching.kill()
        assert "can not go on writing" in err.read_text()
        (file,) = full.glob("*.ftrace")
        assert sum(len(batch) for batch in Reader(file)) > 0
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_nobody_who_reads_holds_it_up(shapes: str, tmp_path: Path) -> None:
    import fcntl
    import json

    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with start(tmp_path, "--format", "jsonl", "--save", "a.ftrace", stdout=write) as watching:
        os.close(write)
        try:
            with subprocess.Popen([shapes, "noexec", "300", "6"]):
                pass
            eventually(lambda: (tmp_path / "a.ftrace").exists())
            first = os.read(read, 100)  # it is there; and from now on nobody reads
            watching.terminate()
            text = first + b"".join(iter(lambda: os.read(read, 65536), b""))
            assert watching.wait(timeout=20) == 0
        finally:
            watching.kill()
            os.close(read)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["state"] for line in lines if line["kind"] == "storm"][:1] == ["begun"]
    assert all(line["lost"] == 0 for line in lines if line["kind"] == "second")
    rows = [kind for batch in Reader(tmp_path / "a.ftrace") for kind, _ in batch.rows()]
    assert Kind.LOST not in rows
    assert rows[-1] == Kind.END


def test_the_command_gets_the_finding_and_a_deaf_one_holds_nobody_up(shapes: str, tmp_path: Path) -> None:
    import json

    got = tmp_path / "got"
    script = tmp_path / "hook"
    own = tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $$ > {own}\ncat > {got}.new && mv {got}.new {got}\nexec sleep 60\n")
    script.chmod(0o755)
    with start(tmp_path, "-q", "--exec", f"{script} 'one word'", "--no-save", stdout=subprocess.DEVNULL) as watching:
        try:
            with subprocess.Popen([shapes, "noexec", "300", "8"]):
                eventually(got.exists)
            finding = json.loads(got.read_text())
            watching.terminate()
            assert watching.wait(timeout=20) == 0
        finally:
            watching.kill()
            if own.exists():
                os.kill(int(own.read_text()), signal.SIGKILL)
    assert (finding["kind"], finding["state"], finding["shape"]) == ("storm", "begun", "fork without exec")
    assert finding["who"]["comm"] == "storm_shapes"
    assert finding["since"].endswith("Z")
    assert list(tmp_path.glob("*.ftrace")) == []
