"""How a report of pytest becomes one cell."""

from __future__ import annotations

import pytest

from tests.vm.inside import pagemap
from tests.vm.inside.cells import NotOfferedError

CASE = '<testcase name="test_anonymous_memory[{name}]">{inside}</testcase>'


def report(**cases: str) -> str:
    inside = "".join(CASE.format(name=name, inside=inside) for name, inside in cases.items())
    return f"<testsuites><testsuite>{inside}</testsuite></testsuites>"


def test_all_agree() -> None:
    assert pagemap.judge(report(fresh="", threads="")) == "2 workloads"


def test_the_first_that_differs_is_named() -> None:
    failure = '<failure message="assert 22 == 23&#10; more">...</failure>'

    with pytest.raises(AssertionError, match=r"1 of 2 workloads differ: threads; the first: assert 22 == 23$"):
        pagemap.judge(report(fresh="", threads=failure))


def test_what_was_skipped_is_not_offered_for_its_reason() -> None:
    skipped = '<skipped message="bpf: task storage: not in this kernel; FORKTRACE_REQUIRE=bpf makes this a failure"/>'

    with pytest.raises(NotOfferedError, match=r"^bpf: task storage: not in this kernel$"):
        pagemap.judge(report(fresh=skipped))


def test_nothing_was_run() -> None:
    with pytest.raises(AssertionError, match="no workload was run"):
        pagemap.judge(report())
