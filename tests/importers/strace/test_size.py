"""A log's size changes nothing: recorded logs read line by line, in blocks, padded past a mebibyte, and shuffled."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from tests.importers.strace.seen import story
from tests.importers.strace.test_histories import as_read, in_blocks, rows_by_life
from tracer.importers import open_log
from tracer.importers.log_source import HEAD
from tracer.importers.strace import lexer
from tracer.importers.strace.block_reader import BlockReader

LOGS = Path(__file__).parents[3] / "samples" / "strace"
PATHS = sorted(path for path in LOGS.glob("*.log"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_blocks_are_read_as_lines_are(path: Path) -> None:
    text = path.read_bytes()

    by_line, left = as_read(text)

    for seed in range(3):
        batches, left_in_blocks = in_blocks(text, random.Random(seed))
        assert rows_by_life(batches) == rows_by_life(by_line)
        assert (left_in_blocks.lines, left_in_blocks.cut) == (left.lines, left.cut)


def padded(text: bytes) -> bytes:
    """More than a mebibyte of a call that does not matter, by the first task, behind its first line."""
    first, second, rest = text.split(b"\n", 2)
    # Of the second line, for with -Y an exec has changed the name; if that is of the same task.
    prefixes = [line[: lexer.prefix(line).end] for line in (first, second)]
    same = lexer.prefix(first).pid == lexer.prefix(second).pid
    call = prefixes[same] + b"brk(NULL) = 0x5\n"
    rest = second + b"\n" + rest
    return first + b"\n" + call * (HEAD // len(call) + 1) + rest


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_padded_log_gives_the_same(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "log"
    large.write_bytes(padded(path.read_bytes()))
    blocks = 0
    feed = BlockReader.feed

    def counted(self: BlockReader, text: bytes) -> None:
        nonlocal blocks
        blocks += 1
        feed(self, text)

    monkeypatch.setattr(BlockReader, "feed", counted)

    meta, small_run = open_log([str(path)])
    small = rows_by_life(list(small_run))
    _, large_run = open_log([str(large)])

    if meta.options["clock"] == "relative":  # each line of padding is a step in time
        assert len(rows_by_life(list(large_run))) == len(small)
    else:
        assert rows_by_life(list(large_run)) == small
        assert blocks > 0


@pytest.mark.parametrize("path", [path for path in PATHS if "terminal" not in path.name], ids=lambda path: path.stem)
def test_blocks_are_read_as_lines_are_where_the_order_between_tasks_is_lost(path: Path) -> None:
    text = path.read_bytes()
    rng = random.Random(path.name)
    queues: dict[bytes, list[bytes]] = defaultdict(list)
    for line in text.splitlines(keepends=True):
        queues[line.split(maxsplit=1)[0]].append(line)
    mixed = []
    while queues:
        task = rng.choice(list(queues))
        mixed.append(queues[task].pop(0))
        if not queues[task]:
            del queues[task]

    by_line, _ = as_read(b"".join(mixed))
    batches, _ = in_blocks(b"".join(mixed), rng)

    assert rows_by_life(batches) == rows_by_life(by_line)


TASKS_OF_NO_INTEREST = (
    b'100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
    b"101 brk(NULL) = 0x5\n"
    b'102 read(3, "", 1) = 0 <0.000010>\n'
    b"100 clone(child_stack=NULL, flags=SIGCHLD) = 103\n"
    b"103 exit_group(1) = ?\n"
    b"103 +++ exited with 1 +++\n"
    b"103 brk(NULL) = 0x5\n"
    b"100 exit_group(0) = ?\n"
    b"100 +++ exited with 0 +++\n"
)


def test_tasks_that_show_only_calls_that_do_not_matter_are_there_whatever_the_size(tmp_path: Path) -> None:
    log = tmp_path / "log"
    expected = [
        "100 root; /bin/sh [sh]; exit 0",
        "101 existing",
        "102 existing",
        "103 <- 100 clone=fork; exit 1",
        "103 existing",
    ]
    for text in (TASKS_OF_NO_INTEREST, padded(TASKS_OF_NO_INTEREST)):
        log.write_bytes(text)
        assert sorted(story(open_log([str(log)])[1])) == expected


def test_a_waitid_in_two_parts_reaps() -> None:
    text = (
        b'100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
        b'100 read(3,  <unfinished ...>\n100 <... read resumed>"", 1) = 0\n'
        b"100 clone(child_stack=NULL, flags=SIGCHLD) = 101\n"
        b"100 waitid(P_ALL, 0,  <unfinished ...>\n"
        b"101 +++ exited with 4 +++\n"
        b"100 <... waitid resumed>{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=101, si_uid=0, si_status=4}, WEXITED, "
        b"NULL) = 0\n"
    )

    for seed in range(9):
        assert story(in_blocks(text, random.Random(seed))[0])[1] == "101 <- 100 clone=fork; exit 4; reaped by 100"
