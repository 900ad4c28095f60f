"""The held child: what happens between fork and exec, and how it tells what went wrong.

    child(plan, gate, report)    never returns: drop privileges, find the program, wait at the gate, exec
    failure(plan, message)       the error that a message on the report pipe stands for

The child writes READY when it is held; then nothing (the exec closed the pipe), or one message: a stage and
an errno. Looking the program up before the gate keeps our own probing of PATH out of the program's trace.
A tracer may be named that the program is started through (strace): it takes the child's place, and the program then
takes the tracer's. What is wrong with the program is found out before, by an exec that is undone.
Knows nothing of the parent's side.
"""

from __future__ import annotations

import errno
import os
import signal
import stat

from tracer.capture.inheritance import value_of
from tracer.capture.privileges import Identity, drop
from tracer.errors import CannotStartError, ForktraceError, NoPermissionError
from tracer.host.own_limits import restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

READY = b"\x00"
_PRIVILEGES, _FOLDER, _FIND, _EXEC = 1, 2, 3, 4
MESSAGE_SIZE = 5

_TRACEME, _CONT, _SETOPTIONS = 0, 7, 0x4200  # ptrace(2)
_TRACE_EXEC, _EXIT_KILL = 1 << 4, 1 << 20


class Plan:
    """What to start: argv, environment as execve(2) takes it, folder or None, whom to become or None, descriptors kept.

    `through`: a tracer's command, its program's path first, to which argv is appended.
    """

    __slots__ = ("argv", "cwd", "env", "identity", "limits", "pass_fds", "through")

    def __init__(  # noqa: PLR0917  a record
        self,
        argv: Sequence[str],
        env: Sequence[bytes],
        cwd: str | os.PathLike[str] | None,
        identity: Identity | None,
        pass_fds: Sequence[int],
        through: Sequence[str] = (),
        limits: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.env = tuple(env)
        self.cwd = cwd
        self.identity = identity
        self.pass_fds = tuple(pass_fds)
        self.through = tuple(through)
        self.limits = dict(limits or {})


def child(plan: Plan, gate: int, report: int, restore_signals: Callable[[], None]) -> NoReturn:
    """In the forked child. `gate` gives one byte to go on, or end of file: our tracer is gone, so go too."""
    stage = _PRIVILEGES
    try:
        restore_signals()
        restore(plan.limits)
        for fd in plan.pass_fds:
            os.set_inheritable(fd, True)
        if plan.identity is not None:
            drop(plan.identity)
        stage = _FOLDER
        if plan.cwd is not None:
            os.chdir(plan.cwd)
        stage = _FIND
        folders = value_of(plan.env, b"PATH")
        path = find(plan.argv[0], os.defpath if folders is None else os.fsdecode(folders))
        os.write(report, READY)
        if os.read(gate, 1):
            stage = _EXEC
            if plan.through:
                _exec_through(path, plan)
            _exec(path, plan)
    except BaseException as e:
        code = getattr(e, "errno", None) or errno.EIO
        os.write(report, bytes([stage]) + code.to_bytes(4, "big"))
    finally:
        os._exit(126)  # whatever happened: the child must never run the parent's code


def find(name: str, path: str) -> str:
    """The file that a shell would run for `name`, looked up in the folders of `path` unless it has a slash.

    OSError with ENOENT if there is none, EACCES if there is one that may not be run, EISDIR for a folder.
    """
    if "/" in name:
        mode = os.stat(name).st_mode  # noqa: PTH116
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, name)
        return name  # whether it may be run is the exec's to say
    found = errno.ENOENT
    for folder in path.split(":") if name else ():
        candidate = f"{folder or '.'}/{name}"
        try:
            mode = os.stat(candidate).st_mode  # noqa: PTH116
        except OSError:
            continue
        if stat.S_ISREG(mode):
            if os.access(candidate, os.X_OK, effective_ids=True):
                return candidate
            found = errno.EACCES
    raise OSError(found, name)


def _exec(path: str, plan: Plan) -> None:
    """As execvp(3): a text without #! is given to the shell. Returns only by OSError."""
    try:
        execute(path, plan.argv, plan.env)
    except OSError as e:
        if e.errno != errno.ENOEXEC or _is_binary(path):
            raise
        execute("/bin/sh", ("sh", path, *plan.argv[1:]), plan.env)


