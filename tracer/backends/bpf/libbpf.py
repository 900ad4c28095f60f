"""libbpf.so.1 through ctypes: open an object, set its options, load, attach, read maps.

The C ABI is stable since libbpf 1.0. Objects are compiled beforehand, so no compiler is needed and loading takes
some 20 ms. Refuses to know: what any program or map is for (bpf.py), record layouts (wire.py).
"""

from __future__ import annotations

import ctypes as C  # noqa: N812 - the usual short name, used on every line here
import errno
import mmap
import os
import re
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

from tracer.backends.bpf import user_reads, verifier
from tracer.errors import ForktraceError, NoPermissionError, ProbesRefusedError
from tracer.host import features

SONAME: Final = "libbpf.so.1"
_BPF_NOEXIST: Final = 1
_BATCH: Final = 4096
_MISSES_AT: Final = 208  # bpf_prog_info.recursion_misses, since v5.12
_VERIFIER_LOG: Final = (1 << 24) - 1  # the most that every kernel takes; only what is written to it is memory
_PROGRAM: Final = re.compile(r"prog '([^']+)': (?!-- )")
_RUN_OPTS_SIZE: Final = 80  # struct bpf_test_run_opts: its size, then what we leave at 0

_P, _I, _S, _U32 = C.c_void_p, C.c_int, C.c_char_p, C.c_uint32
_PROTOTYPES: Final[tuple[tuple[str, Any, list[Any]], ...]] = (
    ("bpf_object__open_file", _P, [_S, _P]),
    ("bpf_object__load", _I, [_P]),
    ("bpf_object__close", None, [_P]),
    ("bpf_object__next_program", _P, [_P, _P]),
    ("bpf_object__find_program_by_name", _P, [_P, _S]),
    ("bpf_object__find_map_by_name", _P, [_P, _S]),
    ("bpf_program__name", _S, [_P]),
    ("bpf_program__section_name", _S, [_P]),
    ("bpf_program__set_autoload", _I, [_P, C.c_bool]),
    ("bpf_program__autoload", C.c_bool, [_P]),
    ("bpf_program__set_log_buf", _I, [_P, _P, C.c_size_t]),
    ("bpf_program__attach", _P, [_P]),
    ("bpf_program__attach_trace", _P, [_P]),
    ("bpf_program__attach_iter", _P, [_P, _P]),
    ("bpf_program__fd", _I, [_P]),
    ("bpf_obj_get_info_by_fd", _I, [_I, _P, _P]),
    ("bpf_prog_test_run_opts", _I, [_I, _P]),
    ("bpf_link__fd", _I, [_P]),
    ("bpf_link__destroy", _I, [_P]),
    ("bpf_iter_create", _I, [_I]),
    ("bpf_map__fd", _I, [_P]),
    ("bpf_map__reuse_fd", _I, [_P, _I]),
    ("bpf_map__set_max_entries", _I, [_P, _U32]),
    ("bpf_map__max_entries", _U32, [_P]),
    ("bpf_map__set_initial_value", _I, [_P, _P, C.c_size_t]),
    ("bpf_map_update_elem", _I, [_I, _P, _P, C.c_uint64]),
    ("bpf_map_lookup_elem", _I, [_I, _P, _P]),
    ("bpf_map_delete_elem", _I, [_I, _P]),
    ("bpf_map_get_next_key", _I, [_I, _P, _P]),
    ("bpf_map_lookup_and_delete_batch", _I, [_I, _P, _P, _P, _P, _P, _P]),
)
_PRINT: Final = C.CFUNCTYPE(_I, _I, _S, _P)

_lib: C.CDLL | None = None
_said = threading.local()  # objects are loaded two at a time, and each has its own reasons
_callback: Any = None  # ctypes callbacks must outlive every call
# libbpf says some 9,000 things at level debug in a load, and each of them, even one that is dropped, would take the
# interpreter from whoever has it. So it speaks to nobody, until a load was refused and is done again to hear why.


