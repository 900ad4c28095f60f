"""Mutated traces, logs and rules through the commands, in one process.

    python -m tests.hostile.mutations FAMILY SEED FIRST N

Prints JSON: how many were run, the failures (a traceback, or more time than a command may take), and the peak of
memory. Mutation I of a seed is the same in every run: to look at one, run `... FAMILY SEED I 1`.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tests import hostile
from tracer.analyses.budget import LIMITS
from tracer.commands import main
from tracer.model.schema import KIND_NAMES
from tracer.recording import header

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 10  # of CPU for one command; the median is 5 ms
SMALL: Final = 60_000  # bytes: larger sources would take most of the time
NUMBERS: Final = (
    0,
    1,
    -1,
    -2,
    2,
    255,
    256,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    1 << 62,
    (1 << 62) - 1,
    (1 << 63) - 1,
    -(1 << 63),
    -(1 << 62),
    10**18,
)
META_VALUES: Final[tuple[Any, ...]] = (
    None,
    0,
    -1,
    True,
    1.5,
    10**40,
    "",
    "\x1b[2J",
    [],
    ["\x1b]52;c;eA==\x07"],
    {},
    {"a": [None]},
    [1, None],
    [["x"]],
    "x" * 10_000,
    float("nan"),
    float("inf"),
)
LIMIT_WORDS: Final = [
    word
    for name, unit in ((limit.name, limit.unit) for limit in LIMITS.values())
    for word in ([f"--{name}"] if unit == "flag" else [f"--{name}", "9h" if unit == "ns" else "9"])
]
VERBS: Final = (
    ["report", "{}"],
    ["report", "{}", "-v", "-t", "--threads", "--width", "60"],
    ["report", "{}", "--full", "--ascii", "--color", "always"],
    ["check", "{}", *LIMIT_WORDS],
    ["check", "{}", "--max-processes", "1", "--format", "json"],
    ["diff", "{}", "{}"],
    ["diff", "{}", "{other}"],
    ["diff", "--format", "json", "{other}", "--", "{}"],
    ["replay", "{}", "--speed", "max"],
    ["replay", "{}", "-v", "--speed", "max"],
    ["replay", "{}", "--format", "jsonl", "--speed", "max"],
    ["replay", "{}", "-v", "--format", "jsonl", "--speed", "max", "--from", "0.001"],
    *(
        [*("export", "{}", "--as", name), *more]
        for name, more in (
            ("jsonl", []),
            ("jsonl", ["--table", "events"]),
            ("csv", []),
            ("csv", ["--table", "events", "--no-redact"]),
            ("parquet", ["-o", "{out}"]),
            ("parquet", ["--table", "events", "-o", "{out}"]),
            ("folded", []),
            ("folded", ["--weight", "life"]),
            ("folded", ["--weight", "cpu"]),
            ("folded", ["--weight", "cow"]),
            ("folded", ["--weight", "stacks"]),
            ("chrome", []),
            ("perfetto", ["-o", "{out}"]),
            ("dot", []),
            ("mermaid", []),
            ("html", []),
            ("html", ["--no-redact"]),
        )
    ),
)


class TooLong(BaseException):
    """Raised in a command that takes more than SECONDS."""


# -- traces ----------------------------------------------------------------------------------------------------------


@functools.cache
def traces() -> list[bytes]:
    """Small ones: recordings, forged histories, and every column of every kind."""
    found = [path.read_bytes() for path in sorted((ROOT / "samples" / "recordings").glob("*.ftrace"))]
    found += [data for data in hostile.FILES.values() if len(data) < SMALL]
    found.append(hostile.saved(hostile.every_column()))
    return [data for data in found if len(data) < SMALL]


def trace(rng: random.Random) -> bytes:
    """A trace that was damaged as a disk, or forged as a stranger, would."""
    data = rng.choice(traces())
    kind = rng.randrange(10)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind < 3:
        return flipped(rng, data)
    return edited(rng, data)


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed; half of the times in the description of the columns."""
    out = bytearray(data)
    end = len(out) if rng.randrange(2) else min(len(out), 12_000)
    for _ in range(rng.randrange(1, 9)):
        out[rng.randrange(end)] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
    return bytes(out)


