"""Root file systems of guests: a Debian release with the Python packages that forktrace needs, as one ext4 image.

    small   Python, libbpf, strace: what the kernel job of CI needs
    full    and systemd, containers, every backend, compilers

The packages are wheels for the guest's own Python, so the Python that made the checkout's .venv does not matter.
A foreign machine's root is unpacked, not configured: enough without systemd.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.vm import apt
from tests.vm.home import ROOT, GuestError, call, home, locked, need, say

_SUITES: Final = ("bookworm", "trixie", "forky")  # with Python 3.11 and libbpf 1.0, or newer


def _suite() -> str:
    """The host's own release, so that what is compiled here runs there."""
    host = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return os.environ.get("FORKTRACE_VM_SUITE") or (host if host in _SUITES else _SUITES[0])


SUITE: Final = _suite()
_SMALL: Final = (
    "python3",
    "libbpf1",
    "strace",
    "kmod",
    "procps",
    "iproute2",
    "util-linux",
    "mount",
    "hostname",
    "sudo",
    "make",
)
_FULL: Final = (
    *_SMALL,
    "systemd-sysv",
    "udev",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "ca-certificates",
    "python3-bpfcc",
    "python3-venv",
    "bpftool",
    "bpftrace",
    "linux-perf",
    "gcc",
    "make",
    "libc6-dev",
    "tmux",
    "redis-server",
    "git",
    "libcap2-bin",
    "psmisc",
    "time",
    "stress-ng",
    "cron",
    "busybox-static",
    "podman",
    "crun",
    "uidmap",
    "slirp4netns",
    "fuse-overlayfs",
    "docker.io",
    "containerd",
    "iptables",
    "apparmor",
)
# A foreign root is unpacked and not installed: what is essential comes by name, and no program of it has run.
_FOREIGN: Final = (
    *_SMALL,
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "init-system-helpers",
    "libc-bin",
    "login",
    "mawk",
    "ncurses-base",
    "ncurses-bin",
    "passwd",
    "perl-base",
    "sed",
    "sysvinit-utils",
    "tar",
    "gcc",
    "libc6-dev",
    "make",
    "libcap2-bin",
    "psmisc",
)
_ALTERNATIVES: Final = {"awk": "mawk", "cc": "gcc"}
SETS: Final = {"small": _SMALL, "full": _FULL}
_EXTRAS: Final = ("metrics",)
_TESTING: Final = ("pytest", "hypothesis", "pyte")
_PLATFORM: Final = {"amd64": "x86_64", "arm64": "aarch64"}
HOST: Final = "amd64" if os.uname().machine == "x86_64" else "arm64"


def requirements(pyproject: str) -> list[str]:
    """What a guest's Python needs of the project's dependencies: all, two extras, and what tests need."""
    project = tomllib.loads(pyproject)["project"]
    result = list(project["dependencies"])
    for extra in _EXTRAS:
        result += project["optional-dependencies"][extra]
    result += [word for word in project["optional-dependencies"]["dev"] if word.startswith(_TESTING)]
    return result


