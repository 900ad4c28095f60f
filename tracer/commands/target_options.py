"""The options that say whom to follow of what runs already: for every verb that attaches.

add(group)                      -p -a --cgroup --container --unit --comm --exe --uid
chosen = selected(args)         pids, everyone, match
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tracer.errors import UsageError

if TYPE_CHECKING:
    from tracer.model.process_filter import Match

_SOURCES = ("cgroup", "container", "unit")
_FILTERS = ("comm", "exe", "uid")


class Chosen(NamedTuple):
    """Nothing at all: no pids, not everyone, an empty match."""

    pids: list[int]
    everyone: bool
    match: Match

    def __bool__(self) -> bool:
        return bool(self.pids or self.everyone or self.match)


def add(group: argparse._ArgumentGroup, *, everyone: str = "the whole host") -> None:
    """All may be repeated. `everyone`: the help of -a."""

    def option(*names: str, metavar: str, text: str) -> None:
        group.add_argument(*names, action="append", default=[], metavar=metavar, help=text)

    option("-p", "--pid", metavar="PID", text="attach to a process and all below it; may be repeated, or a list")
    group.add_argument("-a", "--all", action="store_true", help=everyone)
    option(
        "--cgroup",
        metavar="PATH",
        text="all in a control group and below it, whoever comes to be in it, and what they start; v1 or v2, a"
        " directory or a path as in /proc/PID/cgroup",
    )
    option("--container", metavar="NAME|ID", text="a container of docker, podman, containerd, cri-o, lxc or nspawn")
    option("--unit", metavar="NAME.service", text="a systemd unit")
    option("--comm", metavar="NAME", text="of these, or of the host: processes that the kernel calls so, and all below")
    option("--exe", metavar="PATH|NAME", text="... that run this file, by the path that they see it at")
    option("--uid", metavar="USER", text="... that belong to this user, by name or number")


def selected(args: argparse.Namespace) -> Chosen:
    """Raises UsageError for what can not be combined, NoInputError for what is not there.

    -p, --cgroup, --container and --unit add up; --comm, --exe and --uid narrow the groups, or else the host.
    """
    pids = [_pid(word) for words in args.pid for word in words.replace(",", " ").split()]
    sources = [f"--{name}" for name in _SOURCES if getattr(args, name)]
    filters = [f"--{name}" for name in _FILTERS if getattr(args, name)]
    if args.all and (pids or sources):
        raise UsageError(f"-a is the whole host: it excludes {'-p' if pids else sources[0]}", "choose one")
    if pids and filters:
        raise UsageError(
            f"-p follows all below a process, which {filters[0]} can not narrow", "use --cgroup, or leave one out"
        )
    from tracer.model.process_filter import Match

    match = Match(
        groups=tuple(dict.fromkeys(_groups(args))) if sources else (),
        comms=tuple(args.comm),
        exes=tuple(args.exe),
        uids=tuple(map(_uid, args.uid)),
    )
    for word in (*match.comms, *match.exes):
        if not word or "\0" in word:
            raise UsageError("a name to match can not be empty", "leave the option out, or give a name")
    return Chosen(pids, args.all and not match, match)


def _groups(args: argparse.Namespace) -> Iterator:  # type: ignore[type-arg]
    from tracer.host import cgroup_lookup

    for path in args.cgroup:
        yield cgroup_lookup.by_path(path)
    for name in args.container:
        yield from cgroup_lookup.by_container(name)
    for name in args.unit:
        yield from cgroup_lookup.by_unit(name)


def _pid(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or not 0 < int(word[:12]) < 1 << 31:
        raise UsageError(f"'{word}' is no pid", "give a number, as in -p 1234")
    return int(word)


def _uid(word: str) -> int:
    if word.isascii() and word.isdigit() and int(word[:12]) < 1 << 32:
        return int(word)
    import pwd

    try:
        return pwd.getpwnam(word).pw_uid
    except KeyError:
        raise UsageError(f"there is no user '{word}'", "give a name from /etc/passwd, or a number") from None
