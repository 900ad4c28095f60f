"""What to do: commands that fit who it is and where it runs; stop first, kill later."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from tracer.host.fork_errors import Bound, Cause, Limit, failure_words
from tracer.storms.advise import advise
from tracer.storms.finding import Who

ALONE = Who(
    pid=4321,
    born_ns=1,
    comm="bomb",
    argv=None,
    uid=1000,
    cgroup="/",
    unit=None,
    container=None,
    runtime=None,
    pod=None,
    alive=True,
    pids=(4321,),
    above=(),
    share=1.0,
)
SERVICE = replace(ALONE, cgroup="/system.slice/web.service", unit="web.service")
GROUP = replace(ALONE, cgroup="/jobs/a b")
DOCKER = replace(ALONE, cgroup=f"/docker/{'a' * 64}", container="a" * 64, runtime="docker")


def commands(who: Who | None, shape: str, **more: object) -> list[str]:
    given = {"alive": 500, "usual_alive": 10, "statuses": (), "causes": (), **more}
    said = advise(who, shape, **given)  # type: ignore[arg-type]
    return [advice.command for advice in said if advice.command is not None]


@pytest.mark.parametrize(
    ("who", "shape", "wanted"),
    [
        (ALONE, "fan-out", ["kill -STOP 4321", "prlimit --pid 4321 --nproc=64:64"]),
        (ALONE, "fork bomb", ["pkill -STOP -x bomb", "pkill -KILL -x bomb"]),
        (SERVICE, "fork bomb", ["systemctl freeze web.service", "TasksMax=64"]),
        (SERVICE, "respawn", ["systemctl stop web.service", "RestartSec=5"]),
        (replace(SERVICE, pid=1), "respawn", ["systemctl stop web.service"]),
        (GROUP, "chain", ["echo 1 > '/sys/fs/cgroup/jobs/a b/cgroup.freeze'", "'/sys/fs/cgroup/jobs/a b/pids.max'"]),
        (DOCKER, "fan-out", [f"docker pause {'a' * 64}", f"docker update --pids-limit 64 {'a' * 64}"]),
        (replace(ALONE, uid=0), "fan-out", ["systemd-run --scope -p TasksMax=64 COMMAND"]),
    ],
)
def test_commands_that_fit(who: Who, shape: str, wanted: list[str]) -> None:
    said = commands(who, shape)

    for words in wanted:
        assert any(words in command for command in said), said
    stops = ("STOP", "stop", "pause", "freeze")
    first_stop = next(i for i, command in enumerate(said) if any(word in command for word in stops) or "run" in command)
    assert all("KILL" not in command and "TERM" not in command for command in said[:first_stop])


def test_pid_1_is_never_stopped() -> None:
    for shape in ("fan-out", "respawn", "fork bomb"):
        assert not any("kill" in command for command in commands(replace(ALONE, pid=1, pids=(1,)), shape))


def test_names_from_outside_are_quoted() -> None:
    hostile = replace(ALONE, comm="x; rm -rf /", unit="a;b.service", cgroup="/a;b.service")
    for shape in ("fork bomb", "respawn", "fan-out"):
        for command in commands(hostile, shape):
            words = shlex.split(command)
            assert "rm" not in words
            assert not any(word.startswith("b.service") for word in words)


def test_a_group_of_version_1_has_its_limit_in_the_pids_tree_and_can_not_be_frozen_there() -> None:
    said = commands(GROUP, "fork bomb", version=1, mount="/sys/fs/cgroup/pids")

    assert any("'/sys/fs/cgroup/pids/jobs/a b/pids.max'" in command for command in said)
    assert not any("cgroup.freeze" in command for command in said)


def test_limits_leave_room_for_what_was_usual() -> None:
    assert any("--nproc=600:600" in command for command in commands(ALONE, "fan-out", usual_alive=300))


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause(Limit.PIDS_MAX, Bound(9, 9, "/jobs/a b")), "forks fail at pids.max = 9 of /jobs/a b: raise it only"),
        (Cause(Limit.NPROC, Bound(4096, 4096, "uid 7")), "forks fail at RLIMIT_NPROC = 4,096 of uid 7: raise it only"),
        (Cause(Limit.PID_MAX, Bound(301, 310, "its pid namespace")), "kernel.pid_max = 310 of its pid namespace: "),
        (Cause(Limit.THREADS_MAX, Bound(900, 900)), "900, and nothing else on this host can start a process either"),
        (Cause(Limit.MEMORY_MAX, Bound(8 << 20, 8 << 20, "/m")), "forks fail at memory.max = 8 MiB of /m: "),
        (Cause(Limit.SECCOMP), "forks fail because of a seccomp filter"),
    ],
)
def test_the_limit_at_which_forks_fail_is_named(cause: Cause, words: str) -> None:
    causes = (("EAGAIN", 7), (failure_words("EAGAIN", str(cause)), 5), ("EAGAIN: pids.max 1/1 of /less", 2))
    said = advise(ALONE, None, alive=1, usual_alive=1, statuses=(), causes=causes)

    assert words in said[-1].words


def test_with_nobody_to_name_there_is_something_to_do_all_the_same() -> None:
    assert commands(None, "fan-out")
