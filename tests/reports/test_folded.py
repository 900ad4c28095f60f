"""Stacks for flame graphs, line by line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings

from tests import hostile
from tests.build import MS, after, end, exec_, existing, exit_, faults, fork, root, stack, trace
from tests.exporting import exported, of
from tests.strategies import History, histories
from tracer import reports
from tracer.api.trace import Trace
from tracer.errors import CannotWriteError, UsageError
from tracer.reports import Options


def folded(said: Trace, weight: str | None = None) -> str:
    return exported("folded", said, weight=weight).decode("utf-8", "surrogateescape")


def test_outermost_first_and_alike_added_up() -> None:
    said = trace(
        root(1, "server"),
        fork(1, 2),
        fork(1, 3),
        stack(2, 7, "memset", "fill", "main", before_exec=True),
        stack(3, 5, "memset", "fill", "main", before_exec=True),
        stack(1, 2, "f", "main"),
    )

    assert folded(said) == "server;main;f 2\nserver;main;fill;memset 12\n"


def test_a_fork_before_its_exec_goes_by_its_parents_name() -> None:
    said = trace(root(1, "sh"), fork(1, 2), stack(2, 7, "fork", before_exec=True), exec_(2, "ls"), stack(2, 1, "main"))

    assert folded(said) == "ls;main 1\nsh;fork 7\n"


def test_names_can_not_make_frames_or_lines() -> None:
    said = trace(root(1, "a;b c"), stack(1, 3, "JS:~f x.js:1;\n9", "operator new[](unsigned long)", "b\udcff"))

    assert folded(said) == "a:b c;b\udcff;operator new[](unsigned long);JS:~f x.js:1:9 3\n"


def test_a_trace_without_stacks_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="no stacks; record one with --cow-stacks"):
        reports.by_name("folded").write(trace(root(1, "x")), io.BytesIO(), Options(weight="stacks"))
    with pytest.raises(UsageError, match="no CPU time"):
        reports.by_name("folded").write(trace(root(1, "x")), io.BytesIO(), Options(weight="cpu"))


def test_a_trace_without_stacks_is_folded_by_ancestors() -> None:
    assert folded(trace(root(1, "x"))) == "x 1\n"


def test_programs_below_their_ancestors_by_each_weight() -> None:
    steps = [
        root(1, "make"),
        fork(1, 2),
        exec_(2, "/bin/cc", "a;b.c"),
        after(4),
        exit_(2, utime_ns=700, stime_ns=300),
        fork(1, 3),
        exec_(3, "cc"),
        exit_(3, utime_ns=0, stime_ns=50),
        fork(3, 4, comm="x;y z"),
        exit_(1),
        faults(2, cow_copies=2),
        faults(3, cow_copies=1),
        faults(1, cow_copies=0),
        end(),
    ]
    said = trace(*steps)

    assert folded(said, "count") == "make 1\nmake;cc 2\nmake;cc;x:y z 1\n"
    assert folded(said, "life") == f"make {12 * MS}\nmake;cc {8 * MS}\nmake;cc;x:y z {4 * MS}\n"
    assert folded(said, "cpu") == "make;cc 1050\n"
    assert folded(said, "cow") == f"make;cc {3 * 4096}\n"


def test_who_was_there_before_weighs_nothing() -> None:
    said = trace(
        existing(1, comm="init"), existing(2, 1, "sshd"), fork(2, 3), exec_(3, "ls"), exit_(3), exit_(2), end()
    )

    assert folded(said, "count") == "init;sshd;ls 1\n"
    assert folded(said, "life") == f"init;sshd;ls {2 * MS}\n"


def test_a_trace_without_times_has_no_lives_to_weigh() -> None:
    timeless = hostile.FORGED["no stamps"]

    assert folded(timeless, "count") == "c1 1\nc1;c2 1\n"
    with pytest.raises(UsageError, match="this trace has no times; take another --weight: count is always there"):
        folded(timeless, "life")


def test_a_chain_is_cut_and_still_counted() -> None:
    text = folded(hostile.chain(1000))

    assert sum(int(line.rpartition(" ")[2]) for line in text.splitlines()) == 1000
    assert max(line.count(";") for line in text.splitlines()) == 127


@settings(max_examples=40)
@given(histories())
def test_weights_add_up(history: History) -> None:
    said = of(history)
    total = sum(int(line.rpartition(" ")[2]) for line in folded(said, "count").splitlines())

    assert total == sum(how != "existing" for how in said.tree.column("how"))


def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(CannotWriteError, match="no space left"):
        reports.by_name("folded").write(trace(root(1, "x"), stack(1, 1, "f")), full, Options())


def test_the_suffix_means_it() -> None:
    report = reports.by_suffix("x.folded")

    assert report is not None
    assert report.name == "folded"
