"""Every sample, on the real kernel: tree, ends, waits and figures are as the sample itself told.

For each backend that is ready the same programs and the same judge, up to what the source can not see.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pytest

from tests import judge, samples
from tests.conftest import need
from tests.samples import Sample
from tracer.backends import BACKENDS
from tracer.recording import Reader, Writer

SAMPLES: Final = (
    Sample("chain"),
    Sample("fan"),
    Sample("prefork", {"failures": True}, status=1),
    Sample("demo"),
    Sample("orphan"),
    Sample("adopted"),
    Sample("daemon"),
    Sample("zombie"),
    Sample("vfork_exec"),
    Sample("spawn"),
    Sample("clone_parent"),
    Sample("clone_parent top"),
    Sample("every_way"),
    Sample("pidns", root=True),
    Sample("pidns 5", root=True),
    Sample("threads"),
    Sample("exec_thread"),
    Sample("execs"),
    Sample("exec_fails", {"failures": True}),
    Sample("leader_first"),
    Sample("leader_codes"),
    Sample("io_uring"),
    Sample("waiters"),
    Sample("autoreap"),
    Sample("autoreap nocldwait"),
    Sample("deaths"),
    Sample("killed"),
    Sample("pid_reuse", root=True),
    Sample("odd_bytes"),
    Sample("big_argv"),
    Sample("big_argv", {"argv_max": 4 << 20}, id="big_argv-whole"),
    Sample("storm"),
    Sample("storm 5003"),
    Sample("burn"),
    Sample("sessions"),
    Sample("chdir_exec"),
    Sample("script"),
    Sample("environment", {"record_env": ["SAMPLE_COLOUR"]}),
)

CASES: Final = [pytest.param(sample, id=str(sample)) for sample in SAMPLES]
MARKS: Final = {"bpf": pytest.mark.kernel, "bcc": pytest.mark.kernel}
TRACED: Final = [pytest.param(name, marks=MARKS.get(name, pytest.mark.programs)) for name in BACKENDS]


@pytest.mark.programs
@pytest.mark.parametrize("sample", CASES)
def test_the_sample_by_itself(sample: Sample, tmp_path: Path) -> None:
    need("cc", *(["root"] if sample.root else []))

    outcome = samples.run(sample, None, tmp_path)

    assert outcome.status == sample.status
    assert outcome.lives[0].all("exit")


@pytest.mark.parametrize("sample", CASES)
@pytest.mark.parametrize("backend", TRACED)
def test_as_it_was(backend: str, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    need("cc", backend, *(["root"] if sample.root else []))

    outcome = samples.once(sample, backend, tmp_path_factory)
    trace = outcome.trace
    wrong = judge.differences(outcome.lives, trace.tree.records(), trace.events(), trace.meta.facts)

    assert outcome.status == sample.status
    assert not wrong, "\n".join(wrong)
    assert not outcome.left


@pytest.mark.parametrize("sample", CASES)
@pytest.mark.parametrize("backend", TRACED)
def test_a_reader_takes_all_that_a_backend_gives(
    backend: str, sample: Sample, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the reader refuses as forged is nothing that a kernel says: a thread has an exit_signal of -1 in 32 bits."""
    need("cc", backend, *(["root"] if sample.root else []))

    trace = samples.once(sample, backend, tmp_path_factory).trace
    file = io.BytesIO()
    with Writer(file, trace.meta) as out:
        for batch in trace.batches():
            out.write(batch)
    reader = Reader(io.BytesIO(file.getvalue()))
    rows = sum(map(len, reader))

    assert reader.damage is None
    assert rows == sum(map(len, trace.batches()))
