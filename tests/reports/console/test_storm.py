"""A finding as text and as JSON: all there is to know, harmless, in lines that fit."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tracer.reports.console.storm import (
    Second,
    finding_json,
    finding_line,
    finding_text,
    heading,
    second_json,
    second_text,
)
from tracer.reports.terminal import Terminal, cells
from tracer.storms.detect import Advice, Command, Finding, Who

S = 10**9
WHO = Who(
    pid=4321,
    born_ns=5 * S,
    comm="bash",
    argv=("bash", "./deploy\x1b[2J.sh", "--all hosts"),
    uid=None,
    cgroup="/system.slice/cron.service",
    unit="cron.service",
    container=None,
    runtime=None,
    pod=None,
    alive=True,
    pids=(4321,),
    above=((812, "cron"), (1, None)),
    share=0.934,
)
BEGUN = Finding(
    began_ns=100 * S,
    found_ns=104 * S,
    ended_ns=None,
    reason="baseline",
    signs=("97% of what it makes ends badly",),
    usual=3.2,
    warm=True,
    limit=50.0,
    rate=412.3,
    peak=520,
    who=WHO,
    shape="respawn",
    commands=(Command("/srv/app --port=80", 0.97, 1600), Command("sleep 1", 0.03, 50)),
    forks=1650,
    execs=1650,
    exits=1640,
    failures=None,
    causes=(),
    alive=3,
    zombies=0,
    statuses=(("exit 127 (command not found)", 1600),),
    life_ns=4_000_000,
    life_long_ns=8_000_000,
    fork_ns=None,
    copies=None,
    cpu_ns=1_200_000_000,
    lost=0,
    advice=(Advice("stop who makes them, without killing anything", "kill -STOP 4321"), Advice("mend it")),
)
UTC = 1_700_000_000 * S


@pytest.mark.parametrize("width", [60, 80, 200])
def test_as_text(width: int, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    lines = finding_text(BEGUN, Terminal(width=width), UTC, "forktrace-storm.ftrace")

    assert all(cells(line) <= width for line in lines if "kill" not in line)
    golden(f"storm_{width}", "\n".join(lines) + "\n")


def test_nothing_from_outside_moves_the_cursor() -> None:
    text = "\n".join([*finding_text(BEGUN, Terminal(width=100), UTC), finding_line(BEGUN, UTC)])

    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_what_was_not_measured_is_a_dash_and_null() -> None:
    text = "\n".join(finding_text(BEGUN, Terminal(), UTC))
    told = json.loads(json.dumps(finding_json(BEGUN, None)))

    assert "page tables -" in text
    assert "copied pages -" in text
    assert "failed     -" in text
    assert (told["failures"], told["fork_ns"], told["copies"], told["since"]) == (None, None, None, None)
    assert told["state"] == "begun"
    assert told["who"]["above"] == [{"pid": 812, "comm": "cron"}, {"pid": 1, "comm": None}]
    assert told["statuses"] == {"exit 127 (command not found)": 1600}
    assert told["advice"][0]["command"] == "kill -STOP 4321"


def test_a_second_is_a_line_of_one_width() -> None:
    second = Second(100 * S, 1234, 1000, 1200, None, 80, 2, 0, None, 0.031, "make -j8", 77, 0.9)
    quiet = Second(101 * S, 0, 0, 0, 3, 80, 2, 0, None, 0.0, None, None, None)
    terminal = Terminal(width=90)

    top, line, other = heading(terminal), second_text(second, terminal, UTC), second_text(quiet, terminal, UTC)

    assert top.index("busiest") == line.index("90% make -j8 (77)")
    assert "1,234" in line
    assert "-" in line.split()
    assert other.split()[4] == "3"
    assert second_json(second, UTC)["time"] == "2023-11-14T22:15:00.000Z"
    assert second_json(second, UTC)["failures"] is None
    assert second_json(quiet, UTC)["busiest"] is None
