"""podman and docker, with an image made here of busybox: the tree of a run, and `--container` of one that runs.

Also podman by a user without privileges, whom root traces.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.vm.host.statements import finish, holds, say, sh, wait_for
from tests.vm.host.traces import take

PROGRAMS = {
    "job": "(exit 3)\ntrue\nexit 5\n",
    "round": "i=0\nwhile [ $i -lt 900 ]; do i=$((i+1)); (exit 3); sleep 0.5; done\n",
}
USER = "user"


def image(folder: Path) -> Path:
    """A root of busybox alone, as a tar archive."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    sh(f"cp $(command -v busybox) {tree}/bin/busybox; for n in sh sleep true; do ln -s busybox {tree}/bin/$n; done")
    for name, text in PROGRAMS.items():
        (tree / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (tree / "bin" / name).chmod(0o755)
    sh(f"tar -C {tree} -cf {folder}/box.tar . && chmod 644 {folder}/box.tar && chmod 755 {folder}")
    return folder / "box.tar"


def as_user(command: str) -> str:
    """A command line that runs this one as the user, in a session of theirs."""
    return f"runuser -u {USER} -- env HOME=/home/{USER} XDG_RUNTIME_DIR=/run/user/1000 sh -c 'cd; {command}'"


def a_run(tool: str) -> None:
    """Everything below `TOOL run`; docker's container is the daemon's child, and not in this tree."""
    command = [tool, "run", "--rm", "--network", "none", "box", "/bin/job"]
    taken = take("--", *command)
    inside = [row for row in taken.rows if row["comm"] == "job" and row["ns_pids"] and len(row["ns_pids"]) > 1]
    holds(f"{tool} run: its status is passed on", taken.status == 5, taken.status if taken.status != 5 else "")
    if tool == "podman":
        holds(f"{tool} run: the container's shell ends with 5", 5 in [row["exit_code"] for row in inside], len(inside))
        holds(f"{tool} run: its subshell with 3", 3 in [row["exit_code"] for row in inside])
        holds(f"{tool} run: it is pid 1 in there", 1 in [row["ns_pids"][-1] for row in inside])


def of_a_container(tool: str, name: str, prefix: str = "") -> None:
    """`--container NAME` while it goes on."""
    taken = take("--container", name, "--duration", "6")
    born = [row for row in taken.rows if row["how"] == "fork" and row["exit_code"] == 3]
    holds(f"{tool} --container {name}: children are seen", len(born) >= 2, len(born) or taken.said[-300:])
    named = {row["container"] for row in born}
    holds(f"{tool} --container {name}: they are said to be its", named and None not in named, named)


def main() -> None:
    """podman, docker, podman without privileges."""
    with tempfile.TemporaryDirectory() as made:
        box = image(Path(made))
        for tool in ("podman", "docker"):
            if tool == "docker":
                wait_for(lambda: sh("docker info").returncode == 0, 120)
            done = sh(f"{tool} import {box} box")
            if not holds(f"{tool} takes the image", done.returncode == 0, done.stderr.strip()[-200:]):
                continue
            a_run(tool)
            done = sh(f"{tool} run -d --name round --network none box /bin/round")
            if holds(f"{tool} run -d", done.returncode == 0, done.stderr.strip()[-200:]):
                of_a_container(tool, "round")
            sh(f"{tool} rm -f round")
        sh(f"loginctl enable-linger {USER}")
        wait_for(lambda: Path("/run/user/1000/bus").exists(), 60)
        done = sh(as_user(f"podman import {box} box && podman run -d --name mine --network none box /bin/round"))
        if holds("podman without privileges runs a container", done.returncode == 0, done.stderr.strip()[-300:]):
            say(sh("cat /proc/$(pgrep -f /bin/round | head -1)/cgroup").stdout.strip())
            # By its id: the names of a user's containers stand in files of theirs, which root does not read
            of_a_container("podman without privileges,", done.stdout.split()[-1][:12])
        sh(as_user("podman rm -f mine"))
    finish()


if __name__ == "__main__":
    main()