def library() -> C.CDLL:
    """The loaded library. Raises ProbesRefusedError with the package to install when there is none."""
    global _lib, _callback  # noqa: PLW0603 - loaded once a process
    if _lib is not None:
        return _lib
    try:
        lib = C.CDLL(SONAME, use_errno=True)
        for name, result, arguments in _PROTOTYPES:
            function = getattr(lib, name)
            function.restype = result
            function.argtypes = arguments
    except OSError:
        raise ProbesRefusedError(f"{SONAME} was not found", "install it: apt install libbpf1") from None
    except AttributeError as e:
        raise ProbesRefusedError(f"{SONAME} is too old ({e})", "install libbpf 1.0 or newer") from None
    _callback = _PRINT(_collect)
    lib.libbpf_set_print.restype = None
    lib.libbpf_set_print(None)
    if not features.reads_allowed():
        user_reads.register(lib)
    _lib = lib
    return lib


def _collect(level: int, fmt: bytes, args: int) -> int:
    """libbpf's own words, kept for the error sentence. va_list is formatted by the C library."""
    if level > 1:  # 2: debug
        return 0
    buffer = C.create_string_buffer(4096)
    n = C.CDLL(None).vsnprintf(buffer, C.c_size_t(len(buffer)), C.c_char_p(fmt), C.c_void_p(args))
    said = _log()
    said.append(buffer.value.decode(errors="replace").rstrip())
    del said[:-200]
    return int(n)


def _log() -> list[str]:
    lines: list[str] | None = getattr(_said, "lines", None)
    if lines is None:
        lines = _said.lines = []
    return lines


def log() -> list[str]:
    """libbpf's last messages on this thread, at most 200. The verifier's log is the object's `verifier_log`."""
    return list(_log())


