"""A process that reads blocks of a large log for another one: an interpreter of its own, which runs nothing but this.

    worker = Worker()             starts it
    worker.give(request)          requests are answered in order
    worker.take() -> answer       waits; raises Gone where there is none any more

Not multiprocessing: that runs the caller's script once more in each of its processes, unless the script is guarded,
and forking a process that may have threads is not safe. What is said goes through two pipes, each message with its
length before it. A worker ends with its standard input, so none outlives a caller that was killed.

Knows tokens and lives, and nothing of the order in which blocks are taken in (jobs.py).
"""

from __future__ import annotations

import contextlib
import marshal
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Final, NamedTuple

from tracer.importers.strace.call_text import Texts
from tracer.importers.strace.tokens import Block, Tokenizer
from tracer.importers.strace.whole_lives import Execs, Lives, find

_LENGTH: Final = 8  # bytes of a message's length
# -I: neither the directory nor the environment may say which modules these are; the caller's own path does.
_PROGRAM: Final = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import {} as m; m.main()"


class Request(NamedTuple):
    """A block of a file; `heads` as in Tokenizer.tokens."""

    path: str
    offset: int
    length: int
    heads: bool


Answer = tuple["Block | None", "Lives | None"]


class Gone(Exception):  # noqa: N818 - no error: what it had in hand is done elsewhere
    """The worker has ended, or could not be started."""


def possible() -> bool:
    """Whether there is an interpreter to start: not in a program that brings its own, frozen or embedded."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class Worker:
    """Raises Gone."""

    def __init__(self) -> None:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM.format(__name__)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            raise Gone from None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout
        self.pid = self._child.pid
        ours = str(Path(__file__).parents[2])  # an editable install may have it in no path
        try:
            self._write(pickle.dumps([*(each for each in sys.path if each), ours]))
        except Gone:
            self.end()
            raise

    def give(self, request: Request) -> None:
        """Requests are small: however many wait, the pipe has room."""
        self._write(_framed(pickle.dumps(tuple(request))))

    def take(self) -> Answer:
        """Tokens and lives of the block asked for longest ago; None, None if its lines must be read one by one."""
        said = _message(self._out)
        if said is None:
            raise Gone
        answer = pickle.loads(said)  # noqa: S301 - from our own worker
        if answer is None:
            return None, None
        import numpy

        arrays, columns, execs = answer
        block = Block(numpy, *arrays)
        if columns is None:
            return block, None
        lives = Lives(*columns)
        lists = marshal.loads(execs)  # noqa: S302 - from our own worker
        return block, lives._replace(execs=Execs(lives.execs.life, lives.execs.token, *lists))

    def end(self) -> None:
        """Nothing more is wanted of it."""
        self._child.kill()
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):  # what was not written yet, to one that is gone
                pipe.close()
        self._child.wait()

    def _write(self, data: bytes) -> None:
        try:
            self._in.write(data)
            self._in.flush()
        except OSError:
            raise Gone from None


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH, "little") + data


def _message(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH)
    size = int.from_bytes(head, "little")
    data = pipe.read(size) if len(head) == _LENGTH else b""
    return data if len(head) == _LENGTH and len(data) == size else None


# -- in the worker ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the caller says when it is over
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # An answer is larger than a pipe: without a thread that waits for its reader the next block would have to.
    threading.Thread(target=_send, args=(answers,), daemon=True).start()
    work = _Work()
    while (said := _message(sys.stdin.buffer)) is not None:
        answers.put(_framed(work.answer(Request(*pickle.loads(said)))))  # noqa: S301 - from our own caller
    os._exit(0)


def _send(answers: queue.SimpleQueue[bytes]) -> None:
    while True:
        data = memoryview(answers.get())
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError:
            os._exit(0)  # nobody reads any more


class _Work:
    def __init__(self) -> None:
        self._tokenizer, self._texts = Tokenizer(), Texts()
        self._files: dict[str, int] = {}

    def answer(self, asked: Request) -> bytes:
        """Pickled: None, or the arrays of a Block, the columns of Lives or None, and the text of execs."""
        file = self._files.get(asked.path)
        if file is None:
            file = self._files[asked.path] = os.open(asked.path, os.O_RDONLY | os.O_CLOEXEC)
        text = os.pread(file, asked.length, asked.offset)
        block = self._tokenizer.tokens(text, heads=asked.heads)
        if block is None:
            return pickle.dumps(None)
        lives = find(block, text, self._texts) if block.ordered else None
        if lives is None:
            return pickle.dumps((tuple(block[1:]), None, b""), 5)
        life, token, *lists = lives.execs  # text goes by marshal, which is four times faster
        columns = tuple(lives._replace(execs=Execs(life, token, [], [], [], [])))
        return pickle.dumps((tuple(block[1:]), columns, marshal.dumps(lists)), 5)
