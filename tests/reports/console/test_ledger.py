"""The ledger on the terminal: what it says, what it leaves out, and that it fits."""

from __future__ import annotations

import pytest

from tests.build import exec_, exit_, faults, fork, root, tree
from tracer.reports.console.ledger import LedgerLines
from tracer.reports.terminal import Terminal
from tracer.tree.tree import ProcessTree

MIB = 1 << 20


def _lines(t: ProcessTree, width: int = 100, *, unicode: bool = True, verbose: int = 0) -> list[str]:
    terminal = Terminal(width=width, color=False, unicode=unicode)
    return ["".join(text for text, _ in spans) for spans in LedgerLines(t, terminal, verbose=verbose).lines()]


def _saver() -> ProcessTree:
    return tree(
        root(1, "redis-server", "--port", "1"),
        fork(1, 2, fork_ns=3_400_000, pgtables_bytes=180 << 10, rss_bytes=50 * MIB),
        faults(2, cow_copies=24, wp_faults=30, reuses=6, parent_cow_birth=0, parent_cow_end=1024),
        faults(1, cow_copies=1024, wp_faults=1100, reuses=76),
        exit_(2),
        fork(1, 3, fork_ns=20_000),
        exit_(3),
    )


def test_a_dear_fork_has_its_line_and_the_cheap_ones_are_counted() -> None:
    assert _lines(_saver()) == [
        "    COPIED   CHILD  PARENT  OF RSS     FORK   TABLES  OF, DEAREST FIRST",
        "  4.09 MiB  96 KiB   4 MiB     8 %  3.40 ms  180 KiB  2 (redis-server), by 1 redis-server --port 1",
        "  and 1 more fork, none dearer",
        "",
        "  copies     4.09 MiB in 1,048 pages · 3.42 ms copying page tables",
        "  faults     1,130 write-protect faults · 82 re-used the page, no copy",
    ]


def test_cheap_forks_are_worth_no_line_unless_asked_for() -> None:
    t = tree(root(1, "sh"), fork(1, 2), faults(2, cow_copies=3, before_exec=True), exec_(2, "true"), exit_(2))

    assert _lines(t) == []
    assert "2 true, by 1 sh" in _lines(t, verbose=1)[1]
    assert "12 KiB of it just before an exec: for nothing" in "\n".join(_lines(t, verbose=1))


@pytest.mark.parametrize("width", [60, 72, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits(width: int, unicode: bool) -> None:
    found = _lines(_saver(), width, unicode=unicode)

    assert found
    assert max(map(len, found)) <= width
    assert unicode or "".join(found).isascii()


def test_when_the_copies_were_made() -> None:
    t = _saver()
    t.decay.update({(1, False): [0, 0, 8, 0, 16, 0], (0, True): [0, 4, 0, 0, 0, 0]})

    assert _lines(t)[-2:] == [
        "  when       2.05 µs ▄ █ 16.4 µs after its birth",
        "             1.02 µs █ 2.05 µs after the parent's last fork",
    ]


def test_the_parents_alone_are_labelled_too_and_small_ones_together_count() -> None:
    t = _saver()
    t.decay.update({(-1, True): [0, 4]})

    assert _lines(t)[-1] == "  when       1.02 µs █ 2.05 µs after the parent's last fork"


def test_faults_that_copied_nothing_are_named() -> None:
    t = tree(
        root(1, "a"),
        fork(1, 2, fork_ns=2_000_000),
        faults(
            2,
            cow_copies=7,
            wp_faults=40,
            reuses=11,
            mkwrites=5,
            zero_copies=13,
            file_copies=17,
            large_copies=0,
            failed_wp=2,
        ),
        exit_(2),
    )

    assert " ".join("\n".join(_lines(t, 200)).split()).endswith(
        "faults 40 write-protect faults · 11 re-used the page, no copy · 5 made a page of a shared file writable ·"
        " 13 replaced a page of zeros · 17 first writes to pages of private files · 2 ended in a signal or an error"
    )


@pytest.mark.parametrize(
    ("width", "who"),
    [
        (200, "2 (python3), by 1 /opt/python/3.12/bin/python3 server.py"),
        (100, "2 (python3), by 1 …/python3 server.py"),
        (80, "2 (python3)"),
    ],
)
def test_folders_go_first_and_no_parent_is_half_a_word(width: int, who: str) -> None:
    t = tree(
        root(1, "/opt/python/3.12/bin/python3", "server.py", comm="python3"),
        fork(1, 2, fork_ns=3_400_000, pgtables_bytes=180 << 10, rss_bytes=50 * MIB),
        faults(2, cow_copies=2400, parent_cow_birth=0, parent_cow_end=1024),
    )

    assert _lines(t, width)[1].endswith(f"  {who}")


def test_how_fork_time_grows_where_it_does() -> None:
    steps = [root(1, "a")]
    for i in range(12):
        sizes = {"rss_bytes": (i + 1) * 10 * MIB, "pgtables_bytes": (i + 1) * 20 << 10}
        steps += [fork(1, 10 + i, fork_ns=50_000 + (i + 1) * 200_000, **sizes), exit_(10 + i)]

    said = [line for line in _lines(tree(*steps), 200) if line.startswith("  fork  ")]

    assert said == [
        "  fork       20.0 µs per MiB of memory (12 forks of 10…120 MiB) ·"
        " 10.2 ms per MiB of page tables (12 forks of 20…240 KiB)"
    ]
