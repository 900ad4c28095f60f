from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from tracer.fleet.questions import Answer
from tracer.reports.console.fleet import cell, lines
from tracer.reports.terminal import Terminal, cells

NOON = datetime.datetime(2026, 1, 1, 12)
HOSTS = Answer(
    "hosts",
    (
        "host",
        "traces",
        "watched_s",
        "forks_per_s",
        "peak_per_s",
        "forks",
        "failed",
        "cpu_ns",
        "fork_ns",
        "copied_pages",
        "zombies",
        "failed_forks",
        "lost",
    ),
    (
        ("web1.example", 31, 7200.0, 0.42, 310, 3024, 17, 5_400_000_000, 93_000_000, 131_072, 3, 2, 0),
        ("\x1b[2Jdb", 1, 60.0, 120.0, 400, 7200, None, None, None, None, 0, None, 5),
    ),
)
TIMES = Answer(
    "over_time",
    ("group", "ts", "forks", "copied_pages"),
    (*(("a", NOON + datetime.timedelta(minutes=m), m * m, None) for m in range(40)), ("b", NOON, 1521, 1)),
)
STORMS = Answer(
    "storms",
    ("host", "began", "lasted_s", "forks", "peak_per_s", "usual_per_s", "template", "unit", "share"),
    (
        (
            "web1",
            NOON,
            12.0,
            30_000,
            4100,
            3.0,
            "php-fpm: pool www and very many other words of a command",
            "php.service",
            0.97,
        ),
    ),
)
NOTHING = Answer("copies", ("host", "unit", "program", "processes", "copied_pages", "most_pages"), ())
ALL = [HOSTS, TIMES, STORMS, NOTHING]


def page(width: int, unicode: bool = True) -> str:
    spans = lines(ALL, Terminal(width=width, unicode=unicode), by="host")
    return "".join("".join(text for text, _ in line) + "\n" for line in spans)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_pages(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"fleet_{width}", page(width))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits_and_nothing_moves_the_cursor(width: int, unicode: bool) -> None:
    text = page(width, unicode)

    assert max(cells(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert unicode or text.isascii()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cpu_ns", None, "-"),
        ("cpu_ns", 1500, "1.50 µs"),
        ("copied_pages", 256, "1 MiB"),
        ("forks_per_s", 0.42, "0.4"),
        ("forks_per_s", 4100.0, "4,100"),
        ("watched_s", 60.0, "1 min"),
        ("share", 0.97, "97%"),
        ("lost", 0, "0"),
    ],
)
def test_cells(name: str, value: Any, said: str) -> None:
    assert cell(name, value) == said
