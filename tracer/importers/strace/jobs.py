"""A large log read by several processes: each makes tokens and whole lives of blocks, one takes them in, in order.

Workers get places in the file, not text, and read for themselves. Only the taking in must be one after the other, and
that is the smaller part. Knows nothing of what is in a block.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from tracer.importers.log_source import BLOCK, FIRST, MAX_LINE
from tracer.importers.strace.tokens import Block, Tokenizer
from tracer.importers.strace.whole_lives import Lives
from tracer.importers.strace.worker import Gone, Request, Worker, possible

LARGE: Final = 64 << 20  # a smaller file is read before the workers have started
_MOST: Final = 4  # more than that wait for the one that takes in
_AHEAD: Final = 3  # blocks a worker has in hand


def jobs_for(size: int | None, wanted: int | None) -> int:
    """How many workers to use for a file of `size` bytes; 0: none.

    On two processors one process has read it before three have told one another what is in it
    (tests/bench/bench_strace_import.py).
    """
    if size is None or (wanted is None and size < LARGE) or not possible():
        return 0
    if wanted is not None:
        return wanted if wanted > 1 else 0
    cpus = len(os.sched_getaffinity(0))
    return min(cpus, _MOST) if cpus > 2 else 0


def blocks(path: str, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, text) of a file, cut at ends of lines; a line too long, or the last without its newline, comes alone."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        offset = 0
        while offset < size:
            # Whoever makes children is to be known before there are many: what one block tells helps to read the next.
            text = os.pread(file.fileno(), BLOCK if offset else FIRST, offset)
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


class Pool:
    """Workers; use as a context. Blocks are dealt out in turn, so answers come in turn."""

    def __init__(self, path: str, size: int, jobs: int) -> None:
        self._path, self._size = os.path.abspath(path), size  # noqa: PTH100  a str, any bytes
        self._tokenizer = Tokenizer()
        self._next = 0
        self.workers: list[Worker | None] = []
        for _ in range(jobs):
            try:
                self.workers.append(Worker())
            except Gone:
                self.workers.append(None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker is not None:
                worker.end()

    def read(self, heads: Callable[[], bool]) -> Iterator[tuple[int, bytes, Block | None, Lives | None]]:
        """(offset, text, tokens, lives) of each block, in order. `heads()` is asked as each is given away."""
        waiting: deque[tuple[int, bytes, int]] = deque()
        for offset, text in blocks(self._path, self._size):
            waiting.append((offset, text, self._give(Request(self._path, offset, len(text), heads()))))
            if len(waiting) > _AHEAD * len(self.workers):
                yield self._done(*waiting.popleft(), heads())
        while waiting:
            yield self._done(*waiting.popleft(), heads())

    def _give(self, request: Request) -> int:
        """Whom it was given to."""
        which, self._next = self._next, (self._next + 1) % len(self.workers)
        worker = self.workers[which]
        if worker is not None:
            try:
                worker.give(request)
            except Gone:
                self._lose(which)
        return which

    def _lose(self, which: int) -> None:
        """A worker was killed: what it had in hand is read here."""
        worker, self.workers[which] = self.workers[which], None
        if worker is not None:
            worker.end()

    def _done(
        self, offset: int, text: bytes, which: int, heads: bool
    ) -> tuple[int, bytes, Block | None, Lives | None]:
        worker = self.workers[which]
        if worker is not None:
            try:
                return offset, text, *worker.take()
            except Gone:
                self._lose(which)
        block = self._tokenizer.tokens(text, heads=heads) if text[-1:] == b"\n" else None
        return offset, text, block, None
