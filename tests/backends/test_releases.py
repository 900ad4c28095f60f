"""Children that are released in bulk: the same rows, and the same memory of who is still there, as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.backends.bpf.test_decode import packed
from tests.strategies import PROFILE
from tracer.backends import polls, releases, wire
from tracer.backends.bpf import decode
from tracer.backends.bpf.decode import Decoder
from tracer.backends.reaps import Zombie

PIDS = st.integers(1, 6)
BIRTHS = st.sampled_from([0, 5, 9, (1 << 41) + 8, (1 << 41) + 9])  # two of them too old for a number of their own
FLAGS = st.sampled_from([wire.WAITED] * 4 + [0, 0, wire.MAYBE, wire.AUTOREAP, wire.WAITED | wire.EDGE, wire.SNAPSHOT])
KINDS = st.sampled_from([wire.ZOMBIE] * 6 + [wire.FREE] * 6 + [wire.WAIT] * 3 + [wire.ADOPT, wire.REAP, wire.FORK])
HISTORIES = st.lists(st.tuples(KINDS, PIDS, BIRTHS, FLAGS, PIDS, st.booleans()), max_size=40)
# Two parents that come for any of their children, mostly: `flags % 3 - 1` is the target where the last is False.
POLLED = st.lists(
    st.tuples(
        st.sampled_from([wire.ZOMBIE] * 12 + [wire.WAIT] * 12 + [wire.FREE] * 4 + [wire.ADOPT]),
        st.integers(1, 12),
        st.sampled_from([0, 3, 5, 9]),
        st.sampled_from([1] * 30 + [0, wire.WAITED, wire.MAYBE]),
        st.sampled_from([1, 2]),
        st.sampled_from([False] * 40 + [True]),
    ),
    max_size=60,
)


# A storm: parents that were waiting, and releases that come in a later read.
LATE = st.lists(
    st.tuples(
        st.sampled_from([wire.ZOMBIE, wire.FREE]),
        st.integers(1, 20),
        st.sampled_from([0, 5, 9]),
        st.just(wire.WAITED),
        st.integers(1, 3),
        st.just(False),
    ),
    max_size=20,
)


def _end(pid: int, born: int) -> tuple[int, int, int, int, int, bool]:
    return (wire.ZOMBIE, pid, born, wire.WAITED, 1, False)


def _release(pid: int, born: int) -> tuple[int, int, int, int, int, bool]:
    return (wire.FREE, pid, born, wire.WAITED, 1, False)


def record(at: int, *what: Any) -> bytes:
    kind, pid, born, flags, other, odd = what
    said: dict[str, Any] = {"time_ns": at, "pid": pid, "tid": pid, "born_ns": born}
    if kind == wire.ZOMBIE:
        said |= {"flags": flags, "parent_pid": other, "pgid": 1 + odd}
    elif kind == wire.FREE:
        said |= {"tid": pid + 100 * (odd and flags == 0), "parent_pid": other, "exit_signal": 17 * odd}
    elif kind == wire.WAIT:
        said |= {"pid": other, "target": other if odd else flags % 3 - 1}
    elif kind == wire.ADOPT:
        said |= {"parent_pid": other, "child_pid": 1 + pid % 6 if odd else 0, "flags": flags & wire.WAITED}
    return packed(kind, **said)


def remembered(decoder: Decoder) -> Any:
    reaps = decoder._reaps
    late, held = reaps.late, dict(reaps.held)
    pending = dict(reaps.pending)
    reaps.late, reaps.held = late, held  # what is late stays so: to look at it all puts it among the others
    return [
        (
            child,
            (each.parent, each.reap_ns, each.zombie_ns, each.evidence, each.maybe, each.before)
            if isinstance(each, Zombie)
            else (each[1], each[0], each[2] or 0, "inferred", False, False),
        )
        for child, each in sorted(pending.items(), key=lambda item: item[0])
    ]


def waiting(decoder: Decoder) -> dict[int, list[tuple[int, int]]]:
    """By parent, in the order in which they would be taken."""
    return {
        parent: sorted((z.process[1], z.process[0]) for z in each.by_pid.values())
        for parent, each in decoder._reaps._waiting.items()
    }


@PROFILE
@example([[_end(1, 5)], [_release(1, 5), _release(1, 5), _end(2, 5)]])
@example([[_end(1, 5), _end(3, 6)], [_end(2, (1 << 41) + 8), _release(1, 5)], [_release(3, 6), _end(4, 5)]])
@given(st.lists(HISTORIES | POLLED, min_size=1, max_size=5) | st.lists(LATE, min_size=2, max_size=6))
def test_in_bulk_as_one_by_one(reads: list[list[tuple[int, int, int, int, int, bool]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_numpy", lambda n: np)
        patch.setattr(polls, "MANY", 1)
        fast = Decoder(str)
        slow = Decoder(str)
        at = 0
        for read in reads:
            raw = b""
            for each in read:
                at += 1
                raw += record(at, *each)
            got = fast.batch(raw, [])
            patch.setattr(decode, "bulk", lambda *_: None)
            wanted = slow.batch(raw, [])
            patch.setattr(decode, "bulk", releases.bulk)
            assert (got and list(got.rows())) == (wanted and list(wanted.rows()))
            assert remembered(fast) == remembered(slow)
            assert waiting(fast) == waiting(slow)
        got, wanted = fast.rest(), slow.rest()
        patch.undo()
        ours = [(kind, {**row, "ts_ns": None}) for kind, row in got.rows()] if got else []
        assert ours == ([(kind, {**row, "ts_ns": None}) for kind, row in wanted.rows()] if wanted else [])


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each walk was given."""
    counts: list[int] = []
    walk = releases._walk

    def counted(codes: bytes, columns: Any, reaps: Any, held: Any) -> Any:
        counts.append(len(codes))
        return walk(codes, columns, reaps, held)

    monkeypatch.setattr(releases, "_walk", counted)
    return counts


