"""Groups and filters on the real kernel: nobody in them is missed, nobody else is followed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests.conftest import need
from tests.programs.cow import build
from tests.strategies import META
from tests.terminals import DEADLINE_S, wait_until
from tracer.backends import Options
from tracer.backends.bpf import match as _match
from tracer.capture.session import Plan, Session
from tracer.errors import ProbesRefusedError, UsageError
from tracer.host.cgroup_lookup import by_path
from tracer.host.cgroups import hierarchies, hierarchy
from tracer.model.process_filter import Match
from tracer.tree.tree import ProcessTree

UID = 61238
CONTAINER = f"docker-{'c0' * 32}.scope"


# What is put into the maps


def walked(words: list[str], path: str) -> bool:
    """As exe_step() in probes/match.h reads a path."""
    table = {key: int.from_bytes(value, "little") for key, value in _match.paths(words)}
    state = first = 0
    for part in reversed([p for p in path.split("/") if p]):
        key = state.to_bytes(4, "little") + part.encode()[:59].ljust(60, b"\0")
        move = table.get(key)
        if move is None:
            return False
        if move & _match.ANYWHERE:
            return True
        first, state = move & _match.AT_ROOT, move & ~_match.AT_ROOT
    return bool(first)


def test_paths_of_executables_match_whole_and_names_anywhere() -> None:
    words = ["/opt/a/run", "/opt/b/run", "/run", "nobody-has-this"]

    assert all(walked(words, path) for path in ("/opt/a/run", "/opt/b/run", "/run", "/x/y/nobody-has-this"))
    assert not any(walked(words, path) for path in ("/opt/run", "/a/run", "/opt/c/run", "/opt/a", "/x/opt/a/run"))


def test_links_to_an_executable_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to("real")

    assert walked([str(tmp_path / "link")], str((tmp_path / "real").resolve()))


def test_groups_of_two_hierarchies_are_refused() -> None:
    trees = {tree.controllers[:1]: tree for tree in hierarchies()}
    if len(trees) < 2:
        pytest.skip("one hierarchy is mounted here")
    two = [by_path(str(tree.mount)) for tree in trees.values() if tree.version == 2 or tree.controllers][:2]
    with pytest.raises(UsageError, match="are in two hierarchies"):
        _match.controller(Match(groups=tuple(two)))


# The real kernel


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A group of the hierarchy that places processes, or of the one that is asked for, removed afterwards."""
    need("bpf", "root", "cc")
    version = getattr(request, "param", None)
    found = hierarchy() if version is None else next((t for t in hierarchies() if t.version == version), None)
    if found is None:
        pytest.skip("no such control groups")
    made = found.mount / f"forktrace-test-{os.getpid()}"
    made.mkdir()
    yield made
    for folder in [*sorted(made.glob("**/"), reverse=True)]:
        if (folder / "cgroup.procs").exists():
            folder.rmdir()
    assert not made.exists()


def watched(match: Match, do: Callable[[], Any], **options: Any) -> ProcessTree:
    """What is seen from when it is attached until `do` has done."""
    tree = ProcessTree(META)
    plan = Plan(backend="bpf", options=Options(cow="off", match=match, **options), duration=DEADLINE_S)
    with Session(plan) as session:
        session.start()
        doing = threading.Thread(target=do)
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 0 if doing.is_alive() else 1
            if ticks > 1:  # all that it did has been read
                session.stop()

        doing.start()
        session.run(tree.feed, tick=tick)
        doing.join()
    return tree


def shell(body: str, *, into: Path | None = None) -> list[int]:
    """Pids that the script prints, one a line; `into`: it moves itself there first."""
    move = f"echo $$ > {into}/cgroup.procs\n" if into else ""
    said = subprocess.run(["sh", "-c", move + body], capture_output=True, text=True, check=True).stdout
    return [int(word) for word in said.split()]


TEN = "for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'echo $$'; done\n"


