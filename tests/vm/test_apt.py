"""What is read of apt: the host's archives, and the kernels that its lists offer."""

from __future__ import annotations

from tests.vm import apt

LIST = """
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb-src http://src.example/debian bookworm main
"""
DEB822 = """
Types: deb
URIs: http://tools.example/apt http://mirror.example/debian
Suites: bookworm bookworm-updates
"""
DUMP = """
Package: linux-image-6.1.0-56-cloud-amd64
Source: linux-signed-amd64 (6.1.192+2)
Version: 6.1.192-2
Depends: kmod

Package: linux-image-cloud-amd64
Version: 6.1.192-2

Package: bash
Version: 5.2.15-2

Package: linux-modules-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
"""


def test_addresses_of_both_formats() -> None:
    assert list(apt.uris(LIST.splitlines())) == [
        "http://mirror.example/debian/",
        "http://mirror.example/debian-security",
    ]
    assert list(apt.uris(DEB822.splitlines())) == ["http://tools.example/apt", "http://mirror.example/debian"]


def test_the_archive_is_the_host_s_own() -> None:
    found = apt.mirrors(["http://a.example/apt", "http://m.example/debian/", "http://s.example/debian-security"])

    assert found == ("http://m.example/debian", "http://s.example/debian-security")


def test_without_a_security_archive_it_stands_beside_the_main_one() -> None:
    assert apt.mirrors(["http://m.example/debian"]) == ("http://m.example/debian", "http://m.example/debian-security")


def test_a_host_without_debian_s_archive() -> None:
    assert apt.mirrors(["http://archive.example/ubuntu"]) is None


def test_kernels_and_their_parts_are_taken_from_a_dump() -> None:
    found = apt.parse(DUMP)

    assert list(found) == ["linux-image-6.1.0-56-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
    assert found["linux-image-6.1.0-56-cloud-amd64"].version == "6.1.192-2"
