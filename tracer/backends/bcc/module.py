"""The distribution's Python module of BCC: loaded by path, from any interpreter; programs compiled, loaded, attached.

Registries know another project by the name `bcc`, so nobody imports that name here: the module is found as
tracer/kernel does, made sure of, and loaded under a name of our own, in a child. What LLVM, BCC and the kernel say goes
to a file in memory, and one sentence of it into the error. Knows nothing of what the programs are for.
"""

from __future__ import annotations

import ctypes as C  # noqa: N812 - as in _libbpf.py
import errno
import importlib.util
import json
import os
import platform
import re
import socket
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tracer.backends.bcc import headers
from tracer.errors import ProbesRefusedError
from tracer.host import features
from tracer.model.machines import MACHINES

_NAME: Final = "_forktrace_bcc"
_REAL: Final = ("lib", "BPF")  # what only the BPF compiler collection has


def load(folder: Path | None = None) -> Any:
    """BCC's module. Raises ProbesRefusedError, with the package to install, where it is not there or not itself."""
    check = features.feature("bcc")
    where = folder or features.Host().bcc
    if where is None:
        raise ProbesRefusedError(f"BCC: {check.detail}", check.mend)
    return _load(where)


def _load(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ProbesRefusedError(f"{folder} is no Python module")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.modules[_NAME] = module  # its parts find it by name
    try:
        sys.dont_write_bytecode = True  # nothing of ours stays in the distribution's folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # its strings are older than Python 3.12
            spec.loader.exec_module(module)
        lacks = next((name for name in _REAL if not hasattr(module, name)), None)
        if lacks is not None or not hasattr(module.lib, "bpf_module_create_c_from_string"):
            raise ProbesRefusedError(
                f"{folder} is not the BPF compiler collection, but another project of that name",
                features.Host().install("bcc"),
            )
    except (ImportError, OSError, AttributeError, SyntaxError) as e:
        _forget()
        mend = features.Host().install("bcc")
        raise ProbesRefusedError(f"BCC's module in {folder} can not be loaded: {e}", mend) from e
    except ProbesRefusedError:
        _forget()
        raise
    finally:
        sys.dont_write_bytecode = before
    return module


def _forget() -> None:
    for name in [n for n in sys.modules if n == _NAME or n.startswith(_NAME + ".")]:
        del sys.modules[name]


class Programs:
    """Compiled programs, attached to the tracepoints that their names say; `close` takes them out again.

    Made in a process of its own that hands over the descriptors and ends: LLVM's hundred megabytes go with it, what it
    prints is kept there, and where it finds no better answer to an error than exit(), it is not we who are gone.
    """

    def __init__(self, text: str, flags: Sequence[str], maps: Sequence[str]) -> None:
        """Compile against a private tree of headers; where that fails, against the kernel's own, if they are there.

        Takes a third of a second or more. Raises ProbesRefusedError.
        """
        release = platform.release()
        self._maps: dict[str, int] = {}
        self._links: list[int] = []
        try:
            with headers.private(release):
                fds = _compiled(text, flags, maps)
        except _CompileError:
            if not headers.matching(release):
                raise
            fds = _compiled(text, flags, maps)
        self._maps = dict(zip(maps, fds, strict=False))
        self._links = fds[len(maps) :]

    def map_fd(self, name: str) -> int:
        """Descriptor of a map, ours."""
        return self._maps[name]

    def lookup(self, fd: int, key: bytes, size: int) -> bytes | None:
        """The value of one element, or None."""
        value = C.create_string_buffer(size)
        return value.raw if _map_call(_LOOKUP, fd, key, value) == 0 else None

    def update(self, fd: int, key: bytes, value: bytes, *, new: bool = False) -> bool:
        """Set one element. False: it was there, and should be `new`. Raises ProbesRefusedError when the map is full."""
        code = _map_call(_UPDATE, fd, key, C.create_string_buffer(value, len(value)), flags=int(new))
        if code in (0, errno.EEXIST):
            return code == 0
        raise ProbesRefusedError(f"the table of processes: {os.strerror(code)}")

    def delete(self, fd: int, key: bytes) -> bool:
        """Take one element out; whether it was there."""
        return _map_call(_DELETE, fd, key, None) == 0

    def keys(self, fd: int, size: int) -> Iterator[bytes]:
        """All keys of a hash; those that come and go meanwhile may be left out."""
        seen: set[bytes] = set()
        key: bytes | None = None
        following = C.create_string_buffer(size)
        while _map_call(_NEXT, fd, key, following) == 0 and following.raw not in seen:
            key = following.raw
            seen.add(key)  # from a key that has gone the walk starts again
            yield key

    def detach(self) -> None:
        """Take every program out; maps stay readable."""
        while self._links:
            os.close(self._links.pop())

    def close(self) -> None:
        """Free everything. May be called twice."""
        self.detach()
        while self._maps:
            os.close(self._maps.popitem()[1])


_LOOKUP, _UPDATE, _DELETE, _NEXT = 1, 2, 3, 4  # enum bpf_cmd
_NR_BPF: Final = MACHINES["x86_64"].bpf  # its programs are for no other
_LIBC: Final = C.CDLL(None, use_errno=True)


def _map_call(command: int, fd: int, key: bytes | None, value: Any, *, flags: int = 0) -> int:
    """bpf(2) on one element; 0 or the error number."""
    where = C.create_string_buffer(key, len(key)) if key is not None else None
    attr = struct.pack(
        "=IIQQQ",
        fd,
        0,
        C.addressof(where) if where is not None else 0,
        C.addressof(value) if value is not None else 0,
        flags,
    )
    buffer = C.create_string_buffer(attr, len(attr))
    done = _LIBC.syscall(C.c_long(_NR_BPF), C.c_long(command), buffer, C.c_long(len(attr)))
    return 0 if done == 0 else C.get_errno()


def _compiled(text: str, flags: Sequence[str], maps: Sequence[str]) -> list[int]:
    """Descriptors of `maps` and of the attachments, from a child that compiled. Raises ProbesRefusedError."""
    said = os.memfd_create("forktrace-bcc")
    ours, theirs = socket.socketpair()
    with ours, os.fdopen(said, "rb") as told:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child starts nothing that needs them
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                status = _compile(text, flags, maps, theirs, said)
            finally:
                os._exit(status)
        theirs.close()
        try:
            answer, fds, _, _ = socket.recv_fds(ours, 65536, 253)
        finally:
            _, status = os.waitpid(pid, 0)
        if not answer or not fds:
            told.seek(0)
            words = told.read().decode("utf-8", "replace")
            error, mend = json.loads(answer) if answer else ("Failed to compile", None)
            raise _refusal(error, mend, words)
        return list(fds)


def _compile(text: str, flags: Sequence[str], maps: Sequence[str], out: socket.socket, said: int) -> int:
    """The child's whole life."""
    try:
        for fd in (1, 2):
            os.dup2(said, fd)
        os.chdir("/")  # BCC asks for its folder, to come back to it, and gives up where that was deleted
        bpf = load().BPF(text=text.encode(), cflags=list(flags))
        fds = [bpf.get_table(name.encode()).map_fd for name in maps] + list(bpf.tracepoint_fds.values())
        socket.send_fds(out, [b"[]"], fds)
    except ProbesRefusedError as e:
        out.send(json.dumps([e.message, e.mend]).encode())
        return 2
    except Exception as e:  # BCC raises nothing more special
        out.send(json.dumps([str(e), None]).encode())
        return 1
    return 0


class _CompileError(ProbesRefusedError):
    """The text was refused, not the program."""


def _refusal(error: str, mend: str | None, said: str) -> ProbesRefusedError:
    """One sentence of what was raised and of what was printed meanwhile."""
    if mend is not None or error.startswith("BCC"):
        return ProbesRefusedError(error, mend)
    lines = [line.strip() for line in said.splitlines()]
    for line in lines:
        found = re.search(r"([\w./]+):(\d+):\d+: (?:fatal )?error: (.*)", line)
        if found is not None:
            place = Path(found[1].replace("/virtual/main.c", "forktrace.bcc.c")).name
            return _CompileError(
                f"BCC could not compile its programs: {place}, line {found[2]}: {found[3]}",
                "another version of BCC may; or --backend netlink, or strace",
            )
    if "Failed to compile" in error:
        return _CompileError(f"BCC could not compile its programs{_last(lines)}", "--backend netlink, or strace")
    error = re.sub(r"b'(?:tracepoint__)?([\w:]+)'", lambda m: m[1].replace("__", ":", 1), error)
    if "super-user" in error:
        return ProbesRefusedError("the kernel refused BCC's programs: Operation not permitted", _mend())
    return ProbesRefusedError(f"BCC's programs were refused: {error}{_last(lines)}", "see `forktrace doctor`")


def _mend() -> str:
    if os.geteuid():
        return "run with sudo"
    return "see `forktrace doctor`: lockdown, or a container's seccomp profile, forbids it"


def _last(lines: list[str]) -> str:
    """The last line that says something; the verifier ends with a summary."""
    told = [line for line in lines if line and not line.startswith(("processed ", "HINT", "bpf: "))]
    return f" ({told[-1][:200]})" if told else ""
