"""./run guest [options] KERNEL COMMAND: the command, in a guest of that kernel."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from tests.vm import apt, guest, kernels, roots
from tests.vm.home import GuestError, say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run guest",
        description="Run COMMAND as root in a guest of KERNEL, in this checkout. Output and status are the command's.",
        epilog="KERNEL: newest, a line such as 6.12 (its latest today), or an exact Debian name; "
        "`./run guest --list` shows what can be had. Kept in $FORKTRACE_VM_HOME (default /var/tmp/forktrace-vm).",
    )
    parser.add_argument("--systemd", action="store_true", help="boot systemd first; implies --root full")
    parser.add_argument("--root", choices=sorted(roots.SETS), default="small", help="what is installed (default small)")
    parser.add_argument("--arch", choices=("amd64", "arm64"), help="the guest's machine (default amd64)")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="virtual processors (default 2)")
    parser.add_argument("--mem", type=int, default=2048, metavar="MIB", help="memory (default 2048)")
    parser.add_argument("--append", default="", metavar="WORDS", help="more words for the kernel's command line")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="bound of the command (default 600)")
    parser.add_argument("--times", action="store_true", help="say how long the boot and the command took")
    parser.add_argument("--list", action="store_true", help="list the kernels that can be had, and stop")
    parser.add_argument("kernel", nargs="?", metavar="KERNEL")
    parser.add_argument("command", nargs="?", metavar="COMMAND")
    return parser


def main(argv: Sequence[str]) -> int:
    """The command's status; 125 where the guest failed."""
    parser = _parser()
    args = parser.parse_args(argv)
    arch = args.arch or kernels.arch_of(args.kernel or "")
    try:
        if args.list:
            for kernel in sorted(kernels.offered(apt.packages(arch).values(), arch), key=lambda k: k.numbers):
                print(f"{kernel.name:32} {kernel.version}")
            return 0
        if args.kernel is None or args.command is None:
            parser.error("KERNEL and COMMAND are needed")
        job = guest.Job(
            args.kernel, args.command, arch, args.systemd, args.root, args.cpus, args.mem, args.append, args.timeout
        )
        outcome = guest.run(job, lambda data: _write(1, data), lambda data: _write(2, data))
    except GuestError as e:
        say(str(e))
        return 125
    if args.times:
        say(f"{outcome.kernel.name}: booted in {outcome.booted:.0f} s, ran {outcome.ran:.1f} s")
    return outcome.status


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
