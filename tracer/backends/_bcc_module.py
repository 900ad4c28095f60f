"""The distribution's Python module of BCC: loaded by path, from any interpreter; programs compiled, loaded, attached.

Registries know another project by the name `bcc`, so nobody imports that name here: the module is found as
tracer/kernel does, made sure of, and loaded under a name of our own. What LLVM, BCC and the kernel say goes to a file
in memory, and one sentence of it into the error. Knows nothing of what the programs are for.
"""

from __future__ import annotations

import atexit
import ctypes as C  # noqa: N812 - as in _libbpf.py
import errno
import importlib.util
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from tracer import kernel
from tracer.backends import _bcc_headers as headers
from tracer.errors import ProbesRefusedError

_NAME: Final = "_forktrace_bcc"
_REAL: Final = ("lib", "BPF")  # what only the BPF compiler collection has


def load(folder: Path | None = None) -> Any:
    """BCC's module. Raises ProbesRefusedError, with the package to install, where it is not there or not itself."""
    check = kernel.feature("bcc")
    where = folder or kernel.Host().bcc
    if where is None:
        raise ProbesRefusedError(f"BCC: {check.detail}", check.mend)
    return _load(where)


@cache
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
                kernel.Host().install("bcc"),
            )
    except (ImportError, OSError, AttributeError, SyntaxError) as e:
        _forget()
        mend = kernel.Host().install("bcc")
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
    """Compiled programs, attached to the tracepoints that their names say; `close` takes them out again."""

    def __init__(self, text: str, flags: Sequence[str]) -> None:
        """Compile against a private tree of headers; where that fails, against the kernel's own, if they are there.

        Takes a third of a second or more. Raises ProbesRefusedError.
        """
        self._bcc = load()
        release = platform.release()
        try:
            with headers.private(release):
                self._bpf = self._make(text, flags)
        except _CompileError:
            if not headers.matching(release):
                raise
            self._bpf = self._make(text, flags)
        self._lib = self._bcc.lib

    def _make(self, text: str, flags: Sequence[str]) -> Any:
        bpf = self._bcc.BPF.__new__(self._bcc.BPF)
        with _quiet() as said:
            try:
                bpf.__init__(text=text.encode(), cflags=list(flags))
            except Exception as e:  # BCC raises nothing more special
                error = e
            else:
                return bpf
        self._give_up(bpf)
        raise _refusal(str(error), said[0])

    def _give_up(self, bpf: Any) -> None:
        """What was attached before something was refused must not stay until the end of the process."""
        atexit.unregister(bpf.cleanup)
        with suppress(Exception):  # of what is half made; descriptors are closed, and that is what matters
            bpf.cleanup()

    def map_fd(self, name: str) -> int:
        """Descriptor of a map, BCC's own."""
        return int(self._bpf.get_table(name.encode()).map_fd)

    def lookup(self, fd: int, key: bytes, size: int) -> bytes | None:
        """The value of one element, or None."""
        value = C.create_string_buffer(size)
        return value.raw if self._lib.bpf_lookup_elem(fd, key, value) == 0 else None

    def update(self, fd: int, key: bytes, value: bytes, *, new: bool = False) -> bool:
        """Set one element. False: it was there, and should be `new`. Raises ProbesRefusedError when the map is full."""
        if self._lib.bpf_update_elem(fd, key, value, 1 if new else 0) == 0:
            return True
        if new and C.get_errno() == errno.EEXIST:
            return False
        raise ProbesRefusedError(f"the table of processes: {os.strerror(C.get_errno())}")

    def delete(self, fd: int, key: bytes) -> bool:
        """Take one element out; whether it was there."""
        return bool(self._lib.bpf_delete_elem(fd, key) == 0)

    def keys(self, fd: int, size: int) -> Iterator[bytes]:
        """All keys of a hash; those that come and go meanwhile may be left out."""
        key = C.create_string_buffer(size)
        status = self._lib.bpf_get_first_key(fd, key, size)
        seen: set[bytes] = set()
        while status == 0 and key.raw not in seen:  # a key that has gone starts the walk again
            seen.add(key.raw)
            yield key.raw
            status = self._lib.bpf_get_next_key(fd, key, key)

    def detach(self) -> None:
        """Take every program out; maps stay readable."""
        for tracepoint in list(self._bpf.tracepoint_fds):
            self._bpf.detach_tracepoint(tracepoint)

    def close(self) -> None:
        """Free everything. May be called twice."""
        if self._bpf is not None:
            self._give_up(self._bpf)
            self._bpf = None


class _CompileError(ProbesRefusedError):
    """The text was refused, not the program."""


def _refusal(error: str, said: str) -> ProbesRefusedError:
    """One sentence of what BCC raised and of what was printed meanwhile."""
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


class _quiet:  # noqa: N801 - used like a function
    """Nothing printed meanwhile, by whatever library, reaches the terminal; it can be read when it is over."""

    def __enter__(self) -> list[str]:
        self._said = [""]
        if sys.stderr is not None:
            sys.stderr.flush()
        self._memory = os.memfd_create("forktrace-bcc")
        try:
            self._stderr: int | None = os.dup(2)
        except OSError:  # it was closed; what is written there goes nowhere
            self._stderr = None
        os.dup2(self._memory, 2)
        return self._said

    def __exit__(self, *_: object) -> Literal[False]:
        if self._stderr is None:
            os.close(2)
        else:
            os.dup2(self._stderr, 2)
            os.close(self._stderr)
        size = os.fstat(self._memory).st_size
        self._said[0] = os.pread(self._memory, min(size, 1 << 20), max(0, size - (1 << 20))).decode("utf-8", "replace")
        os.close(self._memory)
        return False
