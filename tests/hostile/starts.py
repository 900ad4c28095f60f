"""Circumstances that a program can be started in, and a start in any of them: bytes as its environment, and all.

CIRCUMSTANCES     {kind: circumstances}: one of each kind goes together
rows()            combinations that have each circumstance at least once
start(argv, row)  what the program printed and its exit status
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import subprocess
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.terminals import DEADLINE_S
from tracer.capture.launch import execute

LIBC: Final = ctypes.CDLL(None, use_errno=True)
PATH: Final = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USUAL: Final = (b"HOME=/", b"LANG=C.UTF-8", PATH, b"TERM=xterm")
_KEYCTL_JOIN: Final = 1


class Circumstance(NamedTuple):
    """`before` runs in the child. `env` is the whole environment. `by`: a command that runs the rest of its words."""

    name: str
    before: Callable[[], object] = lambda: None
    env: Sequence[bytes] | None = None
    by: Sequence[str] = ()
    words: Sequence[bytes] = ()


Row = tuple[Circumstance, ...]


def _limit(which: int, soft: int, hard: int | None = None) -> Callable[[], None]:
    def set_() -> None:
        most = resource.getrlimit(which)[1] if hard is None else hard
        resource.setrlimit(which, (soft, most))

    return set_


def _prctl(*words: int) -> Callable[[], None]:
    def call() -> None:
        if LIBC.prctl(*[ctypes.c_ulong(word) for word in (*words, 0, 0, 0, 0)][:5]) < 0:
            os.write(2, f"prctl{words}: {os.strerror(ctypes.get_errno())}\n".encode())

    return call


def _close(*fds: int) -> Callable[[], None]:
    def close() -> None:
        for fd in fds:
            os.close(fd)

    return close


def _open_at(number: int, path: str, flags: int = os.O_RDONLY) -> None:
    fd = os.open(path, flags)
    os.dup2(fd, number, inheritable=True)
    if fd != number:
        os.close(fd)


def _many() -> None:
    for number in range(3, 40):
        _open_at(number, "/dev/null")


def _pipe() -> None:
    reading, writing = os.pipe()
    os.dup2(reading, 9)
    os.dup2(writing, 10)


def _socket() -> None:
    one, other = socket.socketpair()
    os.dup2(one.fileno(), 0)
    os.dup2(other.fileno(), 11)


def _nonblocking() -> None:
    reading, _ = os.pipe()
    os.set_blocking(reading, False)
    os.dup2(reading, 0)


def _offset() -> None:
    _open_at(0, "/etc/passwd")
    os.lseek(0, 7, os.SEEK_SET)


def _gone_file() -> None:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.dup2(fd, 0)


def _gone_folder() -> None:
    path = tempfile.mkdtemp()
    os.chdir(path)
    os.rmdir(path)


def _deep_folder() -> None:
    root = tempfile.gettempdir()
    path = Path(root, "forktrace-test-" + "d" * 120, *["e" * 120] * 5)
    path.mkdir(parents=True, exist_ok=True)
    os.chdir(path)
    for each in (path, *list(path.parents)[:5]):
        each.rmdir()


def _terminal() -> None:
    master, slave = os.openpty()
    os.dup2(master, 150)  # stays open, else all that comes is a hang-up
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.dup2(slave, 0)


def _block(*signals: int) -> Callable[[], object]:
    return lambda: signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _ignore(*signals: int) -> Callable[[], None]:
    def ignore() -> None:
        for signo in signals:
            signal.signal(signo, signal.SIG_IGN)

    return ignore


def _shell(*traps: str) -> list[str]:
    """A shell that ignores signals and waits for the program: not in its place."""
    return ["/bin/sh", "-c", f'trap "" {" ".join(traps)}; "$@"; exit $?', "sh"]


def _ambient() -> None:
    """CAP_NET_RAW inheritable and ambient."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    LIBC.capget(header, data)
    data[2] |= 1 << 13
    LIBC.capset(header, data)
    LIBC.prctl(47, 2, 13, 0, 0)


def _keyring() -> None:
    if LIBC.syscall(250, _KEYCTL_JOIN, b"forktrace-test", 0, 0) < 0:  # keyctl
        os.write(2, b"keyctl\n")


def _unshare(flags: int) -> Callable[[], object]:
    return lambda: LIBC.unshare(flags)


def _write(path: str, text: str) -> Callable[[], object]:
    return lambda: Path(path).write_text(text)


