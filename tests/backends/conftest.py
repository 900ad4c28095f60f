"""Fixtures of the backends' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.fault_probes import Probes
from tests.conftest import need


@pytest.fixture(scope="session")
def probes() -> Iterator[Probes]:
    """The fault probes, loaded and attached once; nobody is followed yet."""
    need("bpf")
    probes = Probes()
    yield probes
    probes.close()


@pytest.fixture
def new_probes() -> Iterator[Probes]:
    """Others, for what depends on what has been seen before: no thread yet."""
    need("bpf")
    probes = Probes()
    yield probes
    probes.close()
