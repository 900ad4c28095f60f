"""A word such as `6.12`, `newest` or an exact Debian name -> a kernel on disk: vmlinuz, an initrd, its modules.

A line is its latest in any suite at the time of the run. Without network, the latest of what is on disk, and a remark
says so. From 6.19 on a kernel is split into several packages; the modules of some are not in the archive any more,
and such a kernel boots all the same, as what the guest stands on (NVMe, virtio, ext4) is built in since 6.12.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tests.vm import apt
from tests.vm.home import INSIDE, GuestError, call, home, locked, need, say

_PARTS: Final = ("image", "base", "binary", "modules")
_MODULES: Final = ("nvme", "virtio_pci", "virtio_console", "virtiofs", "ext4", "crc32c_generic", "virtio_rng")


class Kernel(NamedTuple):
    """`name` as Debian has it and `uname -r` says it; `version` of the package: 6.1.0-56-cloud-amd64 is 6.1.170-1."""

    name: str
    version: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """To be ordered by."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version))


def offered(packages: Iterable[apt.Package], arch: str) -> list[Kernel]:
    """The cloud kernels among these packages: the smallest that Debian makes. No release candidates."""
    pattern = re.compile(rf"linux-image-(\d[^ ]*-cloud-{arch})")
    found = [(pattern.fullmatch(package.name), package.version) for package in packages]
    return [Kernel(match[1], version) for match, version in found if match and "rc" not in match[1]]


def latest(word: str, kernels: Iterable[Kernel]) -> Kernel | None:
    """The newest kernel that `word` means: `newest`, a line (`6.12`, `6.12.118`), or an exact name."""
    kernels = list(kernels)
    exact = [kernel for kernel in kernels if kernel.name == word]
    if exact:
        return exact[0]
    if word != "newest":
        if not re.fullmatch(r"\d+(\.\d+)*", word):
            return None
        line = tuple(int(number) for number in word.split("."))
        kernels = [kernel for kernel in kernels if kernel.numbers[: len(line)] == line]
    return max(kernels, key=lambda kernel: kernel.numbers, default=None)


def on_disk(arch: str) -> list[Kernel]:
    """What has been fetched before."""
    found = [(path.parent.name, path.read_text().strip()) for path in (home() / "k").glob("*/version")]
    return [Kernel(name, version) for name, version in found if name.endswith(f"-{arch}")]


def arch_of(word: str) -> str:
    """amd64, unless the name says otherwise."""
    return "arm64" if "-arm64" in word else "amd64"


def resolve(word: str, arch: str) -> Kernel:
    """The kernel that the word means today."""
    kept = on_disk(arch)
    if any(kernel.name == word for kernel in kept):
        return Kernel(word, next(kernel.version for kernel in kept if kernel.name == word))
    have = apt.packages(arch)
    can_be_had = offered(have.values(), arch)
    kernel = latest(word, can_be_had)
    if kernel is None and (package := have.get(f"linux-image-{word}")) is not None:
        return Kernel(word, package.version)  # another flavour, by its whole name: rt, or pages of 16 KiB
    if kernel is None and not can_be_had:
        kernel = latest(word, kept)
        if kernel is not None:
            say(f"no package list can be had; {word} is taken from what is on disk: {kernel.name}")
    if kernel is None:
        lines = sorted({kernel.numbers[:2] for kernel in can_be_had or kept})
        known = ", ".join(".".join(map(str, line)) for line in lines) or "none"
        raise GuestError(f"there is no kernel {word} for {arch}; lines that can be had: {known}")
    return kernel


def provide(word: str, arch: str) -> tuple[Kernel, Path]:
    """The kernel and its directory, fetched if need be."""
    kernel = resolve(word, arch)
    with locked(f"k-{kernel.name}"):
        folder = home() / "k" / kernel.name
        if (folder / "version").exists():
            return kernel, folder
        try:
            _make(kernel, arch, folder)
        except GuestError as e:
            shutil.rmtree(folder, ignore_errors=True)
            kept = latest(word, on_disk(arch))
            if kept is None:
                raise
            say(f"{kernel.name}: {e}; {word} is taken from what is on disk: {kept.name}")
            return kept, home() / "k" / kept.name
    return kernel, folder


