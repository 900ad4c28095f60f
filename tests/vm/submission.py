"""./run kernels [KERNEL...]: the part of the matrix that every change has to pass.

On 6.1, the latest 6.12, 6.18 and the newest kernel: each probe program loaded alone, the tree of a shell, samples by
their own truth, contention, copies against pagemap. A cell that fails, or is missing, fails the run; what a kernel
cannot offer stands in LACKING, each with its reason, and is an error too once it works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tests.vm import guest, runner
from tests.vm.home import GuestError, say
from tests.vm.inside.cells import Cell, parse
from tests.vm.inside.pagemap import FEW
from tests.vm.runner import Result

KERNELS: Final = ("6.1", "6.12", "6.18", "newest")
FEATURES: Final = ("tree", "copies", "samples", "contention")
EXPECTED: Final = ("load", *FEATURES, "pagemap")
LACKING: Final[Mapping[tuple[str, str], str]] = {}
"""(line of the kernel, cell): why it cannot be had there."""

_COMMAND: Final = f"""
python3 -m tests.vm.inside.load
python3 -m tests.vm.inside.features {" ".join(FEATURES)}
python3 -m tests.vm.inside.pagemap {" ".join(FEW)}
"""


def judge(result: Result) -> list[str]:
    """One sentence for each thing that is wrong."""
    where = result.kernel or result.word
    if result.error:
        return [f"{where}: {result.error}"]
    wrong = []
    line = ".".join(result.version.split(".")[:2])
    for cell in result.cells:
        reason = LACKING.get((line, cell.name))
        if not cell.ok and reason is None:
            wrong.append(f"{where}: {cell.name}: {cell.note or 'failed'}")
        elif cell.ok and reason is not None:
            wrong.append(f"{where}: {cell.name} works, and LACKING says {reason}; remove it there")
    names = {cell.name for cell in result.cells}
    wrong += [f"{where}: {name}: no answer" for name in EXPECTED if name not in names]
    return wrong


def summary(cells: Iterable[Cell]) -> str:
    """A kernel's line: how many of each sort, and the figures that the checks gave."""
    cells = list(cells)
    loads = [cell for cell in cells if cell.name.startswith("load ")]
    words = [f"{sum(bool(cell.ok) for cell in loads)} of {len(loads)} programs load"]
    words += [
        f"{cell.name} {'ok' if cell.ok else 'FAILED'}" + (f" ({cell.note})" if cell.ok and cell.note else "")
        for cell in cells
        if not cell.name.startswith("load ") and cell.name != "load"
    ]
    return ", ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run kernels", description="The checks of CI in guests of other kernels.")
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"default: {' '.join(KERNELS)}")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="guests at once (default 2)")
    parser.add_argument("--json", action="store_true", help="every cell as a line of JSON")
    return parser


def main(argv: Sequence[str]) -> int:
    """0 if all is as it should be."""
    args = _parser().parse_args(argv)
    started = time.monotonic()
    jobs = [guest.Job(word, _COMMAND, timeout=420) for word in args.kernels or KERNELS]

    def said(job: guest.Job, line: str) -> None:
        for cell in parse([line]):
            if args.json:
                print(json.dumps({"kernel": job.kernel, **cell._asdict()}), flush=True)
            elif not cell.ok:
                print(f"{job.kernel:8} {cell.name}: {cell.note}", flush=True)

    try:
        runner.prepare()
        results = runner.at_once(args.at_once, lambda job: runner.ask(job, lambda line: said(job, line)), jobs)
    except GuestError as e:
        say(str(e))
        return 125
    wrong = [sentence for result in results for sentence in judge(result)]
    for result in results:
        print(f"{result.kernel or result.word} ({result.version}), {result.seconds:.0f} s: {summary(result.cells)}")
    if wrong:
        print(f"\n{len(wrong)} failures:", *wrong, sep="\n  ")
    print(f"{len(results)} kernels in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 1 if wrong else 0