_NAMED: Final = b"BASH_FUNC_module%%=() {  eval `/usr/bin/modulecmd bash $*`\n}"
CIRCUMSTANCES: Final[Mapping[str, Sequence[Circumstance]]] = {
    "environment": [
        Circumstance("usual", env=USUAL),
        Circumstance("empty", env=()),
        Circumstance("PATH alone", env=(PATH,)),
        Circumstance("no PATH", env=(b"HOME=/",)),
        Circumstance("repeated names", env=(b"A=1", *USUAL, b"A=2", b"HOME=/root", b"A=1")),
        Circumstance("no equals sign", env=(b"ODD", *USUAL, b"ODDER")),
        Circumstance("nameless", env=(*USUAL, b"=x", b"==")),
        Circumstance("empty strings", env=(b"", *USUAL, b"", b"A=")),
        Circumstance("not UTF-8", env=(*USUAL, b"L\xe4=\xff\xfe", b"B=\x80")),
        Circumstance("newlines and escapes", env=(*USUAL, b"A=1\nB=2\x1b[2J", b"C\n=3")),
        Circumstance("an exported function of bash", env=(*USUAL, _NAMED)),
        Circumstance("a long value", env=(*USUAL, b"LONG=" + b"x" * 120_000)),
        Circumstance("many", env=(*USUAL, *(b"V%d=%d" % (i, i) for i in range(3000)))),
        Circumstance("no locale", env=(PATH, b"HOME=/")),
        Circumstance("LC_ALL=C", env=(PATH, b"LC_ALL=C")),
        Circumstance("LANG=POSIX", env=(PATH, b"LANG=POSIX")),
        Circumstance("LC_CTYPE of its own", env=(PATH, b"LC_CTYPE=C.UTF-8")),
        Circumstance("an unknown locale", env=(PATH, b"LC_ALL=xx_XX.KOI8-R", b"LANGUAGE=de")),
        Circumstance("for Python", env=(*USUAL, b"PYTHONUTF8=0", b"PYTHONCOERCECLOCALE=warn", b"PYTHONSTARTUP=/x")),
        Circumstance("for forktrace", env=(*USUAL, b"TMPDIR=/tmp", b"COLUMNS=7", b"NO_COLOR=1", b"FORKTRACE=1")),
        Circumstance("for the loader", env=(*USUAL, b"LD_BIND_NOW=1", b"MALLOC_ARENA_MAX=1", b"IFS=/", b"ENV=/x")),
        Circumstance("in another order", env=(b"_=/x", *reversed(USUAL), b"SHLVL=9", b"PWD=/wrong", b"OLDPWD=")),
    ],
    "descriptors": [
        Circumstance("as usual"),
        Circumstance("stdin closed", _close(0)),
        Circumstance("stdout closed", _close(1)),
        Circumstance("stderr closed", _close(2)),
        Circumstance("all closed", _close(0, 1, 2)),
        Circumstance("one more", lambda: _open_at(3, "/etc/passwd")),
        Circumstance("a pipe at 9 and 10", _pipe),
        Circumstance("number 100", lambda: _open_at(100, "/dev/null", os.O_RDWR)),
        Circumstance("37 more", _many),
        Circumstance("stdin at an offset", _offset),
        Circumstance("stdin does not block", _nonblocking),
        Circumstance("stdin is a socket", _socket),
        Circumstance("stdin is a deleted file", _gone_file),
        Circumstance("a folder at 5", lambda: _open_at(5, "/", os.O_RDONLY | os.O_DIRECTORY)),
    ],
    "limits": [
        Circumstance("as usual"),
        Circumstance("few descriptors", _limit(resource.RLIMIT_NOFILE, 200)),
        Circumstance("no core", _limit(resource.RLIMIT_CORE, 0, 0)),
        Circumstance("processor time", _limit(resource.RLIMIT_CPU, 900, 1000)),
        Circumstance("file size", _limit(resource.RLIMIT_FSIZE, 1 << 30)),
        Circumstance("stack", _limit(resource.RLIMIT_STACK, 1 << 20)),
        Circumstance("processes", _limit(resource.RLIMIT_NPROC, 5000)),
        Circumstance("address space", _limit(resource.RLIMIT_AS, 8 << 30)),
        Circumstance("pending signals", _limit(resource.RLIMIT_SIGPENDING, 100)),
        Circumstance("message queues", _limit(resource.RLIMIT_MSGQUEUE, 4096, 8192)),
    ],
    "signals": [
        Circumstance("as usual"),
        Circumstance("SIGUSR1 is blocked", _block(signal.SIGUSR1)),
        Circumstance("what forktrace watches is blocked", _block(15, 1, 2, 3, 17)),
        Circumstance("all are blocked", _block(*signal.valid_signals())),
        Circumstance("SIGHUP is ignored, as by nohup", _ignore(signal.SIGHUP)),
        Circumstance("SIGINT and SIGQUIT are ignored, as with &", _ignore(signal.SIGINT, signal.SIGQUIT)),
        Circumstance("SIGCHLD is ignored", _ignore(signal.SIGCHLD)),
        Circumstance("SIGTERM is ignored", _ignore(signal.SIGTERM)),
        Circumstance("those of job control are ignored", _ignore(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)),
        Circumstance("SIGPIPE is ignored", by=_shell("PIPE")),
        Circumstance("SIGXFSZ is ignored", by=_shell("XFSZ")),
        Circumstance("a shell ignores many", by=_shell("PIPE", "XFSZ", "HUP", "USR1", "ALRM")),
        Circumstance("a real-time signal is ignored", _ignore(40)),
    ],
    "session": [
        Circumstance("as usual"),
        Circumstance("of its own", os.setsid),
        Circumstance("a group of its own", lambda: os.setpgid(0, 0)),
        Circumstance("on a terminal", _terminal),
    ],
    "credentials": [
        Circumstance("as usual"),
        Circumstance("first for the OOM killer", _write("/proc/self/oom_score_adj", "500")),
        Circumstance("a dump filter", _write("/proc/self/coredump_filter", "0x7f")),
        Circumstance("securebits", _prctl(28, 1 << 6)),  # SECBIT_NO_CAP_AMBIENT_RAISE
        Circumstance("no CAP_NET_RAW to be had", _prctl(24, 13)),
        Circumstance("ambient capability", _ambient),
        Circumstance("a session keyring of its own", _keyring),
        Circumstance("without groups", lambda: os.setgroups(())),
        Circumstance("no huge pages", _prctl(41, 1)),
        Circumstance("a host name of its own", _unshare(0x04000000)),
        Circumstance("message queues of its own", _unshare(0x08000000)),
        Circumstance("memory errors kill early", _prctl(33, 1, 1)),
    ],
    "scheduling": [
        Circumstance("as usual"),
        Circumstance("nice", lambda: os.nice(5)),
        Circumstance("batch", lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))),
        Circumstance("one processor", lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])),
        Circumstance("idle input and output", lambda: LIBC.syscall(251, 1, 0, 3 << 13)),  # ioprio_set
        Circumstance("timer slack", _prctl(29, 1234567)),
        Circumstance("addresses are not random", lambda: LIBC.personality(0x0040000)),
    ],
    "place": [
        Circumstance("as usual"),
        Circumstance("umask 0", lambda: os.umask(0)),
        Circumstance("umask 777", lambda: os.umask(0o777)),
        Circumstance("the root folder", lambda: os.chdir("/")),
        Circumstance("a deleted folder", _gone_folder),
        Circumstance("a deep deleted folder", _deep_folder),
    ],
    "words": [
        Circumstance("none"),
        Circumstance("empty", words=(b"", b"")),
        Circumstance("not UTF-8", words=(b"\xff\xfe", b"\xc3")),
        Circumstance("options of forktrace", words=(b"--", b"-q", b"--help", b"-a")),
        Circumstance("long, and lines", words=(b"x" * 100_000, b"a\nb\r\n\x1b")),
    ],
}


