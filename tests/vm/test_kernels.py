"""The latest kernel of a line, from what the suites offer at the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import apt, kernels
from tests.vm.home import GuestError
from tests.vm.kernels import Kernel

OFFERED = [
    apt.Package("linux-image-6.1.0-9-cloud-amd64", "6.1.27-1"),
    apt.Package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
    apt.Package("linux-image-6.12.9+deb13-cloud-amd64", "6.12.9-1"),
    apt.Package("linux-image-6.12.117+deb12-cloud-amd64", "6.12.117-1~bpo12+1"),
    apt.Package("linux-image-6.12.118+deb13-cloud-amd64", "6.12.118-1"),
    apt.Package("linux-image-6.12.118+deb13-cloud-amd64-dbg", "6.12.118-1"),
    apt.Package("linux-image-6.12.118+deb13-amd64", "6.12.118-1"),
    apt.Package("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
    apt.Package("linux-image-7.4~rc2-cloud-amd64", "7.4~rc2-1~exp1"),
    apt.Package("linux-image-7.3.4+deb13-cloud-arm64", "7.3.4-1~bpo13+1"),
    apt.Package("linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
]


def test_the_small_flavour_of_one_machine_is_offered() -> None:
    names = [kernel.name for kernel in kernels.offered(OFFERED, "amd64")]

    assert names == [
        "6.1.0-9-cloud-amd64",
        "6.1.0-56-cloud-amd64",
        "6.12.9+deb13-cloud-amd64",
        "6.12.117+deb12-cloud-amd64",
        "6.12.118+deb13-cloud-amd64",
        "7.3.4+deb13-cloud-amd64",
    ]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("6.1", "6.1.0-56-cloud-amd64"),  # 56 after 9, and 6.1 is not the beginning of 6.12
        ("6.12", "6.12.118+deb13-cloud-amd64"),
        ("6.12.117", "6.12.117+deb12-cloud-amd64"),
        ("newest", "7.3.4+deb13-cloud-amd64"),  # no release candidate
        ("6.12.9+deb13-cloud-amd64", "6.12.9+deb13-cloud-amd64"),
        ("6.13", None),
        ("lts", None),
    ],
)
def test_a_word_means_the_latest_of_its_line(word: str, name: str | None) -> None:
    found = kernels.latest(word, kernels.offered(OFFERED, "amd64"))

    assert (found.name if found else None) == name


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with one kernel, and no package list."""
    monkeypatch.setenv("FORKTRACE_VM_HOME", str(tmp_path))
    folder = tmp_path / "k/6.12.117+deb12-cloud-amd64"
    folder.mkdir(parents=True)
    (folder / "version").write_text("6.12.117-1~bpo12+1\n")
    monkeypatch.setattr(apt, "packages", lambda arch: {})


def test_without_network_what_is_on_disk_serves(kept: None, capsys: pytest.CaptureFixture[str]) -> None:
    found = kernels.resolve("6.12", "amd64")

    assert found == Kernel("6.12.117+deb12-cloud-amd64", "6.12.117-1~bpo12+1")
    assert "6.12 is taken from what is on disk: 6.12.117+deb12-cloud-amd64" in capsys.readouterr().err


def test_a_line_that_nobody_has_is_one_sentence(kept: None) -> None:
    with pytest.raises(GuestError, match=r"there is no kernel 6\.1 for amd64; lines that can be had: 6\.12"):
        kernels.resolve("6.1", "amd64")


def test_another_flavour_goes_by_its_whole_name(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    package = apt.Package("linux-image-7.3.4+deb13-arm64-16k", "7.3.4-1~bpo13+1")
    monkeypatch.setattr(apt, "packages", lambda arch: {package.name: package})

    assert kernels.arch_of("7.3.4+deb13-arm64-16k") == "arm64"
    assert kernels.resolve("7.3.4+deb13-arm64-16k", "arm64") == Kernel("7.3.4+deb13-arm64-16k", "7.3.4-1~bpo13+1")
    with pytest.raises(GuestError):
        kernels.resolve("newest", "arm64")


def test_with_a_list_the_disk_does_not_decide(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "packages", lambda arch: {package.name: package for package in OFFERED})

    assert kernels.resolve("6.12", "amd64").name == "6.12.118+deb13-cloud-amd64"