def _make(kernel: Kernel, arch: str, folder: Path) -> None:
    need("depmod", "modprobe", "cpio", "mke2fs", "dpkg")
    say(f"fetching {kernel.name} ({kernel.version})")
    with tempfile.TemporaryDirectory(dir=home()) as made:
        work = Path(made)
        have = apt.packages(arch)
        names = [name for part in _PARTS if (name := f"linux-{part}-{kernel.name}") in have]
        for deb in apt.download(arch, names, work):
            call(["dpkg", "-x", deb, work / "x"], f"unpacking {deb.name}")
        usr = work / "x/usr"
        if (work / "x/lib").is_dir():  # before Debian 13
            shutil.copytree(work / "x/lib", usr / "lib", symlinks=True, dirs_exist_ok=True)
        modules = usr / "lib/modules" / kernel.name
        folder.mkdir(parents=True, exist_ok=True)
        images = [*(work / "x/boot").glob("vmlinu[xz]-*"), *modules.glob("vmlinu[xz]")]
        if not images:
            raise GuestError(f"the packages of {kernel.name} hold no kernel image")
        shutil.copy(images[0], folder / "vmlinuz")
        order = _needed(work, usr, kernel.name) if modules.is_dir() else []
        _initrd(work, arch, order, folder / "initrd")
        if modules.is_dir():
            for name in ("vmlinuz", "System.map", "config", "build", "source"):
                (modules / name).unlink(missing_ok=True)
            _image(usr / "lib/modules", folder / "modules.ext4", spare=8)
        else:
            say(f"the modules of {kernel.name} are not in the archive; it boots without them")
        (folder / "version").write_text(kernel.version + "\n")


def _needed(work: Path, usr: Path, name: str) -> list[str]:
    """Unpack the modules of the guest's own devices into the initrd, and return the order to load them in."""
    call(["depmod", "-b", usr, name], "depmod")
    order: list[str] = []
    target = work / "initrd/m"
    target.mkdir(parents=True)
    for module in _MODULES:
        command = ["modprobe", "-d", str(usr), "-S", name, "--show-depends", module]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for path in re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE):
            short = Path(path).name.partition(".ko")[0] + ".ko"
            if short in order:
                continue
            order.append(short)
            if path.endswith(".xz"):
                (target / short).write_bytes(lzma.decompress(Path(path).read_bytes()))
            elif path.endswith(".zst"):
                call(["zstd", "-qd", path, "-o", target / short], "zstd")
            else:
                shutil.copy(path, target / short)
    return order


def _initrd(work: Path, arch: str, order: list[str], path: Path) -> None:
    tree = work / "initrd"
    for folder in ("bin", "dev", "proc", "new", "m"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    (tree / "order").write_text("".join(f"{name}\n" for name in order))
    shutil.copy(_busybox(arch), tree / "bin/busybox")
    shutil.copy(INSIDE / "initrd", tree / "init")
    (tree / "init").chmod(0o755)
    names = "".join(f"{file.relative_to(tree)}\n" for file in sorted(tree.rglob("*")))
    with open(path, "wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), stdout=file, check=True)


def _busybox(arch: str) -> Path:
    kept = home() / f"busybox-{arch}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=home()) as made:
            [deb] = apt.download(arch, ["busybox-static"], Path(made))
            call(["dpkg", "-x", deb, Path(made) / "x"], "unpacking busybox")
            found = next(path for path in Path(made).glob("x/**/bin/busybox") if path.is_file())
            shutil.copy(found, kept)
    return kept


def _image(tree: Path, image: Path, *, spare: int) -> None:
    """An ext4 image that holds the tree, `spare` MiB and a third larger."""
    used = int(call(["du", "-sm", tree], "du").split()[0])
    image.unlink(missing_ok=True)
    size = f"{used * 4 // 3 + spare}M"
    command: list[str | Path] = [
        "/sbin/mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-d",
        tree,
        image,
        size,
    ]
    call(command, f"making {image.name}")
