"""Damaged and hostile logs in blocks: no traceback, nothing slower than the text is long; tries are counted."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.importers.strace.seen import lives
from tests.importers.strace.test_histories import in_blocks
from tests.importers.strace.test_line_reader import _LIMIT_S, _LINES, _LOGS

LOGS = sorted((Path(__file__).parents[3] / "samples" / "strace").glob("*.log"))
TRIES = 8  # of each log
HEAD = b"".join(
    (
        b'100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n',
        b"100 read(3,  <unfinished ...>\n" * 2,
        b'100 <... read resumed>"", 1) = 0\n',
    )
)


def damaged(text: bytes, rng: random.Random) -> bytes:
    """Bytes changed, taken away and put in; lines lost, doubled and moved."""
    out = bytearray(text)
    for _ in range(rng.randrange(1, 30)):
        at = rng.randrange(len(out))
        out[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
    lines = bytes(out).splitlines(keepends=True)
    for _ in range(rng.randrange(8)):
        line = lines.pop(rng.randrange(len(lines)))
        for _ in range(rng.randrange(3)):
            lines.insert(rng.randrange(len(lines)), line)
    return b"".join(lines) + b"\n"


def test_damaged_logs_are_read_without_a_traceback() -> None:
    tries = 0
    for path in LOGS:
        text = path.read_bytes()[:30_000]
        for seed in range(TRIES):
            rng = random.Random(f"{path.name} {seed}")
            batches, _ = in_blocks(damaged(text, rng), rng)
            assert sum(map(len, batches)) >= 0
            tries += 1

    assert tries == TRIES * len(LOGS) >= 300


@pytest.mark.parametrize("name", _LINES)
def test_no_line_takes_longer_than_it_is_long_in_blocks(name: str) -> None:
    start = time.process_time()

    in_blocks(HEAD + _LINES[name].replace(b"\n", b"") + b"\n", random.Random(1))

    assert time.process_time() - start < _LIMIT_S


@pytest.mark.parametrize("name", _LOGS)
def test_no_log_takes_longer_than_it_is_long_in_blocks(name: str) -> None:
    start = time.process_time()

    batches, _ = in_blocks(HEAD + _LOGS[name], random.Random(1))

    assert lives(batches)
    assert time.process_time() - start < 2 * _LIMIT_S
