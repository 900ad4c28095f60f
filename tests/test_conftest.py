"""`need`: a skip names what is missing and the switch; with the switch it is a failure."""

from __future__ import annotations

import pytest

from tests import conftest


def test_what_is_there_is_not_skipped() -> None:
    conftest.need("sh")


def test_what_is_missing_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORKTRACE_REQUIRE", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no program no-such-thing; FORKTRACE_REQUIRE=no-such-thing"):
        conftest.need("sh", "no-such-thing")


def test_what_is_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKTRACE_REQUIRE", "root, no-such-thing")

    with pytest.raises(pytest.fail.Exception, match="no program no-such-thing"):
        conftest.need("no-such-thing")


def test_another_requirement_is_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKTRACE_REQUIRE", "bpf,no-such-thing-else")

    with pytest.raises(pytest.skip.Exception):
        conftest.need("no-such-thing")


def test_a_backend_is_asked_whether_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracer import backends

    state = backends.Readiness(False, "no BTF", "use a newer kernel")
    monkeypatch.setattr(backends, "readiness", lambda name: state)

    assert conftest.lacking("bpf") == "no BTF (use a newer kernel)"
