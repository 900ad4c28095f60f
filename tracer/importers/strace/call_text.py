"""The text of the calls that matter most, in the form that nearly all of them have, read at once and remembered.

Anything of another form is None here, and is read by values.py. Knows no tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from tracer.importers.strace import values
from tracer.importers.strace.task import Task, how_of
from tracer.importers.strace.values import ForkArgs

_MEMORY: Final = 4096
_JSON: Final = json.JSONDecoder(strict=False)
_STRICT: Final = json.JSONDecoder()
_ENDS: Final = (b", child_tid", b", parent_tid", b")")
# Strings without escapes, none cut, the environment as a pointer.
_EXEC: Final = re.compile(
    rb'execve\("([^"\\]*+)", \[((?:"[^"\\]*+"(?:, )?)*+)\], (?:0x[0-9a-f]+ /\* \d+ vars? \*/|NULL)'
    rb"(?:\) += (?:(0)|-1 (E[A-Z0-9]+) \([^()]*\))(?: <[0-9.]+>)?$| <unfinished \.\.\.>$|$)"
)
_EXECS: Final = re.compile(  # the same of many lines at once; one of another form is four empty strings
    r'^(?:execve\("([^"\\\n]*+)", \[((?:"[^"\\\n]*+"(?:, )?)*+)\], (?:0x[0-9a-f]+ /\* [0-9]+ vars? \*/|NULL)'
    r"(?:\) += (?:(0)|-1 (E[A-Z0-9]+) \([^()\n]*\))(?: <[0-9.]+>)?| <unfinished \.\.\.>|)|.*)$",
    re.MULTILINE,
)

Image = tuple[str, list[str], str, str | None, bool]
"""Path, arguments, the name it gives the task, the error if it failed, and whether the call stands there whole."""


class Texts:
    """Reads and remembers: paths and fork calls come again and again."""

    def __init__(self) -> None:
        self._calls: dict[bytes, tuple[str, ForkArgs, str | None]] = {}
        self._paths: dict[bytes, tuple[str, str]] = {}
        self._comms = _Comms()

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
        argv = listed[1:-1].decode("utf-8", "surrogateescape").split('", "') if listed else []
        name = None if error is None else error.decode()
        return known[0], argv, known[1], name, done is not None or error is not None

    def plain(self, parts: list[bytes]) -> tuple[list[str], list[list[str]]] | None:
        """Paths and arguments of `"PATH", ["ARG", ...]`, many at once; None if any of them is of another form.

        Without escapes they are JSON, and read by C. A newline between two of them is in no string of JSON's, so that
        none can begin in one part and end in another.
        """
        joined = b"],\n[".join(parts)
        if b"\\" in joined:
            return None
        try:
            made = _STRICT.decode("[[" + joined.decode("utf-8", "surrogateescape") + "]]")
        except (ValueError, RecursionError):
            return None
        if len(made) != len(parts) or set(map(len, made)) != {2}:
            return None
        exes, argvs = map(list, zip(*made, strict=True))
        if set(map(type, exes)) != {str} or set(map(type, argvs)) != {list}:
            return None
        return (exes, argvs) if set(map(type, chain.from_iterable(argvs))) <= {str} else None

    def names(self, exes: Sequence[str]) -> list[str]:
        """The name that each of these paths gives a task."""
        return list(map(self._comms.__getitem__, exes))

    def images(self, lines: list[bytes]) -> Images:
        """The same of many lines, from `execve(` on to their end: one search for all of them."""
        if not lines:
            return Images((), (), (), (), ())
        found = _EXECS.findall(b"\n".join(lines).decode("utf-8", "surrogateescape"))
        exes, listed, done, errors = zip(*found, strict=True)
        try:  # without escapes and control characters it is JSON, and read by C; a control character is no error
            argvs = _JSON.decode("[[" + "],[".join(listed) + "]]")
        except ValueError:
            argvs = [None if words[-2:] == ", " else words[1:-1].split('", "') if words else [] for words in listed]
            exes = tuple(exe if argv is not None else "" for exe, argv in zip(exes, argvs, strict=True))
        return Images(exes, argvs, self.names(exes), done, errors)


class Images(NamedTuple):
    """Execs, a column each: path (empty: of another form), arguments, name, "0" if it worked, error if it failed."""

    exes: Sequence[str]
    argvs: Sequence[list[str]]
    comms: Sequence[str]
    done: Sequence[str]
    errors: Sequence[str]


class _Comms(dict[str, str]):
    """The name that a path gives a task: begin_new_exec() takes the last part."""

    def __missing__(self, exe: str) -> str:
        raw = exe.encode("utf-8", "surrogateescape")
        comm = raw.rpartition(b"/")[2][:15].decode("utf-8", "surrogateescape")
        if len(self) < _MEMORY:
            self[exe] = comm
        return comm
