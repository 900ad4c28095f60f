"""python same_as.py OLD NEW: whether two checkouts say the same of the same recordings, byte for byte.

Every sample recording and every recorded strace log (imported by each) is exported in every format, by both, and the
reports are printed at 60, 100 and 200 columns. Prints what differs; the exit status is 1 then. Both checkouts run under
this interpreter, from their own folders.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FORMATS = ("jsonl", "csv", "dot", "mermaid", "folded", "chrome", "perfetto", "html", "parquet")
WIDTHS = (60, 100, 200)


def commands(trace: str) -> Iterator[list[str]]:
    for name in FORMATS:
        yield ["export", trace, "--as", name, "-o", "-"]
    for name in ("jsonl", "csv"):
        yield ["export", trace, "--as", name, "--table", "events", "-o", "-"]
    for width in WIDTHS:
        yield ["report", trace, "--width", str(width), "-v"]
    yield ["replay", trace, "--format", "lines", "-v", "--speed", "max"]
    yield ["diff", trace, trace]


def ran(checkout: Path, words: list[str]) -> tuple[int, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "tracer", *words],
        cwd=checkout,
        capture_output=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0"},
    )
    if "parquet" in words and not done.returncode:  # the meanings of columns are words, and stand in its schema
        return 0, repr(pq.read_table(pa.BufferReader(done.stdout)).replace_schema_metadata(None).to_pylist()).encode()
    return done.returncode, done.stdout


def unnamed(result: tuple[int, bytes], path: Path) -> tuple[int, bytes]:
    """Without the name of the trace."""
    return result[0], result[1].replace(os.fsencode(path), b"TRACE").replace(path.name.encode(), b"TRACE")


def traces(new: Path, folder: Path, old: Path) -> Iterator[tuple[str, Path, Path]]:
    for path in sorted((new / "samples" / "recordings").glob("*.ftrace")):
        yield path.name, path, path
    for log in sorted((new / "samples" / "strace").glob("*.log")):
        made = []
        for which, checkout in (("old", old), ("new", new)):
            out = folder / f"{log.name}.{which}.ftrace"
            ran(checkout, ["import", str(log), "-o", str(out), "-q"])
            made.append(out)
        yield log.name, made[0], made[1]


def main() -> int:
    """Compare, print a line for each difference and the counts."""
    old, new = (Path(word).resolve() for word in sys.argv[1:3])
    same = different = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, before, after in traces(new, Path(folder), old):
            for a, b in zip(commands(str(before)), commands(str(after)), strict=True):
                first, second = ran(old, a), ran(new, b)
                first = (
                    first[0],
                    first[1].replace(os.fsencode(before), b"TRACE").replace(before.name.encode(), b"TRACE"),
                )
                second = (
                    second[0],
                    second[1].replace(os.fsencode(after), b"TRACE").replace(after.name.encode(), b"TRACE"),
                )
                if first == second:
                    same += 1
                    continue
                different += 1
                print(f"{name}: {' '.join(w for w in b if 'ftrace' not in w)}: status {first[0]} and {second[0]}")
                lines = [text.decode(errors="replace").splitlines() for _, text in (first, second)]
                for line in [*difflib.unified_diff(lines[0], lines[1], "old", "new", n=0, lineterm="")][:12]:
                    print("    " + line[:180])
    print(f"{same} the same, {different} different")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
