"""Ring bytes to batches: what each record becomes, words that come in pieces, reaps told where they are known."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.backends import wire
from tracer.backends.bpf.decode import Decoder
from tracer.model.schema import Kind

ALL = 2**64 - 1  # ~0: unknown


def packed(kind: int, **values: Any) -> bytes:
    """One record with its ring header; fields that are not named are 0."""
    values = {"kind": kind, "pid": 7, "tid": 7, "born_ns": 70, "time_ns": 100, **values}
    raw = bytearray(wire.STRIDE)
    struct.pack_into("=II", raw, 0, wire.RECORD_SIZE, 0)
    for name, (offset, fmt) in wire.OFFSETS[kind].items():
        value = values.pop(name, 0)
        args = value if isinstance(value, Sequence) and not isinstance(value, bytes) else [value]
        if args != [0]:
            struct.pack_into("=" + fmt, raw, wire.RING_HEADER + offset, *args)
    assert not values, f"no such fields: {values}"
    return bytes(raw)


def text(seq: int = 0, *, time: int = 100, tid: int = 7, failed: int = 0, **said: Any) -> bytes:
    """A text record. `said`: exe, interp, cwd, argv, env as bytes; argv_full, env_full."""
    words = [said.get(name, b"") for name in ("exe", "interp", "cwd", "argv", "env")]
    full = said.get("argv_full", len(words[3])), said.get("env_full", len(words[4]))
    return struct.pack("=QIIIIHHHHHHI", time, tid, seq, *full, *map(len, words), failed, 0) + b"".join(words)


def rows(decoder: Decoder, raw: bytes, texts: Sequence[bytes] = ()) -> list[tuple[Kind, dict[str, Any]]]:
    batch = decoder.batch(raw, texts)
    return list(batch.rows()) if batch else []


@pytest.fixture
def decoder() -> Decoder:
    return Decoder({5: "/user.slice"}.get, ["HOME"])


def test_nothing_becomes_nothing(decoder: Decoder) -> None:
    assert decoder.batch(b"", []) is None
    assert decoder.batch(packed(wire.WAIT), []) is None


def test_a_birth_with_all_its_facts(decoder: Decoder) -> None:
    raw = packed(
        wire.FORK,
        pid=11,
        tid=11,
        born_ns=95,
        creator_born_ns=3,
        parent_born_ns=4,
        clone_flags=0x1200011,
        fork_ns=12,
        pgtables_bytes=4096,
        rss_bytes=8192,
        cgroup=5,
        creator_pid=8,
        creator_tid=9,
        parent_pid=10,
        uid=33,
        ns_pids=[11, 2, 1, 0],
        pgid=6,
        sid=5,
        syscall=57,
        how=2,
        levels=3,
        exit_signal=17,
        comm=b"sh\0junk",
    )

    assert rows(decoder, raw) == [
        (
            Kind.FORK,
            {
                "ts_ns": 100,
                "pid": 11,
                "tid": 11,
                "born_ns": 95,
                "creator_pid": 8,
                "creator_tid": 9,
                "creator_born_ns": 3,
                "ppid": 10,
                "parent_born_ns": 4,
                "how": "fork",
                "syscall": "fork",
                "clone_flags": 0x1200011,
                "exit_signal": 17,
                "ns_pids": (11, 2, 1),
                "pgid": 6,
                "sid": 5,
                "uid": 33,
                "cgroup": "/user.slice",
                "fork_ns": 12,
                "pgtables_bytes": 4096,
                "rss_bytes": 8192,
                "comm": "sh",
            },
        )
    ]


def test_what_the_probes_could_not_tell_is_null(decoder: Decoder) -> None:
    raw = packed(
        wire.FORK, pid=0, tid=0, fork_ns=ALL, pgtables_bytes=ALL, rss_bytes=ALL, cgroup=6, how=3, levels=0, syscall=999
    )
    [(_, birth)] = rows(decoder, raw)

    assert birth.keys() == {
        "ts_ns",
        "born_ns",
        "creator_born_ns",
        "parent_born_ns",
        "how",
        "clone_flags",
        "exit_signal",
        "ns_pids",
        "uid",
        "comm",
    }
    assert birth["ns_pids"] == ()


def test_who_was_there_before_was_not_forked_before_our_eyes(decoder: Decoder) -> None:
    [(kind, there)] = rows(decoder, packed(wire.EXISTING, how=7, levels=1, ns_pids=[7, 0, 0, 0], fork_ns=5))

    assert kind == Kind.EXISTING
    assert (there["how"], there["ns_pids"]) == ("existing", (7,))
    assert not there.keys() & {"creator_pid", "fork_ns", "rss_bytes", "clone_flags", "syscall", "exit_signal"}


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (0, {"exit_code": 0, "core_dumped": False}),
        (3 << 8, {"exit_code": 3, "core_dumped": False}),
        (9, {"signal": 9, "core_dumped": False}),
        (11 | 0x80, {"signal": 11, "core_dumped": True}),
    ],
)
def test_ends_as_wait_would_tell_them(decoder: Decoder, status: int, end: dict[str, Any]) -> None:
    [(_, told)] = rows(decoder, packed(wire.EXIT, status=status, flags=wire.LAST, killed_by=0))

    assert {name: told[name] for name in told.keys() & {"exit_code", "signal", "core_dumped"}} == end
    assert (told["last"], told["oom_killed"]) == (True, False)
    assert "killed_by" not in told


def test_a_thread_that_ends_has_no_status(decoder: Decoder) -> None:
    [(_, told)] = rows(decoder, packed(wire.EXIT, tid=8, status=3 << 8, min_flt=5, wpcopy_count=ALL))

    assert told["last"] is False
    assert not told.keys() & {"exit_code", "signal", "core_dumped", "oom_killed", "wpcopy_count"}
    assert told["min_flt"] == 5


def test_figures_of_an_address_space_that_is_gone_are_null(decoder: Decoder) -> None:
    raw = packed(wire.EXIT, flags=wire.NO_MM) + packed(wire.EXIT, max_rss_bytes=4096)

    assert [told.get("max_rss_bytes") for _, told in rows(decoder, raw)] == [None, 4096]


def test_who_lives_on_has_no_end(decoder: Decoder) -> None:
    [(kind, told)] = rows(decoder, packed(wire.ALIVE, min_flt=5))

    assert kind == Kind.ALIVE
    assert told["min_flt"] == 5
    assert not told.keys() & {"last", "exit_code", "signal", "core_dumped", "killed_by", "oom_killed"}


def test_rows_stand_in_the_order_of_the_ring(decoder: Decoder) -> None:
    order = [wire.FORK, wire.EXEC, wire.EXIT, wire.FORK, wire.WAIT, wire.RENAME, wire.EXIT, wire.FREE, wire.FORK]
    raw = b"".join(packed(kind, pid=i + 1, tid=i + 1) for i, kind in enumerate(order))
    told = rows(decoder, raw)

    assert [(kind.name, row["pid"]) for kind, row in told] == [
        ("FORK", 1),
        ("EXEC", 2),
        ("EXIT", 3),
        ("FORK", 4),
        ("RENAME", 6),
        ("EXIT", 7),
        ("REAP", 8),
        ("FORK", 9),
    ]


# Words


def test_an_exec_takes_its_own_words(decoder: Decoder) -> None:
    said = [
        text(tid=7, exe=b"/bin/a\0", interp=b"/bin/sh\0", cwd=b"b\0a\0", argv=b"a\0-x\0", env=b"HOME=/r\0PATH=x\0"),
        text(tid=8, exe=b"/bin/\xff\0", argv=b"\0"),
    ]
    raw = packed(wire.EXEC, pid=8, tid=8) + packed(wire.EXEC) + packed(wire.EXEC, pid=9, tid=9)
    told = [
        {name: row.get(name) for name in ("exe", "interpreter", "cwd", "argv", "env")}
        for _, row in rows(decoder, raw, said)
    ]

    assert told[0] == {"exe": "/bin/\udcff", "interpreter": None, "cwd": None, "argv": [""], "env": None}
    assert told[1] == {
        "exe": "/bin/a",
        "interpreter": "/bin/sh",
        "cwd": "/a/b",
        "argv": ["a", "-x"],
        "env": ["HOME=/r"],
    }
    assert set(told[2].values()) == {None}


def test_words_that_come_in_several_reads_are_one(decoder: Decoder) -> None:
    first, second = text(0, exe=b"/bin/a\0", argv=b"a\0bb", argv_full=8), text(1, argv=b"bb\0c", argv_full=8)

    assert rows(decoder, b"", [first]) == []

    [(_, told)] = rows(decoder, packed(wire.EXEC), [second])

    assert (told["exe"], told["argv"]) == ("/bin/a", ["a", "bbbb", "c"])


def test_a_lost_piece_cuts_the_words_and_never_joins_what_was_apart(decoder: Decoder) -> None:
    first = text(0, exe=b"/bin/a\0", argv=b"a\0b", argv_full=12)
    third = text(2, argv=b"c\0dddd\0", argv_full=12)
    [(_, told)] = rows(decoder, packed(wire.EXEC), [first, third])

    assert told["argv"] == ["a", "b...", "..."]

    [(_, told)] = rows(decoder, packed(wire.EXEC), [third])

    assert "argv" not in told


@PROFILE
@given(st.lists(st.binary(max_size=5), max_size=6), st.lists(st.integers(0, 40), max_size=5), st.data())
def test_argv_is_the_same_however_it_is_cut(words: list[bytes], cuts: list[int], data: st.DataObject) -> None:
    words = [word.replace(b"\0", b"") for word in words]
    raw = b"".join(word + b"\0" for word in words)
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [text(seq, argv=raw[a:b], argv_full=len(raw)) for seq, (a, b) in enumerate(pairwise(edges))]
    decoder = Decoder(lambda _: None)
    early = data.draw(st.integers(0, len(pieces)))
    decoder.batch(b"", pieces[:early])
    [(_, told)] = rows(decoder, packed(wire.EXEC), pieces[early:])

    assert told["argv"] == [word.decode("utf-8", "surrogateescape") for word in words]


def test_words_whose_exec_was_lost_are_not_kept_for_ever(decoder: Decoder) -> None:
    for i in range(20):
        decoder.batch(packed(wire.EXIT), [text(time=i * 1000 + j, argv=b"x\0") for j in range(500)])

    assert len(decoder._words) <= 4096

    [(_, told)] = rows(decoder, packed(wire.EXEC, time_ns=19499), [])

    assert told["argv"] == ["x"]


# Reaps


def test_a_reap_is_told_with_the_release_and_a_zombie_when_nobody_waited(decoder: Decoder) -> None:
    raw = (
        packed(wire.ZOMBIE, pid=11, tid=11, born_ns=1, parent_pid=7)
        + packed(wire.ZOMBIE, pid=12, tid=12, born_ns=2, parent_pid=7, flags=wire.WAITED)
        + packed(wire.WAIT, pid=7, time_ns=150)
        + packed(wire.FREE, pid=11, tid=11, born_ns=1, parent_pid=7, exit_signal=17)
        + packed(wire.FREE, pid=12, tid=12, born_ns=2, parent_pid=7, exit_signal=17)
        + packed(wire.FREE, pid=12, tid=13, born_ns=2, parent_pid=7, exit_signal=-1, min_flt=4)
    )
    told = rows(decoder, raw)
    fields = ("tid", "reaped_by", "reap_ns", "zombie_ns", "min_flt")

    assert [kind for kind, _ in told] == [Kind.ZOMBIE, Kind.REAP, Kind.REAP, Kind.REAP]
    assert told[0][1] == {"ts_ns": 100, "pid": 11, "tid": 11, "born_ns": 1, "ppid": 7}
    assert [tuple(row.get(name) for name in fields) for _, row in told[1:]] == [
        (11, 7, 150, 50, 0),
        (12, 7, 100, 0, 0),
        (13, None, None, None, 4),
    ]


def test_nobody_reaps_whose_end_nobody_was_told(decoder: Decoder) -> None:
    [(_, told)] = rows(decoder, packed(wire.FREE, parent_pid=7, exit_signal=17))

    assert told["zombie_ns"] == 0
    assert not told.keys() & {"reaped_by", "reap_ns"}


def test_an_exact_reap_is_measured(decoder: Decoder) -> None:
    raw = (
        packed(wire.ZOMBIE, parent_pid=3)
        + packed(wire.REAP, time_ns=160, reaper_pid=3)
        + packed(wire.FREE, parent_pid=3, exit_signal=17)
    )
    *_, (_, told) = rows(decoder, raw)

    assert (told["reap_ns"], told["zombie_ns"], told["evidence"]) == (160, 60, "measured")


def test_at_the_end_reaps_are_told_that_the_kernel_has_not_let_go_of(decoder: Decoder) -> None:
    decoder.batch(packed(wire.ZOMBIE, parent_pid=3, flags=wire.WAITED) + packed(wire.ZOMBIE, pid=9, parent_pid=3), [])
    rest = decoder.rest()

    assert rest is not None
    [(kind, told)] = rest.rows()
    assert (kind, told["pid"], told["reaped_by"], told["reap_ns"]) == (Kind.REAP, 7, 3, 100)
    assert decoder.rest() is None


# Both ways of cutting columns


@pytest.mark.parametrize("kind", [k for k in wire.RECORDS if k not in (wire.WAIT, wire.REAP)])
def test_with_and_without_numpy_the_same_columns(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy  # noqa: F401 - it has to be there for one of the two

    raw = b"".join(
        packed(kind, pid=i % 3, tid=i % 5, born_ns=i * 10**15, flags=i % 4096, time_ns=i)
        + packed(wire.RENAME, comm=b"\xff%d" % i)
        for i in range(600)
    )
    fast = rows(Decoder(lambda _: None), raw)
    monkeypatch.delitem(sys.modules, "numpy")

    assert rows(Decoder(lambda _: None), raw) == fast
    assert len(fast) >= 600
