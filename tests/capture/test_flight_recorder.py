"""The flight recorder: the seconds before are in the file, in order; what is not, is counted."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stories import ALL, S, Story
from tracer.api.capture import open_trace
from tracer.capture.flight_recorder import Recorder
from tracer.errors import CannotWriteError
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.recording import Reader
from tracer.recording.thin import thin, weight


def batches(seconds: int, n: int = 20, start: int = 0) -> Iterator[Batch]:
    """A tenth of a second each; every process lives for a second and a half, so many cross any border."""
    story = Story()
    story.existing(1)
    rows = []
    for k in range(start, start + seconds * n):
        at = k / n
        story.fork(at, 100 + k, 1, comm=f"c{k}")
        story.exec(at + 0.0001, 100 + k, f"/bin/c{k}", "x" * 50)
        story.exit(at + 1.5, 100 + k)
        story.reap(at + 1.501, 100 + k)
    rows = sorted(story.rows[1:], key=lambda row: row[1]["ts_ns"])
    yield Batch.from_rows(story.rows[:1])
    step = max(1, n // 10) * 4
    for i in range(0, len(rows), step):
        yield Batch.from_rows(rows[i : i + step])


def rows_of(path: Path) -> list[tuple[Kind, dict[str, Any]]]:
    return [row for batch in Reader(path) for row in batch.rows()]


def lost(rows: list[tuple[Kind, dict[str, Any]]]) -> int:
    return sum(values["count"] for kind, values in rows if kind == Kind.LOST)


def test_a_file_holds_the_seconds_before_and_what_follows_in_order(tmp_path: Path) -> None:
    recorder, path = Recorder(keep_s=3), tmp_path / "a.ftrace"
    all_of_it = list(batches(20))
    half = len(all_of_it) // 2
    for batch in all_of_it[:half]:
        recorder.take(batch)
        recorder.tick()
    recorder.begin(str(path), ALL)
    for batch in all_of_it[half:]:
        recorder.take(batch)
        recorder.tick()
    recorder.end()
    done = None
    while done is None:
        done = recorder.tick()

    assert done == str(path)
    rows = rows_of(path)
    births = [values["pid"] for kind, values in rows if kind == Kind.FORK]
    assert births == sorted(births)
    assert births[-1] == 100 + 399
    begun = all_of_it[half].parts[Kind.FORK]["ts_ns"][0]
    before = [values["ts_ns"] for kind, values in rows if kind == Kind.FORK and values["ts_ns"] < begun]
    assert 2 * S < begun - before[0] <= 3.2 * S
    assert rows[-1][0] == Kind.END
    assert recorder.dropped == lost(rows) == 0


def test_it_is_an_ordinary_trace_with_those_who_lived_when_it_begins(tmp_path: Path) -> None:
    recorder, path = Recorder(keep_s=2), tmp_path / "a.ftrace"
    story = Story()
    for batch in batches(10):
        recorder.take(batch)
    story.existing(1, comm="init")
    story.existing(7, 1, comm="old")

    recorder.begin(str(path), ALL, story.batch)
    assert recorder.close() == str(path)
    tree = open_trace(str(path)).tree

    rows = [tree.record(row) for row in range(len(tree))]
    assert [(r["pid"], r["how"], r["comm"]) for r in rows[:2]] == [(1, "existing", "init"), (7, "existing", "old")]
    crossing = [r for r in rows if r["how"] == "existing" and r["pid"] >= 100]
    assert len(crossing) >= 20  # they ended in the window, and are born before it
    assert all(r["exit_code"] == 0 for r in crossing)
    assert not any(tree.is_gap(row) for row in range(len(tree)) if tree.value(row, "exit_ns") is not None)
    assert len({(r["pid"], r["born_ns"]) for r in rows}) == len(rows)


def test_memory_is_bounded_details_go_first(tmp_path: Path) -> None:
    recorder = Recorder(keep_s=1000, keep_bytes=300_000)
    whole = 0
    for batch in batches(60):
        whole += weight(batch)
        recorder.take(batch)

    assert whole > 3 * 300_000
    assert recorder.held_bytes <= 300_000
    path = tmp_path / "a.ftrace"
    recorder.begin(str(path), ALL)
    recorder.close()
    execs = [values for kind, values in rows_of(path) if kind == Kind.EXEC]
    assert "argv" not in execs[0]
    assert execs[0]["exe"].startswith("/bin/c")
    assert recorder.dropped == lost(rows_of(path))


def test_a_file_is_bounded_and_says_what_it_lacks(tmp_path: Path) -> None:
    recorder, path = Recorder(max_file=512 << 10), tmp_path / "a.ftrace"
    taken = 0
    recorder.begin(str(path), ALL)
    for batch in batches(60, n=1000):
        taken += len(batch)
        recorder.take(batch)
        recorder.tick(all_of_it=True)
    recorder.close()

    rows = rows_of(path)
    assert path.stat().st_size < 512 << 10
    assert recorder.dropped == lost(rows) > 0
    assert len(rows) - sum(kind in (Kind.LOST, Kind.END) for kind, _ in rows) + recorder.dropped == taken
    assert rows[-1][0] == Kind.END


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["take", "take", "take", "tick", "begin", "end"]), max_size=60), st.integers(4, 40))
def test_whatever_happens_no_row_is_lost_uncounted(tmp_path_factory: Any, steps: list[str], kilobytes: int) -> None:
    folder = tmp_path_factory.mktemp("r")
    clock = iter(range(10**6))
    recorder = Recorder(keep_s=2, keep_bytes=kilobytes << 10, clock=lambda: next(clock) * 0.02)
    source, taken, files = iter(batches(30)), 0, 0
    standing = 0
    for step in [*steps, "end", *["tick"] * 3, "close"]:
        if step == "take":
            batch = next(source)
            recorder.take(batch)
            taken += len(batch)
        elif step == "begin" and recorder.path is None:
            files += 1
            taken = len(recorder) + sum(held.left_out for held in recorder._queue)
            recorder.begin(str(folder / f"{files}.ftrace"), ALL)
            standing = taken  # what it begins with is in `taken`; EXISTING rows of its own come on top
        elif step == "end":
            recorder.end()
        done = recorder.close() if step == "close" else recorder.tick() if step == "tick" else None
        if done is not None:
            rows = rows_of(Path(done))
            own = sum(kind == Kind.EXISTING and values["pid"] >= 100 for kind, values in rows)
            told = len(rows) - lost_rows(rows) - own - 1
            assert told + lost(rows) <= taken
            assert lost(rows) == recorder.dropped
            if step == "close" or not len(recorder):
                assert told + lost(rows) == taken
    assert standing >= 0


def lost_rows(rows: list[tuple[Kind, dict[str, Any]]]) -> int:
    return sum(kind == Kind.LOST for kind, _ in rows)


class Full:
    """A file on a disk with so much room."""

    def __init__(self, path: str, room: int) -> None:
        self.file: IO[bytes] = open(path, "wb", buffering=0)  # noqa: SIM115
        self.room = room
        self.name = path

    def write(self, data: memoryview) -> int:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return self.file.write(data) or 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_full_disk_ends_the_file_and_not_the_recorder(tmp_path: Path) -> None:
    room = [150_000]
    recorder = Recorder(opener=lambda path, mode: Full(path, room[0]))  # type: ignore[arg-type,return-value]
    path = tmp_path / "a.ftrace"
    recorder.begin(str(path), ALL)
    done = None
    source = batches(200, n=100)
    while done is None:
        recorder.take(next(source))
        done = recorder.tick(all_of_it=True)

    assert done == str(path)
    assert isinstance(recorder.failure, CannotWriteError)
    assert recorder.dropped > 0
    assert recorder.path is None
    assert rows_of(path)  # what it holds can be read

    room[0] = 10**9
    recorder.begin(str(tmp_path / "b.ftrace"), ALL)
    assert recorder.close() == str(tmp_path / "b.ftrace")
    assert recorder.failure is None


def test_a_file_that_can_not_be_made_is_said_at_once(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(CannotWriteError):
        recorder.begin(str(tmp_path / "no" / "a.ftrace"), ALL)
    assert recorder.path is None


def test_details_are_what_can_be_missed() -> None:
    story = Story()
    story.existing(1)
    story.run(0.1, 10, 1, "true")
    story.row(Kind.RENAME, 0.2, 1, comm="y")
    story.row(Kind.FORK, 0.3, 1, tid=77, how="clone")
    story.row(Kind.FAULTS, 0.3, 1, cow_copies=3)

    small, left_out = thin(story.batch())

    assert left_out == 3
    assert [kind for kind, _ in small.rows()] == [Kind.EXISTING, Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.REAP]
    assert weight(small) < weight(story.batch())
