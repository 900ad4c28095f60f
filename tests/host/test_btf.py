from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.btf_blob import Blob, elf
from tracer.errors import BadDataError, NoInputError
from tracer.host import btf
from tracer.host.btf import Btf, Member, Prototype, Struct

OBJECT = Path(__file__).parents[2] / "probes/build/x86/lifecycle.bpf.o"
vmlinux = pytest.mark.skipif(not btf.VMLINUX.exists(), reason="this kernel shows no BTF")


def test_members_have_offsets_sizes_and_types_in_bytes_and_words_of_c() -> None:
    blob = Blob()
    u32, char = blob.integer("unsigned int", 4), blob.integer("char", 1)
    pid_t = blob.add(btf.TYPEDEF, "pid_t", u32)
    text = blob.add(btf.ARRAY, "", 0, char, u32, 16)
    grid = blob.add(btf.ARRAY, "", 0, blob.add(btf.ARRAY, "", 0, u32, u32, 3), u32, 2)
    pointer = blob.add(btf.PTR, "", blob.add(btf.CONST, "", blob.struct("mm", 8, [])))
    double = blob.add(btf.PTR, "", pointer)
    members = [("pid", pid_t, 0), ("comm", text, 32), ("mm", pointer, 192), ("next", double, 256), ("grid", grid, 320)]
    blob.struct("task", 64, members)

    assert blob.btf().struct("task") == Struct(
        "task",
        64,
        (
            Member("pid", 0, 4, "pid_t"),
            Member("comm", 4, 16, "char[16]"),
            Member("mm", 24, 8, "struct mm *"),
            Member("next", 32, 8, "struct mm **"),
            Member("grid", 40, 24, "unsigned int[3][2]"),
        ),
    )


def test_nameless_structs_are_opened_where_they_stand() -> None:
    blob = Blob()
    u32 = blob.integer("u32", 4)
    inner = blob.struct("", 8, [("a", u32, 0), ("b", u32, 32)])
    union = blob.struct("", 8, [("whole", u32, 0), ("", inner, 0)], kind=btf.UNION)
    blob.struct("outer", 16, [("first", u32, 0), ("", union, 64)])
    found = blob.btf().struct("outer")

    assert found is not None
    assert [(m.name, m.offset) for m in found.members] == [("first", 0), ("whole", 8), ("a", 8), ("b", 12)]
    assert blob.btf().member_names("outer") == ("first", "whole", "a", "b")
    assert found.member("b") == Member("b", 12, 4, "u32")
    assert found.member("c") is None


def test_bit_fields_give_their_width() -> None:
    blob = Blob()
    u32 = blob.integer("u32", 4)
    blob.struct("flags", 4, [("low", u32, 3 << 24 | 0), ("high", u32, 5 << 24 | 9)], flag=True)
    found = blob.btf().struct("flags")

    assert found is not None
    assert [(m.name, m.offset, m.bits) for m in found.members] == [("low", 0, 3), ("high", 1, 5)]


def test_enums_of_both_widths_and_signs() -> None:
    blob = Blob()
    blob.enum("plain", [("A", 0), ("B", 0xFFFFFFFF)])
    blob.enum("negative", [("C", -1)], signed=True)
    blob.add(btf.ENUM64, "wide", 8, blob.name("D"), 1, 1, vlen=1)
    blob.add(btf.ENUM64, "below", 8, blob.name("E"), -1, -1, vlen=1, flag=True)
    found = blob.btf()

    assert found.enum("plain") == {"A": 0, "B": 0xFFFFFFFF}
    assert found.enum("negative") == {"C": -1}
    assert found.enum("wide") == {"D": (1 << 32) + 1}
    assert found.enum("below") == {"E": -1}
    assert found.enum("other") is None


def test_prototypes_of_tracepoints_and_functions() -> None:
    blob = Blob()
    boolean = blob.integer("bool", 1)
    task = blob.add(btf.PTR, "", blob.add(btf.FWD, "task_struct", 0))
    blob.tracepoint("sched_process_exit", task, boolean)
    blob.add(
        btf.FUNC, "do_exit", blob.prototype([("code", boolean), ("how", blob.add(btf.PTR, "", 0))], boolean), vlen=1
    )
    found = blob.btf()

    params = (("", "void *"), ("", "struct task_struct *"), ("", "bool"))
    assert found.prototype("btf_trace_sched_process_exit") == Prototype(params, "void")
    assert found.prototype("do_exit") == Prototype((("code", "bool"), ("how", "void *")), "bool")
    assert found.prototype("bool") is None
    assert found.prototype("no_such") is None