@pytest.mark.parametrize("group", [None, 1, 2], indirect=True)
def test_who_moves_into_a_group_is_followed_and_so_is_all_that_it_starts_and_nobody_else(group: Path) -> None:
    inside: list[int] = []
    outside: list[int] = []

    def do() -> None:
        outside.extend(shell(TEN))
        inside.extend(shell("echo $$\n" + TEN, into=group))
        outside.extend(shell(TEN))

    tree = watched(Match(groups=(by_path(str(group)),)), do)

    assert len(inside) == 11
    assert sorted(tree.column("pid")) == sorted(inside)
    assert not set(tree.column("pid")) & set(outside)
    assert all(tree.ended(row) for row in range(len(tree)))


def test_who_leaves_the_group_is_followed_still(group: Path) -> None:
    top = group.parent
    inside: list[int] = []
    tree = watched(
        Match(groups=(by_path(str(group)),)),
        lambda: inside.extend(shell(f"echo $$\necho $$ > {top}/cgroup.procs\n{TEN}", into=group)),
    )

    assert sorted(tree.column("pid")) == sorted(inside)


def test_a_group_that_is_made_again_is_the_same_and_new_ones_have_their_names(group: Path) -> None:
    """As a unit that is started again: its first process is in the new group before anybody could look."""
    again = group / "x.service"
    again.mkdir()
    chosen = by_path(str(again))
    again.rmdir()
    made: list[int] = []

    def do() -> None:
        for _ in range(3):
            again.mkdir()
            made.extend(shell("echo $$\n" + TEN, into=again))
            (again / CONTAINER).mkdir()
            made.extend(shell("echo $$\nsh -c 'echo $$'\n", into=again / CONTAINER))
            (again / CONTAINER).rmdir()
            again.rmdir()

    tree = watched(Match(groups=(chosen,)), do)

    assert sorted(tree.column("pid")) == sorted(made)
    groups = {tree.value(row, "cgroup") for row in range(len(tree))}
    assert groups == {f"/{group.name}/x.service", f"/{group.name}/x.service/{CONTAINER}"}
    assert {tree.value(row, "container") for row in range(len(tree))} == {None, "c0" * 32}


def test_members_under_churn_are_all_found(group: Path, tmp_path: Path) -> None:
    said = tmp_path / "churn"
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$0" 4 20000', str(build("churn"))],
            stdin=subprocess.PIPE,
            stdout=out,
        )
    assert process.stdin is not None
    try:
        wait_until("it has made some", lambda: said.stat().st_size > 400)
        begun: list[int] = []

        def do() -> None:
            begun.append(said.stat().st_size)
            wait_until("it has made more", lambda: said.stat().st_size > begun[0] + 20_000)
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

        tree = watched(Match(groups=(by_path(str(group)),)), do)
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
    rest = said.read_text()[begun[0] :].splitlines()[1:]  # who ended after we had attached
    ended = {int(line.split()[0]) for line in rest}
    seen = set(tree.column("pid"))
    assert process.pid in seen
    assert len(ended) > 100
    assert not ended - seen


@pytest.fixture
def own() -> Iterator[Path]:
    """A shell of another name that any user may run. Not in tmp_path: each pytest that begins closes it to others."""
    with tempfile.TemporaryDirectory(prefix="ft-") as folder:
        Path(folder).chmod(0o755)
        shell_ = Path(folder) / "ft-own-shell"
        shutil.copy(str(Path("/bin/sh").resolve()), shell_)
        yield shell_


@pytest.mark.parametrize("kind", ["comm", "exe", "name", "uid", "both", "not both"])
def test_filters_root_a_subtree(kind: str, own: Path) -> None:
    need("bpf", "root")
    match = {
        "comm": Match(comms=("ft-own-shell",)),
        "exe": Match(exes=(str(own),)),
        "name": Match(exes=("ft-own-shell",)),
        "uid": Match(uids=(UID,)),
        "both": Match(comms=("ft-own-shell",), uids=(UID,)),
        "not both": Match(comms=("ft-own-shell",), uids=(UID + 1,)),
    }[kind]
    said: list[int] = []

    def do() -> None:
        for command in ([str(own), "-c", "echo $$\n" + TEN], ["sh", "-c", "echo $$\n" + TEN]):
            done = subprocess.run(command, user=UID, capture_output=True, text=True, check=True, cwd="/")
            said.extend(map(int, done.stdout.split()))

    tree = watched(match, do)
    wanted = {"not both": [], "uid": said}.get(kind, said[:11])

    assert sorted(tree.column("pid")) == sorted(wanted)


