"""What the fault probes cost a program, as ratios against no probes in the same run.

    python -m tests.bench.bench_faults [--rounds 25]

Rounds are interleaved: in each, every loop runs once under every variant, and the ratio is the median of the paired
ratios, so a noisy neighbour hits all alike. "empty" attaches programs that do nothing to the two tracepoints of page
faults: no counting can cost less. "untraced" is a process that is not in the traced set while the probes are in.
The bar: copy, full, <= 1.15. Needs root, a C compiler and clang-14.

{figures}
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tracer import wire
from tracer.backends._faults import FaultOptions, Faults
from tracer.backends._libbpf import BpfObject
from tracer.backends._ring import Ring
from tracer.backends.bpf import probe_object

HERE: Final = Path(__file__).parent
LOOPS: Final = {"copy": "c", "reuse": "r", "fresh": "f", "read": "z", "unmap": "u", "fork": "k"}
VARIANTS: Final = ("none", "empty", "full", "untraced")


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


def run(rounds: int, faults_object: Path) -> dict[str, dict[str, list[float]]]:
    """{loop: {variant: ns per fault, one for each round}}."""
    with tempfile.TemporaryDirectory() as folder:
        program, empty_object = _build(folder)
        owner = BpfObject(probe_object("lifecycle"))
        owner.skip("on_exit_old")
        owner.load()
        ring = Ring(owner.map_fd("events"), owner.map_size("events"))
        faults = Faults(faults_object, owner.map_fd("events"), FaultOptions())
        faults.load()
        empty = BpfObject(empty_object)
        empty.load()
        traced, untraced = _Loop(program), _Loop(program)
        pidfd = os.pidfd_open(traced.pid)
        faults.add_root(pidfd, held=False)
        result: dict[str, dict[str, list[float]]] = {n: {v: [] for v in VARIANTS} for n in LOOPS}
        for i in range(rounds + 1):
            for variant in VARIANTS:
                if variant == "empty":
                    empty.attach()
                elif variant != "none":
                    faults.attach()
                for name, letter in LOOPS.items():
                    ns = (untraced if variant == "untraced" else traced).measure(letter)
                    if i:  # the first round warms up
                        result[name][variant].append(ns)
                empty.detach()
                faults.detach()
                ring.take_fixed(wire.RECORD_SIZE, ring.position())
        for each in (traced, untraced, faults, empty):
            each.close()
        ring.close()
        owner.close()
        os.close(pidfd)
        return result


def table(result: dict[str, dict[str, list[float]]]) -> str:
    """Median ns without probes, and the median of paired ratios."""
    lines = [f"{'loop':8} {'ns':>8} " + " ".join(f"{v:>9}" for v in VARIANTS[1:])]
    for name, variants in result.items():
        base = variants["none"]
        ratios = [
            statistics.median(b / a for a, b in zip(base, variants[v], strict=True)) for v in VARIANTS[1:]
        ]
        lines.append(f"{name:8} {statistics.median(base):8.0f} " + " ".join(f"{r:9.3f}" for r in ratios))
    return "\n".join(lines)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench_faults")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--object", type=Path, help="another faults.bpf.o than the committed one")
    options = parser.parse_args()
    print(table(run(options.rounds, options.object or probe_object("faults"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
