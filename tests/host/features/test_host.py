from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracer.host import features
from tracer.host.features.host import CAP_BPF, CAP_NET_ADMIN, Host, forktrace_as_root

SUDO = "" if os.geteuid() == 0 else "sudo "


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian", "apt-get install -y libbpf1"),
        ('ID="ubuntu"\nID_LIKE=debian', "apt-get install -y libbpf1"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\nID_LIKE=\"ubuntu debian\"", "apt-get install -y libbpf1"),
        ("ID=fedora", "dnf install -y libbpf"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "dnf install -y libbpf"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "zypper install -y libbpf1"),
        ("ID=arch", "pacman -S --noconfirm libbpf"),
        ("ID=alpine", "apk add libbpf"),
    ],
)
def test_the_command_of_each_distribution(tmp_path: Path, release: str, command: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(f"NAME=x\n{release}\n")

    assert Host(tmp_path).install("libbpf") == SUDO + command


def test_an_unknown_distribution_gets_names(tmp_path: Path) -> None:
    assert Host(tmp_path).install("bcc") == "install python3-bpfcc (Debian's name; Fedora's: python3-bcc)"
    assert "strace" in Host(tmp_path).install("strace")


@pytest.mark.parametrize(
    ("started", "said"),
    [
        ("/usr/bin/forktrace", "sudo forktrace doctor"),
        ("/home/me/.venv/bin/forktrace", "sudo /home/me/.venv/bin/forktrace doctor"),
        ("/x/tracer/__main__.py", "sudo forktrace doctor"),
        ("-c", "sudo forktrace doctor"),
    ],
)
def test_sudo_needs_the_whole_path_of_a_virtual_environment(
    monkeypatch: pytest.MonkeyPatch, started: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started])

    assert forktrace_as_root("doctor") == said


def test_capabilities_of_this_process() -> None:
    host = Host()
    status = Path("/proc/self/status").read_text()

    assert host.capabilities is not None
    assert f"CapEff:\t{host.capabilities:016x}" in status
    if not host.in_user_namespace:
        assert host.capable(CAP_BPF) is bool(host.capabilities >> CAP_BPF & 1)
        assert host.capable(CAP_BPF, CAP_NET_ADMIN) is bool(host.capabilities & (1 << CAP_BPF | 1 << CAP_NET_ADMIN))


def test_the_library_is_the_one_that_loads() -> None:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        assert Host().libbpf is None
    else:
        version = Host().libbpf
        assert version is not None
        assert version.startswith("1.")


def test_strace_tells_its_version() -> None:
    path = shutil.which("strace")
    if path is None:
        assert Host().strace is None
        return
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
    version = Host().strace

    assert version is not None
    assert "version {}.{}".format(*version) in said


def test_generic_netlink_families() -> None:
    host = Host()

    assert host.generic_netlink("nlctrl") is True
    assert host.generic_netlink("no_such_family") is False


def test_all_features_of_this_host_are_quick() -> None:
    """30 ms of CPU were measured, half of it the first load of libraries."""
    begun = time.process_time()
    checks = features.features(Host())
    spent = time.process_time() - begun

    assert [check.name for check in checks] == list(features.FEATURES)
    assert spent < 0.25, f"{spent * 1e3:.0f} ms"