def test_in_a_storm_nothing_is_left_to_be_walked(walked: list[int]) -> None:
    ends = [record(i, wire.ZOMBIE, i, i, wire.WAITED, 1, False) for i in range(1, 401)]
    frees = [record(1000 + i, wire.FREE, i, i, 0, 1, False) for i in range(1, 401)]
    decoder = Decoder(str)
    first = decoder.batch(b"".join(ends + frees[:100]), [])
    second = decoder.batch(b"".join([*frees[100:], record(2000, wire.ZOMBIE, 9, 2000, wire.WAITED, 1, False)]), [])
    assert walked == [0, 0]
    rows = [row for batch in (first, second) if batch for _, row in batch.rows()]
    assert [row["reap_ns"] for row in rows] == list(range(1, 401))
    assert {(row["zombie_ns"], row["reaped_by"], row["evidence"]) for row in rows} == {(0, 1, "inferred")}
    assert remembered(decoder) == [((9, 2000), (1, 2000, 0, "inferred", False, False))]


def test_nor_is_it_where_a_parent_comes_for_any_child_now_and_then(
    walked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two waits for each child: one that takes it, one that finds nobody. Two children end in another order."""
    monkeypatch.setattr(wire, "_numpy", lambda n: np)
    records = []
    for i in range(400):
        k = i ^ 1 if i < 2 else i
        records.append(record(10 * i, wire.ZOMBIE, 100 + k, 100 + k, 0, 1, False))
        if i != 0:  # the first two wait together
            records += [record(10 * i + 3 + n, wire.WAIT, 0, 0, 1, 1, False) for n in range(3)]
    frees = [record(9000 + i, wire.FREE, 100 + i, 100 + i, 0, 1, False) for i in range(400)]
    decoder = Decoder(str)
    first = decoder.batch(b"".join(records), [])
    second = decoder.batch(b"".join(frees), [])

    assert walked == [0, 400], "a read without an end is walked as a whole"
    assert first is not None
    assert second is not None
    rows = [row for _, row in second.rows()]
    assert [(row["reap_ns"], row["zombie_ns"]) for row in rows[:4]] == [(13, 3), (14, 14), (23, 3), (33, 3)]
    assert not decoder.zombies
