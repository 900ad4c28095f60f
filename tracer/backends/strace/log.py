"""The file that strace writes and forktrace follows: private, without a name as soon as strace has it open.

    log = Log()                 a folder of ours, and a file in it
    log.give_to(uid, gid)       where strace will run as somebody else
    ... strace opens log.path
    for line in log.lines(): ...      whole lines only, as many as there are now
    log.writer_gone             strace has closed it, or died

A regular file, never a pipe: whoever traces must not wait for us, nor notice our death. What was read is given back
to the file system on the way. Knows nothing of what a line says.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tracer.errors import CannotWriteError
from tracer.host import leftovers, procfs

_PLACES: Final = ("/tmp", "/var/tmp")  # noqa: S108
_NAME: Final = "strace.log"
_PIECE: Final = 1 << 20
_COMFORT: Final = 8 << 20  # what a burst of lines takes until it is read
_GIVE_BACK: Final = 16 << 20
_LONGEST: Final = 64 << 20  # no line of strace's is so long: argv ends at 6 MiB, and an escape has four bytes
_IN_OPEN, _IN_CLOSE_WRITE = 0x20, 0x08  # inotify(7)
_EVENT: Final = struct.Struct("=iIII")
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)


class Log:
    """One file. Raises CannotWriteError where there is no place for it."""

    def __init__(self) -> None:
        self.opened = False  # strace has it
        self.watched = -1  # readable when strace opens or closes the file; -1: it can not be watched here
        self.writer_gone = False  # only known where it can be watched
        self.was_full = False  # there was no room for what strace had to write: it has lost lines
        self.cut = 0  # lines that were too long to be believed
        self._position = 0
        self._given_back = 0
        self._rest = bytearray()
        self._folder, self._fd = _make()
        self.path = str(self._folder / _NAME)
        self._named = True
        self._libc = ctypes.CDLL(None, use_errno=True)
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd >= 0:
            if self._libc.inotify_add_watch(fd, os.fsencode(self.path), _IN_OPEN | _IN_CLOSE_WRITE) >= 0:
                self.watched = fd
            else:
                os.close(fd)

    def give_to(self, uid: int, gid: int) -> None:
        """The file becomes that user's. The folder stays ours: nobody can put another file there."""
        os.fchown(self._fd, uid, gid)

    def take(self) -> int:
        """A descriptor for a writer that needs no name; the name goes at once."""
        self._unlink()
        return self._fd

    def look(self) -> None:
        """Take notice of strace having opened or closed the file."""
        if self.watched >= 0:
            with suppress(BlockingIOError):
                data = os.read(self.watched, 4096)
                for at in range(0, len(data), _EVENT.size):
                    mask = _EVENT.unpack_from(data, at)[1]
                    self.opened = self.opened or bool(mask & _IN_OPEN)
                    self.writer_gone = self.writer_gone or bool(mask & _IN_CLOSE_WRITE)
        if self.opened or self._position:
            self._unlink()

    def lines(self) -> Iterator[bytes]:
        """The whole lines that have come since the last time, without their ends. Never waits."""
        room = self._room()
        # Nobody makes room but we, by what is given back below: a write that has failed is noticed here.
        self.was_full = self.was_full or room == 0
        end = os.fstat(self._fd).st_size
        while self._position < end:
            piece = os.pread(self._fd, min(_PIECE, end - self._position), self._position)
            if not piece:
                break
            self._position += len(piece)
            whole, newline, rest = piece.rpartition(b"\n")
            if not newline:
                self._rest += rest
                if len(self._rest) > _LONGEST:
                    self._rest.clear()
                    self.cut += 1
                continue
            self._rest += whole
            yield from bytes(self._rest).split(b"\n")
            self._rest[:] = rest
        unread = self._position - self._given_back
        if unread >= _GIVE_BACK or (room is not None and room < _COMFORT and unread >= 4096):
            self._give_back()

    def _room(self) -> int | None:
        """Bytes that strace can still write; None where the file system does not say."""
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize if status.f_blocks > 0 else None

    def writers(self, comm: str) -> list[int]:
        """Pids of processes of that name which have the file open, and may be looked into."""
        ours = os.fstat(self._fd)
        found = []
        for pid in procfs.pids():
            with suppress(OSError):
                folder = Path(f"/proc/{pid}")
                if (folder / "comm").read_bytes().strip() != comm.encode()[:15]:
                    continue
                fds = (entry.stat() for entry in (folder / "fd").iterdir())
                if any((s.st_dev, s.st_ino) == (ours.st_dev, ours.st_ino) for s in fds):
                    found.append(pid)
        return found

    def rest(self) -> bytes:
        """What stands after the last line's end."""
        return bytes(self._rest)

    def close(self) -> None:
        """Away with it, its name too. May be called twice."""
        self._unlink()
        for fd in (self._fd, self.watched):
            if fd >= 0:
                os.close(fd)
        self._fd = self.watched = -1

    def _unlink(self) -> None:
        if self._named:
            self._named = False
            with suppress(OSError):
                (self._folder / _NAME).unlink()
                self._folder.rmdir()

    def _give_back(self) -> None:
        """Free the blocks that were read: a long trace must not fill the disk. Some file systems can not."""
        fallocate = self._libc.fallocate64 if hasattr(self._libc, "fallocate64") else self._libc.fallocate  # musl
        start, end = ctypes.c_longlong(0), ctypes.c_longlong(self._position & -4096)
        fallocate(self._fd, _KEEP_SIZE | _PUNCH_HOLE, start, end)
        self._given_back = self._position


def _make() -> tuple[Path, int]:
    """(folder, descriptor) of a new file, in the first place where whoever runs strace can reach it."""
    error: OSError | None = None
    places = list(dict.fromkeys(filter(None, (os.environ.get("TMPDIR", ""), *_PLACES))))
    # Where the file system is full strace loses lines: such a place is the last one to be taken.
    for place in sorted(places, key=_has_little_room):
        if os.geteuid() == 0 and not _passable(place):
            continue
        try:
            folder = Path(leftovers.make("forktrace", place))
            try:
                if os.geteuid() == 0:
                    folder.chmod(0o711)  # the program's user passes through; nobody reads it
                fd = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                os.fchmod(fd, 0o600)  # whatever the umask
            except OSError:
                folder.rmdir()
                raise
        except OSError as e:
            error = e
            continue
        return folder, fd
    why = os.strerror(error.errno or 0).lower() if error else "no folder there is open to all"
    raise CannotWriteError(f"strace's output has no place: {why}", "set TMPDIR to a folder that can be written")


def _has_little_room(folder: str) -> bool:
    with suppress(OSError):
        status = os.statvfs(folder)
        return status.f_blocks > 0 and status.f_bavail * status.f_frsize < _COMFORT
    return False


def _passable(folder: str) -> bool:
    """Whether any user may enter the folder and all above it."""
    path = Path(folder).resolve()
    with suppress(OSError):
        return all(part.stat().st_mode & 1 for part in (path, *path.parents))
    return False
