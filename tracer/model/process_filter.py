"""Whom to follow beside those named by pid: in which control groups, called, run and owned how.

    Match(groups=(Group(...),), comms=("sh",))     in one of the groups, and called sh

Of one kind any will do, and of each kind that is given one must hold. A process that matches roots a traced subtree:
what it starts from then on is followed, whatever becomes of it. It is looked at when it is born, calls exec, is renamed
or moved to another group, and once when forktrace attaches. Knows no kernel and no /proc: groups.py finds groups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Group(NamedTuple):
    """A control group. Who is in one below it is in it, too."""

    path: str  # from the top of its hierarchy
    directory: Path
    number: int  # the kernel's, within its hierarchy
    above: int | None  # of the group it stands in: a group of this name that is made there later is the same to us
    controller: str | None  # of a v1 hierarchy one of those it has; None: v2


class Match(NamedTuple):
    """Empty means: nobody beside those that are named."""

    groups: tuple[Group, ...] = ()
    comms: tuple[str, ...] = ()  # the kernel's names, of which it keeps 15 bytes
    exes: tuple[str, ...] = ()  # whole paths, or file names
    uids: tuple[int, ...] = ()  # real user ids

    def __bool__(self) -> bool:
        return bool(self.groups or self.comms or self.exes or self.uids)

    @property
    def filters(self) -> bool:
        """More is asked for than groups."""
        return bool(self.comms or self.exes or self.uids)

    @property
    def words(self) -> str:
        """`--cgroup /a --comm sh`, as it could be asked for."""
        said = [f"--cgroup {group.path}" for group in self.groups]
        said += [f"--comm {comm}" for comm in self.comms] + [f"--exe {exe}" for exe in self.exes]
        return " ".join([*said, *(f"--uid {uid}" for uid in self.uids)])

    def as_dict(self) -> dict[str, Any]:
        """JSON types, without what was not given."""
        found = {
            "cgroups": [group.path for group in self.groups],
            "comms": list(self.comms),
            "exes": list(self.exes),
            "uids": list(self.uids),
        }
        return {name: values for name, values in found.items() if values}
