"""One boot of a guest: runs a command as root in it; output, errors and status are the command's.

The checkout is mounted at its own path, so paths mean the same inside and outside. Console, output, errors and the
state of the job are four channels. A guest that does not come up, or does not end, is one sentence and the end of
its console; nothing waits without a bound.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.vm import kernels, roots
from tests.vm.home import INSIDE, ROOT, GuestError, home, locked, need, say

_VIRTIOFSD: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
_BOOT_S: Final = float(os.environ.get("FORKTRACE_VM_BOOT", "240"))
_TAIL: Final = 40
Sink = Callable[[bytes], object]


class Job(NamedTuple):
    """What is to be run, and in what."""

    kernel: str
    command: str
    arch: str = "amd64"
    systemd: bool = False
    root: str = "small"
    cpus: int = 2
    mem: int = 2048
    append: str = ""
    timeout: float = 600
    share: Path = ROOT


class Outcome(NamedTuple):
    """`booted`, `ran`: seconds by the guest's clock."""

    kernel: kernels.Kernel
    status: int
    booted: float
    ran: float


def run(job: Job, out: Sink, err: Sink, *, accel: str | None = None) -> Outcome:
    """Boot, run, power off. Raises GuestError."""
    machine = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[job.arch]
    need(machine)
    kernel, folder = kernels.provide(job.kernel, job.arch)
    image = roots.provide("full" if job.systemd else job.root, job.arch)
    accel = accel or _accelerator(job.arch)
    with tempfile.TemporaryDirectory(prefix="vm-", dir=home()) as made, _shared(job.share, Path(made)) as (how, mount):
        work = Path(made)
        disks = [path for path in (image, folder / "modules.ext4") if path.exists()]
        settings = f"share='{job.share}'\nhow={how}\ndisks={len(disks)}\n"
        _write_initrd(job, folder / "initrd", settings, work)
        command = [machine, *_machine(job, accel), *_kernel(job, folder, work, accel), *_disks(disks)]
        command += [*_channels(work), *mount, "-device", "virtio-rng-pci"]
        return _Boot(job, kernel, work, command).wait(out, err)


def _machine(job: Job, accel: str) -> list[str]:
    if job.arch == "arm64":
        machine, cpu = "virt,gic-version=3", "max,pauth-impdef=on"
    else:
        machine, cpu = "q35", "max,la57=off"
    # One thread for all virtual processors: with one each, a guest of two oopsed under emulation
    how = ["-accel", "tcg,thread=single,tb-size=1024", "-cpu", cpu]
    if accel == "kvm":
        how = ["-accel", "kvm", "-cpu", "host"]
    memory = ["-object", f"memory-backend-memfd,id=ram,size={job.mem}M,share=on", "-m", str(job.mem)]
    return [
        "-M",
        f"{machine},memory-backend=ram",
        *memory,
        "-smp",
        str(job.cpus),
        *how,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ]


def _kernel(job: Job, folder: Path, work: Path, accel: str) -> list[str]:
    words = ["console=" + ("ttyAMA0" if job.arch == "arm64" else "ttyS0"), "panic=-1", "quiet", "loglevel=4"]
    if accel == "tcg":  # checks of the hardware that only cost time here
        words += ["mitigations=off", "nopti", "tsc=reliable", "no_timer_check", "random.trust_cpu=on"]
    if job.systemd:
        words += ["vm.systemd", "systemd.show_status=0", "systemd.unified_cgroup_hierarchy=1"]
    words += job.append.split()
    return ["-kernel", str(folder / "vmlinuz"), "-initrd", str(work / "initrd"), "-append", " ".join(words)]


def _disks(paths: Sequence[Path]) -> Iterator[str]:
    """NVMe disks: built in since 6.12, a module before; virtio's disk is a module in all."""
    yield from ("-device", "nvme,id=disks,serial=disks")
    for number, path in enumerate(paths, 1):
        yield from ("-drive", f"file={path},if=none,id=d{number},format=raw,cache=unsafe,snapshot=on")
        yield from ("-device", f"nvme-ns,drive=d{number},bus=disks,nsid={number}")


def _channels(work: Path) -> list[str]:
    words = ["-serial", f"file:{work / 'console'}", "-device", "virtio-serial-pci"]
    for name in ("out", "err", "end"):
        words += ["-chardev", f"file,id={name},path={work / name}"]
        words += ["-device", f"virtserialport,chardev={name},name={name}"]
    return words


def _write_initrd(job: Job, kernels_own: Path, settings: str, work: Path) -> None:
    """The kernel's own initrd and, behind it, this boot's job: the kernel unpacks both."""
    tree = work / "tree"
    (tree / "vm").mkdir(parents=True)
    shutil.copy(INSIDE / "initrd", tree / "init")
    for name in ("init", "job", "vm-job.service"):
        shutil.copy(INSIDE / name, tree / "vm" / name)
    (tree / "vm/settings").write_text(settings)
    (tree / "vm/command").write_text(job.command + "\n")
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    with open(work / "initrd", "wb") as file:
        file.write(kernels_own.read_bytes())
        file.flush()
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), stdout=file, check=True)