class BpfObject:
    """One compiled object: set options and sizes, `load`, `attach`, and `close`, which takes everything out again."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lib = library()
        self._name = Path(path).name
        self._path = os.fsencode(path)
        self._links: list[int] = []
        self._asked: list[Callable[[], object]] = []  # what was set before the load, to be set again
        self.refused: dict[str, str] = {}
        """Programs that `load` left out, as the kernel refused them: name and reason."""
        self.verifier_log = ""
        """Of the program that was refused last."""
        _log().clear()
        self._obj: int | None = None
        self._open()

    def _open(self) -> None:
        self._obj = self._lib.bpf_object__open_file(self._path, None)
        if not self._obj:
            raise ProbesRefusedError(f"{self._name} can not be opened: {os.strerror(C.get_errno())}")
        if not features.reads_allowed():
            for name, section in self.programs():
                user_reads.target(self._lib, self._program(name), section)

    def _ask(self, do: Callable[[], object]) -> None:
        do()
        self._asked.append(do)

    def _map(self, name: str) -> int:
        found = self._lib.bpf_object__find_map_by_name(self._obj, name.encode())
        if not found:
            raise ProbesRefusedError(f"{self._name} has no map {name}", "rebuild it: make -C probes")
        return int(found)

    def _program(self, name: str) -> int:
        found = self._lib.bpf_object__find_program_by_name(self._obj, name.encode())
        if not found:
            raise ProbesRefusedError(f"{self._name} has no program {name}", "rebuild it: make -C probes")
        return int(found)

    def set_data(self, section: str, value: bytes) -> None:
        """Initial contents of a global data section; before `load`. The size must be the section's."""

        def do() -> None:
            if self._lib.bpf_map__set_initial_value(self._map(section), value, len(value)):
                why = f"{self._name}: {section} is not {len(value)} bytes"
                raise ProbesRefusedError(why, "rebuild it: make -C probes")

        self._ask(do)

    def resize(self, name: str, entries: int) -> None:
        """Entries of a map (bytes of a ring); before `load`."""
        self._ask(lambda: self._lib.bpf_map__set_max_entries(self._map(name), entries))

    def skip(self, *programs: str) -> None:
        """Leave these programs out; before `load`."""

        def do() -> None:
            for name in programs:
                self._lib.bpf_program__set_autoload(self._program(name), False)

        self._ask(do)

    def share(self, name: str, fd: int) -> None:
        """Use another object's map in place of one's own; before `load`."""

        def do() -> None:
            if self._lib.bpf_map__reuse_fd(self._map(name), fd):
                raise ProbesRefusedError(f"{self._name}: map {name} can not be shared")

        self._ask(do)

    def load(self, optional: Collection[str] = ()) -> None:
        """Create the maps and have the programs verified. Raises with the kernel's reason.

        A program of `optional` that the kernel refuses is left out, and noted in `refused`.
        """
        status = self._lib.bpf_object__load(self._obj)
        while status:
            status = self._load_aloud()
            if not status:
                break
            program = self._refused_program()
            if program is None or program not in optional or program in self.refused or self._lacks_privilege(status):
                raise self._refusal(-status)
            self.refused[program] = self._reason() or os.strerror(-status)
            self.skip(program)
        self._asked.clear()

    def _load_aloud(self) -> int:
        """The same again from the beginning, as an object is loaded once, with the words of libbpf and the verifier."""
        self._lib.libbpf_set_print(_callback)  # and it stays: where one load is refused, others are soon
        _log().clear()
        self._lib.bpf_object__close(self._obj)
        self._obj = None
        self._open()
        for do in self._asked:
            do()
        # Through libbpf's messages the log would come in one of up to 16 MiB, formatted a second time.
        with mmap.mmap(-1, _VERIFIER_LOG) as memory:
            buffer = (C.c_char * _VERIFIER_LOG).from_buffer(memory)
            for name, _ in self.programs():
                self._lib.bpf_program__set_log_buf(self._program(name), C.addressof(buffer), _VERIFIER_LOG)
            status = int(self._lib.bpf_object__load(self._obj))
            self.verifier_log = buffer.value.decode(errors="replace") if status else ""
            del buffer
        return status

    def _refused_program(self) -> str | None:
        named = [found[1] for line in _log() if (found := _PROGRAM.search(line))]
        return named[-1] if named else None

    def _lacks_privilege(self, status: int) -> bool:
        """EPERM and EACCES before the verifier has looked: no program of this object will be let in."""
        return status in (-errno.EPERM, -errno.EACCES) and not self.verifier_log

    def _reason(self) -> str:
        """The line that names the cause: the verifier's error, else the first of libbpf's messages."""
        lines = [line for entry in _log() for line in entry.splitlines() if line.strip()]
        return verifier.reason(self.verifier_log) or (lines[0].removeprefix("libbpf: ") if lines else "")

    def _refusal(self, code: int) -> ForktraceError:
        if self.verifier_log:
            program = self._refused_program() or "a program"
            why = f"the kernel's verifier refused {program} of {self._name}: {self._reason()}"
            return ProbesRefusedError(why, "this kernel is unlike those we know; --backend auto takes another one")
        if self._lacks_privilege(-code):
            return self._not_allowed(code)
        return ProbesRefusedError(
            f"the kernel refused {self._name}: {self._reason() or os.strerror(code)}", "see `forktrace doctor`"
        )

    def _not_allowed(self, code: int) -> ForktraceError:
        """EPERM and EACCES without a word of the verifier: a missing privilege, or what even root may not do."""
        refused = f"the kernel refused {self._name}: {os.strerror(code)}"
        held = features.feature("capabilities")
        if held.ok is not False:
            why = f"{refused}, although {held.detail}: by lockdown, a security module or a container's seccomp profile"
            return ProbesRefusedError(why, "in docker: --security-opt seccomp=unconfined; `forktrace doctor` says more")
        mend = held.mend if os.geteuid() else "in docker: --cap-add BPF --cap-add PERFMON"
        return NoPermissionError(f"{refused} ({held.detail})", mend)

    def programs(self) -> Iterable[tuple[str, str]]:
        """(name, section) of every program that is to be loaded."""
        program = None
        while program := self._lib.bpf_object__next_program(self._obj, program):
            if self._lib.bpf_program__autoload(program):
                yield (
                    self._lib.bpf_program__name(program).decode(),
                    self._lib.bpf_program__section_name(program).decode(),
                )

    def attach(self, wanted: Callable[[str, str], bool] = lambda name, section: True) -> None:
        """Attach every loaded program for which `wanted(name, section)` holds, except those that are only run."""
        for name, section in self.programs():
            if section.startswith(("iter", "syscall")) or not wanted(name, section):
                continue
            # By its kind and not by its section's handler: the handler is ours under lockdown (_user_reads.py).
            typed = section.startswith(user_reads.SECTION)
            attach = self._lib.bpf_program__attach_trace if typed else self._lib.bpf_program__attach
            link = attach(self._program(name))
            if not link:
                reason = os.strerror(C.get_errno())
                self.detach()
                raise ProbesRefusedError(f"{section} can not be attached: {reason}", "see `forktrace doctor`")
            self._links.append(link)

    def misses(self, program: str) -> int | None:
        """How often the kernel has skipped a loaded program, as it was being run already; None if it does not say."""
        info, size = C.create_string_buffer(_MISSES_AT + 8), C.c_uint32(_MISSES_AT + 8)
        fd = self._lib.bpf_program__fd(self._program(program))
        if self._lib.bpf_obj_get_info_by_fd(fd, info, C.byref(size)) or size.value < _MISSES_AT + 8:
            return None
        return int.from_bytes(info.raw[_MISSES_AT:], sys.byteorder)

    def detach(self) -> None:
        """Take every program out; maps stay readable."""
        for link in reversed(self._links):
            self._lib.bpf_link__destroy(link)
        self._links.clear()

    def run_iterator(self, program: str) -> bytes:
        """Run an iter/... program over all it iterates; returns what it wrote to its seq_file."""
        link = self._lib.bpf_program__attach_iter(self._program(program), None)
        if not link:
            raise ProbesRefusedError(f"iterator {program} can not be attached: {os.strerror(C.get_errno())}")
        fd = -1
        try:
            fd = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
            if fd < 0:
                raise ProbesRefusedError(f"iterator {program} can not be run: {os.strerror(-fd)}")
            chunks = []
            while chunk := os.read(fd, 65536):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            if fd >= 0:
                os.close(fd)
            self._lib.bpf_link__destroy(link)

    def run_once(self, program: str) -> None:
        """Run a program of section "syscall", which takes no argument."""
        opts = C.create_string_buffer(struct.pack("=Q", _RUN_OPTS_SIZE), _RUN_OPTS_SIZE)
        status = self._lib.bpf_prog_test_run_opts(self._lib.bpf_program__fd(self._program(program)), opts)
        if status:
            raise ProbesRefusedError(f"{program} cannot be run: {os.strerror(-status)}")

    def map_fd(self, name: str) -> int:
        """Descriptor of a loaded map; owned by this object."""
        return int(self._lib.bpf_map__fd(self._map(name)))

    def map_size(self, name: str) -> int:
        """max_entries of a map."""
        return int(self._lib.bpf_map__max_entries(self._map(name)))

    def view(self, section: str, size: int) -> mmap.mmap:
        """A global data section, mapped: reading it costs no system call."""
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self.map_fd(section), length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def update(self, name: str, key: bytes, value: bytes, *, new: bool = False) -> None:
        """One map element. Raises OSError; FileExistsError if it must be `new` and is not."""
        status = self._lib.bpf_map_update_elem(self.map_fd(name), key, value, _BPF_NOEXIST if new else 0)
        if status:
            raise OSError(-status, f"map {name}: {os.strerror(-status)}")

    def lookup(self, name: str, key: bytes, size: int) -> bytes | None:
        """The value (`size` bytes) of one map element, or None."""
        buffer = C.create_string_buffer(size)
        return buffer.raw if self._lib.bpf_map_lookup_elem(self.map_fd(name), key, buffer) == 0 else None

    def delete(self, name: str, key: bytes) -> None:
        """Take one element out, if it is there."""
        self._lib.bpf_map_delete_elem(self.map_fd(name), key)

    def drain(self, name: str, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
        """Take every element out of a hash: (key, value). What is added meanwhile may stay. Raises OSError."""
        fd = self.map_fd(name)
        keys, values = C.create_string_buffer(_BATCH * key_size), C.create_string_buffer(_BATCH * value_size)
        token, count, result = C.create_string_buffer(8), C.c_uint32(), []
        status, first = 0, True
        while not status:
            count.value = _BATCH
            status = self._lib.bpf_map_lookup_and_delete_batch(
                fd, None if first else token, token, keys, values, C.byref(count), None
            )
            if status and status != -errno.ENOENT:  # that one is the end, and what came with it counts
                raise OSError(-status, f"map {name}: {os.strerror(-status)}")
            first = False
            raw, said = keys.raw, values.raw
            result += [
                (raw[i * key_size : (i + 1) * key_size], said[i * value_size : (i + 1) * value_size])
                for i in range(count.value)
            ]
        return result

    def close(self) -> None:
        """Detach and free everything. May be called twice."""
        self.detach()
        if self._obj:
            self._lib.bpf_object__close(self._obj)
            self._obj = None
