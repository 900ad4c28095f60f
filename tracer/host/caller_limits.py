"""The bounds that a process is under, read from /proc and the control groups: for sources that see that a fork failed,
and not why. Read a moment later than it happened, so what causes.py makes of it is inferred. Knows no events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tracer.host import procfs
from tracer.host.cgroups import Hierarchy, hierarchy
from tracer.host.fork_errors import Bound, Limit, Limits

_CAPABLE: Final = 1 << 21 | 1 << 24  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
_NO_LIMIT: Final = 1 << 60  # memory.limit_in_bytes has a number of that size where there is none
_INITIAL_USER_NS: Final = "user:[4026531837]"  # PROC_USER_INIT_INO


def look(
    pid: int, proc: Path = procfs.PROC, groups: Hierarchy | None = None, memory: Hierarchy | None = None
) -> Limits | None:
    """None when it has gone. `groups`, `memory`: of the pids and the memory controller; found when not given."""
    status = _status(proc / str(pid))
    if status is None:
        return None
    uid = _word(status, "Uid")
    capable = int(_word(status, "CapEff") or "0", 16) & _CAPABLE
    inner = _link(proc / str(pid) / "ns/user") not in (_INITIAL_USER_NS, None)
    exempt = not inner and (uid == "0" or capable != 0)
    data = _word(status, "VmData")
    memory = memory or hierarchy(controller="memory")
    old = memory is not None and memory.version == 1
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    return Limits(
        pids=_least(pid, proc, "pids", groups or hierarchy(), ("pids.max", "pids.current")),
        memory=_least(pid, proc, "memory", memory, files),
        memory_limit=Limit.MEMORY_LIMIT if old else Limit.MEMORY_MAX,
        nproc=None if exempt or uid is None else _nproc(pid, int(uid), proc),
        exempt=exempt,
        data_bytes=int(data) << 10 if data is not None and data.isdigit() else None,
        seccomp=_word(status, "Seccomp") == "2",
        measured=False,
    )


def _least(pid: int, proc: Path, controller: str, groups: Hierarchy | None, files: tuple[str, str]) -> Bound | None:
    """Of the groups above it the one with the least room. `files`: the limit, and what is used of it."""
    try:
        path = procfs.cgroup_path((proc / str(pid) / "cgroup").read_bytes(), controller)
    except OSError:
        return None
    if groups is None or path is None:
        return None
    top = groups.top.rstrip("/")
    below = path[len(top) :] if (path + "/").startswith(top + "/") else path
    at = groups.mount / below.lstrip("/")
    found: list[tuple[int, Bound]] = []
    while at != groups.mount and groups.mount in at.parents:
        most, now = (_number(at / name) for name in files)
        if most is not None and now is not None and most < _NO_LIMIT:
            name = top + "/" + str(at.relative_to(groups.mount))
            found.append((most - now, Bound(now, most, name)))
        at = at.parent
    return min(found)[1] if found else None


def _nproc(pid: int, uid: int, proc: Path) -> Bound | None:
    """Its user's tasks against RLIMIT_NPROC."""
    try:  # prlimit() would want CAP_SYS_RESOURCE for another user's
        lines = (proc / str(pid) / "limits").read_text("ascii", "replace").splitlines()
        most = int(next(line.split()[2] for line in lines if line.startswith("Max processes ")))
    except (OSError, StopIteration, ValueError, IndexError):  # "unlimited" is none
        return None
    now = 0
    for other in procfs.pids(proc):
        status = _status(proc / str(other))
        if status is not None and _word(status, "Uid") == str(uid):
            now += int(_word(status, "Threads") or 1)
    return Bound(now, most, f"uid {uid}")


def _status(folder: Path) -> dict[str, str] | None:
    try:
        lines = (folder / "status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


def _word(status: dict[str, str], name: str) -> str | None:
    words = status.get(name, "").split()
    return words[0] if words else None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # "max" is none
        return None
