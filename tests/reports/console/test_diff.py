"""The table of what differs: it fits, it is quiet, and the golden pages are what was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from tests.build import Step, after, exec_, exit_, faults, fork, root, spawn, tree
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.diff import Diff, diff
from tracer.analyses.profile import Places, profile
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.reports.console.diff import lines
from tracer.reports.terminal import Terminal, cells
from tracer.tree.tree import ProcessTree


def run(workers: int, *, how: Any = fork, copies: int = 10, slow: float = 5, code: int = 0, **changes: Any) -> Any:
    """A server with workers that each run a helper; one more thing is done by a script."""
    steps: list[Step] = [root(1, "server"), exec_(1, "server", "--port", "8080")]
    for i in range(workers):
        pid, helper = 10 + i, 100 + i
        steps += [
            how(1, pid),
            exec_(pid, "/usr/lib/server/worker", f"--id={i}"),
            faults(pid, cow_copies=copies + i),
            fork(pid, helper),
            exec_(helper, "sh", "-c", f"convert {i}.png"),
            after(slow),
            exit_(helper, code=code),
            exit_(pid),
        ]
    if workers > 2:
        steps += [fork(1, 50), exec_(50, "bash", "/opt/rotate.sh", "now"), exit_(50, signal=9)]
    return tree(*steps, exit_(1), **changes)


def compared(a: list[ProcessTree], b: list[ProcessTree]) -> Diff:
    places = Places()
    return diff([profile(t, places) for t in a], [profile(t, places) for t in b], places)


PAGES = {
    "one": compared([run(2)], [run(3, how=spawn, copies=200, slow=30, code=3)]),
    "several": compared(
        [run(2, slow=s, copies=c) for s, c in ((5, 10), (7, 12), (6, 9))],
        [run(n, slow=s, copies=c, code=1) for n, s, c in ((3, 30, 200), (4, 20, 210), (5, 25, 190))],
    ),
    "blind": compared([run(2)], [run(3, facts=frozenset(Fact) - {Fact.COW, Fact.CPU})]),
    "none": compared([run(2)], [run(2)]),
}


def page(found: Diff, width: int, unicode: bool = True, most: int | None = 30) -> str:
    a, b = ([f"{side}{i}.ftrace" for i in range(n)] for side, n in zip("ab", found.runs, strict=True))
    drawn = lines(found, a, b, Terminal(width=width, unicode=unicode), most=most)
    return "".join("".join(text for text, _ in line) + "\n" for line in drawn)


def test_it_says_who_saw_them_unless_bpf_saw_all() -> None:
    log, bpf = run(2, source="strace-log"), run(2)

    assert "seen by" not in page(compared([bpf], [run(3)]), 80)
    same = "no difference in 5 processes of 3 commands; not compared: fork time, CPU time"
    assert page(compared([bpf], [bpf]), 200) == same + "\n"
    assert page(compared([bpf], [log]), 200) == same + "\nseen by bpf, strace-log\n"
    heads = page(compared([bpf, log], [run(3, source="x\x1b[1m")]), 80).split("\n")[:2]
    assert "seen by bpf, strace-log" in heads[0]
    assert "seen by x\\x1b[1m" in heads[1]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_pages(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"diff_{width}", "\n".join(page(found, width) for found in PAGES.values()))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits(width: int, unicode: bool) -> None:
    for found in PAGES.values():
        text = page(found, width, unicode)
        assert max(cells(line) for line in text.splitlines()) <= width
        assert unicode or text.isascii()


def test_a_row_that_says_nothing_at_this_width_is_counted_and_not_drawn() -> None:
    narrow, wide = page(PAGES["several"], 60), page(PAGES["several"], 200)

    assert "server --port" not in narrow
    assert "1 command for which a wider screen is needed" in narrow
    assert "server --port" in wide
    assert "wider screen" not in wide


@pytest.mark.parametrize(
    ("a", "b", "copied", "apart"),
    [
        (16384, 16384, "160 KiB → 3.12 MiB", "512 KiB"),
        (4096, 16384, "10 pages → 200 pages", "32 pages"),
    ],
)
def test_copies_are_bytes_where_both_sides_have_pages_of_one_size(a: int, b: int, copied: str, apart: str) -> None:
    sides = [run(1, copies=n, options={"page_size": page}) for n, page in ((10, a), (200, b))]
    text = page(compared([sides[0]], [sides[1]]), 200)

    assert copied in text
    assert f"copies and times over 25% and {apart} or 1 ms apart" in text


def test_what_is_not_shown_is_counted() -> None:
    found = PAGES["one"]
    text = page(found, 100, most=1)

    assert f"{len(found.changes) - 1} more commands that differ" in text
    assert "more commands" not in page(found, 100)


@PROFILE
@given(histories(), histories())
def test_any_two_trees_make_lines_that_move_no_cursor(x: History, y: History) -> None:
    trees = [ProcessTree(META), ProcessTree(META)]
    for made, history in zip(trees, (x, y), strict=True):
        made.feed(Batch.from_rows(history.rows))
    for line in page(compared(trees[:1], trees[1:]), 60).splitlines():
        assert line.isprintable()
        assert cells(line) <= 60
