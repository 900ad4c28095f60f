"""Which control group somebody means: by path, unit, container; and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.host.test_cgroups import HYBRID, POD, V2, A, B, fake
from tracer.errors import NoInputError, UsageError
from tracer.host.cgroup_lookup import by_container, by_path, by_unit, containers, members

TOP = "/sys/fs/cgroup"
DOCKER = f"{TOP}/system.slice/docker-{A}.scope"
KUBE = f"{TOP}/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{B}.scope"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """v2, with a unit, a container of docker called web, and one of a pod."""
    root = fake(tmp_path, V2, f"{TOP}/system.slice/nginx.service/worker", f"{DOCKER}/init", KUBE)
    config = root / "var/lib/docker/containers" / A / "config.v2.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"Name": "/web"}))
    bundle = root / "run/containerd/io.containerd.runtime.v2.task/k8s.io" / B / "config.json"
    bundle.parent.mkdir(parents=True)
    keys = {"sandbox-namespace": "shop", "sandbox-name": "cart-7", "container-name": "app"}
    bundle.write_text(json.dumps({"annotations": {f"io.kubernetes.cri.{key}": value for key, value in keys.items()}}))
    return root


@pytest.mark.parametrize(
    "word", [f"{TOP}/system.slice/nginx.service", "/system.slice/nginx.service", "system.slice/nginx.service/"]
)
def test_a_path_is_a_directory_or_what_proc_has(host: Path, word: str) -> None:
    found = by_path(word, host)

    assert found.path == "/system.slice/nginx.service"
    assert found.number == (host / "sys/fs/cgroup/system.slice/nginx.service").stat().st_ino
    assert found.above == (host / "sys/fs/cgroup/system.slice").stat().st_ino
    assert found.controller is None


def test_the_top_has_nothing_above_it_and_there_is_no_way_out(host: Path) -> None:
    assert (by_path("/", host).path, by_path("/", host).above) == ("/", None)
    assert by_path("../../../..", host).path == "/"
    with pytest.raises(NoInputError, match="there is no control group /etc; see `find "):
        by_path("/etc", host)


def test_v1_and_v2_at_once_each_by_its_directory_and_a_path_in_the_first_that_has_it(tmp_path: Path) -> None:
    root = fake(tmp_path, HYBRID, f"{TOP}/pids/a", f"{TOP}/memory/a", f"{TOP}/memory/m", f"{TOP}/unified/u")

    assert by_path("/a", root).controller == "pids"
    assert by_path(f"{TOP}/memory/a", root).controller == "memory"
    assert by_path("/m", root).controller == "memory"
    assert by_path("/u", root).controller is None


def test_a_hierarchy_that_the_kernel_tells_nobody_by_is_refused(tmp_path: Path) -> None:
    named = "36 24 0:39 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    root = fake(tmp_path, named, f"{TOP}/systemd/x")
    with pytest.raises(NoInputError, match="without a controller"):
        by_path(f"{TOP}/systemd/x", root)


def test_no_groups_at_all(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no control groups are mounted here"):
        by_path("/a", fake(tmp_path, ""))


@pytest.mark.parametrize("word", ["nginx.service", "nginx"])
def test_a_unit(host: Path, word: str) -> None:
    assert [group.path for group in by_unit(word, host)] == ["/system.slice/nginx.service"]


def test_a_unit_whose_name_systemd_escapes(tmp_path: Path) -> None:
    root = fake(tmp_path, V2, f"{TOP}/a/x\\x20y.service")
    assert [group.path for group in by_unit("x y.service", root)] == ["/a/x\\x20y.service"]


def test_a_unit_that_is_not_there_and_what_is_like_it(host: Path) -> None:
    with pytest.raises(NoInputError, match=r"no unit ngin\.service has .* here; did you mean nginx\.service"):
        by_unit("ngin", host)
    with pytest.raises(NoInputError, match="only one that runs has one"):
        by_unit("zzz", host)


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ("web", DOCKER),
        (A, DOCKER),
        (A[:12], DOCKER),
        ("a1", DOCKER),
        (B[:5].upper(), KUBE),
        ("shop/cart-7/app", KUBE),
        ("cart-7", KUBE),
        ("shop/cart-7", KUBE),
        ("cart-7/app", KUBE),
        ("app", KUBE),
    ],
)
def test_a_container_by_name_or_by_the_beginning_of_its_id(host: Path, word: str, path: str) -> None:
    assert [str(group.directory) for group in by_container(word, host)] == [str(host) + path]


def test_a_container_that_is_not_there_names_those_that_are(host: Path) -> None:
    with pytest.raises(NoInputError) as caught:
        by_container("wob", host)
    assert caught.value.message == "there is no container 'wob'"
    assert sorted((caught.value.mend or "").removeprefix("there are: ").split(", ")) == [
        f"shop/cart-7/app ({B[:12]})",
        f"web ({A[:12]})",
    ]


def test_a_short_beginning_of_two_ids_is_not_guessed(tmp_path: Path) -> None:
    ids = ["ab" + "0" * 62, "ab" + "1" * 62]
    root = fake(tmp_path, V2, *(f"{TOP}/docker/{one}" for one in ids))

    with pytest.raises(UsageError, match="'ab' is the beginning of 2 ids"):
        by_container("ab", root)
    assert by_container("ab0", root)[0].path == f"/docker/{ids[0]}"
    with pytest.raises(NoInputError):
        by_container("a", root)  # one digit is no id


def test_without_containers_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no container runs here"):
        by_container("web", fake(tmp_path, V2, f"{TOP}/a"))


def test_containers_are_told_once_by_their_outermost_group(host: Path) -> None:
    found = sorted((c.name, c.runtime) for c in containers(host))
    assert found == [("shop/cart-7/app", "containerd"), ("web", "docker")]


def test_members_are_of_the_group_and_all_below_and_odd_ones_are_left_out(host: Path) -> None:
    folder = host / "sys/fs/cgroup/system.slice/nginx.service"
    (folder / "cgroup.procs").write_text("12\n0\n")  # 0: not of this pid namespace
    (folder / "worker/cgroup.procs").write_text("13\n14\n")
    assert sorted(members(by_path("/system.slice/nginx.service", host))) == [12, 13, 14]
