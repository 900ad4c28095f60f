"""A large log read by several processes: each makes tokens and whole lives of blocks, one takes them in, in order.

Workers get places in the file, not text, and read for themselves. Only the taking in must be one after the other, and
that is the smaller part. Knows nothing of what is in a block.
"""

from __future__ import annotations

import marshal
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from tracer.importers.opening import BLOCK, MAX_LINE
from tracer.importers.strace_lives import Execs, Lives, find
from tracer.importers.strace_texts import Texts
from tracer.importers.strace_tokens import Block, Tokenizer

LARGE: Final = 64 << 20  # a smaller file is read before the workers have started
_MOST: Final = 4  # more than that wait for the one that takes in
_AHEAD: Final = 3  # blocks a worker has in hand

_state: dict[str, Any] = {}


def jobs_for(size: int | None, wanted: int | None, *, dense: bool = True) -> int:
    """How many workers to use for a file of `size` bytes; 0: none.

    `dense`: it holds calls of life and death above all. Where they are few, one process sorts the others out faster
    than two can hand one another what is left (tests/bench/bench_strace_import.py).
    """
    if size is None or (wanted is None and size < LARGE):
        return 0
    if wanted is not None:
        return wanted if wanted > 1 else 0
    cpus = len(os.sched_getaffinity(0))
    return min(cpus, _MOST) if cpus > (1 if dense else 2) else 0


def blocks(path: str, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, text) of a file, cut at ends of lines; a line too long, or the last without its newline, comes alone."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        offset = 0
        while offset < size:
            text = os.pread(file.fileno(), BLOCK, offset)
            while text and b"\n" not in text and len(text) < MAX_LINE:
                more = os.pread(file.fileno(), BLOCK, offset + len(text))
                if not more:
                    break
                text += more
            if not text:
                return
            at = text.rfind(b"\n") + 1
            if at:
                text = text[:at]
            yield offset, text
            offset += len(text)


_Found = tuple[tuple[Any, ...], tuple[Any, ...] | None, bytes]


def _work(path: str, offset: int, length: int, heads: bool) -> _Found | None:
    """In a worker: the tokens and the lives of a block."""
    if "tokenizer" not in _state:
        _state["tokenizer"], _state["texts"], _state["files"] = Tokenizer(), Texts(), {}
    files = _state["files"]
    if path not in files:
        files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    text = os.pread(files[path], length, offset)
    block = _state["tokenizer"].tokens(text, heads=heads)
    if block is None:
        return None
    lives = find(block, text, _state["texts"]) if block.ordered else None
    if lives is None:
        return tuple(block[1:]), None, b""
    life, token, *lists = lives.execs  # text goes by marshal, which is four times faster
    arrays = Execs(life, token, [], [], [], [])
    return tuple(block[1:]), tuple(lives._replace(execs=arrays)), marshal.dumps(lists)


class Pool:
    """Workers; use as a context."""

    def __init__(self, path: str, size: int, jobs: int) -> None:
        self._path, self._size, self._jobs = path, size, jobs
        context = multiprocessing.get_context("spawn")  # forking a process that has threads is not safe
        self._pool = ProcessPoolExecutor(jobs, mp_context=context)
        self._tokenizer = Tokenizer()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, heads: Any) -> Iterator[tuple[int, bytes, Block | None, Lives | None]]:
        """(offset, text, tokens, lives) of each block, in order. `heads()` is asked as each is given away."""
        waiting: deque[tuple[int, bytes, Future[Any] | None]] = deque()
        for offset, text in blocks(self._path, self._size):
            waiting.append((offset, text, self._give(offset, len(text), heads())))
            if len(waiting) > _AHEAD * self._jobs:
                yield self._done(*waiting.popleft(), heads())
        while waiting:
            yield self._done(*waiting.popleft(), heads())

    def _give(self, offset: int, length: int, heads: bool) -> Future[Any] | None:
        try:
            return self._pool.submit(_work, self._path, offset, length, heads)
        except BrokenProcessPool:
            return None

    def _done(
        self, offset: int, text: bytes, future: Future[Any] | None, heads: bool
    ) -> tuple[int, bytes, Block | None, Lives | None]:
        try:
            if future is None:
                raise BrokenProcessPool
            found = future.result()
        except BrokenProcessPool:
            # A worker was killed: the rest is read here.
            block = self._tokenizer.tokens(text, heads=heads) if text[-1:] == b"\n" else None
            return offset, text, block, None
        if found is None:
            return offset, text, None, None
        arrays, columns, execs = found
        block = Block(self._tokenizer.np, *arrays)
        if columns is None:
            return offset, text, block, None
        lives = Lives(*columns)
        lists = marshal.loads(execs)  # noqa: S302 - from our own worker
        lives = lives._replace(execs=Execs(lives.execs.life, lives.execs.token, *lists))
        return offset, text, block, lives
