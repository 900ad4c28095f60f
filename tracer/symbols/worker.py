"""The process that reads the files of traced programs: no privileges, little memory, no files but those it is given.

Started by client.py as `python -I worker.py FOLDER...`, with a socket as its standard input. A message is its length
(4 bytes, little-endian) and JSON, a request has its descriptors beside the length:

    {"kind": "elf", "files": [[key, size], ...], "at": [[offset, leaf], ...]}     descriptors: file, debug file if any
        -> {"build_id": "ab12...", "whole": true, "at": [[name, frame, called, overwrites], null, ...]}
    {"kind": "perf", "files": [[key, size]], "at": [address, ...]}                -> {"at": [name, null, ...]}

A file that cannot be read as what it should be answers {}. What was read of a file is kept by its key, KEPT bytes of
all in all, the longest unused of which goes first. A request that takes more CPU time than REQUEST_S ends the process
by SIGPROF: the bounds of the readers (elf.py, perf_map.py) hold far below that, and this is for what they have missed.

A further kind of request is a function in `_kinds`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

KEPT: Final = 64 << 20
MEMORY: Final = 192 << 20
"""Bytes that it may map beyond what it has when it starts to work."""
REQUEST_S: Final = 0.5
LIFE_S: Final = 600
"""CPU time of one worker; the next one begins with nothing in memory."""
FILES: Final = 2
"""Descriptors in a request, at most."""
_ENTRY: Final = 1000


def receive(sock: socket.socket, most: int, within: float | None = None) -> tuple[Any, list[int]]:
    """The next message and its descriptors. Raises EOFError, OSError, and ValueError for what is not one.

    `within`: seconds for all of it, in however many pieces it comes.
    """
    until = None
    if within is not None:  # the worker itself may not do what this does (ioctl)
        until = time.monotonic() + within
        sock.settimeout(within)
    head, fds, _, _ = socket.recv_fds(sock, 4, FILES, socket.MSG_CMSG_CLOEXEC)
    try:
        while len(head) < 4:
            head += _some(sock, 4 - len(head), until)
        left = int.from_bytes(head, "little")
        if left > most:
            raise ValueError("a message that is too long")
        parts = []
        while left:
            parts.append(_some(sock, min(left, 1 << 20), until))
            left -= len(parts[-1])
        return json.loads(b"".join(parts)), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _some(sock: socket.socket, size: int, until: float | None) -> bytes:
    if until is not None:
        sock.settimeout(max(until - time.monotonic(), 0.001))
    got = sock.recv(size)
    if not got:
        raise EOFError
    return got


def send(sock: socket.socket, message: Any, fds: tuple[int, ...] = ()) -> None:
    """Raises OSError."""
    data = json.dumps(message, separators=(",", ":")).encode()  # odd bytes in names are \\udcNN in it
    if fds:
        socket.send_fds(sock, [len(data).to_bytes(4, "little")], fds)
        sock.sendall(data)
    else:
        sock.sendall(len(data).to_bytes(4, "little") + data)


class _Reader:
    """Answers requests, and keeps what it has read."""

    def __init__(self) -> None:
        from tracer.symbols import elf, perf_map

        self._elf, self._perf = elf, perf_map
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._kinds: dict[str, Callable[[list[tuple[str, Any]], list[Any]], dict[str, Any]]] = {
            "elf": self._functions,
            "perf": self._jitted,
        }

    def answer(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        try:
            files = [(key, self._elf.File(fd, size)) for fd, (key, size) in zip(fds, request["files"], strict=True)]
            kind = self._kinds.get(request["kind"])
            return kind(files, request["at"]) if kind is not None else {}
        except (ValueError, OSError, MemoryError):
            return {}

    def _read(self, kind: Callable[[Any], Any], key: str, file: Any) -> Any:
        """What is kept of a file, or is read now; None where it cannot be read as that."""
        known = self._kept.pop(key, self)
        if known is self:
            try:
                known = kind(file)
            except (ValueError, OSError, MemoryError):
                known = None
        self._kept[key] = known
        return known

    def _trim(self) -> None:
        total = sum(_ENTRY + (known.kept if known is not None else 0) for known in self._kept.values())
        while total > KEPT:
            _, known = self._kept.popitem(last=False)
            total -= _ENTRY + (known.kept if known is not None else 0)

    def _functions(self, files: list[tuple[str, Any]], at: list[tuple[int, bool]]) -> dict[str, Any]:
        key, file = files[0]
        found = self._read(self._elf.ElfFile, key, file)
        if found is None:
            return {}
        symbols = None
        for key, debug_file in files[1:]:
            debug = self._read(self._elf.ElfFile, key, debug_file)
            if debug is not None and debug.build_id == found.build_id:
                symbols = debug.table(debug_file), debug_file
        answers: list[Any] = []
        for offset, leaf in at:
            vaddr = found.vaddr(offset)
            if vaddr is None:
                answers.append(None)
                continue
            called = leaf or found.called(file, vaddr)
            try:
                function = found.function(file, vaddr, symbols)
            except ValueError:  # a name that is not in the file
                function = None
            if function is None or not function.name:
                usual = found.keeps_frames(file, symbols[0] if symbols else found.table(file))
                answers.append((None, None if usual else False, called, False))
            else:
                overwrites = found.machine.link and function.frame == -1
                answers.append((function.name, 0 <= function.frame <= vaddr, called, overwrites))
        self._trim()
        return {"build_id": found.build_id, "whole": found.whole, "at": answers}

    def _jitted(self, files: list[tuple[str, Any]], at: list[int]) -> dict[str, Any]:
        key, file = files[0]
        found = self._read(self._perf.PerfMap, "perf " + key, file)
        answers = [found.name(file, address) for address in at] if found is not None else [None] * len(at)
        self._trim()
        return {"at": answers}


def main() -> None:
    """Answer until nobody asks any more."""
    sys.path.extend(sys.argv[1:])  # -I: neither the directory nor the environment says which modules these are
    import numpy as np

    from tracer.symbols.confine import confine

    sock = socket.socket(fileno=0)
    reader = _Reader()
    np.lexsort((np.zeros(4), np.zeros(4)))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(ignored, signal.SIG_IGN)  # Ctrl-C goes to all; whoever asks says when it is over
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # of who started us: SIGPROF must come
    confine(MEMORY, LIFE_S)
    send(sock, "ready")
    while True:
        try:
            request, fds = receive(sock, 1 << 20)
        except (EOFError, OSError, ValueError):
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, REQUEST_S)
        try:
            answer = reader.answer(request, fds)
        finally:
            for fd in fds:
                os.close(fd)
        signal.setitimer(signal.ITIMER_PROF, 0)
        try:
            send(sock, answer)
        except OSError:
            os._exit(0)


if __name__ == "__main__":
    main()
