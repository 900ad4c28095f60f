"""Layouts: tracer/backends/wire.py against the compiled object's own BTF, so that a drifted field is red."""

from __future__ import annotations

import struct

import pytest

from tracer.backends import wire
from tracer.backends.bpf.objects import probe_object
from tracer.host.btf import Btf
from tracer.model.schema import Kind


@pytest.fixture(scope="module")
def types() -> Btf:
    return Btf.from_elf(probe_object("lifecycle"))


@pytest.mark.parametrize(
    "record",
    [*wire.RECORDS.values(), wire.TEXT_HEAD, wire.OPTIONS, wire.STATS, wire.MARK],
    ids=lambda r: str(r.name),
)
def test_layout_is_the_objects(record: wire.Record, types: Btf) -> None:
    found = types.struct(record.name)

    assert found is not None
    mine = {name: (at, struct.calcsize("=" + fmt)) for name, (at, fmt) in record.offsets().items()}
    theirs: dict[str, tuple[int, int]] = {}
    for member in found.members:
        if member.name == "h":
            head = types.struct("ft_head")
            assert head is not None
            theirs.update({m.name: (m.offset, m.size) for m in head.members})
        else:
            theirs[member.name] = (member.offset, member.size)
    assert mine == theirs
    assert record.size() == found.size


def test_record_union_and_stride(types: Btf) -> None:
    union = types.struct("ft_record")

    assert union is not None
    assert union.size == wire.RECORD_SIZE
    assert wire.STRIDE % 8 == 0


def test_kinds_are_the_headers(types: Btf) -> None:
    kinds = types.enum("ft_kind")

    assert kinds is not None
    assert {n.removeprefix("FT_"): v for n, v in kinds.items()} == {
        name: value for name, value in vars(wire).items() if name in wire.KIND_NAMES
    }


def test_misaligned_record_is_refused() -> None:
    with pytest.raises(ValueError, match="not aligned"):
        wire.Record("x", (("a", "I"), ("b", "Q"))).offsets()


@pytest.mark.parametrize(
    ("raw", "full", "words"),
    [
        (b"", 0, []),
        (b"", 9, ["..."]),
        (b"a\0b\0", 4, ["a", "b"]),
        (b"a\0b", 3, ["a", "b"]),
        (b"\0", 1, [""]),
        (b"a\0\0", 3, ["a", ""]),
        (b"a\0bc", 9, ["a", "bc...", "..."]),
        (b"a\0bc\0", 9, ["a", "bc", "..."]),
        (b"\xff\0", 2, ["\udcff"]),
    ],
)
def test_split_words_marks_what_was_cut(raw: bytes, full: int, words: list[str]) -> None:
    assert wire.split_words(raw, full) == words


def _text(
    seq: int, *, exe: bytes = b"", cwd: bytes = b"", argv: bytes = b"", argv_full: int = 0, failed: int = 0
) -> bytes:
    head = struct.pack("=QIIIIHHHHHHI", 7, 5, seq, argv_full, 0, len(exe), 0, len(cwd), len(argv), 0, failed, 0)
    return head + exe + cwd + argv


def test_texts_of_one_exec_are_joined() -> None:
    first = _text(0, exe=b"/bin/x\0", cwd=b"b\0a\0", argv=b"x\0yy", argv_full=6)
    more = _text(1, argv=b"y\0", argv_full=6)

    words = wire.texts([first, more])[(7, 5)]

    assert (words.exe, words.cwd, words.argv) == ("/bin/x", "/a/b", ["x", "yyy"])


def test_unread_argv_is_unknown_and_root_cwd_is_a_slash() -> None:
    words = wire.texts([_text(0, cwd=b"\0", failed=1)])[(7, 5)]

    assert words.argv is None
    assert words.cwd == "/"


def test_decay_of_small_processes_together_is_of_no_process() -> None:
    batch = wire.small_decay(((0, 3, 4), (0, 0, 0)))

    assert batch is not None
    assert list(batch.rows()) == [(Kind.DECAY, {"since_own_fork": False, "decay": [0, 3, 4], "evidence": "measured"})]
    assert wire.small_decay(((0, 0), (0, 0))) is None
