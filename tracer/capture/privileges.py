"""As whom the program runs, and as whom its traces are written.

    caller_identity()     who called sudo, when sudo is above us
    user_identity(name)   for -u
    drop(identity)        become them for good (in the held child)
    as_caller()           a `with` block whose file accesses are the sudo caller's
    open_output(path)     an output, opened as the caller

Under `sudo forktrace -- make` the program is the caller's and so are the files. Nothing is ever chowned by
path: a symbolic link in /tmp would give /etc/shadow away.
"""

from __future__ import annotations

import errno
import os
import stat

from tracer.capture import sudo_caller
from tracer.capture.inheritance import put, unset
from tracer.errors import CannotWriteError, NoPermissionError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterable
    from typing import IO

_CAPABILITY_VERSION_3 = 0x20080522
_ACCESS = {"wb": os.O_WRONLY, "w+b": os.O_RDWR, "ab": os.O_WRONLY | os.O_APPEND, "xb": os.O_WRONLY}


class Identity:
    """A user as a login would make them: uid, gid, supplementary groups, home, shell, name."""

    __slots__ = ("gid", "groups", "home", "name", "shell", "uid")

    def __init__(  # noqa: PLR0917  a record
        self, name: str, uid: int, gid: int, groups: tuple[int, ...], home: str, shell: str
    ) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.shell = shell

    def environment(self, base: Iterable[bytes]) -> list[bytes]:
        """`base` as this user's own: HOME and its kin set, what sudo added removed. PATH stays as it is."""
        entries = [entry for entry in base if not entry.startswith(b"SUDO_")]
        own = {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}
        own["MAIL"] = f"/var/mail/{self.name}"
        runtime = f"/run/user/{self.uid}"
        unset(entries, b"XDG_RUNTIME_DIR")  # root's, if any
        if os.path.isdir(runtime):  # noqa: PTH112  pathlib is 3 ms and would be the only use
            own["XDG_RUNTIME_DIR"] = runtime
        for name, value in own.items():
            put(entries, os.fsencode(name), os.fsencode(value))
        return entries


def caller_identity() -> Identity | None:
    """Who called sudo; None when we are not root by sudo, when root called it, or in a shell that sudo started.

    Raises UsageError where that cannot be decided (sudo_caller.py says how it is): to run a program as root by mistake
    is worse than to ask.
    """
    decision = sudo_caller.decide()
    if decision is sudo_caller.Decision.UNKNOWN:
        raise UsageError(
            "cannot tell whether the program is root's or the sudo caller's: SUDO_UID is set, but sudo is not above us",
            "give --as-root, or -u USER",
        )
    return _sudo_identity() if decision is sudo_caller.Decision.CALLER else None


def output_identity() -> Identity | None:
    """Whose our files are. Where it cannot be decided, the caller's: they may never write more than root."""
    return None if sudo_caller.decide() is sudo_caller.Decision.OURSELVES else _sudo_identity()


def _sudo_identity() -> Identity:
    return _identity(int(os.environ["SUDO_UID"]), _number(os.environ.get("SUDO_GID")), os.environ.get("SUDO_USER"))


def user_identity(user: str) -> Identity | None:
    """The user called `user` (a name or a number), for -u; None when that is who we are.

    Raises UsageError for an unknown user, NoPermissionError when we are not root.
    """
    import pwd

    try:
        number = _number(user)
        entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except (KeyError, OverflowError):
        raise UsageError(f"there is no user {user!r}", "see `getent passwd` for the names") from None
    if entry.pw_uid == os.geteuid() == os.getuid():
        return None
    if os.geteuid() != 0:
        raise NoPermissionError(f"only root may run a program as {user!r}", "run forktrace with sudo")
    return _identity(entry.pw_uid, entry.pw_gid, entry.pw_name)


def drop(identity: Identity) -> None:
    """Become `identity` for good. OSError when the kernel says no, or when a way back to root was left.

    Never sets no_new_privs: sudo, su and ping must work inside the program. Called between fork and exec.
    """
    # A change of uid leaves the inheritable set alone; an exec of a file with its own would revive it.
    # Emptied, it empties its subset, the ambient set. Loaded now: our Python may be for root's eyes only.
    libc = _libc() if capabilities(b"CapInh", b"CapAmb") != 0 else None
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if identity.uid == 0:
        return
    if libc is not None:
        _clear_capabilities(libc)
    if capabilities(b"CapInh", b"CapPrm", b"CapEff", b"CapAmb") > 0:
        raise OSError(errno.EPERM, "capabilities were left")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise OSError(errno.EPERM, "root could be had back")


class as_caller:  # noqa: N801  reads as a function: `with as_caller(): os.replace(...)`
    """A block whose file accesses have the sudo caller's fsuid, fsgid and groups; a no-op without sudo."""

    def __init__(self) -> None:
        self._identity = output_identity()

    def __enter__(self) -> Identity | None:
        who = self._identity
        if who is None:
            return None
        self._groups, self._gid = os.getgroups(), os.getegid()
        os.setgroups(who.groups)
        # setfsuid has no error return: ask again with an id that is never valid, which reads the value.
        libc = _libc()
        libc.setfsgid(who.gid)
        libc.setfsuid(who.uid)  # drops CAP_DAC_OVERRIDE and its kin from the effective set
        if (libc.setfsuid(-1), libc.setfsgid(-1)) != (who.uid, who.gid):
            self.__exit__()
            raise CannotWriteError(f"files can not be opened as {who.name}", "the kernel refused setfsuid")
        return who

    def __exit__(self, *_: object) -> None:
        if self._identity is not None:
            libc = _libc()
            libc.setfsuid(os.geteuid())
            libc.setfsgid(self._gid)
            os.setgroups(self._groups)


