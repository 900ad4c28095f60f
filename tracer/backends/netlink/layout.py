"""What the kernel's two netlink sources say, byte by byte: events of the proc connector, taskstats of tasks that end.

    EVENT               one message of the connector, in a slot of EVENT_SLOT bytes (include/uapi/linux/cn_proc.h)
    stats_layout(...)   one message of taskstats, for the struct that this kernel has (include/uapi/linux/taskstats.h)

Every message is received into a slot of its own, so a run of them is one `iter_unpack`. Knows no socket, and nothing
of what the numbers mean together.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from tracer.errors import ProbesRefusedError

# The connector. A message: nlmsghdr 16, cn_msg 20, proc_event 40 bytes; one message a datagram.

FORK, EXEC, UID, COMM, EXIT = 0x1, 0x2, 0x4, 0x200, 0x80000000  # `what`; NONE answers a request
NONE: Final = 0
CN_IDX_PROC: Final = 1
LISTEN, IGNORE = 1, 2

EVENT_SLOT: Final = 128
SLOT_END: Final = 16  # bytes of every slot that nothing is received into: zeros, for fields that a kernel lacks
EVENT: Final = struct.Struct("=24xII4xIIQ6I52x")
"""seq, ack, what, cpu, time (CLOCK_MONOTONIC, ns), and six words:

FORK   parent's tid, tgid, child's tid, tgid: the parent is whose child it is, for a thread too; nobody says who cloned
EXEC   tid, tgid, both the new ones
UID    tid, tgid, real uid, effective uid
COMM   tid, tgid, 16 bytes of name
EXIT   tid, tgid, wait status, exit signal, parent's tid, tgid (0 when it is already reaped)
NONE   0 or an errno
"""

_WHAT_AT: Final = 36
_REQUEST: Final = struct.Struct("=IHHIIIIIIHHI")


def request(op: int, port: int, nonce: int) -> bytes:
    """LISTEN or IGNORE. The answer is a NONE event whose `ack` is `nonce` + 1."""
    done = 3  # NLMSG_DONE
    return _REQUEST.pack(_REQUEST.size, done, 0, 0, port, CN_IDX_PROC, CN_IDX_PROC, 0, nonce, 4, 0, op)


def only(what: int) -> bytes:
    """A socket filter (classic BPF) that lets pass the events of one kind.

    Whole: listeners share one buffer (do_one_broadcast), and a filter that cuts it cuts everybody's.
    """
    load_word, jump_if_equal, give = 0x20, 0x15, 0x06
    word = int.from_bytes(struct.pack("=I", what), "big")  # a filter loads in network order
    steps = ((load_word, 0, 0, _WHAT_AT), (jump_if_equal, 0, 1, word), (give, 0, 0, 0xFFFFFFFF), (give, 0, 0, 0))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


# taskstats. A message: nlmsghdr 16, genlmsghdr 4, then attributes: AGGR_PID around PID and STATS.

AGROUP: Final = 0x20  # ac_flag: the process ended with this task. Since Linux 5.19 (version 12 of the struct)


class Stats(NamedTuple):
    """What a task had used, in the order of the struct. Messages come as bare tuples: index them by the names below.

    0 where this kernel's struct lacks a field: StatsLayout.names says which it has.
    """

    ac_flag: int
    cpu_run_virtual_total: int  # ns, up to when the scheduler last looked: 0 for one that ran between two ticks
    ac_comm: bytes  # padded with NULs
    ac_uid: int
    ac_pid: int  # the tid
    ac_utime: int  # us
    ac_stime: int
    ac_minflt: int
    ac_majflt: int
    hiwater_rss: int  # KiB, of the address space it had at the end
    ac_tgid: int
    wpcopy_count: int


_FORMATS: Final = ("B", "Q", "32s", "I", "I", "Q", "Q", "Q", "Q", "Q", "I", "Q")

# Offsets by the struct's version, for kernels without BTF. Version 15 (Linux 6.14) put new fields in the middle, and
# version 16 moved them to the end: 0bf2d838de1f ("taskstats: fix struct taskstats breaks backward compatibility
# since version 15") (v6.16).
_BASE: Final = (8, 72, 80, 120, 128, 152, 160, 168, 176, 200, 368, 400)
_VERSION_15: Final = (8, 120, 128, 168, 176, 200, 208, 216, 224, 248, 464, 496)
_SINCE: Final = {"ac_tgid": 12, "wpcopy_count": 13}  # Linux 5.19, 6.1


class StatsLayout(NamedTuple):
    """How to cut a message that lies in a slot of `slot` bytes."""

    cut: struct.Struct
    slot: int
    names: frozenset[str]  # the fields that are there


def offsets_by_version(version: int) -> dict[str, int]:
    """Where each field of Stats stands in version `version` of the struct."""
    places = _VERSION_15 if version == 15 else _BASE
    return {name: at for name, at in zip(Stats._fields, places, strict=True) if version >= _SINCE.get(name, 1)}


def find_stats(message: bytes) -> tuple[int, int]:
    """(where the struct begins, how long it is) in a taskstats message.

    Raises ProbesRefusedError when there is none.
    """
    at, end = 20, len(message)
    while at + 4 <= end:
        size, kind = struct.unpack_from("=HH", message, at)
        if kind == 3:  # TASKSTATS_TYPE_STATS
            return at + 4, size - 4
        if size < 4:
            break
        at += 4 if kind == 4 else (size + 3) & ~3  # TASKSTATS_TYPE_AGGR_PID is around the others
    raise ProbesRefusedError("the kernel's taskstats have an unknown form", "use another backend")


def stats_layout(at: int, size: int, offsets: Mapping[str, int]) -> StatsLayout:
    """For a struct of `size` bytes, `at` bytes into the message, with its fields at `offsets`.

    Raises ProbesRefusedError when the fields do not stand in the order we know.
    """
    slot = (at + size + SLOT_END + 63) & ~63
    text, here, missing = "=", 0, slot - SLOT_END
    names = set()
    for name, form in zip(Stats._fields, _FORMATS, strict=True):
        width = struct.calcsize("=" + form)
        place = at + offsets[name] if name in offsets and offsets[name] + width <= size else missing
        if place < here:
            raise ProbesRefusedError("the kernel's taskstats have an unknown order", "use another backend")
        if place == missing:
            missing += width
        else:
            names.add(name)
        text += f"{place - here}x{form}"
        here = place + width
    return StatsLayout(struct.Struct(f"{text}{slot - here}x"), slot, frozenset(names))
