"""Values inside a line of strace: strings, argument lists, flags, signals, wait statuses, results.

Pure functions from bytes to Python values; what can not be read is None, never a guess and never an exception.
Knows nothing of lines, of tasks or of time. Each expression is linear in its input: repeats are possessive (`*+`)
or can not meet each other, for a log is text from strangers.
"""

from __future__ import annotations

import codecs
import errno as _errno
import re
from typing import Final, NamedTuple

from tracer.model.flags import CloneFlags

MAX_INT: Final = (1 << 63) - 1
MOST_PIDS: Final = 1 << 31  # a pid_t is an int

# -- strings ----------------------------------------------------------------------------------------------------

_STRING: Final = rb'"((?:[^"\\]++|\\.)*+)"(\.\.\.)?'
STRING: Final = re.compile(_STRING, re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
# Those that C and Python read alike, which are all that strace writes.
_PLAIN_ESCAPES: Final = re.compile(
    rb'(?:[^\\]++|\\(?:[ntrvfab"\\]|[0-3][0-7]{0,2}|[4-7](?![0-7]{2})[0-7]?|x[0-9a-fA-F]{2}))*+', re.DOTALL
)
_LONG: Final = 1 << 20
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}
_HALF: Final = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})$")
_LIST: Final = re.compile(rb'\[((?:"(?:[^"\\]++|\\.)*+"|[^"\]]++)*+)\]', re.DOTALL)
_ITEM: Final = re.compile(_STRING + rb"|(\.\.\.|0x[0-9a-f]+)", re.DOTALL)


def _escape(m: re.Match[bytes]) -> bytes:
    octal, hexa, letter = m.groups()
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    if hexa is not None:
        return bytes((int(hexa, 16),))
    return _LETTERS.get(letter, letter)


def unescape(raw: bytes) -> bytes:
    """The bytes that strace wrote as `raw` between quotes: C escapes, octal as short as it may be, \\xNN."""
    if b"\\" not in raw:
        return raw
    if raw[:2] == b"\\x" and len(raw) % 4 == 0:
        try:
            # -xx writes every byte so; ten times faster than one substitution a byte.
            packed = raw.replace(b"\\x", b"")
            if len(packed) * 2 == len(raw):
                return bytes.fromhex(packed.decode("ascii"))
        except ValueError:
            pass
    if _PLAIN_ESCAPES.fullmatch(raw) is not None:
        # A call for each escape takes 70 bytes of memory and half a microsecond; this is one pass in C.
        return codecs.escape_decode(raw)[0]  # type: ignore[attr-defined, no-any-return, unused-ignore]
    return _ESCAPE.sub(_escape, raw)


def text(raw: bytes, cut: bytes | None = None) -> str:
    """A quoted string's content as text, undecodable bytes as surrogates; ends in '...' if strace cut it."""
    if not cut:
        return unescape(raw).decode("utf-8", "surrogateescape")
    data = unescape(raw)
    # -s counts bytes: a character that was cut in two goes.
    tail = _HALF.search(data, max(0, len(data) - 3))
    return (data[: tail.start()] if tail else data).decode("utf-8", "surrogateescape") + "..."


def first_string(args: bytes, start: int = 0) -> tuple[str | None, int]:
    """The first string of `args` from `start` on, and where it ends; (None, start) if there is none."""
    # Only the first quote may begin it: to search on from each quote of an unfinished string would be quadratic.
    quote = args.find(b'"', start)
    m = STRING.match(args, quote) if quote >= 0 else None
    return (text(m[1], m[2]), m.end()) if m else (None, start)


def string_list(args: bytes, start: int) -> tuple[list[str] | None, int]:
    """The list that stands at or after `start`: (strings, its end); a cut list ends in the element '...'."""
    bracket = args.find(b"[", start)
    m = _LIST.match(args, bracket) if bracket >= 0 else None
    items: list[str]
    if m is None:
        return None, start
    if m.end() - bracket > _LONG:  # one copy at a time
        items = []
        for each in _ITEM.finditer(args, bracket + 1, m.end() - 1):
            items.append("..." if each[3] else text(each[1], each[2]))
        return (items if items or not m[1].strip() else None), m.end()
    body = m[1]
    if b"\\" not in body and b"..." not in body and body[:1] == b'"' and body[-1:] == b'"':
        return body[1:-1].decode("utf-8", "surrogateescape").split('", "'), m.end()
    items = []
    for raw, cut, unknown in _ITEM.findall(body):
        # A bare pointer is an element that strace could not read: unknown too, rather than shift the rest.
        items.append("..." if unknown else text(raw, cut))
    if body.strip() and not items:
        return None, m.end()
    return items, m.end()


# -- numbers ----------------------------------------------------------------------------------------------------


