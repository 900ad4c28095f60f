"""Shared by all tests: skips that say what is missing, and the switch that makes them failures.

`need("bpf")` skips a test, with the reason and its mend, where that backend (or root, or a program) is not
ready. FORKTRACE_REQUIRE=bpf,strace,root turns a skip for want of one of these into a failure, so that CI can
not pass by skipping. `golden(name, text)` compares a text with tests/golden/NAME.txt; --update-golden writes it anew.
Knows nothing of what the tests test.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

# A busy machine is no failure: how long one example takes is nothing that these tests are about.
hypothesis.settings.register_profile("forktrace", deadline=None)
hypothesis.settings.load_profile("forktrace")

GOLDEN: Final = Path(__file__).parent / "golden"
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


@pytest.fixture(scope="module", autouse=True)
def no_helper_of_the_standard_library_stays() -> Iterator[None]:
    """multiprocessing keeps a process of its own for good, and other tests look whether we have children left."""
    yield
    module = sys.modules.get("multiprocessing.resource_tracker")
    if module is not None:
        module._resource_tracker._stop()  # it starts again when it is needed


@pytest.fixture(scope="session", autouse=True)
def tracefs() -> None:
    """bcc reads tracefs, and mounts none itself. Where it is missing, ours is in a mount namespace of our own."""
    if os.geteuid() == 0 and not Path("/sys/kernel/tracing/events").exists():
        mount_privately("tracefs", "/sys/kernel/tracing")


def mount_privately(kind: str, where: str) -> None:
    """Mount so that only we and our children see it, if that is allowed. It ends with us."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, recursive_private = 0x00020000, 0x4000 | 0x40000
    if libc.unshare(new_namespace) == 0 and libc.mount(b"none", b"/", None, recursive_private, None) == 0:
        libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew; look at the diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name, byte for byte."""
    update = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if update:
            path.write_text(text, encoding="utf-8", newline="")
        assert path.exists(), f"there is no {path.name} yet: run pytest --update-golden, and read it"
        assert text == path.read_bytes().decode(), f"not as in tests/golden/{path.name} (--update-golden writes it)"

    return compare