def count() -> int:
    """Circumstances, the usual ones counted once for all kinds."""
    return sum(len(kind) - 1 for kind in CIRCUMSTANCES.values()) + 1


def rows() -> list[Row]:
    """As few as there can be. Each kind is as often in its usual state at another place as any of its others."""
    most = max(map(len, CIRCUMSTANCES.values()))
    return [tuple(kind[i % len(kind)] for kind in CIRCUMSTANCES.values()) for i in range(most)]


def start(argv: Sequence[str], row: Row, env: Sequence[bytes] | None = None, **popen: Any) -> tuple[int, int, bytes]:
    """Start argv, the row's words behind it, in these circumstances. Returns its pid, status, and text on stderr.

    stdin and stdout are /dev/null: what is looked at is written to a file.
    """
    words = [*argv, *(os.fsdecode(word) for each in row for word in each.words)]
    for each in row:
        words = [*each.by, *words]
    given = next((list(each.env) for each in row if each.env is not None), list(USUAL)) + list(env or ())

    def become() -> None:
        # A limit of descriptors comes after the descriptors, signals last: nothing of Python's may meet them.
        for each in row:
            each.before()
        execute(words[0], words, given)

    with tempfile.TemporaryFile() as errors:
        # preexec_fn: the only way to give a child an environment that is no mapping. It does not return.
        child = subprocess.Popen(
            ["/bin/false"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=become,
            close_fds=False,
            **popen,
        )
        status = child.wait(DEADLINE_S)
        errors.seek(0)
        return child.pid, status, errors.read()