def number(raw: bytes) -> int | None:
    """Decimal, hexadecimal or 0-led octal of at most 20 digits; None for anything else (or anything longer)."""
    if len(raw) > 20:
        return None
    try:
        if raw[:2] == b"0x":
            value = int(raw, 16)
            # -e raw and calls unknown to an old strace print an error as an unsigned 64-bit (or 32-bit) word.
            if value >= (1 << 64) - 4096:
                return value - (1 << 64)
            if (1 << 32) > value >= (1 << 32) - 4096:
                return value - (1 << 32)
            return value if value <= MAX_INT else None
        value = int(raw)
        return value if -MAX_INT <= value <= MAX_INT else None
    except ValueError:
        return None


# -- signals and errors -----------------------------------------------------------------------------------------

_NAMES: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS: Final = {f"SIG{name}".encode(): i for i, name in enumerate(_NAMES.split(), 1)} | {
    b"SIGIOT": 6,
    b"SIGCLD": 17,
    b"SIGPOLL": 29,
    b"SIGUNUSED": 31,
    b"SIGRTMIN": 32,
    b"SIGRTMAX": 64,
}
_REALTIME: Final = re.compile(rb"SIG(?:RT_|RTMIN\+|RT)(\d{1,2})")


def signal_number(raw: bytes) -> int | None:
    """`SIGKILL` -> 9; `SIGRT_5` -> 37, as strace counts from the kernel's 32; a bare number is itself."""
    found = SIGNALS.get(raw)
    if found is not None:
        return found
    m = _REALTIME.fullmatch(raw)
    if m:
        return 32 + int(m[1])
    value = number(raw)
    return value if value is not None and 0 < value < 129 else None


_MAX_ERRNO: Final = 4095


def error_number(name: str) -> int | None:
    """`ENOENT` -> 2; `errno 524` -> 524."""
    if name.startswith("errno "):
        found = number(name[6:].encode())
        return found if found is not None and found <= _MAX_ERRNO else None
    known: int | None = getattr(_errno, name, None)
    return known


# -- clone flags ------------------------------------------------------------------------------------------------

_FLAG: Final = {f.name.encode(): int(f) for f in CloneFlags if f.name} | {b"CLONE_PID": 0, b"CLONE_NEWTIME": 0x80}
_COMMENT: Final = re.compile(rb"/\*[^*]*+\*/")
_FLAG_WORD: Final = re.compile(rb"CLONE_[A-Z_]+|SIG[A-Z0-9_]+|0x[0-9a-f]{1,16}|\d{1,20}")
_FLAGS_AT: Final = re.compile(rb"flags=([^,})]*)")
_EXIT_SIGNAL: Final = re.compile(rb"exit_signal=([A-Z0-9_]+)")
_STACK: Final = re.compile(rb"\b(?:child_)?stack=(0x[0-9a-f]+|NULL|0)\b")
_flag_cache: dict[bytes, tuple[int, int | None]] = {}


class ForkArgs(NamedTuple):
    """What the arguments of a fork call say. `flags` None: not shown."""

    flags: int | None
    exit_signal: int | None
    own_stack: bool | None  # the child was given a stack of its own


def _flag_words(raw: bytes) -> tuple[int, int | None]:
    """CLONE_ bits and the exit signal in `A|B|0x..|SIGCHLD` (-X raw: numbers; verbose: numbers with comments)."""
    found = _flag_cache.get(raw)
    if found is not None:
        return found
    bits, signal = 0, None
    plain = _COMMENT.sub(b"", raw) if b"/*" in raw else raw
    for i, word in enumerate(_FLAG_WORD.findall(plain)):
        if word[:1] == b"C":
            bits |= _FLAG.get(word, 0)
        elif word[:1] == b"S":
            # Text of the traced program may be glued on: SIGCHLDout. The longest name that fits is meant.
            signal = next((n for w in range(len(word), 3, -1) if (n := signal_number(word[:w]))), signal)
            break
        elif word[:2] == b"0x":
            bits |= number(word) or 0
        elif i or (number(word) or 0) >= 256:
            value = number(word) or 0
            signal = value if 0 < value <= 64 else signal
            bits |= value if value > 255 else 0
        elif number(word):
            signal = number(word)
    if len(_flag_cache) < 1024:
        _flag_cache[raw] = (bits, signal)
    return bits, signal


def fork_args(name: bytes, args: bytes) -> ForkArgs:
    """Flags, exit signal and stack of a fork call: `name` is fork, vfork, clone or clone3, `args` all of its text."""
    if name == b"fork":
        return ForkArgs(0, 17, False)
    if name == b"vfork":
        return ForkArgs(int(CloneFlags.CLONE_VM | CloneFlags.CLONE_VFORK), 17, False)
    m = _FLAGS_AT.search(args)
    stack = _STACK.search(args)
    own = None if stack is None else stack[1] not in (b"NULL", b"0")
    if m is not None:
        bits, signal = _flag_words(m[1])
        if name == b"clone3":
            s = _EXIT_SIGNAL.search(args)
            signal = None if s is None else 0 if s[1] == b"0" else signal_number(s[1])
        elif bits & 0xFF:
            signal, bits = bits & 0xFF, bits & ~0xFF
        elif signal is None:
            signal = 0
        return ForkArgs(bits, signal, own)
    if name == b"clone":
        # -e raw=clone: the flags come first, except on a few old ports that nobody logs any more.
        words = args.split(b",")
        value = number(words[0].strip().lstrip(b"(")) if len(words) >= 2 else None
        if value is not None:
            second = number(words[1].strip())
            return ForkArgs(value & ~0xFF, value & 0xFF, bool(second) if second is not None else None)
    return ForkArgs(None, None, own)


