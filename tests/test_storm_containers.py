"""Storms in control groups that are named as container runtimes name them: who it is, also when the group is gone."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.storming import DEADLINE_S, ROOT, sample, watched
from tests.terminals import wait_until
from tracer.host.cgroups import hierarchy
from tracer.storms.detect import Finding

pytestmark = pytest.mark.kernel
POD = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
POD_GROUP = f"kubepods-burstable-pod{POD.replace('-', '_')}.slice"
WHERE = {
    "docker": "system.slice/docker-{}.scope",
    "podman": "machine.slice/libpod-{}.scope/container",
    "containerd": f"kubepods.slice/kubepods-burstable.slice/{POD_GROUP}/cri-containerd-{{}}.scope",
}


ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


class Groups:
    """Directories of control groups that are made, and removed again by whoever comes first."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.ids = {runtime: secrets.token_hex(32) for runtime in WHERE}
        self.made: list[Path] = []

    def directory(self, runtime: str) -> Path:
        return self.mount / WHERE[runtime].format(self.ids[runtime])

    def make(self, runtime: str) -> Path:
        """The group, and of those above it what is not there."""
        directory = self.directory(runtime)
        for each in (*reversed(directory.parents), directory):
            if not each.exists():
                each.mkdir()
                self.made.append(each)
        return directory

    def remove(self) -> None:
        for each in reversed(self.made):
            with suppress(FileNotFoundError):
                each.rmdir()


@pytest.fixture
def groups() -> Iterator[Groups]:
    found = hierarchy()
    if found is None or not os.access(found.mount, os.W_OK) or not (found.mount / "cgroup.procs").exists():
        pytest.skip("no control groups can be made here")
    made = Groups(found.mount)
    yield made
    made.remove()


def test_each_is_named_by_its_container_also_when_the_group_is_gone(groups: Groups, tmp_path: Path) -> None:
    storm = sample()
    for runtime in WHERE:
        groups.make(runtime)
    folders = [groups.directory(runtime) for runtime in WHERE]
    start = " ".join(f"( echo 0 >{folder}/cgroup.procs; exec {storm} respawn 150 8 ) &" for folder in folders)
    remove = f"for n in $(seq 200); do rmdir {' '.join(map(str, folders))} 2>/dev/null && break; sleep 0.05; done"

    def all_over(found: list[Finding], ended: bool) -> bool:
        return ended and sum(finding.ended_ns is not None for finding in found) == len(WHERE)

    found, _ = watched(tmp_path, ["bash", "-c", f"{start} wait; {remove}"], all_over)

    assert not any(groups.directory(runtime).exists() for runtime in WHERE)
    for state in (False, True):
        told = {f.who.runtime: f.who for f in found if f.who is not None and (f.ended_ns is not None) == state}
        assert {each: who.container for each, who in told.items()} == groups.ids
        assert {each: who.cgroup for each, who in told.items()} == {
            each: f"/{WHERE[each].format(groups.ids[each])}" for each in WHERE
        }
        assert {who.comm for who in told.values()} == {"storm_shapes"}
        assert told["docker"].unit == f"docker-{groups.ids['docker']}.scope"
        assert told["podman"].unit == f"libpod-{groups.ids['podman']}.scope"
        assert (told["containerd"].pod, told["docker"].pod) == (POD, None)
    words = [advice.command for finding in found for advice in finding.advice]
    assert f"docker pause {groups.ids['docker']}" in words
    assert f"podman pause {groups.ids['podman']}" in words


def test_one_is_watched_by_its_id_and_followed_until_it_is_gone(groups: Groups, tmp_path: Path) -> None:
    storm = sample()
    group = groups.make("containerd")
    gone = groups.ids["containerd"]
    command = [sys.executable, "-m", "tracer", "storm", "--rate", "50", "--container", gone[:12], "--format", "jsonl"]
    out = tmp_path / "out"
    with (
        out.open("w") as stdout,
        subprocess.Popen(command, cwd=tmp_path, stdout=stdout, stderr=subprocess.DEVNULL, env=ENV) as watching,
    ):
        try:
            wait_until("it watches", lambda: '"second"' in out.read_text(), DEADLINE_S)
            subprocess.run(["sh", "-c", f"echo 0 >{group}/cgroup.procs; exec {storm} respawn 150 6"], check=True)
            subprocess.run([storm, "respawn", "150", "1"], check=True)  # a neighbour: not in it
            wait_until("it is over", lambda: '"over"' in out.read_text(), DEADLINE_S)
            wait_until("the group is empty", lambda: not (group / "cgroup.procs").read_text(), DEADLINE_S)
            groups.remove()
            watching.terminate()
            assert watching.wait(timeout=20) == 0
        finally:
            watching.kill()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    begun, over = (line for line in lines if line["kind"] == "storm")
    for finding in (begun, over):
        who = finding["who"]
        assert (who["container"], who["runtime"], who["pod"]) == (gone, "containerd", POD)
    assert over["forks"] <= 150 * 7
    (file,) = tmp_path.glob("*.ftrace")
    exported = subprocess.run(
        [sys.executable, "-m", "tracer", "export", str(file), "--as", "jsonl", "--table", "processes"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert len(rows) >= over["forks"]
    assert {row["container"] for row in rows if row["ppid"] == begun["who"]["pid"]} == {gone}

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=ENV)
    assert again.returncode == 66
    assert again.stderr.startswith(f"forktrace: there is no container '{gone[:12]}'")
