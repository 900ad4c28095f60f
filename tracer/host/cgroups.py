"""Control groups: from the number a kernel event carries to a path, from a path to a unit or a container.

The number is the kernfs inode of the group's directory: on 64-bit kernels what `stat` shows as st_ino. Which
tree of directories it belongs to depends on the host: with cgroup v2 there is one; with v1, and on hybrid
hosts (a v2 tree without controllers beside v1 ones), the tree of the pids controller places every process.
Paths are as in /proc/PID/cgroup: from the top of the hierarchy, "/" for the top itself.

Names outlive groups: a group that was seen once keeps its path here after it is gone. Refuses to know:
events, processes, limits and their values.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

_MAX_KNOWN: Final = 200_000  # groups remembered, gone ones included; beyond it the oldest are forgotten
_MAX_JSON: Final = 16 << 20
_CONTROLLERS: Final = frozenset(
    {
        "cpuset",
        "cpu",
        "cpuacct",
        "blkio",
        "memory",
        "devices",
        "freezer",
        "net_cls",
        "perf_event",
        "net_prio",
        "hugetlb",
        "pids",
        "rdma",
        "misc",
    }
)


class Hierarchy(NamedTuple):
    """The tree of groups that places processes: `version` 1 (its pids controller) or 2."""

    version: int
    mount: Path
    top: str  # path of the group that stands at `mount`; "/" unless only a part of the tree is mounted here
    controllers: tuple[str, ...] = ()  # of v1; its pids first


def hierarchy(root: Path = Path("/"), controller: str = "pids") -> Hierarchy | None:
    """The hierarchy to use on this host, or None where neither v2 nor v1's `controller` is mounted."""
    found = [(n, tree) for n, tree in _mounts(root) if tree.version == 2 or controller in tree.controllers]
    return min(found, key=lambda each: (each[1].version, each[1].top != "/", each[0]))[1] if found else None


def hierarchies(root: Path = Path("/")) -> list[Hierarchy]:
    """All that are mounted, that which `hierarchy` gives first, then v2, then v1's; a whole one before a part of it."""
    first = hierarchy(root)

    def rank(each: tuple[int, Hierarchy]) -> tuple[bool, bool, bool, int]:
        length, tree = each
        return tree != first, tree.version == 1, tree.top != "/", length

    return [tree for _, tree in sorted(_mounts(root), key=rank)]


def _mounts(root: Path) -> list[tuple[int, Hierarchy]]:
    """(length of the mount's path, hierarchy) of each."""
    try:
        text = (root / "proc/self/mountinfo").read_bytes()
    except OSError:
        return []
    found = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        head, _, tail = line.partition(" - ")
        fields, (fstype, _, options) = head.split(" "), [*tail.split(" ", 2), "", "", ""][:3]
        if len(fields) < 6 or fstype not in ("cgroup", "cgroup2"):
            continue
        version = 2 if fstype == "cgroup2" else 1
        controllers = (
            ()
            if version == 2
            else tuple(sorted((w for w in options.split(",") if w in _CONTROLLERS), key=lambda w: w != "pids"))
        )
        top, mount = _unescape(fields[3]), _unescape(fields[4])
        found.append((len(mount), Hierarchy(version, root / mount.lstrip("/"), top, controllers)))
    return found


class Cgroups:
    """Number -> path, for one host. The first question walks the tree, an unknown number walks it again.

    A number that a walk does not find belongs to a group that is gone (or out of sight) and stays unknown,
    as numbers are not used twice. A walk takes about 17 us a group; they are spaced to take 2 % of the time
    at most.
    """

    def __init__(
        self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic, controller: str = "pids"
    ) -> None:
        self._root = root
        self._clock = clock
        self._paths: dict[int, str] = {}
        self._gone: dict[int, None] = {}
        self._names: dict[str, str | None] = {}
        self._not_before = float("-inf")
        self.hierarchy = hierarchy(root, controller)

    def path(self, number: int) -> str | None:
        """Path of the group, or None when it is gone or out of sight."""
        path = self._paths.get(number)
        if path is None and number not in self._gone and self._clock() >= self._not_before:
            self._walk()
            path = self._paths.get(number)
            if path is None:
                self._gone[number] = None
                _bound(self._gone)
        return path

    def number(self, path: str) -> int | None:
        """Number of the group at `path` (from the top, or its directory's full name); None if not there."""
        if self.hierarchy is None:
            return None
        mount = self.hierarchy.mount
        path = os.path.normpath("/" + path.lstrip("/"))  # no way out by ".."
        directory = self._root / path.lstrip("/")
        if not directory.is_relative_to(mount):
            directory = mount / self._below_top(path).lstrip("/")
        try:
            status = directory.stat()
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        self.learn(status.st_ino, self._named(directory))
        return status.st_ino

    def learn(self, number: int, path: str) -> None:
        """Take down a group that an event spoke of; short-lived ones are gone before any walk."""
        self._paths[number] = path
        self._gone.pop(number, None)
        _bound(self._paths)

    def made(self, number: int, above: int, name: str) -> None:
        """A group was made: `name` in the group `above`."""
        path = self._paths.get(above) or self.path(above)
        if path is not None and name:
            self.learn(number, path.rstrip("/") + "/" + name)

    def container(self, path: str | None) -> str | None:
        """Name of the container that the group belongs to, or its id's first 12 digits; None if in none."""
        whole_id = place(path or "").container
        if whole_id is None or not _HEX.fullmatch(whole_id):
            return whole_id
        if whole_id not in self._names:
            self._names[whole_id] = container_name(whole_id, self._root)
            _bound(self._names)
        return self._names[whole_id] or whole_id[:12]

    def _walk(self) -> None:
        begun = self._clock()
        if self.hierarchy is not None:
            for number, directory in _directories(self.hierarchy.mount):
                self._paths[number] = self._named(Path(directory))
            _bound(self._paths)
        ended = self._clock()
        self._not_before = ended + max(0.2, 50 * (ended - begun))

    def _named(self, directory: Path) -> str:
        if self.hierarchy is None or directory == self.hierarchy.mount:
            return self.hierarchy.top if self.hierarchy else "/"
        return self.hierarchy.top.rstrip("/") + "/" + str(directory.relative_to(self.hierarchy.mount))

    def _below_top(self, path: str) -> str:
        top = self.hierarchy.top.rstrip("/") if self.hierarchy else ""
        return path[len(top) :] if top and (path + "/").startswith(top + "/") else path


