"""Finds the control groups that somebody means: by path, by a unit's name, by a container's name or id.

    by_path("/sys/fs/cgroup/system.slice")  by_unit("nginx.service")  by_container("web")

Raises NoInputError with those there are when there is none. Looks at the group directories and, for the names of
containers, at the files of docker, podman, cri-o and containerd, as cgroups.py does; asks no daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tracer.errors import NoInputError, UsageError
from tracer.host.cgroups import Hierarchy, container_name, hierarchies, place, subtree
from tracer.model.process_filter import Group

_SUFFIXES: Final = (".service", ".scope", ".slice")
_MOST_LISTED: Final = 8
_HERE: Final = Path("/")


def by_path(word: str, root: Path = _HERE) -> Group:
    """A directory, or a path as /proc/PID/cgroup has it, in the first hierarchy where it is."""
    trees = hierarchies(root)
    if not trees:
        raise NoInputError("no control groups are mounted here", "mount -t cgroup2 none /sys/fs/cgroup")
    wanted = os.path.normpath("/" + word.lstrip("/"))
    inside = [tree for tree in trees if (root / wanted.lstrip("/")).is_relative_to(tree.mount)]
    if inside:
        tree = max(inside, key=lambda tree: len(tree.mount.parts))
        found = _group(tree, root / wanted.lstrip("/"))
        if found is not None:
            return found
    for tree in trees:
        top = tree.top.rstrip("/")
        below = wanted[len(top) :] if top and (wanted + "/").startswith(top + "/") else wanted
        found = _group(tree, tree.mount / below.lstrip("/"))
        if found is not None:
            return found
    raise NoInputError(f"there is no control group {word}", f"see `find {trees[0].mount} -type d`")


def by_unit(word: str, root: Path = _HERE) -> list[Group]:
    """Of a systemd unit that runs; of each user's, if it is one of theirs. `.service` may be left out."""
    name = word if word.endswith(_SUFFIXES) else word + ".service"
    names = {name, _escaped(name)}
    units: set[str] = set()
    for tree in hierarchies(root):
        found = []
        for directory in subtree(tree.mount):
            if directory.name in names:
                group = _group(tree, directory)
                found += [group] if group is not None else []
            elif directory.name.endswith((".service", ".scope")):
                units.add(directory.name)
        if found:
            return found
    stem = name.rpartition(".")[0].lower()
    like = sorted(unit for unit in units if stem in unit.lower() or unit.rpartition(".")[0].lower() in stem)
    mend = f"did you mean {_some(like)}?" if like else "only one that runs has one: see `systemctl list-units`"
    raise NoInputError(f"no unit {name} has a control group here", mend)


class Container(NamedTuple):
    """Its name if the runtime's files tell it, its whole id (or what stands for one), its runtime."""

    name: str | None
    id: str
    runtime: str | None
    group: Group

    def __str__(self) -> str:
        short = self.id[:12]
        return f"{self.name} ({short})" if self.name and self.name != self.id else short


def containers(root: Path = _HERE) -> Iterator[Container]:
    """Those that have a control group now, each by its outermost one."""
    seen: set[str] = set()
    for tree in hierarchies(root):
        for directory in subtree(tree.mount):
            path = _path(tree, directory)
            found = place(path)
            if found.container is None or found.container in seen:
                continue
            if place(path.rpartition("/")[0]).container == found.container:
                continue
            group = _group(tree, directory)
            if group is not None:
                seen.add(found.container)
                yield Container(container_name(found.container, root) or None, found.container, found.runtime, group)
        if seen:
            return


def by_container(word: str, root: Path = _HERE) -> list[Group]:
    """By name, or by the beginning of an id; Kubernetes' also as namespace/pod or pod, all its containers then."""
    there = list(containers(root))
    for those in (
        [c for c in there if word in (c.name, c.id)],
        [c for c in there if c.name is not None and "/" in c.name and word in _parts(c.name)],
    ):
        if those:
            return [c.group for c in those]
    begin = [c for c in there if len(word) > 1 and c.id.startswith(word.lower())]
    if len(begin) > 1:
        which = _some(map(str, begin))
        raise UsageError(f"'{word}' is the beginning of {len(begin)} ids", f"give more of one: {which}")
    if begin:
        return [begin[0].group]
    mend = f"there are: {_some(map(str, there))}" if there else "by its control groups, no container runs here"
    raise NoInputError(f"there is no container '{word}'", mend)


def _parts(name: str) -> set[str]:
    """Of namespace/pod/container."""
    words = name.split("/")
    return {words[-1], *words[1:2], "/".join(words[:2]), "/".join(words[1:])}


def members(group: Group) -> Iterator[int]:
    """Pids of the processes that are in it now, as /proc of this pid namespace has them."""
    for directory in subtree(group.directory):
        try:
            lines = (directory / "cgroup.procs").read_text("ascii").split()
        except (OSError, ValueError):  # removed meanwhile; or a threaded one, whose processes are told further up
            continue
        yield from (pid for pid in map(int, lines) if pid)


def _group(tree: Hierarchy, directory: Path) -> Group | None:
    try:
        number = directory.stat().st_ino
        if not directory.is_dir():
            return None
        above = None if directory == tree.mount else directory.parent.stat().st_ino
    except OSError:
        return None
    controller = tree.controllers[0] if tree.controllers else None
    if tree.version == 1 and controller is None:
        raise NoInputError(
            f"{directory} is in a hierarchy without a controller, which the kernel does not tell processes by",
            "name the group in the hierarchy of pids",
        )
    return Group(_path(tree, directory), directory, number, above, controller)


def _path(tree: Hierarchy, directory: Path) -> str:
    if directory == tree.mount:
        return tree.top
    return tree.top.rstrip("/") + "/" + str(directory.relative_to(tree.mount))


def _escaped(name: str) -> str:
    r"""As systemd writes in a group's name what may not stand there: a.b\x2d1.service."""
    return "".join(c if c.isalnum() or c in ":_.\\@-" else f"\\x{ord(c):02x}" for c in name)


def _some(words: Iterator[str] | list[str] | map[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return ", ".join(listed[:_MOST_LISTED]) + more