def edited(rng: random.Random, data: bytes) -> bytes:
    """The table taken apart and written again, with other values in some cells."""
    table = pa.ipc.open_stream(data).read_all()
    columns: dict[str, list[Any]] = {f.name: table.column(f.name).to_pylist() for f in table.schema}
    fields: dict[str, Any] = {f.name: f.type for f in table.schema}
    said = dict(table.schema.metadata)
    for _ in range(rng.randrange(1, 6)):
        rng.choice((cells, cells, cells, nulls, kinds, order, column, meta))(rng, columns, fields, said)
    schema = pa.schema(list(fields.items())).with_metadata(said)
    arrays = [array(values, fields[name]) for name, values in columns.items()]
    file = io.BytesIO()
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    rows = rng.choice((1, 3, 1000, 1000))
    with pa.ipc.new_stream(file, schema) as out:
        for start in range(0, batch.num_rows, max(rows, batch.num_rows // 20)):
            totals = {header.TOTALS_KEY: json.dumps(rng.choice(META_VALUES)).encode()} if rng.randrange(2) else None
            out.write_batch(batch.slice(start, max(rows, batch.num_rows // 20)), totals)
    return file.getvalue()


def array(values: list[Any], type_: Any) -> Any:
    """Values that the type cannot hold are null."""
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        made = pa.nulls(len(values), type_).to_pylist()
        for i, value in enumerate(values):
            with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
                made[i] = pa.array([value], type_)[0].as_py()
        return pa.array(made, type_)


def cells(rng: random.Random, columns: dict[str, list[Any]], fields: dict[str, Any], said: Any) -> None:
    """Odd values in one column."""
    name = rng.choice(list(columns))
    for _ in range(rng.randrange(1, 9)):
        if not columns[name]:
            return
        at = rng.randrange(len(columns[name]))
        columns[name][at] = odd(rng, fields[name])
        if rng.randrange(8) == 0:
            columns[name] = [odd(rng, fields[name]) for _ in columns[name]]


def odd(rng: random.Random, type_: Any) -> Any:
    if pa.types.is_boolean(type_):
        return rng.choice((True, False, None))
    if pa.types.is_string(type_):
        words = (*hostile.NAMES, *KIND_NAMES.values(), "root", "vfork", "existing", "io_worker", "snapshot", "EAGAIN")
        return rng.choice((None, text(rng.choice(words)[:2000])))
    if pa.types.is_list(type_):
        return rng.choice((None, [], [odd(rng, type_.value_type) for _ in range(rng.randrange(1, 70))]))
    return rng.choice((None, rng.choice(NUMBERS), rng.randrange(-5, 300)))


def text(word: str) -> str:
    return word.encode("utf-8", "replace").decode()


def nulls(rng: random.Random, columns: dict[str, list[Any]], fields: Any, said: Any) -> None:
    """A column without any value, or without every other one."""
    name, step = rng.choice(list(columns)), rng.choice((1, 2))
    columns[name][::step] = [None] * len(columns[name][::step])


def kinds(rng: random.Random, columns: dict[str, list[Any]], fields: Any, said: Any) -> None:
    """Rows that say to be of another kind."""
    if not columns.get("kind"):
        return
    swapped = {name: rng.choice([*KIND_NAMES.values(), "kind_99"]) for name in KIND_NAMES.values()}
    every = rng.randrange(2)
    columns["kind"] = [swapped.get(k, k) if every or rng.randrange(5) == 0 else k for k in columns["kind"]]


def order(rng: random.Random, columns: dict[str, list[Any]], fields: Any, said: Any) -> None:
    """Rows in another order, twice, or not at all."""
    n = len(next(iter(columns.values())))
    way = rng.randrange(4)
    rows = list(range(n))
    if way == 0:
        rng.shuffle(rows)
    elif way == 1:
        rows.reverse()
    elif way == 2:
        rows += rows[: rng.randrange(1, n + 1)] if n else []
    else:
        rows = rows[: rng.randrange(n + 1)]
    for name in columns:
        columns[name] = [columns[name][i] for i in rows]


def column(rng: random.Random, columns: dict[str, list[Any]], fields: dict[str, Any], said: Any) -> None:
    """A column that is missing, or of another type, or another's."""
    name = rng.choice(list(columns))
    way = rng.randrange(3)
    if way == 0 and len(columns) > 2:
        del columns[name], fields[name]
    elif way == 1:
        fields[name] = rng.choice(
            (pa.int32(), pa.string(), pa.int64(), pa.float64(), pa.binary(), pa.list_(pa.int64()))
        )
    else:
        other = rng.choice(list(columns))
        if fields[other] == fields[name]:
            columns[name] = list(columns[other])


def meta(rng: random.Random, columns: Any, fields: Any, said: dict[bytes, bytes]) -> None:
    """What the file says of itself."""
    values = json.loads(said[header.META_KEY])
    if not isinstance(values, dict):
        return
    values[rng.choice(list(values) or ["host"])] = rng.choice(META_VALUES)
    said[header.META_KEY] = json.dumps(values).encode()


# -- text ------------------------------------------------------------------------------------------------------------


def lines(rng: random.Random, data: bytes) -> bytes:
    """A log whose lines were cut, swapped, repeated, or have other bytes and numbers in them."""
    rows = data.splitlines(keepends=True)
    for _ in range(rng.randrange(1, 8)):
        if not rows:
            break
        at = rng.randrange(len(rows))
        row = bytearray(rows[at])
        way = rng.randrange(8)
        if way == 0:
            del rows[at]
            continue
        if way == 1:
            rows.insert(rng.randrange(len(rows)), rows[at])
            continue
        if way == 2:
            row = row[: rng.randrange(len(row) + 1)]
        elif way == 3:
            digits = [i for i, byte in enumerate(row) if 48 <= byte <= 57]
            if digits:
                i = rng.choice(digits)
                row[i : i + 1] = str(rng.choice(NUMBERS)).encode() if rng.randrange(9) else b"9" * 5000
        elif way == 4:
            row[rng.randrange(len(row) + 1) : 0] = rng.choice(hostile.NAMES)[:200].encode("utf-8", "replace")
        elif way == 5:
            row = bytearray(b" ".join(reversed(bytes(row).split(b" "))))
        elif way == 6:
            other = rows[rng.randrange(len(rows))]
            row = row[: rng.randrange(len(row) + 1)] + bytearray(other[rng.randrange(len(other)) :])
        else:
            row[rng.randrange(len(row)) if row else 0 : 1] = bytes([rng.randrange(256)])
        rows[at] = bytes(row)
    out = b"".join(rows)
    return out[: rng.randrange(len(out) + 1)] if rng.randrange(10) == 0 else out


@functools.cache
def logs(tool: str) -> list[bytes]:
    """Logs of the samples, short ones whole, others their beginning."""
    folder = ROOT / "samples" / tool
    found = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".log", ".txt")]
    found += [gzip.decompress(path.read_bytes()) for path in sorted(folder.glob("*.txt.gz"))]
    return [data[:8000] for data in found]


def toml(rng: random.Random) -> bytes:
    """Rules, or limits, with what is hard on a parser in them."""
    good = b'names = ["pin", "door-code"]\nwords = ["xx"]\n[programs]\ncurl = ["-k VALUE"]\nmax-cow = "64MiB"\n'
    odd = (
        b"a = " + b"[" * 5000,
        b"a = " + b"{b=" * 3000,
        b"a = " + b"9" * 5000,
        b"max-processes = " + b"9" * 5000,
        b"names = [" + b"9" * 5000 + b"]",
        b"[" + b"a." * 5000 + b"a]",
        b"a = 1979-13-45T99:99:99Z",
        b"a = nan",
        b"names = 1",
        b"names = [[1]]",
        b"programs = 1",
        b"[programs]\nx = 1",
        b"[programs]\nx = [1]",
        b'keep = [""]',
        b"words = {}",
        b'prefixes = ["(", "[", "\\u0000"]',
        b"\xff",
        b'"\x00" = 1',
        b"max-cow = nan",
        b"max-rate = -1",
        b'max-cow = "1e99GiB"',
        b"no-zombies = 3",
        b"a = 0x" + b"f" * 9000,
    )
    if rng.randrange(2):
        return rng.choice(odd)
    return lines(rng, good)


# -- running -----------------------------------------------------------------------------------------------------------


def attempts(family: str, rng: random.Random, folder: Path) -> Iterator[list[str]]:
    """Write one mutation into `folder`; the commands to try on it."""
    if family == "traces":
        file, other = folder / "x.ftrace", folder / "other.ftrace"
        file.write_bytes(trace(rng))
        if not other.exists():
            other.write_bytes(hostile.saved(hostile.every_column()))
        if rng.randrange(40) == 0:
            place = folder / "fleet"
            place.mkdir(exist_ok=True)
            for old in place.rglob("*"):
                if old.is_file():
                    old.unlink()
            (place / "x.ftrace").write_bytes(file.read_bytes())
            yield ["fleet", str(place)]
        for verb in rng.sample(VERBS, 1):
            yield [word.format(file, other=other, out=folder / "out") for word in verb]
    elif family == "toml":
        file, plain = folder / "x.toml", folder / "plain.ftrace"
        file.write_bytes(toml(rng))
        if not plain.exists():
            plain.write_bytes((ROOT / "samples" / "recordings" / "spawn.ftrace").read_bytes())
        yield ["export", str(plain), "--as", "jsonl", "--redact-rules", str(file)]
        yield ["check", str(plain), "--budget", str(file)]
    else:
        file, made = folder / "x.log", folder / "made.ftrace"
        file.write_bytes(lines(rng, rng.choice(logs(family))))
        made.unlink(missing_ok=True)
        yield ["import", str(file), "-o", str(made)]
        if made.exists():  # what we have written ourselves is whole
            yield ["check", str(made), "--max-lost", "9999"]
            yield [word.format(made, other=made, out=folder / "out") for word in rng.choice(VERBS)]


def run(words: list[str]) -> tuple[int, str]:
    """Status and standard error of a command. Raises what it raises, and TooLong."""
    said = io.BytesIO()
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True)
    err = io.TextIOWrapper(said, "utf-8", "surrogateescape", write_through=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return status, said.getvalue().decode("utf-8", "replace")


def wrong(words: list[str], status: int, said: str) -> str | None:
    """Why the end of a command is not one that a user may meet."""
    if status not in (0, 1, 2, 65, 66):
        return f"status {status}: {said}"
    if "Traceback" in said:
        return said
    if words[0] == "check" and "made.ftrace" in words[1] and "damaged" in said:
        return f"forktrace cannot read what its own import wrote: {said}"
    return None


def go(family: str, seed: str, first: int, n: int, say: Callable[[str], object]) -> dict[str, Any]:
    """Run mutations `first` to `first + n - 1`."""
    failures: list[str] = []
    commands = 0

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGPROF, stop)
    with tempfile.TemporaryDirectory() as name:
        for i in range(first, first + n):
            rng = random.Random(f"{family} {seed} {i}")
            for words in attempts(family, rng, Path(name)):
                commands += 1
                try:
                    why = wrong(words, *run(words))
                except TooLong:
                    why = f"more than {SECONDS} s"
                except BaseException:
                    why = traceback.format_exc(limit=-4)
                if why is not None:
                    failures.append(f"mutations {family} {seed} {i} 1: {' '.join(words)[:200]}\n{why}")
                    say(failures[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {"mutations": n, "commands": commands, "failures": failures, "peak": peak}


if __name__ == "__main__":
    os.environ.pop("FORKTRACE_REQUIRE", None)
    print(json.dumps(go(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), lambda line: None)))
