"""A large log read by several processes is the same as one read by one; small ones are not given away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.bench.strace_logs import make
from tests.importers.test_histories import rows_by_life
from tracer.events import Batch
from tracer.importers import open_log, opening, strace_jobs
from tracer.importers.strace_bulk import Bulk
from tracer.importers.strace_jobs import LARGE, Pool, blocks, jobs_for
from tracer.importers.strace_owners import Skipped
from tracer.importers.strace_rows import Rows
from tracer.importers.strace_stream import Stream


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
    monkeypatch.setattr(strace_jobs, "BLOCK", 10)
    monkeypatch.setattr(strace_jobs, "MAX_LINE", 30)
    text = b"ab\ncdefgh\n" + b"x" * 25 + b"\n\n" + b"y" * 70 + b"\nend"
    (tmp_path / "log").write_bytes(text)

    found = list(blocks(str(tmp_path / "log"), len(text)))

    assert b"".join(block for _, block in found) == text
    assert [offset for offset, _ in found] == [text.index(block, offset) for offset, block in found]
    assert all(b"\n" not in block or block.endswith(b"\n") for _, block in found)


def test_a_worker_that_dies_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BLOCK", 1 << 18)
    monkeypatch.setattr(strace_jobs, "BLOCK", 1 << 18)
    log = tmp_path / "log"
    make(log, 3, dense=True)
    alone, _ = rows(log, 1)
    done = Pool._done

    def kill(self: Pool, *args: Any) -> Any:
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        return done(self, *args)

    monkeypatch.setattr(Pool, "_done", kill)
    without, _ = rows(log, 2)

    assert rows_by_life(without) == rows_by_life(alone)


def test_few_lines_of_life_and_death_are_not_worth_a_second_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})

    assert (jobs_for(LARGE, None, dense=True), jobs_for(LARGE, None, dense=False)) == (2, 0)
    assert jobs_for(LARGE, 2, dense=False) == 2
    for dense in (True, False):
        log = tmp_path / f"{dense}"
        make(log, 0.5, dense=dense)
        assert Bulk(Stream(Rows(), Skipped())).dense(log.read_bytes()) is dense
    assert not Bulk(Stream(Rows(), Skipped())).dense(b"")