def test_members_are_told_where_a_type_before_them_is_of_a_later_format() -> None:
    blob = Blob()
    blob.add(31, "a_new_kind", 0)
    blob.struct("wanted", 8, [("a", blob.integer("u32", 4), 0)])

    assert blob.btf().member_names("wanted") == ("a",)
    with pytest.raises(BadDataError, match="newer than this program"):
        blob.btf().struct("wanted")


def test_a_type_is_found_by_name_and_kind_and_nothing_else_that_looks_like_it() -> None:
    blob = Blob()
    u32 = blob.integer("u32", 4)
    wanted = blob.name("wanted")
    # a member of that name whose next words look like a struct of one member
    blob.struct("decoy", 12, [("wanted", u32, 0), ("x", u32, btf.STRUCT << 24 | 1)], flag=True)
    # an array whose count is the name's offset, followed by what looks like a struct's second word
    blob.add(btf.ARRAY, "", 0, u32, u32, wanted)
    blob.add(btf.ARRAY, "", 0, u32, wanted, btf.STRUCT << 24)
    blob.add(btf.TYPEDEF, "wanted", u32)
    number = blob.struct("wanted", 4, [("real", u32, 0)])
    blob.struct("wanted_not", 4, [])
    assert blob.btf().member_names("wanted") == ("real",)  # without a walk from the first type
    found = blob.btf()

    assert found.type_id("wanted", btf.STRUCT) == number
    assert found.member_names("wanted") == ("real",)
    assert found.has("wanted", btf.TYPEDEF)
    assert not found.has("wanted", btf.UNION, btf.FUNC)
    assert not found.has("want", btf.STRUCT)
    assert not found.has("", btf.STRUCT)
    assert found.type_id("none", btf.STRUCT) is None


@given(st.lists(st.sampled_from([btf.INT, btf.PTR, btf.ARRAY, btf.STRUCT, btf.ENUM, btf.VAR, btf.FUNC]), max_size=60))
def test_numbers_count_every_kind_of_type(kinds: list[int]) -> None:
    blob = Blob()
    expected = {}
    for i, kind in enumerate(kinds):
        name = f"t{i}"
        match kind:
            case btf.INT:
                expected[name] = blob.integer(name, 4)
            case btf.ARRAY:
                expected[name] = blob.add(kind, name, 0, 0, 0, 3)
            case btf.STRUCT:
                expected[name] = blob.struct(name, 8, [(f"m{j}", 0, 0) for j in range(i % 5)])
            case btf.ENUM:
                expected[name] = blob.enum(name, [(f"e{j}", j) for j in range(i % 3)])
            case btf.VAR:
                expected[name] = blob.add(kind, name, 0, 1)
            case _:
                expected[name] = blob.add(kind, name, 0)
    found = blob.btf()

    backwards = reversed(expected)  # the first question walks furthest
    assert {name: found.type_id(name, kinds[int(name[1:])]) for name in backwards} == expected


def test_a_section_of_an_object_is_read(tmp_path: Path) -> None:
    blob = Blob()
    blob.struct("ft_fork", 4, [("pid", blob.integer("u32", 4), 0)])
    path = tmp_path / "x.bpf.o"
    path.write_bytes(elf({".text": b"\0" * 7, ".BTF.ext": b"no", ".BTF": blob.bytes()}))

    assert Btf.from_elf(path).member_names("ft_fork") == ("pid",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a 64-bit ELF object"),
        (b"\x7fELF\x01" + bytes(80), "not a 64-bit ELF object"),
        (b"\x7fELF\x02" + bytes(10), "a damaged ELF object"),
        (elf({".text": b""}), "has no .BTF section"),
        (elf({".BTF": b""}), "is too short to be BTF"),
        (elf({".BTF": bytes(24)}), "is not BTF"),
        (elf({".BTF": b"\xeb\x9f" + bytes(24)}), "is of the other byte order"),
        (elf({".BTF": Blob().bytes()[:20] + b"\xff\xff\0\0"}), "is cut short"),
    ],
)
def test_what_is_no_object_or_no_btf_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(content)

    with pytest.raises(BadDataError, match=said):
        Btf.from_elf(path)


