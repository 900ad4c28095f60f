from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.host import cgroups
from tracer.host.cgroups import Cgroups, Place, hierarchy, place

A, B = "a1" * 32, "0b" * 32
POD = "6f2a1b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 24 0:29 / /sys/fs/cgroup/pids rw shared:12 master:1 - cgroup cgroup rw,pids\n"
)
HYBRID = V1 + "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fake(root: Path, mountinfo: str, *groups: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("1 1 8:1 / / rw - ext4 /dev/vda rw\n" + mountinfo)
    for group in groups:
        (root / group.lstrip("/")).mkdir(parents=True)
    return root


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.mark.parametrize(
    ("mounts", "version", "mount"),
    [(V2, 2, "sys/fs/cgroup"), (V1, 1, "sys/fs/cgroup/pids"), (HYBRID, 1, "sys/fs/cgroup/pids")],
)
def test_the_hierarchy_that_places_processes(tmp_path: Path, mounts: str, version: int, mount: str) -> None:
    found = hierarchy(fake(tmp_path, mounts))

    assert found is not None
    assert (found.version, found.mount, found.top) == (version, tmp_path / mount, "/")


def test_no_hierarchy_no_names(tmp_path: Path) -> None:
    memory_only = "32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    groups = Cgroups(fake(tmp_path, memory_only + "torn line\n"))

    assert groups.hierarchy is None
    assert groups.path(1) is None
    assert groups.number("/") is None
    assert hierarchy(tmp_path / "nowhere") is None


def test_a_whole_mount_goes_before_a_part_and_odd_mount_points_are_read(tmp_path: Path) -> None:
    part = r"40 24 0:26 /docker/x /a\040b rw - cgroup2 cgroup2 rw" + "\n"

    found = hierarchy(fake(tmp_path / "1", part + V2))
    assert found is not None
    assert found.mount == tmp_path / "1/sys/fs/cgroup"
    alone = hierarchy(fake(tmp_path / "2", part))
    assert alone is not None
    assert (alone.mount, alone.top) == (tmp_path / "2/a b", "/docker/x")


@pytest.mark.parametrize(("mounts", "below"), [(V2, "sys/fs/cgroup"), (HYBRID, "sys/fs/cgroup/pids")])
def test_numbers_become_paths(tmp_path: Path, mounts: str, below: str) -> None:
    root = fake(tmp_path, mounts, f"{below}/system.slice/cron.service", f"{below}/user.slice")
    (root / below / "system.slice/cgroup.procs").touch()
    groups = Cgroups(root)
    service = root / below / "system.slice/cron.service"

    assert groups.path(inode(root / below)) == "/"
    assert groups.path(inode(service)) == "/system.slice/cron.service"
    assert groups.path(inode(root / below / "user.slice")) == "/user.slice"
    assert groups.path(inode(root / below / "system.slice/cgroup.procs")) is None


def test_a_part_of_the_tree_keeps_its_place_in_the_whole(tmp_path: Path) -> None:
    mount = f"30 24 0:26 /docker/{A} /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    root = fake(tmp_path, mount, "sys/fs/cgroup/init.scope")
    groups = Cgroups(root)
    inner = inode(root / "sys/fs/cgroup/init.scope")

    assert groups.path(inode(root / "sys/fs/cgroup")) == f"/docker/{A}"
    assert groups.path(inner) == f"/docker/{A}/init.scope"
    assert groups.number(f"/docker/{A}/init.scope") == inner


def test_an_unknown_number_walks_again_but_not_all_the_time(tmp_path: Path) -> None:
    root = fake(tmp_path, V2, "sys/fs/cgroup/one")
    clock = Clock()
    groups = Cgroups(root, clock)
    assert groups.path(inode(root / "sys/fs/cgroup/one")) == "/one"

    (root / "sys/fs/cgroup/two").mkdir()
    two = inode(root / "sys/fs/cgroup/two")
    assert groups.path(two) is None, "the second walk must wait"
    clock.now += 1
    assert groups.path(two) == "/two"


def test_names_outlive_groups_and_the_gone_stay_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake(tmp_path, V2, "sys/fs/cgroup/short")
    clock = Clock()
    groups = Cgroups(root, clock)
    number = inode(root / "sys/fs/cgroup/short")
    assert groups.path(number) == "/short"
    (root / "sys/fs/cgroup/short").rmdir()
    clock.now += 10

    assert groups.path(987654321) is None
    assert groups.path(number) == "/short"
    walks: list[Path] = []

    def walk(top: Path) -> list[tuple[int, str]]:
        walks.append(top)
        return []

    monkeypatch.setattr(cgroups, "_directories", walk)
    clock.now += 10
    assert groups.path(987654321) is None
    assert walks == [], "what one walk did not find is not looked for again"


def test_a_group_an_event_spoke_of_needs_no_walk(tmp_path: Path) -> None:
    groups = Cgroups(fake(tmp_path, V2))
    assert groups.path(4242) is None
    groups.learn(4242, "/docker/gone-already")

    assert groups.path(4242) == "/docker/gone-already"


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_MAX_KNOWN", 3)
    groups = Cgroups(fake(tmp_path, V2), Clock())
    for number in range(10, 20):
        groups.learn(number, f"/g{number}")

    assert [groups.path(n) for n in (16, 17, 19)] == [None, "/g17", "/g19"]


