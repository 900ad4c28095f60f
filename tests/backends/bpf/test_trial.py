"""What `forktrace doctor` learns by loading the probes is what a run with them then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tracer
from tests.backends.bpf.test_programs import use
from tests.backends.refused_object import REASON, refused_object
from tests.conftest import need
from tracer import backends
from tracer.backends import Options, Verdict
from tracer.backends.bpf import trial
from tracer.errors import ProbesRefusedError
from tracer.host import features as kernel
from tracer.host.features.check import Check, no
from tracer.model.meta import Fact

pytestmark = pytest.mark.kernel
EVERYTHING: dict[str, Any] = {"cow": "full", "cow_stacks": 1000, "failures": True, "reap_exact": True}


@pytest.fixture(autouse=True)
def _bpf() -> None:
    need("bpf")


def test_on_this_kernel_nothing_is_lost() -> None:
    found = backends.trial("bpf")

    assert (found.readiness.ok, found.lost) == (True, frozenset())
    assert {verdict.object for verdict in found.verdicts} == {
        "lifecycle",
        "attach",
        "failures",
        "faults",
        "faults_walk",
        "stacks",
    }


@pytest.mark.parametrize(
    ("name", "section", "program"),
    [
        ("lifecycle", "tp_btf/sched_process_wait", "on_wait"),
        ("lifecycle", "tp_btf/signal_generate", "on_signal"),
        ("failures", "tp_btf/sys_exit", "on_sys_exit"),
        ("faults", "tp_btf/mm_page_alloc", "on_page_alloc"),
    ],
)
def test_what_a_refused_program_costs_the_run_lacks_too(
    name: str, section: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, refused_object(tmp_path, name, section))
    found = backends.trial("bpf")
    trace = tracer.run(["true"], backend="bpf", **EVERYTHING)

    assert found.readiness.ok
    assert [(v.object, v.program, v.why) for v in found.verdicts if not v.ok] == [(name, program, REASON)]
    assert found.lost
    assert trace.meta.facts == backends.load("bpf").cover(Options(**EVERYTHING)) - found.lost


def test_a_refused_main_program_is_no_ready_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, refused_object(tmp_path, "lifecycle", "tp_btf/task_newtask"))
    found = backends.trial("bpf")

    assert (found.readiness.ok, found.readiness.why) == (False, f"the kernel refuses on_newtask: {REASON}")
    with pytest.raises(ProbesRefusedError, match=f"refused on_newtask .*{REASON}"):
        tracer.run(["true"], backend="bpf")


def test_objects_that_were_not_tried_are_not_to_be_had() -> None:
    alone = [Verdict("lifecycle", "on_exit", True, "", "", main=True)]

    assert trial.lost(alone) == {Fact.COW, Fact.WP_FAULTS, Fact.STACKS, Fact.EXEC_FAILED, Fact.FORK_FAILED}


def test_a_backend_without_programs_is_as_ready_as_it_says() -> None:
    found = backends.trial("strace")

    assert (found.readiness, found.verdicts, found.lost) == (backends.readiness("strace"), (), frozenset())


def test_of_several_missing_features_the_youngest_says_which_kernel_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    since = {"task_storage": "5.11", "bpf_loop": "5.17"}
    real = kernel.feature

    def asked(name: str) -> Check:
        return no(name, f"{name}: not in this kernel", "", f"Linux {since[name]}") if name in since else real(name)

    monkeypatch.setattr(kernel, "feature", asked)
    found = backends.trial("bpf")

    assert (found.readiness.why, found.readiness.mend) == ("bpf_loop: not in this kernel", "Linux 5.17")
    assert (found.verdicts, found.lost) == ((), frozenset())
