"""Random histories, written as strace would in any style, and read again: what came out must be what went in.

And what must hold of any text: a log cut anywhere tells nothing false, lines of strangers change nothing, the order
between tasks changes nothing where there are times, and reading whole blocks is the same as reading line by line.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.importers.strace.histories import History, Life
from tests.importers.strace.render import TIMES, Style, family, log
from tests.importers.strace.seen import Seen, lives, read
from tracer.importers import open_log
from tracer.importers.strace.block_reader import BlockReader
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.line_attribution import Skipped
from tracer.importers.strace.line_reader import LineReader
from tracer.importers.strace.log import Look
from tracer.model.batch import Batch
from tracer.model.schema import Kind

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

histories = st.builds(
    History,
    st.integers(0, 1 << 30),
    st.integers(0, 60),
    threads=st.booleans(),
    first=st.sampled_from((1000, 99990, 30000)),
)
in_files = st.builds(
    Style,
    prefix=st.just("file"),
    time=st.sampled_from(TIMES),
    durations=st.booleans(),
    number=st.booleans(),
    pointer=st.booleans(),
    comm=st.booleans(),
    old=st.booleans(),
    new=st.booleans(),
    ends=st.booleans(),
    signals=st.booleans(),
    color=st.booleans(),
    crlf=st.booleans(),
    padding=st.sampled_from((0, 40)),
    midnight=st.booleans(),
)
on_terminals = st.builds(
    replace, in_files, prefix=st.sampled_from(("terminal", "quiet")), chatter=st.booleans(), comm=st.just(False)
)
plain = st.builds(
    Style,
    prefix=st.just("file"),
    time=st.sampled_from(("t", "tt", "ttt", "ns")),
    durations=st.booleans(),
    old=st.booleans(),
    new=st.booleans(),
    ends=st.booleans(),
    signals=st.booleans(),
    padding=st.sampled_from((0, 40)),
    midnight=st.booleans(),
    comm=st.booleans(),
)
exact = st.builds(Style, prefix=st.just("file"), time=st.sampled_from(("tt", "ttt", "ns")))


def wrong(history: History, batches: Sequence[Batch], style: Style) -> Iterator[str]:
    """Where the events differ from what happened."""
    found: dict[int | None, Seen] = {}
    for one in lives(batches):
        if one.tid in found:
            yield f"{one.tid} lives twice"
        found[one.tid] = one
    nameless = None in found  # the root, on a terminal where nothing says its pid
    if nameless:
        found[history.root.tid] = found.pop(None)
    for life in history.lives.values():
        seen = found.pop(life.tid, None)
        if seen is None:
            yield f"{life.tid} is missing"
            continue
        expected = _of_life(life)
        if nameless:
            expected = {k: None if v == history.root.tid and k != "tid" else v for k, v in expected.items()}
        got = _of_seen(seen, life)
        if life.signal is not None and not style.signals and life.reaped_by is None:
            del expected["end"], got["end"]  # -e signal=none hides it
        if expected != got:
            yield f"{life.tid}: " + str({k: (got[k], expected[k]) for k in expected if got[k] != expected[k]})
    yield from (f"{tid} is nobody" for tid in found)


def _of_life(life: Life) -> dict[str, Any]:
    out: dict[str, Any] = {"end": (life.code, life.signal), "creator": life.creator, "syscall": life.syscall}
    if life.tid != life.tgid:
        return out | {"tgid": life.tgid}
    failed = sorted(life.failed)
    return out | {"parent": life.parent, "execs": life.execs, "reaped_by": life.reaped_by, "failed": failed}


def _of_seen(seen: Seen, life: Life) -> dict[str, Any]:
    out: dict[str, Any] = {"end": (seen.code, seen.signal), "creator": seen.creator, "syscall": seen.syscall}
    if life.tid != life.tgid:
        return out | {"tgid": seen.tgid}
    # Calls of different threads of a process may change places.
    failed = sorted(seen.failed)
    return out | {"parent": seen.parent, "execs": seen.execs, "reaped_by": seen.reaped_by, "failed": failed}


def as_read(text: bytes) -> tuple[list[Batch], Skipped]:
    """The log as it is read after a look at it."""
    look = Look(text)
    return read(text, numbered=look.numbered, closed=look.closed, follows=look.follows)


# -- any style ----------------------------------------------------------------------------------------------------


@few
@given(histories, st.one_of(in_files, on_terminals), st.integers(0, 99))
def test_what_is_written_is_what_is_read(history: History, style: Style, seed: int) -> None:
    batches, left = as_read(log(history, style, seed))

    assert list(wrong(history, batches, style)) == []
    assert style.chatter or left.lines == 0
    if style.time != "none":
        assert all(event.ts_ns is not None for batch in batches for event in batch.events())


@few
@given(histories, st.builds(Style, time=st.sampled_from(TIMES), midnight=st.booleans()), st.integers(0, 99))
def test_a_family_of_files(tmp_path_factory: Any, history: History, style: Style, seed: int) -> None:
    place: Path = tmp_path_factory.mktemp("family")
    for tid, text in family(history, style, seed).items():
        (place / f"log.{tid}").write_bytes(text)

    _, batches = open_log(sorted(map(str, place.iterdir())))

    assert list(wrong(history, list(batches), style)) == []


@few
@given(histories, exact, st.integers(0, 99))
def test_files_of_a_family_put_together_by_time(history: History, style: Style, seed: int) -> None:
    """As strace-log-merge does: calls are whole, and stand where they began."""
    rows = [
        (line.split(b" ", 1)[0], tid, line)
        for tid, text in family(history, style, seed).items()
        for line in text.splitlines()
    ]
    rows.sort(key=lambda row: row[0])

    batches, _ = as_read(b"".join(b"%-5d %s\n" % (tid, line) for _, tid, line in rows))

    assert list(wrong(history, batches, style)) == []


@few
@given(histories, exact, st.randoms(use_true_random=False))
def test_the_order_between_tasks_does_not_matter_where_there_are_times(
    history: History, style: Style, rng: random.Random
) -> None:
    queues: dict[bytes, list[bytes]] = defaultdict(list)
    for line in log(history, style).splitlines(keepends=True):
        queues[line.split()[0]].append(line)
    text = b""
    while queues:
        tid = rng.choice(list(queues))
        text += queues[tid].pop(0)
        if not queues[tid]:
            del queues[tid]

    batches, _ = as_read(text)

    assert list(wrong(history, batches, style)) == []


# -- damage -------------------------------------------------------------------------------------------------------


@few
@given(histories, st.one_of(in_files, on_terminals), st.floats(0, 1))
def test_a_log_cut_anywhere_tells_nothing_false(history: History, style: Style, share: float) -> None:
    text = log(history, style)

    batches, _ = as_read(text[: int(share * len(text))])

    found = lives(batches)
    assert len({one.tid for one in found}) == len(found)
    for one in found:
        life = history.root if one.tid is None else history.lives[one.tid]
        assert one.code in (None, life.code)
        assert one.signal in (None, life.signal)
        assert one.execs == life.execs[: len(one.execs)] or one.thread
        if one.parent is not None and not one.thread:
            # A thread whose clone has not returned looks like a process.
            assert one.inferred or history.lives[one.parent].tgid == life.parent


_STRANGE = (
    b"hello",
    b"",
    b"foo(bar) = 3",
    b"\xff\xfe\x00",
    b"[pid 5",
    b"12:00",
    b"+++ exited",
    b"--- SIG",
    b"<... ",
    b"strace: ",
    b'"' * 20,
    b"execve(",
    b"99999999999999999999 x(",
    b" > lib.so(f+0x3) [0x12]",
    b"x" * 5000,
    b"\x1b[31mred",
    b"% time     seconds",
)


@few
@given(histories, exact, st.randoms(use_true_random=False))
def test_lines_of_strangers_change_nothing(history: History, style: Style, rng: random.Random) -> None:
    out = []
    for line in log(history, style).splitlines(keepends=True):
        if rng.random() < 0.2:
            out.append(rng.choice(_STRANGE) + b"\n")
        out.append(line)

    batches, _ = as_read(b"".join(out))

    assert list(wrong(history, batches, style)) == []


@few
@given(histories, st.one_of(in_files, on_terminals), st.data())
def test_bytes_turned_to_anything_never_raise(history: History, style: Style, data: st.DataObject) -> None:
    text = bytearray(log(history, style))
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    batches, _ = as_read(bytes(text))

    lives(batches)


# -- blocks -------------------------------------------------------------------------------------------------------


def in_blocks(text: bytes, rng: random.Random) -> tuple[list[Batch], Skipped]:
    """The log as a large one is read."""
    rows, skipped, look = Rows(), Skipped(), Look(text)
    stream = LineReader(rows, skipped)
    stream.numbered, stream.closed, stream.machine.follows = look.numbered, look.closed, look.follows
    bulk, place = BlockReader(stream), 0
    while place < len(text):
        end = text.find(b"\n", min(len(text) - 1, place + rng.randrange(1, 4000))) + 1
        bulk.feed(text[place:end])
        place = end
    stream.close()
    rows.cut()
    return rows.out, skipped


def rows_by_life(batches: Sequence[Batch]) -> list[tuple[Kind, dict[str, Any]]]:
    """All rows; those of one task in their order. (A task's first line, if it means nothing, is not met in blocks.)"""
    rows = [row for batch in batches for row in batch.rows()]
    return sorted(rows, key=lambda row: tuple(row[1].get(name) or 0 for name in ("pid", "born_ns", "tid")))


@few
@given(histories, plain, st.integers(0, 99), st.randoms(use_true_random=False))
def test_blocks_are_read_as_lines_are(history: History, style: Style, seed: int, rng: random.Random) -> None:
    text = log(history, style, seed)

    batches, left = in_blocks(text, rng)

    by_line, left_by_line = as_read(text)
    assert rows_by_life(batches) == rows_by_life(by_line)
    assert (left.lines, left.cut) == (left_by_line.lines, left_by_line.cut)
