"""Programs that the kernel refuses: an optional one costs its columns, a main one the backend, and both are said."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracer
from tests.backends.refused_object import REASON, refused_object
from tests.conftest import need
from tracer import backends
from tracer.backends import Options
from tracer.backends.bpf import backend, objects, trial
from tracer.backends.bpf import programs as _programs
from tracer.backends.bpf.libbpf import BpfObject
from tracer.capture.session import Plan, Session
from tracer.errors import ProbesRefusedError
from tracer.model.meta import Fact
from tracer.model.schema import TYPES

kernel = pytest.mark.kernel
_SECTIONS = {
    "on_signal": "tp_btf/signal_generate",
    "on_wait": "tp_btf/sched_process_wait",
    "on_oom": "tp_btf/mark_victim",
    "on_free": "tp_btf/sched_process_free",
    "on_exec": "tp_btf/sched_process_exec",
    "on_rename": "tp_btf/task_rename",
    "on_newtask": "tp_btf/task_newtask",
    "on_exit": "tp_btf/sched_process_exit",
}


@pytest.mark.parametrize("name", _programs.OPTIONAL)
def test_the_table_names_programs_facts_and_columns_that_exist(name: str) -> None:
    obj = BpfObject(objects.probe_object(name))
    programs = dict(obj.programs())
    obj.close()

    assert _programs.OPTIONAL[name].keys() <= programs.keys()
    for feeds in _programs.OPTIONAL[name].values():
        assert feeds.facts <= set(Fact)
        assert feeds.columns <= TYPES.keys()
        assert feeds.words


def use(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Take the object at `path` in place of the one of that name."""
    real = objects.probe_object

    def found(name: str) -> Path:
        return path if path.name == f"{name}.bpf.o" else real(name)

    for module in (objects, backend, trial):
        monkeypatch.setattr(module, "probe_object", found)


@kernel
@pytest.mark.parametrize("program", ["on_signal", "on_wait", "on_oom", "on_free", "on_exec", "on_rename"])
def test_an_optional_program_costs_its_columns_and_no_more(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("bpf")
    use(monkeypatch, refused_object(tmp_path, "lifecycle", _SECTIONS[program]))
    feeds = _programs.OPTIONAL["lifecycle"][program]

    trace = tracer.run(["bash", "-c", "/bin/true; (exit 3); kill -9 $BASHPID"], backend="bpf")
    rows = trace.processes.to_dict("records")

    assert trace.meta.source == "bpf"
    assert sorted(row["exit_code"] for row in rows if row["signal"] is None or row["signal"] != row["signal"]) == [0, 3]
    assert not trace.meta.facts & feeds.facts
    assert [f"not measured: {feeds.words}, as the kernel refused {program}: {REASON}"] == [
        note for note in trace.meta.notes if "refused" in note
    ]
    for column in feeds.columns & set(rows[0]):
        assert all(row[column] is None or row[column] != row[column] for row in rows), column


@kernel
@pytest.mark.parametrize("program", ["on_newtask", "on_exit"])
def test_a_refused_main_program_is_a_loud_fall_back(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("bpf", "strace")
    use(monkeypatch, refused_object(tmp_path, "lifecycle", _SECTIONS[program]))
    monkeypatch.setattr(backends, "BACKENDS", ("bpf", "strace"))
    said: list[str] = []

    with Session(Plan(argv=["true"]), say=said.append) as session:
        session.start()
        session.run(lambda _: None)

    words = [line for line in said if "WARNING" in line]
    assert len(words) == 1
    assert words[0].startswith(
        f"WARNING: bpf: the kernel's verifier refused {program} of lifecycle.bpf.o: {REASON}; using strace instead, "
        "which does not measure adoption, cgroup, cow, "
    )
    assert any(f"refused {program}" in note for note in session.meta.notes)


@kernel
def test_the_trial_says_which_program_is_refused_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("bpf")
    assert {verdict.program for verdict in trial.trial() if not verdict.ok} == set()

    use(monkeypatch, refused_object(tmp_path, "lifecycle", _SECTIONS["on_newtask"]))
    refused = [verdict for verdict in trial.trial(Options(cow="off")) if not verdict.ok]

    assert refused == [
        ("lifecycle", "on_newtask", False, REASON, "anything by the bpf backend", True),
    ]


@kernel
def test_the_bpf_backend_asked_for_by_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("bpf")
    use(monkeypatch, refused_object(tmp_path, "lifecycle", _SECTIONS["on_newtask"]))

    with pytest.raises(ProbesRefusedError, match=rf"refused on_newtask of lifecycle\.bpf\.o: {REASON}"):
        tracer.run(["true"], backend="bpf")
