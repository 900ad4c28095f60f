"""What the kernel says by netlink, byte by byte: against its own types, and against messages made by hand."""

from __future__ import annotations

import struct

import pytest

from tracer.backends.netlink import layout
from tracer.backends.netlink.layout import EVENT, EVENT_SLOT, Stats, find_stats, offsets_by_version, stats_layout
from tracer.errors import ForktraceError, ProbesRefusedError
from tracer.host import btf


def message(struct_bytes: bytes, *, padded: bool = False) -> bytes:
    """A taskstats message around the struct; some machines pad it to 8 bytes with an empty attribute."""
    inner = struct.pack("=HHI", 8, 1, 77) + (struct.pack("=HH", 4, 6) if padded else b"")
    inner += struct.pack("=HH", 4 + len(struct_bytes), 3) + struct_bytes
    return bytes(16) + bytes(4) + struct.pack("=HH", 4 + len(inner), 4) + inner


def test_an_event_is_cut_where_the_kernel_puts_it() -> None:
    header = struct.pack("=IHHII", 76, 3, 0, 0, 0)
    connector = struct.pack("=IIIIHH", 1, 1, 1001, 1002, 40, 0)
    event = struct.pack("=IIQ6I", layout.FORK, 3, 123456789, 10, 11, 12, 13, 14, 15)

    slot = (header + connector + event).ljust(EVENT_SLOT, b"\xff")

    assert EVENT.size == EVENT_SLOT
    assert EVENT.unpack(slot) == (1001, 1002, layout.FORK, 3, 123456789, 10, 11, 12, 13, 14, 15)


def test_a_request_is_what_the_connector_expects() -> None:
    raw = layout.request(layout.LISTEN, 4711, 9)

    assert struct.unpack("=IHHIIIIIIHHI", raw) == (40, 3, 0, 0, 4711, 1, 1, 0, 9, 4, 0, 1)


def test_offsets_are_those_of_this_kernel() -> None:
    try:
        known = btf.Btf.vmlinux().struct("taskstats")
    except ForktraceError as e:
        pytest.skip(f"no BTF: {e}")
    if known is None:
        pytest.skip("this kernel has no taskstats")
    fields = {m.name: (m.offset, m.size) for m in known.members}
    version = 15 if "cpu_delay_max" in fields and fields["cpu_delay_max"][0] < fields["ac_comm"][0] else 16

    for name, at in offsets_by_version(version).items():
        assert fields[name][0] == at, name


def test_version_15_has_two_more_fields_for_each_delay_before_it() -> None:
    base, moved = offsets_by_version(14), offsets_by_version(15)

    assert moved["ac_flag"] == base["ac_flag"]
    for name in ("cpu_run_virtual_total", "ac_comm", "ac_uid", "ac_minflt", "hiwater_rss"):
        assert moved[name] == base[name] + 3 * 16, name  # CPU, block I/O, swap
    for name in ("ac_tgid", "wpcopy_count"):
        assert moved[name] == base[name] + 6 * 16, name  # and reclaim, thrashing, compaction


@pytest.mark.parametrize(
    ("version", "lacks"), [(10, {"ac_tgid", "wpcopy_count"}), (12, {"wpcopy_count"}), (13, set()), (16, set())]
)
def test_old_versions_lack_the_last_fields(version: int, lacks: set[str]) -> None:
    assert set(Stats._fields) - offsets_by_version(version).keys() == lacks


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("version", [8, 12, 13, 15, 16])
def test_a_message_becomes_stats(version: int, padded: bool) -> None:
    size = {8: 328, 12: 400, 13: 416, 15: 512, 16: 560}[version]
    offsets = offsets_by_version(version)
    raw = bytearray(b"\xee" * size)
    wanted = {}
    formats = dict(zip(Stats._fields, "BQsIIQQQQQIQ", strict=True))
    for i, name in enumerate(Stats._fields, 1):
        if name == "ac_comm":
            wanted[name] = b"odd \xff\n".ljust(32, b"\0")
            struct.pack_into("=32s", raw, offsets[name], wanted[name])
        elif name in offsets:
            wanted[name] = i  # type: ignore[assignment]
            struct.pack_into("=" + formats[name], raw, offsets[name], i)
    whole = message(bytes(raw), padded=padded)
    at, length = find_stats(whole)

    known = stats_layout(at, length, offsets)
    room = known.slot - layout.SLOT_END
    got = Stats(*known.cut.unpack(whole[:room].ljust(room, b"\xdd") + bytes(layout.SLOT_END)))

    assert length == size
    assert known.names == offsets.keys()
    assert got._asdict() == dict.fromkeys(Stats._fields, 0) | wanted


def test_a_refusal_is_no_stats() -> None:
    with pytest.raises(ProbesRefusedError, match="unknown form"):
        find_stats(struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -3) + bytes(16))


def test_fields_in_another_order_are_refused() -> None:
    offsets = offsets_by_version(13) | {"ac_uid": 400}

    with pytest.raises(ProbesRefusedError, match="unknown order"):
        stats_layout(36, 416, offsets)
