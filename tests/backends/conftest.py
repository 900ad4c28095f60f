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