def open_output(path: str | os.PathLike[str], mode: str = "wb") -> IO[bytes]:
    """Open an output file, made with mode 0600, as the sudo caller would. `mode`: wb, w+b, ab or xb.

    A symbolic link as the last component is refused, except /dev/stdout and the /dev/fd/N of a shell's
    `>(...)`: that descriptor is duplicated. An existing file keeps its mode, and one that belongs to another user is
    refused: whoever made it beforehand could read it. Raises CannotWriteError.
    """
    name = os.fspath(path)
    inherited = _inherited_fd(name)
    try:
        if inherited is not None:
            return os.fdopen(os.dup(inherited), mode)
        with as_caller() as who:
            fd = _create(name, mode, who.uid if who is not None else os.geteuid())
        os.set_blocking(fd, True)
        return os.fdopen(fd, mode)
    except OSError as e:
        raise _cannot_write(name, e) from None
    except ValueError:
        raise CannotWriteError(f"{name!r} is no file name", "name a file with -o") from None


def _create(name: str, mode: str, uid: int) -> int:
    """A descriptor of a new file, or of one that is there and belongs to `uid`, empty unless it is appended to.

    What others made beforehand is refused if it is a regular file; devices and FIFOs are as they are. The owner of a
    new file is not looked at: some file systems (vfat, NFS for root) give it another.
    """
    # O_NONBLOCK: a FIFO without a reader would hold us here for ever, with the signals blocked.
    flags = _ACCESS[mode] | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if mode == "xb":
            raise
    fd = os.open(name, flags)
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            if status.st_uid != uid:
                whose = f"it belongs to another user (uid {status.st_uid})"
                raise CannotWriteError(f"can not write {name}: {whose}", "name another file")
            if mode != "ab":
                os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _cannot_write(name: str, e: OSError) -> CannotWriteError:
    folder = os.path.dirname(name) or "."  # noqa: PTH120
    who = output_identity()
    may_not = f"{who.name} may not write it" if who else "permission denied"
    said: dict[int | None, tuple[str, str]] = {
        errno.ELOOP: ("it is a symbolic link", "name the file itself"),
        errno.ENOENT: (f"there is no folder {folder}", "make it, or name another place with -o")
        if not os.path.isdir(folder)  # noqa: PTH112
        else (f"{folder} takes no new files", "name another place with -o"),
        errno.ENOTDIR: (f"{folder} is not a folder", "name another place with -o"),
        errno.EISDIR: ("it is a folder", "name a file in it"),
        errno.EACCES: (may_not, "name another place with -o"),
        errno.EPERM: (may_not, "name another place with -o"),
        errno.EROFS: ("the file system is read-only", "name another place with -o"),
        errno.ENXIO: ("nobody reads this FIFO", "start its reader first"),
        errno.ENOSPC: ("no space is left there", "free some, or name another place with -o"),
        errno.EEXIST: ("it exists", "name another file"),
    }
    what, mend = said.get(e.errno, ((e.strerror or str(e)).lower(), "name another place with -o"))
    return CannotWriteError(f"can not write {name}: {what}", mend)


def _inherited_fd(name: str) -> int | None:
    """The descriptor that `name` is only another name for, or None."""
    names = {"/dev/stdout": 1, "/dev/stderr": 2}
    for folder in ("/dev/fd/", "/proc/self/fd/"):
        if name.startswith(folder):
            return _number(name[len(folder) :])
    return names.get(name)


def _identity(uid: int, gid: int | None, name: str | None) -> Identity:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # sudo of a uid that no database knows
        known = gid if gid is not None else uid
        return Identity(name or str(uid), uid, known, (known,), "/", "/bin/sh")
    gid = entry.pw_gid if gid is None else gid
    groups = tuple(os.getgrouplist(entry.pw_name, gid))  # what initgroups(3) would set
    return Identity(entry.pw_name, uid, gid, groups, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


def capabilities(*names: bytes) -> int:
    """The union of our capability sets of these names, as CapEff; -1 when /proc can not tell."""
    try:
        with open("/proc/self/status", "rb", buffering=0) as f:  # noqa: PTH123
            lines = f.read().splitlines()
    except OSError:
        return -1
    union = 0
    for line in lines:
        name, _, value = line.partition(b":")
        if name in names:
            union |= int(value, 16)
    return union


def _clear_capabilities(libc: ctypes.CDLL) -> None:
    import ctypes

    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    empty = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, then high words
    if libc.capset(header, empty) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _libc() -> ctypes.CDLL:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for call in (libc.setfsuid, libc.setfsgid):
        call.argtypes, call.restype = (ctypes.c_int,), ctypes.c_int
    return libc


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
