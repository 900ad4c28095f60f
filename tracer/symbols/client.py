"""Our side of the worker process (worker.py): started when first asked, ended and started anew when it does not answer.

    reader = Client();  reader.ask("elf", [opened], [[offset, leaf]]) -> dict | None;  reader.close()

What a request did to the worker is remembered of its file: one that ended it, or that it did not come back from, is
not given to the next one, and of a user with three such files none is. What it answers is checked as if it came from
the file's author, which it may, once the worker is theirs.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tracer.symbols import worker
from tracer.symbols.opening import Opened

_START_S: Final = 20.0  # importing numpy, on a host with a load of 20: 3 s
_ANSWER_S: Final = 5.0  # 0.5 s of CPU time is what a request may take; a file may be on a slow disk
_ANSWER_BYTES: Final = 8 << 20
_BAD_MOST: Final = 4096
_BAD_OF_ONE: Final = 3
_SPENT_S: Final = 5.0  # on all files of one user, in one batch of stacks: what the end of a capture may wait for
_REQUEST_MOST: Final = 256  # addresses


class Client:
    """`missing`: there is no interpreter or no numpy for a worker, so there are no names."""

    def __init__(self) -> None:
        self.missing = False
        self.pid = 0
        """Of the worker; 0 while there is none."""
        self._child: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._bad: set[str] = set()
        self._bad_of: Counter[int] = Counter()
        self._spent: dict[int, float] = {}  # seconds by owner

    def ask(self, kind: str, files: Sequence[Opened], at: Sequence[Any]) -> dict[str, Any] | None:
        """The answer with as many members in `at` as were asked; None: the file is not to be read, or not as that."""
        if any(self._refused(file) for file in files):
            return None
        began = time.monotonic()
        try:
            return self._ask_all(kind, files, at)
        finally:
            for file in files:
                self._spent[file.owner] = self._spent.get(file.owner, 0.0) + time.monotonic() - began

    def _refused(self, file: Opened) -> bool:
        if file.key in self._bad:
            return True
        others = file.owner != 0  # what root owns, a traced user has not made
        return others and (self._bad_of[file.owner] >= _BAD_OF_ONE or self._spent.get(file.owner, 0.0) > _SPENT_S)

    def forget(self) -> None:
        """A batch of stacks is done: time counts from nothing again."""
        self._spent.clear()

    def _ask_all(self, kind: str, files: Sequence[Opened], at: Sequence[Any]) -> dict[str, Any] | None:
        whole: dict[str, Any] | None = None
        for first in range(0, max(len(at), 1), _REQUEST_MOST):
            part = at[first : first + _REQUEST_MOST]
            answer = self._ask(kind, files, part)
            if answer is None or len(answer["at"]) != len(part):
                return None
            if whole is None:
                whole = answer
            else:
                whole["at"] += answer["at"]
        return whole

    def _ask(self, kind: str, files: Sequence[Opened], at: Sequence[Any]) -> dict[str, Any] | None:
        if self._sock is None and not self._start():
            return None
        assert self._sock is not None
        request = {"kind": kind, "files": [(file.key, file.size) for file in files], "at": at}
        try:
            worker.send(self._sock, request, tuple(file.fd for file in files))
            answer = self._receive(_ANSWER_S)
        except (OSError, EOFError, ValueError, RecursionError):
            self.close()
            for file in files:
                if len(self._bad) < _BAD_MOST:
                    self._bad.add(file.key)
                self._bad_of[file.owner] += 1
            return None
        if not isinstance(answer, dict) or not isinstance(answer.get("at"), list):
            return None
        return answer

    def _receive(self, seconds: float) -> Any:
        assert self._sock is not None
        answer, fds = worker.receive(self._sock, _ANSWER_BYTES, seconds)
        for fd in fds:  # it has none to give
            os.close(fd)
        return answer

    def _start(self) -> bool:
        """Whether there is a worker now."""
        if self.missing:
            return False
        ours, theirs = socket.socketpair()
        self._sock = ours
        try:
            numpy = importlib.util.find_spec("numpy")
            if not sys.executable or getattr(sys, "frozen", False) or numpy is None or numpy.origin is None:
                raise FileNotFoundError
            folders = (Path(__file__).parents[2], Path(numpy.origin).parents[1])
            self._child = subprocess.Popen(
                [sys.executable, "-I", worker.__file__, *map(str, folders)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # a filter of calls is for one thread
            )
            self.pid = self._child.pid
            theirs.close()
            if self._receive(_START_S) != "ready":
                raise ValueError
        except (OSError, EOFError, ValueError, RecursionError):
            self.close()
            self.missing = True
        finally:
            theirs.close()
        return not self.missing

    def close(self) -> None:
        """End the worker. May be called twice; another request starts another one."""
        child, self._child, self.pid = self._child, None, 0
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if child is not None:
            child.kill()
            with suppress(OSError):
                child.wait()
