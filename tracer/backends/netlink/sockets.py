"""The netlink sockets: pyroute2 sets them up, and duplicates of their descriptors are read here, in bulk.

    Connector    births, execs, ends, new names and users, of every task on the host
    TaskStats    what each task had used, when it ends or when asked
    Bell         rings when somebody execs

`take` gives a run of messages, each in a slot of its own: one system call for a thousand, no object for each. After
an overflow pyroute2's own sockets are of no use any more; these go on, and say that something was lost. Knows where
the messages are, and not what they mean.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tracer.backends.netlink import layout
from tracer.errors import ForktraceError, NoPermissionError, ProbesRefusedError
from tracer.host import btf

_MESSAGES: Final = 512  # in one call
_ANSWER_S: Final = 0.5
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_PR_SET_NAME, _PR_GET_NAME = 15, 16
_NLMSG_ERROR: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Piece(ctypes.Structure):  # struct iovec
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("header", _Header), ("len", ctypes.c_uint))


class Inbox:
    """A socket's messages, up to 512 at a time, each at the beginning of a slot of `slot` bytes.

    `full`: the bytes of a run after which there may be more.
    """

    def __init__(self, fd: int, slot: int) -> None:
        self.full = slot * _MESSAGES
        self._fd = fd
        self._slot = slot
        self._memory = ctypes.create_string_buffer(slot * _MESSAGES)
        self._view = memoryview(self._memory).cast("B")
        self._pieces = (_Piece * _MESSAGES)()
        self._messages = (_Message * _MESSAGES)()
        start = ctypes.addressof(self._memory)
        for i in range(_MESSAGES):
            self._pieces[i].base, self._pieces[i].len = start + i * slot, slot - layout.SLOT_END
            self._messages[i].header.iov = ctypes.addressof(self._pieces) + i * ctypes.sizeof(_Piece)
            self._messages[i].header.iovlen = 1
        self._receive = _LIBC.recvmmsg
        self._receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._at = ctypes.addressof(self._messages)

    def take(self) -> memoryview | None:
        """What waits, at most 512 messages, good until the next call; empty when nothing does. Never blocks.

        None: the kernel has dropped messages. Take on: what it had queued before is still there.
        """
        n = self._receive(self._fd, self._at, _MESSAGES, socket.MSG_DONTWAIT, None)
        if n >= 0:
            return self._view[: n * self._slot]
        code = ctypes.get_errno()
        if code == errno.ENOBUFS:
            return None
        if code in (errno.EAGAIN, errno.EINTR):
            return self._view[:0]
        raise ProbesRefusedError(f"reading from netlink failed: {os.strerror(code).lower()}")


class _Socket:
    """What both have in common: pyroute2's socket, kept to be closed, our own descriptor of it, and what comes."""

    inbox: Inbox

    def __init__(self, theirs: Any, room: int) -> None:
        self._theirs = theirs
        self.socket = socket.socket(fileno=os.dup(theirs.fileno()))
        self.socket.setblocking(False)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
        except PermissionError:  # then at most net.core.rmem_max
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)

    def fileno(self) -> int:
        """The descriptor that is read."""
        return self.socket.fileno()

    def close(self) -> None:
        """Both descriptors."""
        self.socket.close()
        self._theirs.close()