class Place(NamedTuple):
    """What a path says about whose group it is; each part None when it does not say."""

    unit: str | None  # systemd: x.service, x.scope, the innermost
    container: str | None  # full id, or an LXC or nspawn container's name
    runtime: str | None  # docker podman containerd cri-o kubernetes lxc nspawn buildkit
    pod: str | None  # uid of the Kubernetes pod


_HEX: Final = re.compile(r"[0-9a-f]{64}")
# <prefix>-<64 hex>.scope as runtimes write it under systemd. A conmon scope holds the monitor of a container.
_SCOPE: Final = re.compile(r"(?:([a-z][a-z-]{0,30})-)?([0-9a-f]{64})(?:\.scope)?")
_POD: Final = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_RUNTIMES: Final = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "ecs": "docker",
}


def place(path: str) -> Place:
    """Read a group's path. Pure, and linear in its length.

    >>> place("/system.slice/cron.service").unit
    'cron.service'
    """
    unit = container = runtime = pod = None
    above = ""
    for part in path.split("/"):
        if part.endswith((".service", ".scope")):
            unit = part
        if match := _POD.search(part):
            pod, runtime = match[1].replace("_", "-"), "kubernetes"
        name, kind = _container(part, above)
        if name:
            container = name
            runtime = kind or ("kubernetes" if pod else runtime)
        above = part
    return Place(unit, container, runtime, pod)


def _container(part: str, above: str) -> tuple[str | None, str | None]:
    """(id or name, runtime) if this part of a path is a container's own group."""
    # containerd under the systemd driver but without systemd: "system.slice:cri-containerd:<64 hex>"
    prefix, _, last = part.rpartition(":")
    if match := _SCOPE.fullmatch(last):
        word = match[1] or prefix.rpartition(":")[2] or above
        return (None, None) if word.endswith("conmon") else (match[2], _RUNTIMES.get(word))
    if above == "buildkit" and part.isalnum():
        return part, "buildkit"
    if part.startswith("lxc.payload."):
        return part.removeprefix("lxc.payload."), "lxc"
    if above in ("lxc", "lxc.payload") and part:
        return part, "lxc"
    if part.startswith("machine-") and part.endswith(".scope"):
        name = _unit_unescape(part.removeprefix("machine-").removesuffix(".scope"))
        return (None, None) if name.startswith("qemu-") else (name, "nspawn")  # libvirt's are machines
    return None, None


def container_name(whole_id: str, root: Path = Path("/")) -> str | None:
    """The name that the runtime's own files give to a container; None if they do not, or may not be read.

    Docker; Podman and CRI-O as root; containerd with Kubernetes ("namespace/pod/container") or nerdctl.
    """
    if not _HEX.fullmatch(whole_id):
        return None
    docker = _json(root / "var/lib/docker/containers" / whole_id / "config.v2.json")
    if isinstance(docker, dict) and isinstance(docker.get("Name"), str):
        return str(docker["Name"]).lstrip("/") or None
    listed = _json(root / "var/lib/containers/storage/overlay-containers/containers.json")
    for entry in listed if isinstance(listed, list) else ():
        names = entry.get("names") if isinstance(entry, dict) and entry.get("id") == whole_id else None
        if names:
            return str(names[0])
    tasks = root / "run/containerd/io.containerd.runtime.v2.task"
    for config in sorted(tasks.glob(f"*/{whole_id}/config.json")):
        bundle = _json(config)
        notes = bundle.get("annotations") if isinstance(bundle, dict) else None
        if isinstance(notes, dict):
            keys = ("sandbox-namespace", "sandbox-name", "container-name")
            words = [notes.get(f"io.kubernetes.cri.{key}") for key in keys]
            return "/".join(str(w) for w in words if w) or str(notes.get("nerdctl/name") or "") or None
    return None


def _json(path: Path) -> Any:
    import json

    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MAX_JSON))
    except (OSError, ValueError, RecursionError):
        return None


def _directories(top: Path) -> Iterator[tuple[int, str]]:
    """(inode, path) of `top` and every directory below it. The inode comes with the listing: no stat each."""
    try:
        yield top.stat().st_ino, str(top)
    except OSError:
        return
    stack = [str(top)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                inner = [(e.inode(), e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:  # removed while we looked
            continue
        yield from inner
        stack.extend(path for _, path in inner)


def subtree(top: Path) -> Iterator[Path]:
    """`top` and every group below it."""
    return (Path(directory) for _, directory in _directories(top))


def _bound(known: dict[Any, Any]) -> None:
    while len(known) > _MAX_KNOWN:
        del known[next(iter(known))]


def _unescape(text: str) -> str:
    """Mount points escape blank, tab, newline and backslash in octal."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def _unit_unescape(text: str) -> str:
    r"""What systemd writes as \x2d because it may not stand in a unit's name."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), text)