# -- ends -------------------------------------------------------------------------------------------------------

_STATUS: Final = re.compile(
    rb"WEXITSTATUS\(s\) == (?P<code>\d{1,3})|WTERMSIG\(s\) == (?P<signal>\w+)(?P<core> && WCOREDUMP\(s\))?"
    rb"|(?P<alive>WIFSTOPPED|WIFCONTINUED)\(s\)"
)
_STATUS_RAW: Final = re.compile(rb"status=0x([0-9a-f]{1,8})")
_SIGINFO: Final = re.compile(rb"si_(signo|code|pid|status|uid)=([A-Z0-9_a-zx-]+)")
_ENDS: Final = {
    b"CLD_EXITED": "exited",
    b"CLD_KILLED": "killed",
    b"CLD_DUMPED": "dumped",
    b"0x1": "exited",
    b"0x2": "killed",
    b"0x3": "dumped",
    b"1": "exited",
    b"2": "killed",
    b"3": "dumped",
}


class End(NamedTuple):
    """How a process ended: an exit code, or a signal and whether it dumped core. All None: ended, unknown how."""

    code: int | None = None
    signal: int | None = None
    core: bool | None = None


def wait_status(args: bytes) -> End | None:
    """The status that wait4 reported; None if it speaks of a stop; an empty End if it was not shown."""
    m = _STATUS.search(args)
    if m is None:
        return End()
    if m["alive"] is not None:
        return None
    if m["code"] is not None:
        return End(code=int(m["code"]), core=False)
    return End(signal=signal_number(m["signal"]), core=m["core"] is not None)


class Siginfo(NamedTuple):
    """The fields of a siginfo that matter here; None where absent."""

    signo: int | None
    code: bytes
    pid: int | None
    end: End | None  # for the SIGCHLD of a child that ended


def siginfo(raw: bytes) -> Siginfo:
    """`{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=3, ...}`, numbers under -X raw."""
    fields = dict(_SIGINFO.findall(raw))
    signo = signal_number(fields.get(b"signo", b""))
    code = fields.get(b"code", b"")
    how = _ENDS.get(code) if signo == 17 else None
    status = fields.get(b"status", b"")
    end: End | None = None
    if how == "exited":
        value = number(status)
        end = End(code=None if value is None else value & 0xFF, core=False)
    elif how is not None:
        end = End(signal=signal_number(status), core=how == "dumped")
    pid = number(fields.get(b"pid", b""))
    if pid is not None and not 0 <= pid < MOST_PIDS:
        pid = None
    return Siginfo(signo, code, pid, end)


_RUSAGE: Final = re.compile(
    rb"ru_(utime|stime)=\{(?:tv_sec=)?(\d{1,9}), (?:tv_usec=)?(\d{1,6})\}|ru_(maxrss|minflt|majflt)=(\d{1,15})"
)


def rusage(args: bytes) -> dict[str, int]:
    """What a struct rusage shows, of utime_ns, stime_ns, max_rss_bytes, min_flt, maj_flt; without -v the two times."""
    out: dict[str, int] = {}
    for clock, sec, usec, counter, value in _RUSAGE.findall(args):
        if clock:
            out[clock.decode() + "_ns"] = int(sec) * 1_000_000_000 + int(usec) * 1000
        elif counter == b"maxrss":
            out["max_rss_bytes"] = int(value) * 1024
        else:
            out["min_flt" if counter == b"minflt" else "maj_flt"] = int(value)
    return out


_DIRFD: Final = re.compile(rb'\s*(?:\w{1,20}=)?(AT_FDCWD|\d{1,10})(?:<([^>]*)>)?, (?:\w{1,20}=)?(?=")')

Image = tuple[str | None, list[str] | None, str | None]
"""What an exec shows: path, arguments, working directory."""


def exec_args(name: bytes, args: bytes) -> Image:
    """The arguments of execve, or of execveat: `name` says which."""
    cwd, start = None, 0
    if name in (b"execveat", b"SYS_322"):
        m = _DIRFD.match(args)
        if m is None:
            return None, None, None
        start = m.end()
        path, end = first_string(args, start)
        if m[1] == b"AT_FDCWD":
            cwd = text(m[2]) if m[2] else None
        elif path is not None and not path.startswith("/"):
            # As the kernel names it: fs/exec.c, alloc_bprm().
            path = f"/dev/fd/{m[1].decode()}" + (f"/{path}" if path else "")
    elif args[:1] in b'"p':  # -N writes pathname=
        path, end = first_string(args, start)
    else:
        return None, None, None
    if path is None or not args[end : end + 16].startswith((b", [", b", argv=[")):
        return path, None, cwd
    argv, _ = string_list(args, end)
    return path, argv, cwd