class Connector(_Socket):
    """The proc connector. `room`: bytes that may wait to be read; the kernel counts some 800 for a message.

    Raises NoPermissionError or ProbesRefusedError.
    """

    def __init__(self, room: int) -> None:
        from pyroute2 import ProcEventSocket

        theirs = ProcEventSocket()
        try:
            theirs.bind()
            super().__init__(theirs, room)
        except BaseException as e:
            theirs.close()
            raise _refused(e, "the proc connector is not for you on this kernel") from None
        self.inbox = Inbox(self.fileno(), layout.EVENT_SLOT)
        self._port = self.socket.getsockname()[0]

    def listen(self) -> None:
        """Ask for events. Raises ProbesRefusedError when nobody answers.

        The kernel ignores a listener outside the initial pid or user namespace without a word (cn_proc_mcast_ctl).
        """
        nonce = secrets.randbits(31)
        try:
            self.socket.send(layout.request(layout.LISTEN, self._port, nonce))
        except OSError as e:
            raise _refused(e, "the proc connector does not take requests") from None
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        end = time.monotonic() + _ANSWER_S
        while (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            run = self.inbox.take()
            for _, ack, what, _, _, code, *_ in layout.EVENT.iter_unpack(run or b""):
                if what == layout.NONE and ack == nonce + 1:
                    if code:
                        why = os.strerror(code).lower()
                        raise ProbesRefusedError(f"the proc connector refuses to tell us anything: {why}")
                    return
        raise ProbesRefusedError(
            f"the proc connector did not answer within {_ANSWER_S} s: it only talks to the host's own namespaces",
            "run on the host (docker: --pid=host --network=host), or use another backend",
        )

    def close(self) -> None:
        """Tell the kernel that we leave: before Linux 6.6 it does not notice and goes on for nobody."""
        with suppress(OSError):
            self.socket.send(layout.request(layout.IGNORE, self._port, 0))
        super().close()


class Bell:
    """Readable as soon as somebody execs, anywhere on the host; nothing else comes here, and nothing is to be read.

    An exec's words are to be had at once or not at all; for births and ends nobody need be woken.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 11)
        try:
            code = layout.only(layout.EXEC)
            buffer = ctypes.create_string_buffer(code)
            program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            self._socket.bind((0, 1))
        except OSError as e:
            self._socket.close()
            raise _refused(e, "the proc connector is not for you on this kernel") from None
        self._inbox = Inbox(self._socket.fileno(), 2 * layout.SLOT_END)

    def fileno(self) -> int:
        """To wait on."""
        return self._socket.fileno()

    def silence(self) -> None:
        """Until the next exec. What did not fit is no loss."""
        while (run := self._inbox.take()) is None or len(run) == self._inbox.full:
            pass

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


def ring_every_cpu() -> None:
    """Cause an event on each CPU that we may use, by giving this thread the name it has.

    Each CPU numbers its events, so a loss shows by the next one from the same CPU: this is the next one.
    """
    allowed = os.sched_getaffinity(0)
    name = ctypes.create_string_buffer(16)
    _LIBC.prctl(_PR_GET_NAME, name, 0, 0, 0)
    try:
        for cpu in sorted(allowed):
            with suppress(OSError):  # it has just gone offline
                os.sched_setaffinity(0, {cpu})
                _LIBC.prctl(_PR_SET_NAME, name, 0, 0, 0)
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


def own_tid() -> int:
    """The thread whose events `ring_every_cpu` causes."""
    return threading.get_native_id()


class TaskStats(_Socket):
    """taskstats of all tasks that end on this host. Raises NoPermissionError or ProbesRefusedError."""

    def __init__(self, room: int) -> None:
        self._asking: socket.socket | None = None
        theirs = _bound_taskstats()
        try:
            super().__init__(theirs, room)
            self._family = int(theirs.prid)
            self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)  # NETLINK_GENERIC
            self._asking.settimeout(_ANSWER_S)
            self.layout = self._own_layout()
            theirs.register_mask(_possible_cpus())
            self._no_objection()
        except BaseException as e:
            if self._asking is not None:
                self._asking.close()
            theirs.close()
            raise _refused(e, "taskstats are not for you") from None
        self.inbox = Inbox(self.fileno(), self.layout.slot)

    def _own_layout(self) -> layout.StatsLayout:
        """By what the kernel says of ourselves, and its BTF; without BTF by the version of the struct."""
        message = self._ask(os.getpid())
        if message is None:
            raise ProbesRefusedError("the kernel does not answer for taskstats", "use another backend")
        at, size = layout.find_stats(message)
        (version,) = struct.unpack_from("=H", message, at)
        offsets: Mapping[str, int] = layout.offsets_by_version(version)
        with suppress(ForktraceError):
            known = btf.Btf.vmlinux().struct("taskstats")
            if known is not None and known.size == size:
                offsets = {m.name: m.offset for m in known.members}
        return layout.stats_layout(at, size, offsets)

    def _no_objection(self) -> None:
        """A request to listen is answered only when it is refused, at once."""
        with suppress(BlockingIOError):
            while True:
                message = self.socket.recv(65536)
                kind, code = struct.unpack_from("=4xH10xi", message)
                if kind == _NLMSG_ERROR and code:
                    raise OSError(-code, os.strerror(-code))

    def of(self, tid: int) -> layout.Stats | None:
        """What a living task has used so far; None if it is gone."""
        message = self._ask(tid)
        if message is None:
            return None
        slot = message[: self.layout.slot - layout.SLOT_END].ljust(self.layout.slot, b"\0")
        return layout.Stats(*self.layout.cut.unpack(slot))

    def _ask(self, tid: int) -> bytes | None:
        assert self._asking is not None
        get, pid = 1, 1  # TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_PID
        self._asking.send(struct.pack("=IHHIIBBHHHI", 28, self._family, 1, 0, 0, get, 1, 0, 8, pid, tid))
        try:
            message = self._asking.recv(65536)
        except TimeoutError:
            return None
        (kind,) = struct.unpack_from("=H", message, 4)
        if kind == self._family:
            return message
        (code,) = struct.unpack_from("=i", message, 16)
        if -code in (errno.EPERM, errno.EACCES):
            raise PermissionError(-code, os.strerror(-code))
        return None

    def close(self) -> None:
        """The kernel forgets a listener that is gone."""
        if self._asking is not None:
            self._asking.close()
        super().close()


def _bound_taskstats() -> Any:
    """pyroute2's socket, which knows the family's number. On a busy host its search has come back without one."""
    from pyroute2 import TaskStats

    for left in (2, 1, 0):
        theirs = TaskStats()
        try:
            theirs.bind()
        except BaseException as e:
            theirs.close()
            if left and isinstance(e, RuntimeError):
                continue
            raise _refused(e, "taskstats are not for you") from None
        return theirs
    raise AssertionError


def _possible_cpus() -> str:
    try:
        return Path("/sys/devices/system/cpu/possible").read_text("ascii").strip()
    except OSError:
        return f"0-{(os.cpu_count() or 1) - 1}"


def _refused(error: BaseException, what: str) -> BaseException:
    """An error for the user, where the system gave one."""
    if isinstance(error, PermissionError):
        return NoPermissionError(what, "run forktrace as root, or give it CAP_NET_ADMIN")
    if isinstance(error, OSError):
        return ProbesRefusedError(f"{what}: {error.strerror or error}", "use another backend")
    if not isinstance(error, ForktraceError) and type(error).__module__.startswith("pyroute2"):
        code = getattr(error, "code", None)
        if code in (errno.EPERM, errno.EACCES):
            return NoPermissionError(what, "run forktrace as root, or give it CAP_NET_ADMIN")
        return ProbesRefusedError(f"{what}: {error}", "use another backend")
    return error
