"""Stacks for flame graphs, line by line."""

from __future__ import annotations

import io

import pytest

from tests.build import exec_, fork, root, stack, trace
from tracer import reports
from tracer.errors import CannotWriteError, UsageError
from tracer.reports import Options
from tracer.trace import Trace


def folded(said: Trace) -> str:
    out = io.BytesIO()
    reports.by_name("folded").write(said, out, Options())
    return out.getvalue().decode("utf-8", "surrogateescape")


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


def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(CannotWriteError, match="no space left"):
        reports.by_name("folded").write(trace(root(1, "x"), stack(1, 1, "f")), full, Options())


def test_the_suffix_means_it() -> None:
    report = reports.by_suffix("x.folded")

    assert report is not None
    assert report.name == "folded"
