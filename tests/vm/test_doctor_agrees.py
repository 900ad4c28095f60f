"""Doctor and a run agree on this host too, as root and as nobody: what changes no setting is asked at every test."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import need
from tests.vm.doctor_agrees import Judge, Situation, situations

HARMLESS = [situation for situation in situations() if situation.made is nullcontext]


@pytest.mark.kernel
@pytest.mark.parametrize("situation", HARMLESS, ids=lambda situation: situation.name)
def test_doctor_says_what_a_run_does(situation: Situation) -> None:
    """The folder is not pytest's, into which nobody but its owner may look."""
    need("bpf", "root", "setpriv")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        judge = Judge(situation, Path(folder))
        judge.all(fixes=False)

    assert judge.said == []


@pytest.mark.kernel
def test_a_wrong_promise_is_noticed(tmp_path: Path) -> None:
    need("bpf", "root")
    judge = Judge(HARMLESS[0], tmp_path)
    judge.backend({"name": "bpf", "ok": False, "why": "it is tired", "sees": [], "sees_with": {}})
    judge.backend({"name": "bpf", "ok": True, "why": None, "sees": ["argv"], "sees_with": {}})
    judge.chosen("strace", ["bpf"])

    assert [words.split(": ")[1] for words in judge.said] == [
        "bpf",
        "bpf, facts",
        "bpf with all options, facts",
        "the backend that is taken",
    ]