def test_files_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="can not read"):
        Btf.from_elf(tmp_path / "none.o")
    with pytest.raises(NoInputError, match="shows no BTF"):
        Btf.vmlinux(tmp_path / "none")


def test_damage_further_in_is_told_and_never_hangs() -> None:
    loop = Blob()
    loop.add(btf.TYPEDEF, "round", 1)
    loop.struct("s", 4, [("m", 1, 0)])
    nested = Blob()
    nested.struct("n", 4, [("", 1, 0), ("", 1, 0), ("m", 0, 0)])
    short = Blob()
    short.struct("s", 4, [("a", 0, 0)])
    del short.types[-4:]
    unknown = Blob()
    unknown.add(31, "later", 0)
    unknown.struct("s", 4, [])
    dangling = Blob()
    dangling.struct("s", 4, [("m", 9, 0)])

    for blob, name, said in (
        (loop, "s", "inside itself"),
        (nested, "n", "too many members"),
        (short, "s", "middle of a type"),
        (unknown, "s", "newer than this program"),
        (dangling, "s", "refers to type 9"),
    ):
        with pytest.raises(BadDataError, match=said):
            blob.btf().struct(name)


def _sample() -> bytes:
    blob = Blob()
    u32 = blob.integer("u32", 4)
    inner = blob.struct("", 8, [("a", u32, 0)])
    blob.struct("s", 16, [("x", u32, 0), ("", inner, 32), ("p", blob.add(btf.PTR, "", inner), 64)])
    blob.enum("e", [("A", 1)])
    blob.tracepoint("t", u32)
    return blob.bytes()


@given(st.lists(st.tuples(st.integers(0, len(_sample()) - 1), st.integers(0, 255)), max_size=6))
def test_damaged_bytes_give_an_answer_or_one_error(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(_sample())
    for at, byte in changes:
        raw[at] = byte
    try:
        found = Btf(bytes(raw), "a test")
        found.struct("s")
        found.enum("e")
        found.prototype("btf_trace_t")
    except BadDataError:
        pass


# against real data


@pytest.mark.skipif(not OBJECT.exists(), reason="the probes are not built")
def test_the_compiled_probes_layouts_are_found() -> None:
    found = Btf.from_elf(OBJECT).struct("ft_head")

    assert found is not None
    assert found.member("time_ns") == Member("time_ns", 0, 8, "__u64")
    assert sum(m.size for m in found.members) == found.size


@vmlinux
def test_the_running_kernel_answers() -> None:
    kernel = Btf.vmlinux()
    task = kernel.struct("task_struct")

    assert task is not None
    comm = task.member("comm")
    assert comm is not None
    assert (comm.size, comm.type) == (16, "char[16]")
    assert kernel.has("task_struct", btf.STRUCT)
    assert not kernel.has("task_struct", btf.ENUM)
    types = kernel.enum("bpf_map_type")
    assert types is not None
    assert types["BPF_MAP_TYPE_RINGBUF"] == 27
    prototype = kernel.prototype("btf_trace_task_newtask")
    assert prototype is not None
    assert [kind for _, kind in prototype.params[:2]] == ["void *", "struct task_struct *"]


@vmlinux
def test_reading_it_whole_or_mapping_it_is_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "vmlinux"
    copy.write_bytes(btf.VMLINUX.read_bytes())

    assert Btf.vmlinux(copy).struct("mm_struct") == Btf.vmlinux().struct("mm_struct")


@vmlinux
def test_the_worst_look_up_is_fast() -> None:
    """A name that stands in no type of that kind, and the last number: a search and a walk over everything."""
    begun = time.process_time()
    kernel = Btf.vmlinux()
    kernel.has("task_struct", btf.ENUM64)
    (types,) = struct.unpack_from("=I", btf.VMLINUX.read_bytes()[:24], 12)
    with pytest.raises(BadDataError, match="does not have"):
        kernel._at(types)  # more types than bytes can not be
    spent = time.process_time() - begun

    assert spent < 0.25, f"{spent * 1e3:.0f} ms of CPU; 13 ms were measured"
