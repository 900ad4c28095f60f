"""python3 -m tests.vm.inside.pagemap [PHASE...]: the copy classes against /proc/PID/pagemap, by tests/backends.

One cell for all: how many workloads agree page by page, and the first that does not. Without words, every one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.vm.inside.cells import NotOfferedError, check

FEW = ("child_writes", "parent_after_exit", "zero_page", "generations", "private_then_fork", "read_pipe")
"""No phase with threads that write at once: from 7.0 on the kernel may skip a probe there, which the capture reports as
lost and this comparison does not see. The contention check holds counted and lost against the truth."""

_NO_WORKLOAD = "test_every_phase_is_run"  # of the lists in the test, not of any workload


def run(phases: list[str]) -> str:
    """A note; raises AssertionError with the first disagreement."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # On a disk: a file system in memory writes nothing back and reads nothing past its cache
        words = [
            "-q",
            f"--basetemp=/var/tmp/pagemap-{os.getpid()}",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "tests/backends/test_faults_frames.py",
        ]
        if phases:
            words += ["-k", " or ".join(f"[{phase}]" for phase in phases)]
        status = pytest.main(words)
        if not report.exists():
            raise AssertionError(f"pytest ended with status {int(status)} before it ran anything")
        return judge(report.read_text())


def judge(report: str) -> str:
    """The note of a JUnit report."""
    cases = [case for case in ET.fromstring(report).iter("testcase") if _NO_WORKLOAD not in (case.get("name") or "")]
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    made = len(cases) - len(skipped)
    if bad:
        fault = next(element for element in bad[0] if element.tag in ("failure", "error"))
        why = (fault.get("message") or "").splitlines()[:1]
        names = ", ".join((case.get("name") or "").rpartition("[")[2].rstrip("]") for case in bad)
        raise AssertionError(f"{len(bad)} of {made} workloads differ: {names[:200]}; the first: {' '.join(why)[:160]}")
    if skipped and not made:
        raise NotOfferedError((skipped[0].find("skipped").get("message") or "").partition("; FORKTRACE_REQUIRE")[0])  # type: ignore[union-attr]
    if not made:
        raise AssertionError("no workload was run")
    return f"{made} workloads" + (f", {len(skipped)} skipped" if skipped else "")


if __name__ == "__main__":
    check("pagemap", lambda: run(sys.argv[1:]))
