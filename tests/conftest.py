"""Shared by all tests: skips that say what is missing, and the switch that makes them failures.

`need("bpf")` skips a test, with the reason and its mend, where that backend (or root, or a program) is not
ready. FORKTRACE_REQUIRE=bpf,strace,root turns a skip for want of one of these into a failure, so that CI can
not pass by skipping.
Knows nothing of what the tests test.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

BACKENDS: Final = ("bpf", "bcc", "netlink", "strace")


def required() -> frozenset[str]:
    """What may not be missing here, from FORKTRACE_REQUIRE."""
    return frozenset(os.environ.get("FORKTRACE_REQUIRE", "").replace(",", " ").split())


def lacking(name: str) -> str | None:
    """Why `name` (a backend, `root`, or a program on the PATH) can not be used here; None when it can."""
    if name == "root":
        return None if os.geteuid() == 0 else "not root"
    if name not in BACKENDS:
        return None if shutil.which(name) else f"no program {name}"
    from tracer import backends

    if name not in backends.BACKENDS:
        return "no such backend in this version"
    state = backends.readiness(name)
    return None if state.ok else f"{state.why} ({state.mend})" if state.mend else state.why


def need(*names: str) -> None:
    """Skip the running test where one of `names` is lacking; fail where FORKTRACE_REQUIRE names that one."""
    for name in names:
        why = lacking(name)
        if why is None:
            continue
        if name in required():
            pytest.fail(f"{name} is required here (FORKTRACE_REQUIRE): {why}", pytrace=False)
        pytest.skip(f"{name}: {why}; FORKTRACE_REQUIRE={name} makes this a failure")
