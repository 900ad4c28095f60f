"""./run matrix [KERNEL...]: every feature on every kernel line; writes docs/kernels.md.

With words, only those kernels, and the page goes to stdout. What a kernel answered for this very state of tracer/ and
probes/ is kept, and --resume does not ask it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from tests.vm import guest, kernels, runner, table
from tests.vm.home import ROOT, GuestError, home, say
from tests.vm.inside.cells import Cell
from tests.vm.runner import Result

KERNELS: Final = ("5.10", "6.1", "6.12", "6.16", "6.18", "7.0", "7.1", "7.2", "newest")
ARM: Final = "arm64:newest"
PAGE: Final = ROOT / "docs/kernels.md"
_COMMAND: Final = """
python3 -m tests.vm.inside.load
python3 -m tests.vm.inside.features
python3 -m tests.vm.inside.pagemap
"""


def state() -> str:
    """A word for what is checked: the sources and the objects."""
    sums = hashlib.sha256()
    for path in sorted([*(ROOT / "tracer").rglob("*.py"), *(ROOT / "probes/build").rglob("*.o")]):
        sums.update(path.read_bytes())
    return sums.hexdigest()[:12]


def _file(word: str) -> Path:
    arch, _, line = word.rpartition(":")
    kernel = kernels.resolve(line, arch or "amd64")
    folder = home() / "matrix" / state()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{kernel.name}.json"


def dump(result: Result) -> str:
    """As it is kept."""
    return json.dumps({**result._asdict(), "cells": [cell._asdict() for cell in result.cells]})


def restore(text: str) -> Result:
    """What `dump` wrote."""
    fields: dict[str, Any] = json.loads(text)
    return Result(**{**fields, "cells": tuple(Cell(**cell) for cell in fields["cells"])})


def job(word: str) -> guest.Job:
    """The guest of a kernel, with everything installed. A foreign machine is emulated whatever the host is."""
    arch, _, line = word.rpartition(":")
    return guest.Job(line, _COMMAND, arch=arch or "amd64", root="full", timeout=3000 if arch else 1800)


def _answer(word: str, *, resume: bool) -> Result:
    kept = _file(word)
    if resume and kept.exists():
        return restore(kept.read_text())
    result = runner.ask(job(word), lambda line: print(f"{word:8} {line}", file=sys.stderr, flush=True))
    if not result.error:
        kept.write_text(dump(result))
    return result


def main(argv: Sequence[str]) -> int:
    """0 if every guest gave its answers, whatever they were: the page is to say what is not there."""
    parser = argparse.ArgumentParser(prog="./run matrix", description="Every feature on every kernel line.")
    parser.add_argument(
        "kernels", nargs="*", metavar="KERNEL", help=f"default: {' '.join(KERNELS)}, and docs/kernels.md"
    )
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="guests at once (default 2)")
    parser.add_argument("--resume", action="store_true", help="ask no kernel again that answered for these sources")
    args = parser.parse_args(argv)
    words = args.kernels or [*KERNELS, *([ARM] if (ROOT / "probes/build/arm64").is_dir() else [])]
    try:
        runner.prepare()
        results = runner.at_once(args.at_once, lambda word: _answer(word, resume=args.resume), words)
    except GuestError as e:
        say(str(e))
        return 125
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    page = table.document(results, date=date.today().isoformat(), version=version)
    if args.kernels:
        print(page, end="")
    else:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page)
    return 1 if any(result.error for result in results) else 0