def _key(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def provide(name: str, arch: str) -> Path:
    """The image, made if need be: half a minute to two minutes."""
    packages = SETS[name] if arch == HOST else _FOREIGN
    wanted = requirements((ROOT / "pyproject.toml").read_text())
    pins = (ROOT / "constraints.txt").read_text()
    folder = home() / "roots"
    folder.mkdir(exist_ok=True)
    tree = folder / f"{name}-{arch}-{_key(SUITE, *packages)}"
    image = folder / f"{tree.name}-{_key(pins, *wanted)}.ext4"
    with locked(f"root-{name}-{arch}"):
        if not image.exists():
            if os.geteuid():
                raise GuestError("a root file system is made by root only. Try: sudo")
            need("mmdebstrap", "mke2fs")
            if not tree.exists():
                say(f"making a root file system: {SUITE}, {name}, {arch}")
                _bootstrap(tree, arch, packages)
            say("adding the Python packages")
            _python(tree, arch, wanted)
            _image(tree, image)
            _forget(folder, f"{name}-{arch}", tree, image)
    return image


def _forget(folder: Path, stem: str, tree: Path, image: Path) -> None:
    """Remove trees of other package lists, and images but the newest three: other checkouts may want those."""
    for old in folder.glob(f"{stem}-*"):
        if old.is_dir() and old != tree:
            shutil.rmtree(old)
    for old in sorted(folder.glob(f"{stem}-*.ext4"), key=lambda path: path.stat().st_mtime)[:-3]:
        if old != image:
            old.unlink()


def _bootstrap(tree: Path, arch: str, packages: tuple[str, ...]) -> None:
    main, security = apt.archive()
    sources = f"deb {main} {SUITE} main\n"
    if SUITE not in ("sid", "unstable"):
        sources += f"deb {security} {SUITE}-security main\n"
    new = tree.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    variant = "minbase" if arch == HOST else "extract"
    options = [f"--aptopt={line}" for line in apt.acquire_options()]
    command = ["mmdebstrap", "--quiet", f"--variant={variant}", f"--architectures={arch}", *options]
    command += [f"--include={','.join(packages)}", SUITE, str(new), "-"]
    call(command, "mmdebstrap", stdin=sources)
    (new / "usr/lib/modules").mkdir(parents=True, exist_ok=True)
    (new / "etc/hostname").write_text("guest\n")
    (new / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    if variant == "extract":
        _by_hand(new)
    _user(new)
    new.rename(tree)


def _by_hand(tree: Path) -> None:
    """What the packages' own scripts would have done."""
    for folder in ("mnt", "usr/local/bin", "usr/local/sbin"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for file in ("passwd", "group"):
        shutil.copy(tree / "usr/share/base-passwd" / f"{file}.master", tree / "etc" / file)
    for name, program in _ALTERNATIVES.items():
        (tree / "usr/bin" / name).symlink_to(program)


def _user(tree: Path) -> None:
    """A person with a home and subordinate ids, for sudo and for containers without root."""
    for file, line in (
        ("passwd", "user:x:1000:1000::/home/user:/bin/bash"),
        ("group", "user:x:1000:"),
        ("shadow", "user:*:20000:0:99999:7:::"),
        ("subuid", "user:100000:65536"),
        ("subgid", "user:100000:65536"),
    ):
        with open(tree / "etc" / file, "a") as out:
            out.write(line + "\n")
    (tree / "home/user").mkdir()
    os.chown(tree / "home/user", 1000, 1000)


def _python(tree: Path, arch: str, wanted: list[str]) -> None:
    version = Path(os.readlink(tree / "usr/bin/python3")).name.removeprefix("python")
    target = tree / "usr/local/lib" / f"python{version}" / "dist-packages"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    machine = _PLATFORM[arch]
    given = ["--target", str(target), "--python-version", version, "--only-binary", ":all:"]
    given += ["--constraint", str(ROOT / "constraints.txt"), *wanted]
    uv = shutil.which("uv") or ROOT / ".tools/bin/uv"
    if Path(uv).exists():
        env = {**os.environ, "UV_CACHE_DIR": str(ROOT / ".tools/cache"), "UV_LINK_MODE": "copy"}
        target_of = ["--python", sys.executable, "--python-platform", f"{machine}-manylinux_2_28"]
        call([uv, "pip", "install", "--quiet", *target_of, *given], "uv pip install", env=env)
    else:
        tags = [f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux2014", "manylinux_2_17")]
        call([_with_pip(), "-m", "pip", "install", "--quiet", "--implementation=cp", *tags, *given], "pip install")
    if arch == HOST:
        inside = Path("/") / target.relative_to(tree)
        call(["chroot", tree, "python3", "-m", "compileall", "-q", "-j", "2", inside], "compiling the Python packages")


def _with_pip() -> str:
    """A Python that has pip: an environment made by uv has none."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return python
    raise GuestError("neither uv nor pip is here. Try: apt-get install python3-pip")


def _image(tree: Path, image: Path) -> None:
    new = image.with_suffix(".new")
    new.unlink(missing_ok=True)
    options = ["-O", "^has_journal", "-E", "lazy_itable_init=1", "-m", "0"]
    call(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, new, "8G"], f"making {image.name}")
    new.rename(image)
