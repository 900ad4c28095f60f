"""A large log read by several processes is the same as one read by one; small ones are not given away."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.strace_logs import make
from tests.importers.strace.test_histories import rows_by_life
from tracer.events import Batch
from tracer.importers import log_source, open_log
from tracer.importers.strace import jobs
from tracer.importers.strace.jobs import LARGE, Pool, blocks, jobs_for


def rows(path: Path, jobs: int | None) -> tuple[list[Batch], Any]:
    _, run = open_log([str(path)], jobs=jobs)
    return list(run), run


@pytest.mark.parametrize("dense", [False, True])
def test_two_read_what_one_reads(dense: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    make(log, 6, dense=dense)
    with log.open("ab") as file:
        file.write(b"what is this\n1000 and this")

    alone, one = rows(log, 1)
    together, two = rows(log, 2)

    assert rows_by_life(together) == rows_by_life(alone)
    assert len(rows_by_life(alone)) > (20_000 if dense else 500)
    assert (two.skipped.lines, two.skipped.cut) == (one.skipped.lines, one.skipped.cut) == (2, 0)


def test_who_reads_a_file() -> None:
    assert jobs_for(None, 4) == 0
    assert jobs_for(LARGE - 1, None) == 0
    assert jobs_for(1, 1) == 0
    assert jobs_for(1, 3) == 3
    assert jobs_for(LARGE, None) <= len(os.sched_getaffinity(0))


def test_blocks_are_the_file_in_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BLOCK", 10)
    monkeypatch.setattr(jobs, "MAX_LINE", 30)
    text = b"ab\ncdefgh\n" + b"x" * 25 + b"\n\n" + b"y" * 70 + b"\nend"
    (tmp_path / "log").write_bytes(text)

    found = list(blocks(str(tmp_path / "log"), len(text)))

    assert b"".join(block for _, block in found) == text
    assert [offset for offset, _ in found] == [text.index(block, offset) for offset, block in found]
    assert all(b"\n" not in block or block.endswith(b"\n") for _, block in found)


def test_a_worker_that_dies_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_source, "BLOCK", 1 << 18)
    monkeypatch.setattr(jobs, "BLOCK", 1 << 18)
    log = tmp_path / "log"
    make(log, 3, dense=True)
    alone, _ = rows(log, 1)
    done = Pool._done

    def kill(self: Pool, *args: Any) -> Any:
        for worker in self.workers:
            if worker is not None:
                os.kill(worker.pid, signal.SIGKILL)
        return done(self, *args)

    monkeypatch.setattr(Pool, "_done", kill)
    without, _ = rows(log, 2)

    assert rows_by_life(without) == rows_by_life(alone)


def test_two_processors_are_not_worth_a_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, workers in ((1, 0), (2, 0), (3, 3), (16, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cpus=cpus: set(range(cpus)))
        assert jobs_for(LARGE, None) == workers
        assert jobs_for(LARGE, 2) == 2


SCRIPT = """
import sys
from tracer.importers import open_log
from tracer.importers.strace import jobs

with open(sys.argv[2], "a") as said:
    said.write(f"{__name__}\\n")
jobs.LARGE = 1
jobs.os.sched_getaffinity = lambda pid: {0, 1, 2}
before = jobs.Worker.give
given = []
jobs.Worker.give = lambda worker, request: (given.append(request), before(worker, request))
_, run = open_log([sys.argv[1]])
print(sum(map(len, run)), len(given), file=open(sys.argv[2], "a"))
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    """Workers run nothing of their caller's."""
    log, script, said = tmp_path / "log", tmp_path / "script.py", tmp_path / "said"
    make(log, 6, dense=True)
    script.write_text(SCRIPT)
    here = tmp_path / "here"  # a module there is not taken for Python's own
    here.mkdir()
    (here / "pickle.py").write_text(f"open({str(said)!r}, 'a').write('pickle of the current directory\\n')")

    subprocess.run(
        [sys.executable, script, log, said], check=True, cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip

    alone, _ = rows(log, 1)
    assert said.read_text() == f"__main__\n{sum(map(len, alone))} 3\n"


def test_without_an_interpreter_there_are_no_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    make(log, 5, dense=True)
    whole = rows_by_life(rows(log, 1)[0])

    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    assert rows_by_life(rows(log, 2)[0]) == whole
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert rows_by_life(rows(log, 2)[0]) == whole
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert jobs_for(LARGE, 3) == 0


def test_workers_end_with_who_started_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    make(log, 0.2, dense=True)

    with Pool(str(log), log.stat().st_size, 2) as pool:
        pids = [worker.pid for worker in pool.workers if worker is not None]
        assert b"".join(text for _, text, _, _ in pool.read(lambda: True)) == log.read_bytes()

    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_whose_caller_is_killed_ends(tmp_path: Path) -> None:
    code = """
import os
from tracer.importers.strace.worker import Worker
print(Worker().pid, flush=True)
os.kill(os.getpid(), 9)
"""

    made = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parents[3])

    assert made.returncode == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):  # it may have ended by now
        worker = os.pidfd_open(int(made.stdout))
        ended, _, _ = select.select([worker], [], [], 60)
        os.close(worker)
        assert ended
