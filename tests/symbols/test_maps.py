"""Lines of /proc/PID/maps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracer.symbols.maps import Maps, executable

TEXT = b"""\
55d0c0a00000-55d0c0a04000 r--p 00000000 fe:01 131586                     /usr/bin/dash
55d0c0a04000-55d0c0a18000 r-xp 00004000 fe:01 131586                     /usr/bin/dash
55d0c1f0e000-55d0c1f2f000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0\x20
7f0000002000-7f0000003000 r-xp 00001000 103:10001 77 /opt/a \\012b \xff (deleted)
7ffd1e9c4000-7ffd1e9c6000 r-xp 00000000 00:00 0                          [vdso]
rubbish
7f-7g r-xp 0 0:0 0
"""


def test_executable_mappings_are_kept() -> None:
    maps = Maps.parse(TEXT)

    assert [(hex(m.start), hex(m.end), m.offset, m.inode, m.path) for m in maps.mappings] == [
        ("0x55d0c0a04000", "0x55d0c0a18000", 0x4000, 131586, "/usr/bin/dash"),
        ("0x7f0000000000", "0x7f0000001000", 0, 0, ""),
        ("0x7f0000002000", "0x7f0000003000", 0x1000, 77, "/opt/a \nb \udcff"),
        ("0x7ffd1e9c4000", "0x7ffd1e9c6000", 0, 0, "[vdso]"),
    ]
    assert [m.deleted for m in maps.mappings] == [False, False, True, False]
    assert maps.mappings[0].device == os.makedev(0xFE, 1)
    assert maps.mappings[2].device == os.makedev(0x103, 0x10001)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (0x55D0C0A04000, "/usr/bin/dash"),
        (0x55D0C0A17FFF, "/usr/bin/dash"),
        (0x55D0C0A18000, None),
        (0x55D0C0A03FFF, None),
        (0, None),
        (0x7FFD1E9C5000, "[vdso]"),
        (1 << 63, None),
    ],
)
def test_the_mapping_of_an_address(address: int, path: str | None) -> None:
    found = Maps.parse(TEXT).find(address)

    assert (found.path if found else None) == path


def test_forks_of_one_program_have_the_same_text() -> None:
    other = TEXT.replace(b"55d0c1f2f000", b"55d0c1fff000")  # a heap that has grown

    assert executable(TEXT) == executable(other)
    assert executable(TEXT) != executable(TEXT.replace(b"7f0000001000", b"7f0000002000"))


def test_ones_own() -> None:
    maps = Maps.parse(Path("/proc/self/maps").read_bytes())
    libc = next(m for m in maps.mappings if "libc" in m.path)

    assert os.stat(libc.path).st_ino == libc.inode
    assert os.stat(libc.path).st_dev == libc.device or os.stat(libc.path).st_dev >> 8 == 0  # btrfs, overlay


def test_nothing() -> None:
    assert Maps.parse(b"").mappings == ()
    assert Maps.parse(b"").find(1) is None
