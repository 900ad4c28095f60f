"""What the fault probes cost a program, as ratios against no probes in the same run.

    python -m tests.bench.bench_faults [--rounds 25]

Rounds are interleaved: in each, every loop runs once under every variant, and the ratio is the median of the paired
ratios, so a noisy neighbour hits all alike. "empty" attaches programs that do nothing to the tracepoints that a
fault passes: no counting can cost less. "faults" are the fault probes alone, "full" those and the life-cycle probes, as
by default. "untraced" is a process that is not in the traced set while all that is in.
The bars: copy, full, <= 1.15; fork, full, <= 1.12. Needs root, a C compiler and clang-14.

Linux 6.18, two virtual processors, 61 rounds, others at work (load 0.3 to 5.5); repeats differ by 0.015. ns: CPU
time of one fault, of one unmapped page, of one fork+exit+wait, without probes:

    loop           ns     empty    faults      full  untraced
    copy         1876     1.070     1.164     1.162     1.092
    reuse         695     1.064     1.094     1.091     1.074
    fresh        1236     1.126     1.195     1.190     1.148
    read          625     1.075     1.101     1.102     1.084
    unmap         234     1.195     0.997     1.002     1.008
    fork       104337     1.051     1.110     1.126     1.093

Other runs: copy 1.13 to 1.17, fork 1.12 to 1.13. Of a copy's 16 % an empty program on the same tracepoints costs 7,
two look-ups of the thread's counters 4 to 5, all the rest 3 to 4. Bystanders pay for the hooks alone; unmapping is
free until a traced program has threads ("empty" has a program on mm_page_free, the probes only then).
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tracer.backends import wire
from tracer.backends.bpf import host
from tracer.backends.bpf.faults import Faults
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.objects import probe_object
from tracer.backends.bpf.ring import Ring

HERE: Final = Path(__file__).parent
LOOPS: Final = {"copy": "c", "reuse": "r", "fresh": "f", "read": "z", "unmap": "u", "fork": "k"}
VARIANTS: Final = ("none", "empty", "faults", "full", "untraced")


def _build(folder: str) -> tuple[Path, Path]:
    loop, empty = Path(folder, "faultloop"), Path(folder, "empty.bpf.o")
    subprocess.run(["cc", "-O2", "-Wall", "-o", loop, HERE / "faultloop.c"], check=True)
    includes = ["-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]
    flags = ["-g", "-O2", "-mcpu=v3", "-target", "bpf", "-D__TARGET_ARCH_x86", *includes]
    subprocess.run(["clang-14", *flags, "-c", HERE / "empty.bpf.c", "-o", empty], check=True)
    return loop, empty


class _Loop:
    """One process that measures itself when told to."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def measure(self, what: str) -> float:
        """ns per fault."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def run(rounds: int, faults_object: Path, loops: list[str]) -> dict[str, dict[str, list[float]]]:
    """{loop: {variant: ns per fault, one for each round}}."""
    with tempfile.TemporaryDirectory() as folder:
        program, empty_object = _build(folder)
        owner = BpfObject(probe_object("lifecycle"))
        owner.skip("on_exit_old" if host.has_group_dead() else "on_exit", "on_sighand_free")
        options = wire.pack_options(
            **{n: 0 for n, _ in wire.OPTIONS.fields}
            | {"events_bytes": 16 << 20, "rdonly_cast": host.has_rdonly_cast(), "fork_cost": 1, "argv_max": 32768}
            | {"page_size": mmap.PAGESIZE}
        )
        owner.set_data(".rodata.opt", options)
        owner.load()
        ring = Ring(owner.map_fd("events"), owner.map_size("events"))
        faults = Faults(faults_object, owner, options)
        faults.load()
        empty = BpfObject(empty_object)
        empty.load()
        traced, untraced = _Loop(program), _Loop(program)
        pidfd = os.pidfd_open(traced.pid)
        faults.add_root(pidfd, held=False)
        owner.update("marks", struct.pack("=i", pidfd), wire.pack_root_mark())
        with owner.view(".data.stats", wire.STATS.size()) as stats:
            struct.pack_into("=Q", stats, wire.STATS.offsets()["alive"][0], 1)  # or each child's end wakes the reader
        result: dict[str, dict[str, list[float]]] = {n: {v: [] for v in VARIANTS} for n in loops}
        for i in range(rounds + 1):
            for variant in VARIANTS:
                if variant == "empty":
                    empty.attach()
                elif variant != "none":
                    faults.attach()
                    if variant != "faults":
                        owner.attach(lambda name, section: name != "on_rss_stat")
                for name in loops:
                    ns = (untraced if variant == "untraced" else traced).measure(LOOPS[name])
                    if i:  # the first round warms up
                        result[name][variant].append(ns)
                for probes in (empty, owner, faults):
                    probes.detach()
                ring.take_fixed(wire.RECORD_SIZE, ring.position())
        traced.close()
        untraced.close()
        faults.close()
        empty.close()
        ring.close()
        owner.close()
        os.close(pidfd)
        return result


def table(result: dict[str, dict[str, list[float]]]) -> str:
    """Median ns without probes, and the median of paired ratios."""
    lines = [f"{'loop':8} {'ns':>8} " + " ".join(f"{v:>9}" for v in VARIANTS[1:])]
    for name, variants in result.items():
        base = variants["none"]
        ratios = [statistics.median(b / a for a, b in zip(base, variants[v], strict=True)) for v in VARIANTS[1:]]
        lines.append(f"{name:8} {statistics.median(base):8.0f} " + " ".join(f"{r:9.3f}" for r in ratios))
    return "\n".join(lines)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench_faults")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--loops", default=",".join(LOOPS), help="which, of: %(default)s")
    parser.add_argument("--object", type=Path, help="another faults.bpf.o than the committed one")
    options = parser.parse_args()
    print(table(run(options.rounds, options.object or probe_object("faults"), options.loops.split(","))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
