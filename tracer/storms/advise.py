"""What to do about a storm: whom to stop first, which limit to set so that it can not come back as bad, and where.

Commands are for a root shell and are never run by us. The first one must not kill what could still be looked at:
stopping (SIGSTOP, freezing, pausing) comes before ending. Names from outside are quoted for a shell. Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from tracer.host.fork_errors import Cause, Failure, Limit, size
from tracer.storms.finding import Advice, Who

_PAUSES: Final = {
    "docker": ("docker pause {}", "docker update --pids-limit {n} {}"),
    "podman": ("podman pause {}", "podman update --pids-limit {n} {}"),
    "containerd": ("nerdctl pause {}", "nerdctl update --pids-limit {n} {}"),
    "lxc": ("lxc-freeze {}", None),
    "nspawn": ("machinectl kill --signal=STOP {}", None),
}
_FEWEST: Final = 64


def advise(
    who: Who | None,
    shape: str | None,
    *,
    alive: int,
    usual_alive: int,
    statuses: Sequence[tuple[str, int]],
    causes: Sequence[tuple[str, int]],
    version: int = 2,
    mount: str = "/sys/fs/cgroup",
) -> tuple[Advice, ...]:
    """What to do, most urgent first. `usual_alive`: below it before the storm; `mount`: of the control groups."""
    if who is None:
        return (Advice("no one process is behind it: see who comes first in", "forktrace storm --format text"),)
    many = shape in ("chain", "fork bomb")
    limit = max(_FEWEST, 2 * usual_alive)
    said = [*_stop(who, many=many, version=version, mount=mount)]
    said += _bound(who, shape, limit, version=version, mount=mount)
    if shape == "respawn" and statuses:
        word, n = max(statuses, key=lambda each: each[1] if each[0] != "exit 0" else 0)
        said.append(Advice(f"what it starts ends with {word} ({n:,} times): mend that, or let it wait between tries"))
        if who.unit and who.unit.endswith(".service"):
            unit = shlex.quote(who.unit)
            said.append(Advice("see why", f"journalctl -u {unit} -n 50"))
    if shape == "shell loop" and who.alive:
        said.append(Advice("see which script it is", f"ls -l /proc/{who.pid}/fd /proc/{who.pid}/cwd"))
    reached = next((found for words, _ in causes if (found := Failure.parse(words).cause) is not None), None)
    if reached is not None:
        said.append(_limit(reached))
    return tuple(said)


def _limit(reached: Cause) -> Advice:
    """What most of the failed forks have in common; `causes` come most frequent first."""
    name, bound = reached.limit, reached.bound
    if bound is None:
        return Advice(f"forks fail because of {reached}")
    most = size(bound.most) if name.in_bytes else f"{bound.most:,}"
    owner = f" of {bound.of}" if bound.of else ""
    whole = name in (Limit.PID_MAX, Limit.THREADS_MAX) and not bound.of
    all_fail = ", and nothing else on this host can start a process either" if whole else ""
    return Advice(f"forks fail at {name} = {most}{owner}{all_fail}: raise it only for a healthy load")


def _stop(who: Who, *, many: bool, version: int, mount: str) -> list[Advice]:
    pause = _PAUSES.get(who.runtime or "")
    said = []
    if who.container and pause:
        said.append(
            Advice("stop the whole container, and look at leisure", pause[0].format(shlex.quote(who.container)))
        )
    elif many and who.unit:
        said.append(Advice("stop all of it at once", f"systemctl freeze {shlex.quote(who.unit)}"))
    elif many and _own_group(who):
        path = shlex.quote(f"{mount}{who.cgroup}/cgroup.freeze")
        if version == 2:
            said.append(Advice("stop all of it at once", f"echo 1 > {path}"))
    if who.pid == 1:
        if who.unit:
            said.append(Advice("pid 1 starts it again and again: stop the unit", f"systemctl stop {_q(who.unit)}"))
        return said
    if not who.pids:
        return said
    pids = " ".join(map(str, who.pids))
    words = "stop who makes them, without killing anything" if not many else "or stop those that go on, by name"
    if many and who.comm:
        said.append(Advice(words, f"pkill -STOP -x {_q(who.comm)}"))
    else:
        said.append(Advice(words, f"kill -STOP {pids}"))
    if who.unit and who.unit.endswith(".service"):
        said.append(Advice("or end the service", f"systemctl stop {_q(who.unit)}"))
    elif many and who.comm:
        said.append(
            Advice("then end them; new ones can not slip through, as all are stopped", f"pkill -KILL -x {_q(who.comm)}")
        )
    else:
        said.append(Advice("then end it", f"kill -TERM {pids}; kill -CONT {pids}"))
    return said


def _bound(who: Who, shape: str | None, limit: int, *, version: int, mount: str) -> list[Advice]:
    """A limit on processes bounds what grows; what dies at once is bounded by nothing but a pause between tries."""
    if shape in ("respawn", "shell loop"):
        if who.unit and who.unit.endswith(".service"):
            unit = who.unit
            return [
                Advice("let it rest between restarts", f"systemctl edit {_q(unit)}  # RestartSec=5, StartLimitBurst=5")
            ]
        return []
    pause = _PAUSES.get(who.runtime or "")
    if who.container and pause and pause[1]:
        return [Advice("bound it", pause[1].format(_q(who.container), n=limit))]
    if who.unit:
        return [Advice("bound it", f"systemctl set-property --runtime {_q(who.unit)} TasksMax={limit}")]
    if _own_group(who):
        tree = mount if version == 2 else f"{mount}/pids" if not mount.endswith("/pids") else mount
        return [Advice("bound it", f"echo {limit} > {_q(tree + (who.cgroup or '') + '/pids.max')}")]
    if who.uid and who.alive:
        return [Advice("bound its user's processes", f"prlimit --pid {who.pid} --nproc={limit}:{limit}")]
    return [
        Advice(
            "bound it: no limit on processes holds root outside of a control group; start it in one of its own",
            f"systemd-run --scope -p TasksMax={limit} COMMAND",
        )
    ]


def _own_group(who: Who) -> bool:
    return bool(who.cgroup and who.cgroup != "/")


def _q(word: str) -> str:
    return shlex.quote(word)
