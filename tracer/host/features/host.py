"""What can be read off a host without asking its kernel to do anything: files, links, installed programs.

Everything is read once, when first asked for, below a root that tests can choose. What can not be read is
None. Knows nothing of why anybody wants to know (bpf_checks.py, host_checks.py).
"""

from __future__ import annotations

import os
import re
import struct
import sys
from functools import cached_property
from pathlib import Path
from typing import Final

from tracer.errors import ForktraceError
from tracer.host import btf, own_programs
from tracer.host.features.bpfcall import BpfCall
from tracer.model import machines

CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 19, 21, 38, 39
INITIAL_USER_NS: Final = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/uapi/linux/nsfs.h

# One package in each family of distributions; the family's command to install one.
_INSTALL: Final = {
    "debian": ("apt-get install -y", {"libbpf": "libbpf1", "bcc": "python3-bpfcc"}),
    "fedora": ("dnf install -y", {"libbpf": "libbpf", "bcc": "python3-bcc"}),
    "suse": ("zypper install -y", {"libbpf": "libbpf1", "bcc": "python3-bcc"}),
    "arch": ("pacman -S --noconfirm", {"libbpf": "libbpf", "bcc": "python-bcc"}),
    "alpine": ("apk add", {"libbpf": "libbpf", "bcc": "py3-bcc"}),
}
_FAMILIES: Final = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse"}
_PYTHON_FOLDERS: Final = ("usr/lib/python3/dist-packages", "usr/lib*/python3.*/site-packages")
_LIBRARY_FOLDERS: Final = ("usr/lib/*-linux-gnu*", "usr/lib64", "usr/lib", "lib/*-linux-gnu*", "lib64", "lib")


def as_root(command: str) -> str:
    """The command, with sudo before it unless we are root already."""
    return command if os.geteuid() == 0 else f"sudo {command}"


def forktrace_as_root(words: str = "") -> str:
    """The command that runs us with privileges: sudo does not look into a virtual environment's folder."""
    us = Path(sys.argv[0])
    known = us.name != "forktrace" or str(us.absolute().parent) in ("/usr/bin", "/usr/local/bin", "/bin")
    return f"sudo {'forktrace' if known else us.absolute()} {words}".rstrip()


class Host:
    """This host, or what a test puts below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.bpf = BpfCall()

    def text(self, path: str) -> str | None:
        """A small file's text without blanks around it; None if it is not there or may not be read."""
        try:
            return (self.root / path).read_text("utf-8", "replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file, as far as we may see."""
        try:
            return (self.root / path).exists()
        except OSError:
            return False

    @cached_property
    def capabilities(self) -> int | None:
        """Our effective capabilities, a bit each."""
        match = re.search(r"^CapEff:\s*([0-9a-f]+)$", self.text("proc/self/status") or "", re.MULTILINE)
        return int(match[1], 16) if match else None

    def capable(self, *alternatives: int) -> bool | None:
        """Whether one of these capabilities is held, and over the whole host: not in a user namespace."""
        if self.capabilities is None or self.in_user_namespace:
            return None if self.capabilities is None else False
        return any(self.capabilities >> bit & 1 for bit in alternatives)

    @cached_property
    def in_user_namespace(self) -> bool:
        """Whether we are in a user namespace other than the initial one."""
        try:
            return (self.root / "proc/self/ns/user").readlink().name != f"user:[{INITIAL_USER_NS}]"
        except OSError:
            return False  # a kernel without user namespaces, or no /proc

    @cached_property
    def btf(self) -> btf.Btf | None:
        """The running kernel's types."""
        try:
            return btf.Btf.vmlinux(self.root / str(btf.VMLINUX).lstrip("/"))
        except ForktraceError:
            return None

    def install(self, what: str) -> str:
        """The command that installs `what` (libbpf, bcc, strace) here; package names where it is unknown."""
        release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', self.text("etc/os-release") or "", re.MULTILINE))
        for word in f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split():
            family = _FAMILIES.get(word.partition("-")[0], word)
            if family in _INSTALL:
                command, names = _INSTALL[family]
                return as_root(f"{command} {names.get(what, what)}")
        names = {family: names.get(what, what) for family, (_, names) in _INSTALL.items()}
        return f"install {names['debian']} (Debian's name; Fedora's: {names['fedora']})"

    def library(self, pattern: str) -> Path | None:
        """A shared library in the usual folders. Not by ctypes.util: that starts a compiler to find one."""
        return self._first(pattern, _LIBRARY_FOLDERS)

    @cached_property
    def machine(self) -> machines.Machine | None:
        """What this kernel runs on; None for one that we know nothing of."""
        return machines.here()

    @cached_property
    def libbpf(self) -> str | None:
        """Version of the libbpf.so.1 that a program would load, as "1.1"; None if none can be loaded."""
        if self.root != Path("/"):
            return "1" if self.library("libbpf.so.1") else None
        import ctypes

        try:
            library = ctypes.CDLL("libbpf.so.1")
            library.libbpf_version_string.restype = ctypes.c_char_p
            return str(library.libbpf_version_string().decode("ascii", "replace")).removeprefix("v")
        except (OSError, AttributeError):
            return None

    @cached_property
    def bcc(self) -> Path | None:
        """Folder of the distribution's Python module of BCC; registries have another project by that name."""
        table = self._first("bcc/table.py", _PYTHON_FOLDERS)
        return None if table is None else table.parent

    @cached_property
    def strace(self) -> tuple[int, int] | None:
        """Version of the strace in PATH; (0, 0) if it does not tell; None if there is none."""
        import subprocess

        path = own_programs.find("strace")
        if path is None:
            return None
        try:
            said = subprocess.run(
                [path, "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return 0, 0
        match = re.search(r"version (\d+)\.(\d+)", said.stdout)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    def generic_netlink(self, family: str) -> bool | None:
        """Whether the kernel knows a generic netlink family; it answers at once, None if it does not."""
        import socket

        name = family.encode() + b"\0"
        body = struct.pack("=BBH", 3, 1, 0)  # CTRL_CMD_GETFAMILY
        body += struct.pack("=HH", 4 + len(name), 2) + name + bytes(-len(name) % 4)  # CTRL_ATTR_FAMILY_NAME
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as sock:  # NETLINK_GENERIC
                sock.settimeout(0.2)
                sock.send(struct.pack("=IHHII", 16 + len(body), 16, 1, 1, 0) + body)  # GENL_ID_CTRL
                (kind,) = struct.unpack_from("=H", sock.recv(8192), 4)
        except (OSError, struct.error):
            return None
        return bool(kind == 16)

    def _first(self, pattern: str, folders: tuple[str, ...]) -> Path | None:
        found = (sorted(self.root.glob(f"{folder}/{pattern}"), reverse=True) for folder in folders)
        return next((paths[0] for paths in found if paths), None)
