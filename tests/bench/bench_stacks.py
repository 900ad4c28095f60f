"""What sampling stacks at copies costs a program, as ratios against the fault probes alone in the same run.

    python -m tests.bench.bench_stacks [--rounds 25]

Interleaved and paired as in bench_faults. "off" has no stacks; "1000" is the usual pace, "all" walks the stack at every
copy, which is for tests and for short programs. "samples" is how many a copy loop of 16,384 pages got, in the median.
Most of what the usual pace costs is not sampling: "fresh" takes no sample and looks nothing up. A tracepoint with two
programs calls both through a list, where one alone is called directly. Needs root and a C compiler.
The bar: copy, at the usual pace, <= 1.20 over "off".

Last figures (Linux 6.18, virtual machine with 2 cores, 25 rounds):

    loop           ns      1000       all
    copy         2277     1.135     1.702
    reuse         738     1.006     0.997
    fresh        1483     1.136     1.134
    fork       111313     1.054     1.171
    samples                 634     16391
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.bench_faults import LOOPS
from tests.bench.bench_faults import _Loop as Loop
from tracer.backends import wire
from tracer.backends.bpf import host
from tracer.backends.bpf.faults import Faults
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.objects import probe_object
from tracer.backends.bpf.ring import Ring
from tracer.backends.bpf.stacks import Stacks

HERE: Final = Path(__file__).parent
RATES: Final = {"off": None, "1000": 1000, "all": 0}


def run(rounds: int, loops: list[str]) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[int]]]:
    """{loop: {rate: ns per fault, one for each round}}, and samples of the copy loop by rate."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "faultloop")
        flags = ["-O2", "-Wall", "-fno-omit-frame-pointer"]
        subprocess.run(["cc", *flags, "-o", program, HERE / "faultloop.c"], check=True)
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
        faults = Faults(probe_object("faults"), owner, options)
        faults.load()
        stacks = {name: Stacks(probe_object("stacks"), faults, rate=r) for name, r in RATES.items() if r is not None}
        for each in stacks.values():
            each.load()
        loop = Loop(program)
        pidfd = os.pidfd_open(loop.pid)
        faults.add_root(pidfd, held=False)
        os.close(pidfd)
        result: dict[str, dict[str, list[float]]] = {n: {v: [] for v in RATES} for n in loops}
        samples: dict[str, list[int]] = {name: [] for name in stacks}
        for i in range(rounds + 1):
            for name in RATES:
                faults.attach()
                if name in stacks:
                    stacks[name].attach()
                for what in loops:
                    ns = loop.measure(LOOPS[what])
                    if i:  # the first round warms up
                        result[what][name].append(ns)
                    batch = stacks[name].finish() if name in stacks else None
                    if i and batch is not None and what == "copy":
                        samples[name].append(sum(values["samples"] for _, values in batch.rows()))
                for each in stacks.values():
                    each.detach()
                faults.detach()
                ring.take_fixed(wire.RECORD_SIZE, ring.position())
        loop.close()
        for each in stacks.values():
            each.close()
        faults.close()
        ring.close()
        owner.close()
        return result, samples


def table(result: dict[str, dict[str, list[float]]], samples: dict[str, list[int]]) -> str:
    """Median ns without stacks, and the median of paired ratios."""
    lines = [f"{'loop':8} {'ns':>8} " + " ".join(f"{v:>9}" for v in RATES if v != "off")]
    for name, variants in result.items():
        base = variants["off"]
        ratios = [statistics.median(b / a for a, b in zip(base, variants[v], strict=True)) for v in samples]
        lines.append(f"{name:8} {statistics.median(base):8.0f} " + " ".join(f"{r:9.3f}" for r in ratios))
    found = [statistics.median(n) if n else 0 for n in samples.values()]
    return "\n".join([*lines, f"{'samples':8} {'':8} " + " ".join(f"{n:9.0f}" for n in found)])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench_stacks")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--loops", default="copy,reuse,fresh,fork", help="which, of those of bench_faults: %(default)s")
    options = parser.parse_args()
    print(table(*run(options.rounds, options.loops.split(","))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