@contextmanager
def _shared(share: Path, work: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """virtiofs where its daemon is installed, else 9p, which not every kernel has."""
    daemon = next((path for path in _VIRTIOFSD if os.access(path, os.X_OK)), None)
    if daemon is None:
        yield "9p", ("-virtfs", f"local,path={share},mount_tag=share,security_model=none,multidevs=remap")
        return
    socket = work / "fs"
    words = [f"--socket-path={socket}"]
    if daemon.startswith("/usr/libexec"):
        words += [f"--shared-dir={share}", "--cache=always", "--sandbox=chroot"]
    else:
        words += ["-o", f"source={share},cache=always,sandbox=chroot,flock"]
    with open(work / "virtiofsd.log", "wb") as log:
        server = subprocess.Popen([daemon, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 10
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > end:
                raise GuestError(f"virtiofsd failed: {(work / 'virtiofsd.log').read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.02)
        device = "vhost-user-fs-pci,chardev=fs,tag=share"
        yield "virtiofs", ("-chardev", f"socket,id=fs,path={socket}", "-device", device)
    finally:
        server.kill()
        server.wait()


class _Boot:
    """A running guest and its four channels."""

    def __init__(self, job: Job, kernel: kernels.Kernel, work: Path, command: Sequence[str]) -> None:
        self._job, self._kernel, self._work, self._command = job, kernel, work, command

    def wait(self, out: Sink, err: Sink) -> Outcome:
        readers = []
        for name, sink in (("out", out), ("err", err)):
            os.mkfifo(self._work / name)
            readers.append(threading.Thread(target=_copy, args=(self._work / name, sink)))
            readers[-1].start()
        with open(self._work / "qemu.log", "wb") as log:
            qemu = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        why, up = "", False
        end_of_wait = time.monotonic() + _BOOT_S
        try:
            while qemu.poll() is None and not why:
                if not up and self._times("begin"):
                    up, end_of_wait = True, time.monotonic() + self._job.timeout
                if time.monotonic() > end_of_wait:
                    what, bound = ("end its command", self._job.timeout) if up else ("come up", _BOOT_S)
                    why = f"did not {what} within {bound:.0f} s"
                time.sleep(0.05)
        finally:
            qemu.kill()
            qemu.wait()
            for name, reader in zip(("out", "err"), readers, strict=True):
                # A reader still waits for its first byte where qemu has never opened the channel
                os.close(os.open(self._work / name, os.O_RDWR | os.O_NONBLOCK))
                reader.join()
        begin, end = self._times("begin"), self._times("end")
        if why or not begin or not end:
            raise GuestError(self._failure(why or ("ended before its command did" if begin else "did not come up")))
        return Outcome(self._kernel, int(end[0]), float(begin[0]), float(end[1]) - float(begin[0]))

    def _times(self, word: str) -> list[str]:
        path = self._work / "end"
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        return next((line.split()[1:] for line in lines if line.startswith(word)), [])

    def _failure(self, why: str) -> str:
        lines = []
        for name in ("qemu.log", "end", "console"):
            path = self._work / name
            if path.exists():
                lines += path.read_text("utf-8", "replace").replace("\r", "").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-_TAIL:])
        return f"the guest of {self._kernel.name} {why}; the end of its console:\n{tail}"


def _copy(path: Path, sink: Sink) -> None:
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(65536):
            sink(chunk)


def _accelerator(arch: str) -> str:
    """kvm where a guest comes up under it, which is tried once a boot of this host; else emulation."""
    given = os.environ.get("FORKTRACE_VM_ACCEL")
    if given:
        return given
    if arch != roots.HOST or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept = home() / "accelerator"
    with locked("accelerator"):
        if kept.exists() and kept.read_text().split()[:1] == [boot]:
            return kept.read_text().split()[1]
        found = "kvm" if _kvm_works() else "tcg"
        kept.write_text(f"{boot} {found}\n")
    return found


def _kvm_works() -> bool:
    """A device that can be opened may still run nothing that Debian builds, as in some nested hosts."""
    known = kernels.on_disk("amd64") or kernels.on_disk("arm64")
    folder = home() / "k" / max(known, key=lambda kernel: kernel.numbers).name
    with tempfile.TemporaryDirectory(prefix="kvm-", dir=home()) as made:
        console = Path(made) / "console"
        command = [
            "qemu-system-x86_64",
            "-M",
            "q35",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "512",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            f"file:{console}",
            "-kernel",
            str(folder / "vmlinuz"),
            "-append",
            "console=ttyS0 panic=-1",
        ]
        with suppress(subprocess.TimeoutExpired):  # it has no root, so a kernel that runs ends in a panic about that
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        works = console.exists() and b"Unable to mount root" in console.read_bytes()
    if not works:
        say("/dev/kvm is there and runs no Debian kernel; guests are emulated")
    return works
