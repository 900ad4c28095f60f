from __future__ import annotations

from pathlib import Path

import pytest

from tests.btf_blob import Blob
from tests.host.features.fakes import FakeHost
from tracer.errors import UsageError
from tracer.host import btf, features
from tracer.host.features import Check, Host


def test_every_feature_answers_under_its_own_name_on_a_host_that_has_nothing(tmp_path: Path) -> None:
    checks = features.features(Host(tmp_path))

    assert [check.name for check in checks] == list(features.FEATURES)
    for check in checks:
        assert check.detail, check
        assert check.why, check
        assert "\n" not in f"{check.detail}{check.why}{check.mend}"
        assert check.ok is not False or check.mend, f"{check.name} is missing and nothing mends it"


def test_every_feature_is_there_on_a_host_that_has_all(tmp_path: Path) -> None:
    missing = [check for check in features.features(FakeHost(tmp_path)) if not check.ok]

    assert missing == []


def test_each_is_for_somebody() -> None:
    groups = {"bpf", "copies", "bcc", "netlink", "strace", "all"}
    assert {features.group(name) for name in features.FEATURES} == groups


def test_a_name_that_is_none_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no feature is called 'btff'"):
        features.feature("btff")


def test_this_host_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def question(host: Host) -> Check:
        asked.append(host)
        return Check("probe", ok=True, detail="d", why="w")

    monkeypatch.setitem(features.FEATURES, "probe", ("all", question))
    first, second = features.feature("probe"), features.feature("probe")

    assert first is second
    assert len(asked) == 1


def test_types_of_a_later_format_are_unknown_and_no_traceback(tmp_path: Path) -> None:
    later = Blob()
    later.add(31, "a_new_kind", 0)
    later.add(btf.TYPEDEF, "btf_trace_task_newtask", 0)
    host = FakeHost(tmp_path).put("sys/kernel/btf/vmlinux", later.bytes())
    check = features.feature("tp_btf", host)

    assert check.ok is None
    assert "newer than this program" in check.detail
