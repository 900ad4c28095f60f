"""The text of the calls that matter most, in the form that nearly all of them have, read at once and remembered.

Anything of another form is None here, and is read by values.py. Knows no tasks.
"""

from __future__ import annotations

import re
from typing import Final

from tracer.importers.strace import values
from tracer.importers.strace.task import Task, how_of
from tracer.importers.strace.values import ForkArgs

_MEMORY: Final = 4096
_ENDS: Final = (b", child_tid", b", parent_tid", b")")
# A path without escapes, the environment as a pointer.
_EXEC: Final = re.compile(
    rb'execve\("([^"\\]*+)", \[((?:(?:"(?:[^"\\]++|\\.)*+"(?:\.\.\.)?|\.\.\.)(?:, )?)*+)\], '
    rb"(?:0x[0-9a-f]+ /\* \d+ vars? \*/|NULL)"
    rb"(?:\) += (?:(0)|-1 (E[A-Z0-9]+) \([^()]*\))(?: <[0-9.]+>)?$| <unfinished \.\.\.>$|$)"
)
Image = tuple[str, list[str], str, str | None, bool]
"""Path, arguments, the name it gives the task, the error if it failed, and whether the call stands there whole."""


class CallText:
    """Reads and remembers: paths and fork calls come again and again."""

    def __init__(self) -> None:
        self._calls: dict[bytes, tuple[str, ForkArgs, str | None]] = {}
        self._paths: dict[bytes, tuple[str, str]] = {}

    def call(self, text: bytes, body: int, end: int) -> tuple[str, ForkArgs, str | None]:
        """The fork call at `body`: its name, what its arguments say, and how a process is made that way."""
        key = text[body : self.stop(text, body, end)]
        found = self._calls.get(key)
        if found is None:
            at = text.index(b"(", body)
            name = text[body:at]
            found = self.made(name.decode(), values.fork_args(name, text[at + 1 : end]))
            if len(self._calls) < _MEMORY:
                self._calls[key] = found
        return found

    @staticmethod
    def stop(text: bytes, body: int, end: int) -> int:
        """Where the part of a fork call ends that says all: calls that are the same up to there mean the same."""
        if text.startswith(b"clone3", body):
            at = text.find(b"}", body, end)  # the exit signal and the stack stand behind child_tid
            return at if at >= 0 else end
        for word in _ENDS:
            at = text.find(word, body, end)
            if at >= 0:
                return at
        return end

    @staticmethod
    def made(call: str, args: ForkArgs) -> tuple[str, ForkArgs, str | None]:
        """A call, its arguments, and how a process is made so."""
        task = Task(None)
        task.syscall = call
        task.flags, task.exit_signal, task.own_stack = args
        return call, args, how_of(task)

    def image(self, text: bytes, body: int, end: int) -> Image | None:
        """The execve at `body`, whole or its first half."""
        m = _EXEC.match(text, body, end)
        if m is None:
            return None
        exe, listed, done, error = m.groups()
        known = self._paths.get(exe)
        if known is None:
            # begin_new_exec() names the task after the last part of the path.
            comm = exe.rpartition(b"/")[2][:15].decode("utf-8", "surrogateescape")
            known = (exe.decode("utf-8", "surrogateescape"), comm)
            if len(self._paths) < _MEMORY:
                self._paths[exe] = known
        if listed[-2:] == b", ":
            return None
        if b"\\" in listed or b"..." in listed:
            argv = values.string_list(b"[" + listed + b"]", 0)[0] or []
        else:
            argv = listed[1:-1].decode("utf-8", "surrogateescape").split('", "') if listed else []
        name = None if error is None else error.decode()
        return known[0], argv, known[1], name, done is not None or error is not None

    def image_in_two(self, head: bytes, text: bytes, body: int, end: int) -> Image | None:
        """An execve whose first part (behind its parenthesis) and second part stand on two lines."""
        error = text[body:end].startswith(b"<... execve resumed>) = -1 ")
        call = b"execve(" + head + (text[body + len(b"<... execve resumed>") : end] if error else b"")
        image = self.image(call, 0, len(call))
        return image if image is None or error == (image[3] is not None) else None