def _exec_through(path: str, plan: Plan) -> None:
    """As `_exec`, by way of a tracer, whose own word for a failed exec would be a line on the program's stderr."""
    argv = plan.argv if "/" in plan.argv[0] or value_of(plan.env, b"PATH") is not None else (path, *plan.argv[1:])
    code = rehearse(path, argv, plan.env)
    if code == errno.ENOEXEC and not _is_binary(path):
        argv, code = ("/bin/sh", path, *plan.argv[1:]), 0
    if code:
        raise OSError(code, path)
    execute(plan.through[0], (*plan.through, *argv), plan.env)


def execute(path: str, argv: Sequence[str], env: Sequence[bytes]) -> None:
    """execve(2), which takes any strings as an environment. os.execve takes a mapping, so neither repeated names nor
    entries without a name or an `=`. It serves all others: to import ctypes grows the process that becomes the program.
    """
    plain: dict[bytes, bytes] = {}
    for entry in env:
        name, equals, value = entry.partition(b"=")
        if not name or not equals or name in plain:
            break
        plain[name] = value
    else:
        os.execve(path, tuple(argv), plain)  # noqa: S606
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    words, entries = [os.fsencode(word) for word in argv], list(env)
    vectors = [(ctypes.c_char_p * (len(all_) + 1))(*all_, None) for all_ in (words, entries)]
    libc.execve(os.fsencode(path), *vectors)
    raise OSError(ctypes.get_errno(), path)


def rehearse(path: str, argv: tuple[str, ...], env: Sequence[bytes]) -> int:
    """The errno that this exec would have; 0 if it would work, or can not be tried.

    It is done in a child that we trace ourselves: the kernel stops it before the program's first instruction, and it
    is killed there. For the held child: one thread, and signals that nobody needs now.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sigchld = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave nothing to wait for
    try:
        pid = os.fork()
        if pid == 0:
            try:
                if libc.ptrace(_TRACEME, 0, None, None) == 0:
                    os.kill(os.getpid(), signal.SIGSTOP)
                    execute(path, argv, env)
            except OSError as e:
                os._exit(e.errno or 0)
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        # Not by the SIGTRAP that follows an exec: all signals are blocked. And our own end must not set it free.
        if os.WIFSTOPPED(status) and libc.ptrace(_SETOPTIONS, pid, None, _TRACE_EXEC | _EXIT_KILL) == 0:
            libc.ptrace(_CONT, pid, None, None)
            _, status = os.waitpid(pid, 0)
        if os.WIFSTOPPED(status):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    finally:
        signal.signal(signal.SIGCHLD, sigchld)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _is_binary(path: str) -> bool:
    """Whether the file is a program for another machine and no script, by bash's rule."""
    fd = os.open(path, os.O_RDONLY)
    return b"\0" in os.read(fd, 128)


def failure(plan: Plan, message: bytes, under_sudo: bool) -> ForktraceError:
    """The error for a message of the child."""
    stage, code = message[0], int.from_bytes(message[1:], "big")
    name, why = plan.argv[0], os.strerror(code).lower()
    if stage == _PRIVILEGES and plan.identity is not None:
        return NoPermissionError(
            f"could not become user {plan.identity.name}: {why}", "give forktrace CAP_SETUID and CAP_SETGID"
        )
    if stage == _FOLDER:
        return CannotStartError(f"can not enter folder {plan.cwd}: {why}", "name another", not_found=False)
    if code == errno.ENOENT and stage == _FIND and "/" not in name:
        mend = "check its name and PATH, or give its path"
        if under_sudo:
            mend = f'PATH is sudo\'s: give its path, or forktrace -E PATH="$PATH" -- {name} ...'
        return CannotStartError(f"{name!r} was not found in PATH", mend, not_found=True)
    said = {
        errno.ENOENT: ("there is no such file", "check its path"),
        errno.ENOTDIR: ("part of its path is not a folder", "check its path"),
        errno.EISDIR: ("it is a folder", "name a program"),
        errno.EACCES: ("permission denied", _access_mend(plan)),
        errno.ENOEXEC: ("it is not in a format that this machine runs", "build it for this machine"),
        errno.E2BIG: ("its arguments and environment are too long", "pass fewer, or raise `ulimit -s`"),
        errno.ETXTBSY: ("somebody has it open for writing", "wait until it is written"),
    }
    what, mend = said.get(code, (why, "try it without forktrace"))
    if stage == _EXEC and code == errno.ENOENT:
        what, mend = (
            "the interpreter that it names is missing",
            "check its #! line, or what `file` says of it",
        )
    missing = code in (errno.ENOENT, errno.ENOTDIR)
    return CannotStartError(f"can not run {name!r}: {what}", mend, not_found=missing)


def _access_mend(plan: Plan) -> str:
    who = f" for {plan.identity.name}" if plan.identity else ""
    return f"make it executable (chmod +x){who}, and every folder above it enterable"
