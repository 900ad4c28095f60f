"""`--unit` of a systemd unit that fails during the trace, and of one that is started again."""

from __future__ import annotations

from pathlib import Path

from tests.vm.host.statements import finish, holds, sh, wait_for
from tests.vm.host.traces import take

_UNIT = """[Service]
ExecStart=/bin/sh -c 'sleep {sleep}; (exit 3); exit 7'
Restart={restart}
RestartSec=1
"""


def start(name: str, *, sleep: float, restart: str) -> None:
    """Make and start a unit."""
    Path(f"/etc/systemd/system/{name}.service").write_text(_UNIT.format(sleep=sleep, restart=restart))
    sh(f"systemctl daemon-reload && systemctl start {name}")
    wait_for(lambda: sh(f"systemctl is-active {name}").stdout.strip() == "active", 20)


def main() -> None:
    """Both."""
    start("fails", sleep=20, restart="no")
    taken = take("--unit", "fails.service", "--duration", "30")
    ended = {row["comm"]: row["exit_code"] for row in taken.rows if row["how"] == "existing"}
    holds("the unit's shell is seen to fail with 7", ended.get("sh") == 7, ended or taken.said[-300:])
    holds("its subshell with 3", 3 in [row["exit_code"] for row in taken.rows])
    holds("systemd says that the unit failed", sh("systemctl is-failed fails").stdout.strip() == "failed")

    start("again", sleep=4, restart="always")
    taken = take("--unit", "again.service", "--duration", "30")
    sh("systemctl stop again")
    shells = [row for row in taken.rows if row["comm"] == "sh" and row["exit_code"] == 7]
    holds("a unit that is started again is followed", len(shells) >= 2, f"{len(shells)} lives")
    finish()


if __name__ == "__main__":
    main()