def test_a_path_is_found_from_the_top_or_in_the_file_system_and_never_outside(tmp_path: Path) -> None:
    root = fake(tmp_path, V1, "sys/fs/cgroup/pids/a/b", "etc")
    (root / "sys/fs/cgroup/pids/a/pids.max").touch()
    groups = Cgroups(root)
    number = inode(root / "sys/fs/cgroup/pids/a/b")

    for given_path in ("/a/b", "a/b", "/a/b/", "/sys/fs/cgroup/pids/a/b", "/a/../a/b"):
        assert groups.number(given_path) == number, given_path
    for given_path in ("/none", "/a/pids.max", "/../../../../etc", "/sys/fs/cgroup/pids/../../../../etc"):
        assert groups.number(given_path) is None, given_path
    assert groups.path(number) == "/a/b"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Place(None, None, None, None)),
        ("/system.slice/cron.service", Place("cron.service", None, None, None)),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-x.scope",
            Place("app-gnome-x.scope", None, None, None),
        ),
        (f"/system.slice/docker-{A}.scope", Place(f"docker-{A}.scope", A, "docker", None)),
        (f"/docker/{A}", Place(None, A, "docker", None)),
        (f"/docker/{A}/system.slice/nginx.service", Place("nginx.service", A, "docker", None)),
        (f"/docker/{A}/docker/{B}", Place(None, B, "docker", None)),
        (f"/machine.slice/libpod-{A}.scope/container", Place(f"libpod-{A}.scope", A, "podman", None)),
        (f"/machine.slice/libpod-conmon-{A}.scope", Place(f"libpod-conmon-{A}.scope", None, None, None)),
        (f"/user.slice/x.service/libpod-payload-{A}", Place("x.service", A, "podman", None)),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
            f"/cri-containerd-{A}.scope",
            Place(f"cri-containerd-{A}.scope", A, "containerd", POD),
        ),
        (f"/kubepods/besteffort/pod{POD}/{A}", Place(None, A, "kubernetes", POD)),
        (f"/kubepods.slice/kubepods-pod{POD}.slice/crio-{A}.scope", Place(f"crio-{A}.scope", A, "cri-o", POD)),
        (
            f"/kubepods.slice/kubepods-pod{POD}.slice/crio-conmon-{A}.scope",
            Place(f"crio-conmon-{A}.scope", None, "kubernetes", POD),
        ),
        (
            f"/system.slice/containerd.service/kubepods-pod{POD}.slice:cri-containerd:{A}",
            Place("containerd.service", A, "containerd", POD),
        ),
        (f"/ecs/0123/{A}", Place(None, A, None, None)),
        ("/lxc/web", Place(None, "web", "lxc", None)),
        ("/lxc.payload.web/system.slice/ssh.service", Place("ssh.service", "web", "lxc", None)),
        ("/lxc.monitor.web", Place(None, None, None, None)),
        (r"/machine.slice/machine-my\x2dbox.scope", Place(r"machine-my\x2dbox.scope", "my-box", "nspawn", None)),
        (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope", Place(r"machine-qemu\x2d1\x2dvm.scope", None, None, None)),
        ("/docker/buildkit/qr2k5dlmz0", Place(None, "qr2k5dlmz0", "buildkit", None)),
        (f"/docker/{A[:-1]}", Place(None, None, None, None)),
        (f"/docker/{A}0", Place(None, None, None, None)),
    ],
)
def test_a_path_says_unit_container_runtime_and_pod(path: str, expected: Place) -> None:
    assert place(path) == expected


@given(st.text())
def test_any_path_is_read(path: str) -> None:
    place(path)


def test_containers_have_the_names_their_runtimes_gave_them(tmp_path: Path) -> None:
    ids = {word: f"{i:02x}" * 32 for i, word in enumerate(("docker", "podman", "cri", "nerdctl", "none", "torn"))}
    root = fake(tmp_path, V2)
    docker = root / "var/lib/docker/containers"
    for word, text in (("docker", json.dumps({"Name": "/web"})), ("torn", '{"Name": ')):
        (docker / ids[word]).mkdir(parents=True)
        (docker / ids[word] / "config.v2.json").write_text(text)
    listed = root / "var/lib/containers/storage/overlay-containers/containers.json"
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps([{"id": A, "names": ["other"]}, {"id": ids["podman"], "names": ["db"]}, 7]))
    notes = {
        "cri": {
            "io.kubernetes.cri.sandbox-namespace": "prod",
            "io.kubernetes.cri.sandbox-name": "api-7f",
            "io.kubernetes.cri.container-name": "app",
        },
        "nerdctl": {"nerdctl/name": "job"},
    }
    for word, namespace in (("cri", "k8s.io"), ("nerdctl", "default")):
        bundle = root / "run/containerd/io.containerd.runtime.v2.task" / namespace / ids[word]
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps({"annotations": notes[word]}))
    groups = Cgroups(root)

    names = {word: groups.container(f"/x/docker-{number}.scope") for word, number in ids.items()}
    short = {word: ids[word][:12] for word in ("none", "torn")}
    assert names == {"docker": "web", "podman": "db", "cri": "prod/api-7f/app", "nerdctl": "job", **short}
    assert groups.container("/lxc/web") == "web"
    assert groups.container("/system.slice/cron.service") is None
    assert groups.container(None) is None


@pytest.mark.skipif(hierarchy() is None, reason="no control groups are mounted here")
def test_this_hosts_own_tree() -> None:
    groups = Cgroups()
    top = groups.number("/")

    assert top is not None
    assert groups.path(top) == (groups.hierarchy.top if groups.hierarchy else None)
    assert groups.path((1 << 63) - 1) is None