def test_who_gives_itself_the_name_is_followed_from_there_with_its_threads() -> None:
    need("bpf", "root")
    body = (
        "import ctypes, os, threading\n"
        "stop = threading.Event()\nother = threading.Thread(target=stop.wait)\nother.start()\n"
        "open('/proc/self/comm', 'w').write('ft-renamed')\nprint(os.getpid())\n"
        "pid = os.posix_spawn('/bin/true', ['true'], {})\nprint(pid)\nos.waitpid(pid, 0)\nstop.set()\nother.join()\n"
    )
    said: list[int] = []

    def do() -> None:
        done = subprocess.run(["python3", "-c", body], capture_output=True, text=True, check=True)
        said.extend(map(int, done.stdout.split()))

    tree = watched(Match(comms=("ft-renamed",)), do)

    assert sorted(tree.column("pid")) == sorted(said)
    assert tree.value(0, "comm") == "ft-renamed"
    assert all(tree.ended(row) for row in range(len(tree)))


@pytest.mark.parametrize("backend", ["netlink", "strace"])
def test_who_can_not_match_says_so_in_one_sentence(backend: str) -> None:
    need(backend)
    session = Session(Plan(backend=backend, options=Options(match=Match(comms=("sh",)))))
    with pytest.raises(ProbesRefusedError, match=f"{backend} can not match by name or user"):
        session.start()


def test_pids_are_those_of_the_namespace_that_forktrace_runs_in(tmp_path: Path) -> None:
    """unshare -pf --mount-proc, as in a container."""
    need("bpf", "root", "unshare")
    out = tmp_path / "in.ftrace"
    body = 'python="$1"; "$python" -m tracer --backend bpf --cow off -qq -o "$2" -- sh -c "echo \\$\\$; /bin/true"'
    words = ["unshare", "-pf", "--mount-proc", "sh", "-c", body + "; exit $?", "sh"]
    root = Path(__file__).parents[3]
    done = subprocess.run([*words, sys.executable, str(out)], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tree = tracer.load(str(out)).tree
    assert tree.value(0, "pid") == int(done.stdout)
    assert int(done.stdout) < 100
    assert [tree.value(row, "ns_pids") for row in range(len(tree))] == [[p] for p in tree.column("pid")]
    assert len(tree) == 2
    assert tree.value(1, "reaped_by") == tree.value(0, "pid")


@pytest.mark.parametrize("backend", ["netlink", "strace"])
def test_who_can_not_match_follows_those_who_are_in_the_group_and_says_so(backend: str, group: Path) -> None:
    need(backend)
    body = f"echo $$ > {group}/cgroup.procs; echo $$; read go; sh -c 'echo $$'"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", body], text=True, **pipes) as process:  # type: ignore[call-overload]
        inside = [int(process.stdout.readline())]
        said: list[str] = []
        tree = ProcessTree(META)
        options = Options(match=Match(groups=(by_path(str(group)),)), cow="off")
        with Session(Plan(backend=backend, options=options, duration=DEADLINE_S), said.append) as s:
            s.start()
            process.stdin.write("go\n")
            process.stdin.flush()
            inside.append(int(process.stdout.readline()))
            s.run(tree.feed, tick=lambda: s.stop() if process.poll() is not None else None)
        assert said == [f"{backend} follows who was in /{group.name}, not who came in later"]
        assert said[0] in s.meta.notes
        assert sorted(tree.column("pid")) == inside
