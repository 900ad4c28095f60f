"""Copies that are none of a fork: of merged pages (KSM), and writes to hugetlb pages, whose copies cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tracer
from tests.conftest import need
from tests.programs import cow

pytestmark = pytest.mark.kernel
_KSM = Path("/sys/kernel/mm/ksm")
_POOL = Path("/proc/sys/vm/nr_hugepages")


@pytest.fixture
def merging() -> Iterator[None]:
    """KSM runs, fast, for as long as the test."""
    need("bpf", "root")
    if not (_KSM / "run").exists():
        pytest.skip("this kernel has no KSM")
    wanted = {"pages_to_scan": "10000", "sleep_millisecs": "5", "run": "1"}
    before = {name: (_KSM / name).read_text() for name in wanted}
    for name, value in wanted.items():
        (_KSM / name).write_text(value)
    yield
    for name, value in before.items():
        (_KSM / name).write_text(value)


def test_copies_of_merged_pages_are_no_copies_of_a_fork(merging: None, capfd: pytest.CaptureFixture[str]) -> None:
    trace = tracer.run([str(cow.build("ksm")), "400"], backend="bpf")
    merged = int(capfd.readouterr().out)
    (row,) = trace.processes.to_dict("records")

    assert merged == 400
    assert (row["ksm_copies"], row["cow_copies"]) == (400, 0)


@pytest.fixture
def hugetlb_pages() -> Iterator[int]:
    """Pages in the pool for hugetlb mappings."""
    need("bpf", "root")
    before = _POOL.read_text()
    _POOL.write_text(str(int(before) + 8))
    yield int(_POOL.read_text()) - int(before)
    _POOL.write_text(before)


def test_writes_to_hugetlb_pages_after_a_fork_are_no_reuses(hugetlb_pages: int) -> None:
    if hugetlb_pages < 8:
        pytest.skip("no 16 MiB of hugetlb pages can be had")
    trace = tracer.run([str(cow.build("hugetlb"))], backend="bpf")
    _root, child = trace.processes.to_dict("records")

    assert child["exit_code"] == 0
    assert child["reuses"] < 3
    assert child["wp_faults"] >= child["reuses"] + 3
